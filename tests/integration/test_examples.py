"""The examples run as they stand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_memory_example_learns_from_feedback(tmp_path: Path) -> None:
    assert run("memory_alone.py", tmp_path / "notes")


@pytest.mark.slow
def test_the_stream_example_writes_rows_with_the_real_model(tmp_path: Path) -> None:
    out = run("run_a_stream.py", tmp_path / "home")
    assert "kitchen" in out
    assert "garden" in out
    assert "digest" in out
    assert (tmp_path / "home" / "derived" / "data.jsonl").exists()
