"""The system's clock jumps by years, forwards and backwards: it says when events were observed, and nothing else."""

import os
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import pytest

from synlearner.events import Draft, Home, RunFinished, export, import_, rows, verify
from synlearner.events.collect import collect
from synlearner.events.stats import statistics

YEARS = (2026, 1970, 2099, 1999, 9999, 2026, 1, 2026)


class Jumping(datetime):
    """Each look at it is another year."""

    looks = 0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Jumping":  # noqa: ARG003  # it is UTC alone that is asked for
        cls.looks += 1
        return cls(YEARS[(cls.looks - 1) % len(YEARS)], 1, 1, tzinfo=UTC)


def write(home: Path) -> None:
    """Two openings, so that one of them is older than what it finds; and a batch that is repeated later."""
    batches = [[Draft(fact=RunFinished(tasks=n, delivered=0), id=str(n))] for n in range(len(YEARS))]
    for part in (batches[:4], batches[4:]):
        with Home.open(home, create=True) as opened:
            for batch in part:
                seq = opened.log.head().seq
                (event,) = opened.log.append(batch, expected_seq=seq)
                assert opened.log.append(batch, expected_seq=seq + 1) == [event]


def test_a_clock_that_jumps_changes_what_was_observed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "steady")
    Jumping.looks = 0
    monkeypatch.setattr(rows, "datetime", Jumping)
    write(tmp_path / "jumping")
    steady, jumping = verify(tmp_path / "steady"), verify(tmp_path / "jumping")
    assert (jumping.problems, jumping.events, jumping.digest) == ([], len(YEARS), steady.digest)
    with Home.open(tmp_path / "jumping") as home:
        times = [str(event.observed["time"])[:4] for event in home.log.read()]
        assert set(times) > {"2026", "9999", "0001"}
        assert (statistics(home).first[:4], statistics(home).last[:4]) == ("0001", "9999")
        export(home.log, tmp_path / "file.jsonl", blobs=home.blobs)
    with Home.open(tmp_path / "copy", create=True) as copy:
        import_(tmp_path / "file.jsonl", copy)
        assert copy.log.head().hash == steady.digest


def test_a_blob_from_the_future_is_young_until_then(tmp_path: Path) -> None:
    with Home.open(tmp_path / "home", create=True) as home:
        path = home.blobs.path(home.blobs.put(b"nobody names it"))
    os.utime(path, (4e9, 4e9))
    assert collect(tmp_path / "home", dry=False).young == 1
    assert path.exists()
    os.utime(path, (0, 0))
    assert collect(tmp_path / "home", dry=False).removed == [path.name]
