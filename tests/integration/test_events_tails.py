"""Several processes at one log: writers in turn, readers that follow. Nothing is skipped, nothing comes twice.

`SYNLEARNER_TAIL_TURNS=125 SYNLEARNER_TAIL_BATCH=1000` makes it the million events of the full check.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synlearner.events import Home

PROGRAM = Path(__file__).parents[1] / "support" / "tailing.py"
TURNS = int(os.environ.get("SYNLEARNER_TAIL_TURNS", "6"))
BATCH = int(os.environ.get("SYNLEARNER_TAIL_BATCH", "20"))


def start(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("store", "writers", "tailers"), [("folder", 3, 2), ("database", 8, 4)])
def test_tailers_see_every_event_once_while_writers_take_turns(
    request: pytest.FixtureRequest, tmp_path: Path, store: str, writers: int, tailers: int
) -> None:
    home = request.getfixturevalue("home_url") if store == "database" else tmp_path / "home"
    with Home.open(home, create=True):
        pass
    last = writers * TURNS * BATCH
    tails = [start("tail", home, last) for _ in range(tailers)]
    writing = [start("write", home, f"w{number}", TURNS, BATCH) for number in range(writers)]
    for process in writing:
        _, err = process.communicate(timeout=600)
        assert (process.returncode, err) == (0, "")
    with Home.open(home) as opened:
        head = opened.log.head()
    assert head.seq == last
    for process in tails:
        out, err = process.communicate(timeout=600)
        assert (out.split(), err) == ([str(last), "True", head.hash], "")
