"""One bit flips, or the file is cut, anywhere: whatever a reader would then see differently is reported."""

import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from synlearner.errors import SynLearnerError
from synlearner.events import AnyFact, Draft, ExperienceRetired, Home, Report, SetScored, verify
from synlearner.events.types import Redacted

EVENTS = 12
Seen = list[tuple[int, str, AnyFact | Redacted, str]]


def write(home: Home) -> None:
    for number in range(EVENTS):
        blob = home.blobs.put(b"matrix %d" % (number % 2))
        scored = SetScored(round=number, samples=[number], embeddings=blob, diversity={}, gains=[0.5])
        fact = ExperienceRetired(item=f"item {number}", reason="é" * 100) if number % 2 else scored
        home.log.append([Draft(fact=fact, id=f"id {number}", task="task")], expected_seq=number)


def copy_of_a_home(tmp_path: Path, *, live: bool) -> tuple[Path, Seen]:
    """A home as its writer closed it, or as it lay on disk with its WAL while it was being written."""
    with Home.open(tmp_path / "original", create=True) as home:
        write(home)
        seen = [(event.seq, event.id, event.fact, event.hash) for event in home.log.read()]
        if live:
            shutil.copytree(home.path, tmp_path / "home", ignore=shutil.ignore_patterns("*-shm"))
    if not live:
        shutil.copytree(tmp_path / "original", tmp_path / "home")
    return tmp_path / "home", seen


def look(home: Path) -> tuple[Seen | None, Report | None]:
    """What a reader sees (None: it is refused) and what `verify` reports (None: it is refused)."""
    seen: Seen | None = None
    report = None
    with suppress(SynLearnerError), Home.open(home) as reader:
        seen = [(event.seq, event.id, event.fact, event.hash) for event in reader.log.read()]
    with suppress(SynLearnerError):
        report = verify(home)
    return seen, report


def check(home: Path, whole: Seen, what: str) -> None:
    seen, report = look(home)
    assert seen in (whole, None), f"{what}: a reader sees {seen}"
    if seen is None:
        assert report is None or report.problems, f"{what}: a reader is refused, and verify finds nothing"


@pytest.mark.parametrize(("file", "live"), [("log.sqlite", False), ("log.sqlite-wal", True), ("log.anchor", False)])
def test_no_flipped_bit_changes_what_is_read_without_being_reported(tmp_path: Path, file: str, live: bool) -> None:
    home, whole = copy_of_a_home(tmp_path, live=live)
    path = home / file
    data = path.read_bytes()
    chance = random.Random(file)  # noqa: S311
    # Empty pages say little, so the places are chosen among the bytes that are there.
    places = [place for place, byte in enumerate(data) if byte]
    for place in chance.sample(places, min(500, len(places))):
        damaged = bytearray(data)
        damaged[place] ^= 1 << chance.randrange(8)
        _put(home, file, bytes(damaged))
        check(home, whole, f"byte {place} of {file}")


@pytest.mark.parametrize(("file", "live"), [("log.sqlite", False), ("log.sqlite-wal", True), ("log.anchor", False)])
def test_no_cut_changes_what_is_read_without_being_reported(tmp_path: Path, file: str, live: bool) -> None:
    home, whole = copy_of_a_home(tmp_path, live=live)
    data = (home / file).read_bytes()
    for place in range(0, len(data), max(len(data) // 60, 1)):
        _put(home, file, data[:place])
        check(home, whole, f"{file} cut at {place}")


def _put(home: Path, file: str, data: bytes) -> None:
    for left in home.glob("log.sqlite-shm"):
        left.unlink()
    if file != "log.sqlite-wal":
        for left in home.glob("log.sqlite-wal"):
            left.unlink()
    (home / file).write_bytes(data)
