"""Writers are killed at random moments: what they were told is there, is there, once, and the next one goes on.

Writers are forked from this process, in which everything is loaded and no thread runs. A home serves for some kills and
then makes room for a new one, so that a look at it stays cheap.
"""

import os
import random
import select
import shutil
import signal
import struct
import time
from pathlib import Path
from typing import Any

from faults.workload import Told, batch, faults_of, move_often, write_one
from synlearner.events import Event, Home, MemoryLog

A_HOME = 20
"""Kills of one home's writers."""
LONGEST = 0.02
"""Seconds that a writer lives, at most, from its beginning or from its first acknowledgement on."""

_ACKNOWLEDGED = struct.Struct(">IQ32s")


def sweep(folder: Path, *, kills: int, seed: int = 20261122) -> dict[str, Any]:
    """Kill so many writers and return what came of it; `wrong` must be empty."""
    chance = random.Random(seed)
    figures = {"kills": 0, "acknowledged": 0, "while_opening": 0, "not_acknowledged_and_there": 0}
    wrong: list[str] = []
    told: list[Told] = []
    known = _Known()
    for number in range(kills):
        if number % A_HOME == 0:
            shutil.rmtree(folder / "home", ignore_errors=True)
            told = []
        before = len(told)
        told += kill_one(folder / "home", before, chance.random() * LONGEST, opened=number % 3 > 0)
        figures["kills"] += 1
        figures["acknowledged"] += len(told) - before
        figures["while_opening"] += len(told) == before
        try:
            figures["not_acknowledged_and_there"] += _look(folder / "home", told, known)
        except Exception as found:  # noqa: BLE001  # whatever it is, it is what is looked for
            wrong.append(f"kill {number}: {type(found).__name__}: {found}")
            shutil.rmtree(folder / "home")
            told = []
    return {**figures, "wrong": wrong}


def kill_one(home: Path, number: int, seconds: float, *, opened: bool) -> list[Told]:
    """Let a writer go on from batch *number*, kill it, and return what it was told is there.

    It is killed after so many *seconds*, from its beginning on or, if *opened*, from its first acknowledgement on.
    """
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        _write(home, number, into)
    os.close(into)
    if opened:
        select.select([out], [], [], 60)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(out, "rb") as lines:
        data = lines.read()
    assert os.WIFSIGNALED(status), f"the writer ended by itself: {data!r}"
    # A last record that was cut off was no acknowledgement.
    whole = len(data) - len(data) % _ACKNOWLEDGED.size
    return [Told(seq, digest.hex()) for _, seq, digest in _ACKNOWLEDGED.iter_unpack(data[:whole])]


def _write(home: Path, number: int, into: int) -> None:
    """Write batches until the kill comes. This is the child: it never returns."""
    try:
        with Home.open(home, create=True) as opened:
            move_often(opened)
            while True:
                told = write_one(opened, number)
                os.write(into, _ACKNOWLEDGED.pack(number, told.seq, bytes.fromhex(told.hash)))
                number += 1
    except BaseException as error:  # noqa: BLE001  # nothing of the parent may run here
        os.write(into, repr(error).encode())
    os._exit(1)


def _look(home: Path, told: list[Told], known: "_Known") -> bool:
    """Check the home; return whether a batch is there that its writer was not told of."""
    if not told and not (home / "log.sqlite").exists():
        return False
    with Home.open(home, create=True) as opened:
        there = opened.log.head().seq
    found = faults_of(home, told, known.history(there))
    assert not found, "; ".join(found)
    return there > (told[-1].seq if told else 0)


class _Known:
    """What a home holds that nobody was killed in."""

    def __init__(self) -> None:
        self._log = MemoryLog()
        self._batches = 0
        self._events: list[Event] = []

    def history(self, events: int) -> list[Event]:
        """Return so many events, and some more."""
        while len(self._events) < events:
            self._events += self._log.append(batch(self._batches), expected_seq=len(self._events))
            self._batches += 1
        return self._events
