"""The sweeps as commands: see the head of `faults`."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Found = dict[str, Any]


def errors(folder: Path, *, short: bool, count: int) -> Found:
    """Fail every operation of the short script, or of a longer one."""
    disk = below_everything(folder)
    from faults import errors, workload

    return errors.sweep(disk, folder, workload.SHORT if short else workload.LONG)


def losses(folder: Path, *, short: bool, count: int) -> Found:
    """Lose the power so many times."""
    disk = below_everything(folder)
    from faults import losses, workload

    return losses.sweep(disk, folder, workload.LONG, losses=count or (2_000 if short else 100_000))


def lies(folder: Path, *, short: bool, count: int) -> Found:
    """Lose the power of a disk that forces nothing to where it stays: to see that a loss is seen."""
    disk = below_everything(folder)
    from faults import losses, workload

    return losses.sweep(disk, folder, workload.LONG, losses=count or 100, lies=True)


def kills(folder: Path, *, short: bool, count: int) -> Found:
    """Kill so many writers."""
    from faults import kills

    return kills.sweep(folder, kills=count or (300 if short else 10_000))


def flips(folder: Path, *, short: bool, count: int) -> Found:
    """Flip one bit of every seventh byte, or all bits of every byte."""
    from faults import flips

    return flips.sweep(folder, step=count or (7 if short else 1), bits=1 if short else 8)


SWEEPS: dict[str, Callable[..., Found]] = {
    "errors": errors, "losses": losses, "lies": lies, "kills": kills, "flips": flips
}  # fmt: skip


def below_everything(folder: Path) -> Any:
    """Put a disk below all files in *folder*, and return it. Nothing of the product may be loaded yet."""
    from faults.disk import Disk

    disk = Disk(folder)
    disk.install()
    from faults.vfs import Files

    Files(disk)
    return disk


def main() -> int:
    """Run one sweep, print its figures as one JSON object, and return 1 if anything came out wrong."""
    parser = argparse.ArgumentParser(prog="python -m faults")
    parser.add_argument("sweep", choices=list(SWEEPS))
    parser.add_argument("--short", action="store_true", help="the form that the tests run")
    parser.add_argument("--count", type=int, default=0, help="so many losses or kills; for flips, every so many bytes")
    arguments = parser.parse_args()
    unseen: list[str] = []
    sys.unraisablehook = lambda found: unseen.append(f"in a callback: {found.exc_value!r}")
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        found = SWEEPS[arguments.sweep](Path(name).resolve(), short=arguments.short, count=arguments.count)
    found["wrong"] = (found["wrong"] + unseen)[:200]
    found["cpu_seconds"] = round(sum(os.times()[:4]), 1)
    print(json.dumps(found, indent=1, ensure_ascii=False))
    return 1 if found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
