"""One bit flips, or a file is cut, at every place: what a reader would then see differently is found, and named.

The home has all that a home has while it is written: events in the database, later ones in the write-ahead log alone, an
anchor, and blobs. `observed` alone may change unseen: it stands outside the hash.
"""

import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from faults.workload import key
from synlearner.errors import LogError, SynLearnerError
from synlearner.events import Draft, ExperienceRetired, Home, Report, SetScored, verify
from synlearner.events.repair import repair

Seen = list[object]
EVENTS = 7
FILES = ("log.sqlite", "log.sqlite-wal", "log.anchor")


class Damage(NamedTuple):
    """One file of the home with other bytes."""

    file: Path
    data: bytes
    what: str


def sweep(folder: Path, *, step: int, bits: int, seed: int = 20261128) -> dict[str, Any]:
    """Damage every *step*-th place, *bits* of the eight bits of its byte, and return what came of it; see `wrong`."""
    home = folder / "home"
    make(home)
    whole = read(home)
    files = [*(home / name for name in FILES), *sorted(home.glob("blobs/*/*"))]
    contents = {file: file.read_bytes() for file in files}
    figures = dict.fromkeys(("bytes", "flips", "cuts", "refused", "went_on", "repaired", "refused_for_good"), 0)
    wrong: list[str] = []
    chance = random.Random(seed)
    number = 0
    for file, data in contents.items():
        figures["bytes"] += len(data)
        for damage in (*flipped(file, data, step, bits, chance), *cut(file, data, step * 7 if bits == 1 else step)):
            number += 1
            figures["cuts" if len(damage.data) < len(data) else "flips"] += 1
            file.write_bytes(damage.data)
            try:
                figures["refused"] += look(home, damage, whole)
                untouched(contents, damage)
                if number % 20 == 0:
                    figures[go_on(home, folder / "copy", whole)] += 1
            except Exception as found:  # noqa: BLE001  # whatever it is, it is what is looked for
                wrong.append(f"{damage.what}: {type(found).__name__}: {found}")
                for path, before in contents.items():
                    path.write_bytes(before)
            (home / "log.sqlite-shm").unlink(missing_ok=True)
        file.write_bytes(data)
    return {
        "files": {path.relative_to(home).as_posix(): len(data) for path, data in contents.items()},
        **figures,
        "wrong": wrong,
    }


def make(home: Path) -> None:
    """Write a home and leave it as it lies on disk while it is being written."""
    writing = home.with_name("writing")
    with Home.open(writing, create=True) as opened:
        add(opened, 0, 5)
    with Home.open(writing, create=True) as opened:
        add(opened, 5, 6)
        add(opened, 6, EVENTS)
        shutil.copytree(writing, home, ignore=shutil.ignore_patterns("*-shm"))


def add(home: Home, first: int, last: int) -> None:
    """Append events *first* to *last* - 1; every other one names a blob."""
    for number in range(first, last):
        blob = home.blobs.put(b"matrix %d" % (number // 4 * 2))
        scored = SetScored(round=number, samples=[number], embeddings=blob, diversity={}, gains=[0.5])
        fact = ExperienceRetired(item=f"item {number}", reason="é" * 100) if number % 2 else scored
        home.log.append([Draft(fact=fact, id=f"id {number}", task="task")], expected_seq=number)


def flipped(file: Path, data: bytes, step: int, bits: int, chance: random.Random) -> Iterator[Damage]:
    """Yield *file* with one bit flipped."""
    for place in range(0, len(data), step):
        for bit in chance.sample(range(8), bits):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            yield Damage(file, bytes(damaged), f"bit {bit} of byte {place} of {file.name}")


def cut(file: Path, data: bytes, step: int) -> Iterator[Damage]:
    """Yield *file* cut off."""
    for place in range(0, len(data), step):
        yield Damage(file, data[:place], f"{file.name} cut at {place}")


def read(home: Path) -> Seen:
    """Return all that a reader sees."""
    with Home.open(home) as opened:
        events = list(opened.log.read())
        named = [event.fact.embeddings for event in events if isinstance(event.fact, SetScored)]
        return [*(key(event) for event in events), *(opened.blobs.get(digest) for digest in named)]


def look(home: Path, damage: Damage, whole: Seen) -> bool:
    """Return whether a reader is refused. If so, `verify` must name what is damaged; if not, he must see all of it."""
    try:
        seen = read(home)
    except SynLearnerError as error:
        assert "\n" not in str(error), f"more than one line: {error!r}"
        name(home, damage)
        return True
    assert seen == whole, f"a reader sees {seen}"
    return False


def untouched(contents: dict[Path, bytes], damage: Damage) -> None:
    """Check that who only looked has changed no file: what is damaged may be mended from the others."""
    for file, data in contents.items():
        assert file.exists(), f"whoever looked has deleted {file.name}"
        before = damage.data if file == damage.file else data
        assert file.read_bytes() == before, f"whoever looked has changed {file.name}"


def name(home: Path, damage: Damage) -> None:
    """Check that `verify` names an event or the damaged file."""
    try:
        report: Report = verify(home)
    except SynLearnerError as error:
        assert damage.file.name in str(error), f"verify names nothing: {error}"
        return
    assert report.problems, "a reader is refused, and verify finds nothing"
    file = damage.file.relative_to(home).as_posix()
    for problem in report.problems[:1]:
        assert problem.seq or problem.file == file, f"verify names something else: {problem}"


def go_on(home: Path, copy: Path, whole: Seen) -> str:
    """Go on writing in a copy, and repair it if need be; return what came of it. What is there then was written."""
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns("*-shm"))
    try:
        how = "repaired"
        with suppress(LogError):
            append(copy)
            how = "repaired" if verify(copy).problems else "went_on"
        if how == "repaired":
            repair(copy, dry=False)
            append(copy)  # a repeat, if it is still there
        problems = verify(copy).problems
        assert not problems, f"{how}, and then: {problems[0]}"
        *old, _ = (event for event in read(copy) if isinstance(event, tuple))
        assert old == whole[: len(old)], f"{how}, and it holds another history"
        assert len(old) == EVENTS or how == "repaired", f"a writer went on, and there are {len(old)} events"
    except SynLearnerError:
        return "refused_for_good"
    finally:
        shutil.rmtree(copy)
    return how


def append(home: Path) -> None:
    """Append one event, whose id is new."""
    with Home.open(home, create=True) as opened:
        drafts = [Draft(fact=ExperienceRetired(item="new", reason=""), id="new")]
        opened.log.append(drafts, expected_seq=opened.log.head().seq)
