"""Every operation on a file fails, one after another: once, or it and all that follow; with EIO, and with ENOSPC.

Whoever writes is told in a typed error, tries again in the same process, and then goes on after the fault has gone. In
the end the history is the one that would have been written without, and nothing acknowledged was missing in between.
"""

import errno
import shutil
from pathlib import Path
from typing import Any

from faults.disk import NEEDS_SPACE, Disk, Fault, Operation
from faults.workload import Parts, Told, faults_of, look, write
from synlearner.errors import CorruptLog, NotTrusted, SynLearnerError
from synlearner.events import Event, Home
from synlearner.events.repair import repair


def sweep(disk: Disk, folder: Path, parts: Parts) -> dict[str, Any]:
    """Fail every operation of the script and return what came of it; `wrong` must be empty."""
    operations, whole = rehearse(disk, folder / "whole", parts)
    figures = dict.fromkeys(("failed", "refused", "repaired"), 0)
    wrong: list[str] = []
    for at, operation in enumerate(operations, start=1):
        for error in (errno.EIO, errno.ENOSPC):
            if error == errno.ENOSPC and operation.kind not in NEEDS_SPACE:
                continue
            for forever in (False, True):
                fault = Fault(at, error, forever)
                try:
                    _try(disk, folder / "home", fault, parts, whole, figures)
                except Exception as found:  # noqa: BLE001  # what comes out untyped is what is looked for
                    name = Path(operation.path).relative_to(disk.root)
                    wrong.append(f"{fault} ({operation.kind} {name}): {type(found).__name__}: {found}")
                disk.begin()
                shutil.rmtree(folder / "home")
    return {"operations": len(operations), **figures, "wrong": wrong}


def rehearse(disk: Disk, folder: Path, parts: Parts) -> tuple[list[Operation], list[Event]]:
    """Write all of it without a fault; return what that asked of the disk, and the history."""
    folder.mkdir()
    disk.begin()
    told: list[Told] = []
    write(folder / "home", told, parts)
    look(folder / "home", told)
    operations = disk.met
    disk.begin()
    with Home.open(folder / "home") as home:
        whole = list(home.log.read())
    return operations, whole


def _try(disk: Disk, folder: Path, fault: Fault, parts: Parts, whole: list[Event], figures: dict[str, int]) -> None:
    folder.mkdir()
    told: list[Told] = []
    disk.begin(fault)
    refused = False
    for _ in range(1 if fault.forever else 2):
        try:
            write(folder / "home", told, parts)
            look(folder / "home", told)
            break
        except SynLearnerError as found:
            assert not isinstance(found, NotTrusted), f"nothing is damaged, and it says: {found}"
            assert disk.failed, "it was refused, and nothing had failed"
            assert not refused, "it was refused again, and nothing fails any more"
            refused = True
    failed = disk.failed
    disk.begin()
    assert failed, "the operation was not reached"
    try:
        write(folder / "home", told, parts)
    except CorruptLog:
        repair(folder / "home", dry=False)
        figures["repaired"] += 1
        write(folder / "home", told, parts)
    figures["failed"] += 1
    figures["refused"] += refused
    faults = faults_of(folder / "home", told, whole)
    assert not faults, "; ".join(faults)
    assert told[-1].hash == whole[-1].hash, "it ended with another digest"
