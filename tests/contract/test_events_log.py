"""One suite for every log: a new one is a line in `LOGS`."""

import sys
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from histories import Reforked

from synlearner.errors import AppendConflict, ConfigError, CorruptLog
from synlearner.events import (
    EMPTY,
    Draft,
    EventLog,
    HistoryForked,
    MemoryLog,
    RunFinished,
    SqliteLog,
    StoredLog,
    StudentScored,
)
from synlearner.events.addresses import parse_address
from synlearner.events.following import follow
from synlearner.events.postgres import PostgresLog
from synlearner.events.rows import Found, Row, first_seq_of_repeat, prepare


def on_server(request: pytest.FixtureRequest) -> PostgresLog:
    address = parse_address(request.getfixturevalue("home_url"))
    return PostgresLog(address, anchor=None, write=True, create=True)


LOGS: dict[str, Callable[[pytest.FixtureRequest, Path], StoredLog]] = {
    "memory": lambda _, __: MemoryLog(),
    "sqlite": lambda _, folder: SqliteLog(folder / "log.sqlite", anchor=None, write=True),
    "forked": lambda _, folder: Reforked(folder),
    "postgres": lambda request, _: on_server(request),
}


@pytest.fixture(params=LOGS)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoredLog]:
    log = LOGS[request.param](request, tmp_path)
    yield log
    log.close()


def draft(name: str, number: int = 0) -> Draft:
    return Draft(fact=RunFinished(tasks=number, delivered=0), id=name, run_id="run", task="task", causes=(1, 2))


def test_a_new_log_is_empty(log: StoredLog) -> None:
    assert log.head() == EMPTY
    assert list(log.read()) == []
    assert list(log.rows()) == []


def test_an_append_returns_what_a_read_returns(log: EventLog) -> None:
    appended = log.append([draft("a", 1), draft("b", 2)], expected_seq=0)
    assert list(log.read()) == appended
    assert [(event.seq, event.id, event.run_id, event.task, event.causes) for event in appended] == [
        (1, "a", "run", "task", (1, 2)),
        (2, "b", "run", "task", (1, 2)),
    ]
    assert (log.head().seq, log.head().hash) == (2, appended[1].hash)


def test_keys_come_back_sorted_from_the_append_as_from_a_replay(log: EventLog) -> None:
    fact = HistoryForked(parent_seq=1, parent_hash="", changes={"b": 1, "a": {"d": 1, "c": 2}})
    (event,) = log.append([Draft(fact=fact, id="a")], expected_seq=0)
    assert isinstance(event.fact, HistoryForked)
    assert list(event.fact.changes) == ["a", "b"]


def test_changing_a_draft_or_an_event_afterwards_changes_nothing_in_the_log(log: EventLog) -> None:
    changes = {"a": [1]}
    fact = HistoryForked(parent_seq=1, parent_hash="", changes=changes)
    (event,) = log.append([Draft(fact=fact, id="a")], expected_seq=0)
    changes["a"].append(2)
    assert isinstance(event.fact, HistoryForked)
    event.fact.changes["b"] = 3
    (stored,) = log.read()
    assert isinstance(stored.fact, HistoryForked)
    assert stored.fact.changes == {"a": [1]}


def test_refuses_a_stale_writer_and_writes_nothing(log: EventLog) -> None:
    log.append([draft("a"), draft("b")], expected_seq=0)
    for expected_seq in (0, 1, 3):
        with pytest.raises(AppendConflict, match=rf"expected_seq is {expected_seq}, but the log ends at 2"):
            log.append([draft("c")], expected_seq=expected_seq)
    assert log.head().seq == 2


def test_an_empty_batch_is_nothing_but_still_knows_a_stale_writer(log: EventLog) -> None:
    assert log.append([], expected_seq=0) == []
    with pytest.raises(AppendConflict):
        log.append([], expected_seq=1)


@pytest.mark.parametrize("expected_seq", [0, 1, 3, 99])
def test_a_repeated_batch_returns_the_stored_events_and_writes_nothing(log: EventLog, expected_seq: int) -> None:
    log.append([draft("a")], expected_seq=0)
    first = log.append([draft("b"), draft("c")], expected_seq=1)
    assert log.append([draft("b"), draft("c")], expected_seq=expected_seq) == first
    assert log.head().seq == 3


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        ([draft("b"), draft("d")], "not 'd'"),
        ([draft("d"), draft("b")], "not 'd'"),
        ([draft("b", 7)], "'b' stands at seq 2 with another payload"),
        ([draft("a"), draft("c")], "'c' stands at seq 3, but its batch would have put it at 2"),
        ([draft("b"), draft("a")], "'b' stands at seq 2, but its batch would have put it at 1"),
    ],
)
@pytest.mark.parametrize("expected_seq", [0, 3])
def test_a_batch_that_is_only_partly_there_is_a_conflict(
    log: EventLog, batch: list[Draft], reason: str, expected_seq: int
) -> None:
    log.append([draft("a"), draft("b"), draft("c")], expected_seq=0)
    with pytest.raises(AppendConflict, match=reason):
        log.append(batch, expected_seq=expected_seq)
    assert log.head().seq == 3


def test_the_same_payload_of_another_kind_under_a_known_id_is_a_conflict() -> None:
    entries = prepare([draft("a")])
    found = Found(1, "another_kind", entries[0].digest)
    with pytest.raises(AppendConflict, match="another payload"):
        first_seq_of_repeat(entries, {"a": found}, head=EMPTY, expected_seq=1)


def test_one_bad_draft_refuses_the_whole_batch(log: EventLog) -> None:
    bad = StudentScored(
        family="tfidf",
        source="seeds",
        split="test",
        samples=[],
        trained_on=1,
        scored_on=1,
        accuracy=float("nan"),
        macro_f1=0.0,
        interval=(0.0, 1.0),
    )
    with pytest.raises(ConfigError, match=r"student_scored: nan at \$\.accuracy"):
        log.append([draft("a"), Draft(fact=bad, id="b")], expected_seq=0)
    assert log.head() == EMPTY


@pytest.mark.parametrize(
    ("drafts", "reason"),
    [
        ([draft("a"), draft("a")], "twice in one batch"),
        ([draft("")], "empty id"),
        ([draft("\ud800")], "lone surrogate"),
        ([Draft(fact=RunFinished(tasks=0, delivered=0), id="a", causes=(2**53 + 1,))], "a cause is a seq"),
        ([Draft(fact=RunFinished(tasks=0, delivered=0), id="a", causes=(0,))], "a cause is a seq"),
        ([Draft(fact=RunFinished(tasks=0, delivered=0), id="a", observed={"ms": float("inf")})], r"\$\.ms"),
        ([Draft(fact=RunFinished(tasks=0, delivered=0), id="a", observed={"ns": [2**60]})], r"\$\.ns\[0\]"),
    ],
)
def test_refuses_an_envelope_that_cannot_be_stored(log: EventLog, drafts: list[Draft], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        log.append(drafts, expected_seq=0)
    assert log.head() == EMPTY


def test_observed_gets_the_time_unless_it_is_given_and_stays_outside_the_hash(log: EventLog) -> None:
    now, then = log.append(
        [draft("a"), Draft(fact=RunFinished(tasks=0, delivered=0), id="b", observed={"time": "then", "ms": 3})],
        expected_seq=0,
    )
    assert now.observed["time"][10] == "T"
    assert now.observed["time"].endswith("Z")
    assert len(now.observed["time"]) == len("2026-11-22T10:00:00.000Z")
    assert then.observed == {"time": "then", "ms": 3}
    other = MemoryLog()
    other.append([draft("a"), Draft(fact=RunFinished(tasks=0, delivered=0), id="b")], expected_seq=0)
    assert other.head() == log.head()


def test_reads_a_range_and_stops_at_the_end_that_there_was_when_it_began(log: EventLog) -> None:
    events = log.append([draft(str(number)) for number in range(700)], expected_seq=0)
    assert list(log.read(after=255, until=513)) == events[255:513]
    assert list(log.read(after=700)) == []
    assert list(log.read(after=3, until=2)) == []
    reading = log.read()
    begun = list(islice(reading, 2))
    log.append([draft("late")], expected_seq=700)
    assert begun + list(reading) == events
    with pytest.raises(ConfigError, match="after is -1"):
        log.read(after=-1)


def test_gets_one_event_or_names_the_range(log: EventLog) -> None:
    with pytest.raises(ConfigError, match="there is no event 1: this log is empty"):
        log.get(1)
    events = log.append([draft("a"), draft("b")], expected_seq=0)
    assert [log.get(1), log.get(2)] == events
    for seq in (0, 3, -1):
        with pytest.raises(ConfigError, match=f"there is no event {seq}: this log holds 1 to 2"):
            log.get(seq)


def test_threads_that_race_append_each_batch_once_and_without_a_gap(log: EventLog) -> None:
    def work(name: str) -> None:
        for number in range(20):
            while True:
                try:
                    log.append([draft(f"{name}{number}")], expected_seq=log.head().seq)
                    break
                except AppendConflict:
                    continue

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # as many races as there can be
    threads = [threading.Thread(target=work, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    events = list(log.read())
    assert sorted(event.id for event in events) == sorted(f"{name}{number}" for name in "xyz" for number in range(20))


def test_may_be_closed_twice(log: EventLog) -> None:
    log.close()
    log.close()


def test_the_same_input_has_the_same_hashes_in_every_store(log: StoredLog) -> None:
    other = MemoryLog()
    for store in (log, other):
        store.append([draft(f"é{number}", number) for number in range(3)], expected_seq=0)
        fact = HistoryForked(parent_seq=1, parent_hash="", changes={"b": 1.5, "a": "\x00 ↔ \U0001f600"})
        store.append([Draft(fact=fact, id="f", observed={"time": "then", "host": "\x00"})], expected_seq=3)
    assert log.head() == other.head()
    # All that is hashed; when it was observed may differ.
    assert [row[:9] + row[10:] for row in log.rows()] == [row[:9] + row[10:] for row in other.rows()]


def test_finds_ids(log: StoredLog) -> None:
    log.append([draft("a"), draft("b")], expected_seq=0)
    found = log.find(["b", "unknown", "a"])
    assert {id_: (place.seq, place.kind) for id_, place in found.items()} == {
        "a": (1, "run_finished"),
        "b": (2, "run_finished"),
    }
    assert found["a"].payload_digest == next(log.rows()).payload_digest


def test_adopts_a_whole_history_once(log: StoredLog) -> None:
    source = MemoryLog()
    events = source.append([draft(str(number), number) for number in range(300)], expected_seq=0)
    rows = list(source.rows())
    with pytest.raises(CorruptLog, match="stands twice"):
        log.adopt([*rows, Row._make((301, "7", *rows[6][2:]))])
    assert log.head() == EMPTY
    assert log.adopt(iter(rows)) == source.head()
    assert list(log.read()) == events
    assert log.problems() == []
    with pytest.raises(ConfigError, match="holds 300 events"):
        log.adopt(rows)
    assert log.append([draft("0")], expected_seq=0) == events[:1]
    assert log.append([draft("new")], expected_seq=300)[0].seq == 301


def test_waits_until_there_is_more(log: StoredLog) -> None:
    assert not log.wait(0, 0.05)
    timer = threading.Timer(0.2, lambda: log.append([draft("a"), draft("b")], expected_seq=0))
    timer.start()
    assert log.wait(0, 20)
    assert log.wait(1, 0)
    assert not log.wait(2, 0.05)
    timer.join()


def test_is_followed_from_any_place_on_while_it_grows(log: StoredLog) -> None:
    def grow() -> None:
        for number in range(30):
            log.append([draft(f"{number}a"), draft(f"{number}b")], expected_seq=2 * number)

    writer = threading.Thread(target=grow)
    writer.start()
    assert [event.seq for event in islice(follow(log), 60)] == list(range(1, 61))
    writer.join()
    assert [event.seq for event in follow(log, after=55, idle=0.05)] == [56, 57, 58, 59, 60]
