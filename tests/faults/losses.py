"""The power goes at any moment: of what was not forced to disk, any part may be there and any may be missing.

The script is written once, and everything that it asks of the disk is noted. From that the state of the disk after a
loss is made, and opened again: everything that was acknowledged by then must be there, once, with its blobs; and the
script must come to its end from there, with the digest that it has without a loss.
"""

import errno
import random
import shutil
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from faults.disk import Disk, Fault, Operation
from faults.platter import Platter
from faults.workload import Parts, Told, faults_of, write
from synlearner.errors import SynLearnerError
from synlearner.events import Event, Home


class Recorded(NamedTuple):
    """What a writer asked of the disk, and what it was told meanwhile."""

    operations: list[Operation]
    told: list[tuple[int, Told]]
    """After how many operations it was told."""
    whole: list[Event]
    met: int
    """Operations of any kind, also those that leave nothing on the disk."""


STOP = 250
"""Losses for each writer that is stopped; but at least twenty writers are."""


def sweep(
    disk: Disk, folder: Path, parts: Parts, *, losses: int, lies: bool = False, seed: int = 20261128
) -> dict[str, Any]:
    """Simulate so many *losses* and return what came of them.

    Half of them meet a writer whom nothing has happened to, spread over all moments; the others meet writers that were
    stopped by a failing disk somewhere, and came back. `wrong` must be empty, unless the disk *lies*: then nothing is
    ever forced to it.
    """
    figures = dict.fromkeys(("operations", "losses", "behind_a_stop", "not_as_written"), 0)
    wrong: list[str] = []
    plain = rehearse(disk, folder, parts, lies=lies)
    figures["operations"] = len(plain.operations)
    lose(folder, parts, plain, losses - losses // 2, f"{seed}", figures, wrong)
    chance = random.Random(seed)
    stops = max(losses // STOP, 20)
    for number in range(stops):
        fault = Fault(chance.randint(1, plain.met), errno.EIO, forever=True)
        stopped = rehearse(disk, folder, parts, fault, lies=lies)
        count = losses // 2 * (number + 1) // stops - losses // 2 * number // stops
        lose(folder, parts, stopped, count, f"{seed} {fault}", figures, wrong)
        figures["behind_a_stop"] += count
    return {**figures, "wrong": wrong}


def lose(
    folder: Path, parts: Parts, recorded: Recorded, losses: int, seed: str, figures: dict[str, int], wrong: list[str]
) -> None:
    """Lose the power so often, at moments spread over what was *recorded*."""
    platter = Platter(str(folder))
    moments = len(recorded.operations) + 1
    for moment in range(moments):
        if moment:
            platter.take(recorded.operations[moment - 1])
        for number in range(losses * moment // moments, losses * (moment + 1) // moments):
            state = platter.lose(random.Random(f"{seed} {number}"))
            figures["losses"] += 1
            figures["not_as_written"] += state != platter.now()
            try:
                _reopen(folder, state, recorded, moment, parts, goes_on=number % 4 == 0)
            except Exception as found:  # noqa: BLE001  # whatever it is, it is what is looked for
                wrong.append(f"{seed}: loss {number}, after {moment} operations: {type(found).__name__}: {found}")


def rehearse(disk: Disk, folder: Path, parts: Parts, fault: Fault | None = None, *, lies: bool) -> Recorded:
    """Write all of the script, stopped by *fault* if there is one; the anchor is forced to disk at every fourth look."""
    seconds = 0.0

    def clock() -> float:
        nonlocal seconds
        seconds += 0.3
        return seconds

    told: list[tuple[int, Told]] = []

    class Listening(list[Told]):
        def append(self, each: Told) -> None:
            super().append(each)
            told.append((len(disk.record or ()), each))

    home = folder / "home"
    disk.record = []
    heard = Listening()
    with mock.patch("time.monotonic", clock):
        if fault:
            disk.begin(fault)
            with suppress(SynLearnerError):
                write(home, heard, parts)
        disk.begin()
        write(home, heard, parts)
    operations, disk.record = disk.record, None
    met = len(disk.met)
    with Home.open(home) as opened:
        whole = list(opened.log.read())
    shutil.rmtree(home)
    disk.begin()
    if lies:
        operations = [each._replace(kind="touch") if each.kind == "sync" else each for each in operations]
    return Recorded(operations, told, whole, met)


def _reopen(
    folder: Path, state: dict[str, bytes | None], recorded: Recorded, moment: int, parts: Parts, *, goes_on: bool
) -> None:
    """Put *state* on the disk and look at it as whoever comes back after the loss would."""
    home = folder / "home"
    for path, data in state.items():
        if data is None:
            Path(path).mkdir()
        else:
            Path(path).write_bytes(data)
    told = [each for _, each in recorded.told[: bisect_right(recorded.told, moment, key=lambda each: each[0])]]
    try:
        if not told and not home.exists():
            return
        with Home.open(home, create=True):
            pass
        found = faults_of(home, told, recorded.whole)
        if goes_on:
            write(home, told, parts)
            found += faults_of(home, told, recorded.whole)
            assert told[-1].hash == recorded.whole[-1].hash, "it ended with another digest"
        assert not found, "; ".join(found)
    finally:
        shutil.rmtree(home, ignore_errors=True)
