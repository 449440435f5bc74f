"""Commands of the command line, run in this process or in one of their own."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synlearner.events.anchor import Anchor
from synlearner.events.home import ANCHOR

SETTINGS = [
    "loop.rounds=2", "loop.prompts=3", "loop.group=4", "loop.fill_rounds=1", "students.bootstrap=100",
    "reward.min_fidelity=-1", "reward.min_quality=0",
]  # fmt: skip
"""Quick, and such that gibberish is accepted: what is tested is the command line."""


class Ran:
    """What a command printed and returned."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


def quick_settings(model: Path) -> list[str]:
    return [part for value in [f"policy.model={model}", *SETTINGS] for part in ("--set", value)]


def one_line(ran: Ran, *words: str) -> None:
    """The refusal is one clear line on stderr, and nothing is on stdout."""
    assert ran.out == ""
    assert ran.err.count("\n") == 1, ran.err
    assert ran.err.startswith("synlearner: ")
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "synlearner", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def tool(*command: object) -> str:
    """Run a program of the machine and return what it printed; the test skips where there is none."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"no {command[0]} here")
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


def wait_for_events(home: Path, count: int) -> None:
    """Wait until the anchor, which costs nothing to read, says that so many events are on disk."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = Anchor(home / ANCHOR).read() if (home / ANCHOR).exists() else None
        if found and found.seq >= count:
            return
        time.sleep(0.005)
    raise TimeoutError(f"{home} has not come to {count} events")
