"""The past of a home: it ends where it is told, and answers like a home that ends there."""

from pathlib import Path

import msgspec
import pytest
from histories import change, small_home

from synlearner.errors import ConfigError, CorruptLog, LogError
from synlearner.events import EMPTY, Draft, Home, MemoryLog, RunFinished, fork
from synlearner.events.past import PastLog, as_of
from synlearner.events.stats import Share, statistics


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return small_home(tmp_path / "source")


def test_the_past_ends_where_it_is_told(source: Path) -> None:
    with Home.open(source) as home:
        events, rows = list(home.log.read()), list(home.log.rows())
        for seq in range(7):
            past = as_of(home, seq).log
            assert past.head().seq == seq
            assert past.head().hash == (events[seq - 1].hash if seq else EMPTY.hash)
            assert list(past.read()) == list(past.read(until=99)) == events[:seq]
            assert list(past.rows()) == list(past.rows(until=99)) == rows[:seq]
            assert list(past.read(after=1, until=2)) == events[1 : min(seq, 2)]
            assert past.find(str(number) for number in range(6)).keys() == {str(number) for number in range(seq)}
            with pytest.raises(ConfigError, match=f"there is no event {seq + 1}"):
                past.get(seq + 1)
            with pytest.raises(LogError, match="this is the past of a log"):
                past.append([Draft(fact=RunFinished(tasks=1, delivered=1), id="x")], expected_seq=seq)


@pytest.mark.parametrize("seq", [-1, 7])
def test_there_is_no_moment_outside_the_history(source: Path, seq: int) -> None:
    with Home.open(source) as home, pytest.raises(ConfigError, match=f"--as-of {seq} is no moment of '.*': its log"):
        as_of(home, seq)


def test_the_past_of_a_log_begins_empty_and_moves_forward() -> None:
    log = MemoryLog()
    first, second = log.append(
        [Draft(fact=RunFinished(tasks=number, delivered=0), id=str(number)) for number in range(2)], expected_seq=0
    )
    past = PastLog(log)
    assert list(past.read()) == []
    past.advance(first)
    assert list(past.read()) == [first]
    past.advance(second)
    assert past.get(2) == second
    past.close()
    assert log.head().seq == 2


def test_the_figures_of_a_history(source: Path, tmp_path: Path) -> None:
    with Home.open(source) as home:
        found = statistics(home)
        payloads = [len(row.payload) for row in home.log.rows()]
        digest = home.log.head().hash
    assert (found.events, found.digest, found.bytes) == (6, digest, sum(payloads))
    assert found.kinds == {
        "set_scored 1": Share(2, payloads[1] + payloads[4]),
        "run_finished 1": Share(4, sum(payloads) - payloads[1] - payloads[4]),
    }
    assert found.runs == found.tasks == {"": Share(6, sum(payloads))}
    assert (found.blobs, found.blob_bytes, found.shared) == (2, 16, 0)
    assert found.first <= found.last
    assert found.first.endswith("Z")
    fork(source, 4, tmp_path / "fork", {})
    with Home.open(tmp_path / "fork") as home:
        of_fork = statistics(home)
        assert (of_fork.events, of_fork.shared, of_fork.blobs) == (5, 4, 0)
        assert statistics(as_of(home, 3)).shared == 3


def test_the_figures_of_nothing_and_of_strange_times(tmp_path: Path) -> None:
    with Home.open(tmp_path / "home", create=True) as home:
        empty = statistics(home)
        assert (empty.events, empty.first, empty.last, empty.kinds) == (0, "", "", {})
        for seq, time in enumerate([7, "2026-01-02T00:00:00.000Z", "2026-01-01T00:00:00.000Z", None]):
            fact = RunFinished(tasks=1, delivered=1)
            home.log.append(
                [Draft(fact=fact, id=str(seq), observed={"time": time}, task=f"t{seq % 2}")], expected_seq=seq
            )
        found = statistics(home)
        assert (found.first[:10], found.last[:10]) == ("2026-01-01", "2026-01-02")
        assert list(found.tasks) == ["t0", "t1"]
        assert msgspec.json.encode(found)


@pytest.mark.parametrize(("column", "value"), [("payload", 1), ("payload", "{}"), ("kind", b"k"), ("run_id", b"r")])
def test_what_is_no_event_is_not_counted(source: Path, column: str, value: object) -> None:
    change(source, f"UPDATE events SET {column} = ? WHERE seq = 4", value)  # noqa: S608
    with Home.open(source) as home, pytest.raises(CorruptLog, match=r"event 4 is not what was written, in '"):
        statistics(home)
