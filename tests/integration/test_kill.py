"""`kill -9` at random moments, again and again: the run ends with the digest of one that was never killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from worlds import write_stream

KILLS = 20
SETTINGS = [
    "loop.rounds=3", "loop.prompts=4", "loop.group=4", "loop.fill_rounds=2", "students.bootstrap=100",
    "reward.min_fidelity=-1", "reward.min_quality=0",
]  # fmt: skip


def command(stream: Path, home: Path, model: Path) -> list[str]:
    settings = [part for value in [f"policy.model={model}", *SETTINGS] for part in ("--set", value)]
    return [sys.executable, "-m", "synlearner", "run", str(stream), "--home", str(home), "--json", "--quiet", *settings]


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_digest(tmp_path: Path, tiny_folder: Path) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    stream = write_stream(tmp_path / "s", "topics", "again", "more", samples=12)
    begun = time.monotonic()
    whole = subprocess.run(
        command(stream, tmp_path / "whole", tiny_folder), capture_output=True, text=True, check=True, env=environment
    )
    lasts = time.monotonic() - begun
    expected = json.loads(whole.stdout)
    rng = random.Random(7)  # noqa: S311 - no secret
    home = tmp_path / "killed"
    killed = 0
    for _ in range(KILLS * 3):
        process = subprocess.Popen(
            command(stream, home, tiny_folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            # Loading takes most of the time: a kill within it is one too, but most should come later.
            process.wait(timeout=lasts * rng.uniform(0.4, 0.9) if killed < KILLS else 600)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        out, err = process.communicate()
        if process.returncode == 0:
            assert json.loads(out) == expected
            break
        assert process.returncode == -signal.SIGKILL, err
    else:
        pytest.fail(f"the run has not ended after {killed} kills")
    assert killed >= 5, "the run was too quick to be killed often"
    verified = subprocess.run(
        [sys.executable, "-m", "synlearner", "log", "verify", "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout
