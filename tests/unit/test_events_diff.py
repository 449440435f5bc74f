"""Where two histories part is named: seq, cause, JSON path, both values, and with few comparisons."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synlearner.events import Draft, HistoryForked, Home, MemoryLog, RunFinished, StudentScored, fork
from synlearner.events.diff import ABSENT, Comparison, diff
from synlearner.events.types import AnyFact


def finished(number: int) -> Draft:
    return Draft(fact=RunFinished(tasks=number, delivered=0), id=f"id {number}", run_id="run", task="t", causes=(1,))


def log_of(drafts: list[Draft]) -> MemoryLog:
    log = MemoryLog()
    log.append(drafts, expected_seq=0)
    return log


def changed(draft: Draft, **values: Any) -> Draft:
    told: dict[str, Any] = {name: getattr(draft, name) for name in draft.__struct_fields__}
    return Draft(**(told | values))


def part(a: list[Draft], b: list[Draft]) -> tuple[Any, ...]:
    found = diff(log_of(a), log_of(b)).difference
    assert found
    return (found.seq, found.cause, found.path, found.a, found.b)


SEVEN = [finished(number) for number in range(1, 8)]


def test_equal_histories_are_equal_whatever_was_observed() -> None:
    other = [changed(draft, observed={"ms": 3}) for draft in SEVEN]
    found = diff(log_of(SEVEN), log_of(other))
    assert (found.equal, found.common, found.events, found.difference) == (True, 7, (7, 7), None)
    assert found.comparisons == 1
    assert diff(MemoryLog(), MemoryLog()).equal


@pytest.mark.parametrize("place", range(7))
def test_every_first_difference_is_found_wherever_it_is(place: int) -> None:
    other = [*SEVEN]
    other[place] = changed(SEVEN[place], fact=RunFinished(tasks=place + 1, delivered=9))
    assert part(SEVEN, other) == (place + 1, "payload", "$.payload.delivered", 0, 9)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_few_hashes_are_compared(a: int, b: int, common: int) -> None:
    common = min(a, b, common)
    logs = [
        log_of([finished(number if number <= common else number + 1000 * side) for number in range(1, end + 1)])
        for side, end in ((1, a), (2, b))
    ]
    found = diff(*logs)
    assert found.common == common
    assert found.equal == (a == b == common)
    assert found.comparisons <= 1 + max(1, min(a, b)).bit_length()


def test_what_one_of_them_lacks_is_named() -> None:
    whole, short, without = SEVEN, SEVEN[:4], [*SEVEN[:3], *SEVEN[4:]]
    seq, cause, path, mine, yours = part(whole, short)
    assert (seq, cause, path, mine["payload"]["tasks"], yours) == (5, "missing", "$", 5, ABSENT)
    assert part(short, whole)[:4] == (5, "extra", "$", ABSENT)
    assert part(whole, without)[:3] == (4, "missing", "$")
    assert part(without, whole)[:3] == (4, "extra", "$")
    assert part(whole, [])[:2] == (1, "missing")


def test_neighbours_that_changed_places_are_named() -> None:
    other = [*SEVEN]
    other[2], other[3] = other[3], other[2]
    assert part(SEVEN, other)[:2] == (3, "order")


@pytest.mark.parametrize(
    ("name", "value", "path"), [("run_id", "x", "$.run_id"), ("task", "x", "$.task"), ("id", "x", "$.id"),
                                ("causes", (1, 2), "$.causes[1]")],
)  # fmt: skip
def test_a_difference_in_the_envelope_is_named(name: str, value: Any, path: str) -> None:
    other = [*SEVEN]
    other[2] = changed(SEVEN[2], **{name: value})
    assert part(SEVEN, other)[:3] == (3, "envelope", path)


def scored(accuracy: float) -> AnyFact:
    return StudentScored(
        family="tfidf", source="seeds", split="test", samples=[], trained_on=1, scored_on=1, accuracy=accuracy,
        macro_f1=0.0, interval=(0.0, 1.0),
    )  # fmt: skip


def test_another_kind_and_another_number_are_told_from_another_value() -> None:
    first = [Draft(fact=scored(0.5), id="a")]
    assert part(first, [Draft(fact=scored(0.5000001), id="a")]) == (
        1, "numeric", "$.payload.accuracy", 0.5, 0.5000001,
    )  # fmt: skip
    seq, cause, path, mine, yours = part(first, [Draft(fact=RunFinished(tasks=1, delivered=1), id="a")])
    assert (seq, cause, path, mine, yours) == (1, "kind", "$.kind", "student_scored", "run_finished")


@pytest.mark.parametrize(
    ("one", "other", "path", "values"),
    [
        ({"k": [1, {"m": True}]}, {"k": [1, {"m": 1}]}, "$.payload.changes.k[1].m", (True, 1)),
        ({"k": [1, 2]}, {"k": [1]}, "$.payload.changes.k[1]", (2, ABSENT)),
        ({"k": 1}, {"l": 1}, "$.payload.changes.k", (1, ABSENT)),
        ({}, {"l": 1}, "$.payload.changes.l", (ABSENT, 1)),
        ({"k": None}, {"k": "x"}, "$.payload.changes.k", (None, "x")),
    ],
)
def test_the_path_goes_to_the_value(one: Any, other: Any, path: str, values: tuple[Any, Any]) -> None:
    drafts = [
        [Draft(fact=HistoryForked(parent_seq=1, parent_hash="", changes=changes), id="a")] for changes in (one, other)
    ]
    assert part(*drafts) == (1, "payload", path, *values)


def test_two_forks_of_an_event_part_right_behind_it(tmp_path: Path) -> None:
    with Home.open(tmp_path / "p", create=True) as home:
        home.log.append(SEVEN, expected_seq=0)
    fork(tmp_path / "p", 5, tmp_path / "a", {"loop.rounds": 1})
    fork(tmp_path / "p", 5, tmp_path / "b", {"loop.rounds": 2}, copy=True)
    with Home.open(tmp_path / "a") as a, Home.open(tmp_path / "b") as b, Home.open(tmp_path / "p") as p:
        found = diff(a.log, b.log)
        assert found.difference
        assert (found.common, found.difference.seq, found.difference.path) == (5, 6, "$.payload.changes.loop.rounds")
        assert diff(a.log, a.log) == Comparison(True, (6, 6), 6, 1, None)
        assert diff(p.log, a.log).common == 5
