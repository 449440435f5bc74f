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

from synlearner.events.anchor import Anchor
from synlearner.events.home import ANCHOR

KILLS = 20
SETTINGS = [
    "loop.rounds=3", "loop.prompts=4", "loop.group=4", "loop.fill_rounds=2", "students.bootstrap=100",
    "reward.min_fidelity=-1", "reward.min_quality=0",
]  # fmt: skip


def command(stream: Path, home: Path, model: Path) -> list[str]:
    settings = [part for value in [f"policy.model={model}", *SETTINGS] for part in ("--set", value)]
    return [sys.executable, "-m", "synlearner", "run", str(stream), "--home", str(home), "--json", "--quiet", *settings]


def seq_of(home: Path) -> int:
    """Return the last acknowledged event, as its anchor says from outside."""
    found = Anchor(home / ANCHOR).read() if (home / ANCHOR).exists() else None
    return found.seq if found else 0


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_digest(tmp_path: Path, tiny_folder: Path) -> None:
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    stream = write_stream(tmp_path / "s", "topics", "again", "more", samples=12)
    whole = subprocess.run(
        command(stream, tmp_path / "whole", tiny_folder), capture_output=True, text=True, check=True, env=environment
    )
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
        if killed < KILLS:
            goal = seq_of(home) + rng.randint(1, max(2, expected["events"] // KILLS))
            while process.poll() is None and seq_of(home) < goal:
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.05))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                killed += 1
        out, err = process.communicate()
        if process.returncode == 0:
            assert json.loads(out) == expected
            break
        assert process.returncode == -signal.SIGKILL, err
    else:
        pytest.fail(f"the run has not ended after {killed} kills")
    assert killed >= KILLS // 2, "the run was too quick to be killed often"
    verified = subprocess.run(
        [sys.executable, "-m", "synlearner", "log", "verify", "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout
