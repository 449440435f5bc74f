"""What a log does not take: a clear line, nothing written, and little memory."""

import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from synlearner.errors import ConfigError, LogError
from synlearner.events import Draft, FeedbackGiven, HistoryForked, Home, rows


def draft(value: Any) -> Draft:
    return Draft(fact=HistoryForked(parent_seq=1, parent_hash="", changes={"at": value}), id="id")


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"in": value}
    return value


def test_a_payload_of_100_mb_is_refused_and_named_as_a_blob(tmp_path: Path) -> None:
    fact = FeedbackGiven(target="", score=0.0, text="x" * 100_000_000, source="")
    with Home.open(tmp_path, create=True) as home:
        tracemalloc.start()
        with pytest.raises(ConfigError, match=r"feedback_given 'a' has 100,000,\d+ bytes: .* at most 16,777,216; put"):
            home.log.append([Draft(fact=fact, id="a")], expected_seq=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 250_000_000
        assert home.log.head().seq == 0
        fact = FeedbackGiven(target="", score=0.0, text="x" * (rows.LARGEST_PAYLOAD - 100), source="")
        assert home.log.append([Draft(fact=fact, id="a")], expected_seq=0)[0].fact == fact


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), r"nan at \$\.changes\.at"),
        ("\ud800", "lone surrogate"),
        (2**53 + 1, "beyond 2"),
        ({1: 2}, "a JSON key is a string"),
        (nested(100_000), "nested more than 100 levels deep"),
        ([float("nan"), nested(99)], "nan at"),
    ],
)
def test_what_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path, value: Any, reason: str) -> None:
    with Home.open(tmp_path, create=True) as home:
        with pytest.raises(ConfigError, match=reason) as refused:
            home.log.append([draft("fine"), draft(value)], expected_seq=0)
        assert "\n" not in str(refused.value)
        assert home.log.head().seq == 0


def test_deep_json_is_taken_or_refused_but_never_a_traceback(tmp_path: Path) -> None:
    with Home.open(tmp_path, create=True) as home:
        taken: list[int] = []
        for depth in (1, 10, 90, *range(95, 110), 400, 900, 2_000):
            try:
                home.log.append([Draft(fact=draft(nested(depth)).fact, id=str(depth))], expected_seq=len(taken))
            except ConfigError:
                continue
            taken.append(depth)
        assert taken == [1, 10, 90, *range(95, 101)]
        assert len(list(home.log.read())) == len(taken)


def test_a_folder_that_may_not_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Home.open(tmp_path, create=True) as home:
        home.log.append([draft(1)], expected_seq=0)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")  # root, as which tests may run, could write all the same

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(LogError, match=r"cannot be written: .*Permission denied") as refused:
        Home.open(tmp_path, write=True)
    assert "\n" not in str(refused.value)


def test_two_writers_are_refused_by_name(tmp_path: Path) -> None:
    with Home.open(tmp_path, create=True), pytest.raises(LogError, match=rf"is being written by process {os.getpid()}"):
        Home.open(tmp_path, write=True)
