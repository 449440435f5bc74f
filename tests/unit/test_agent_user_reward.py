"""The user's own reward: found at the start, called with a limit, its answer checked."""

import math
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import EMBEDDER, checked, planned, vectors_of, written
from worlds import card, rows

from strategies import quick
from synlearner.agent.config import RewardSettings, Settings, UserRewardSettings
from synlearner.agent.judge import make_judge
from synlearner.agent.scoring import RoundScores, score_round
from synlearner.agent.user_reward import (
    LARGEST,
    Guarded,
    Recorded,
    Reward,
    RewardedSample,
    RewardFailure,
    check_callable,
    checked_values,
    load_function,
    recorded_values,
    settle,
)
from synlearner.errors import ConfigError
from synlearner.events.types import Event, RewardFailed, SampleScored, SetScored

CARD = checked(card(seeds=rows(8)))
SAMPLES = [RewardedSample(seq, "topics", {"text": f"number {seq}"}, "pets", {}) for seq in (7, 9)]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module of this text and return its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> str:
        name = f"reward_{abs(hash((str(tmp_path), text)))}"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        return name

    return write


def scored(reward: Reward | None, weight: float = 1.0) -> RoundScores:
    """Four samples of one group; the third is gated."""
    texts = ["my cat sat near the old door", "a dog ran over the wet grass", "", "the parrot talks to our neighbour"]
    samples = [(10 + i, written(text, index=i)) for i, text in enumerate(texts)]
    prompt = planned("pets", attributes={"length": "7"})
    judge = make_judge(CARD, vectors_of(CARD, CARD.seeds))
    settings = RewardSettings(user=weight)
    return score_round(
        CARD,
        [prompt],
        samples,
        [],
        vectors_of(CARD, []),
        judge=judge,
        embedder=EMBEDDER,
        settings=settings,
        reward=reward,
    )


# ---- beside the built-in parts -------------------------------------------------------------------------------


def test_raw_values_are_recorded_and_standardised_before_they_are_weighted() -> None:
    """Hand-worked: 1, 4, 7 have mean 4 and deviation sqrt(6); weight 2 moves the totals by 2 (-3, 0, 3) / sqrt(6)."""
    values = {10: 1.0, 11: 4.0, 13: 7.0}
    plain, with_user = scored(None), scored(Recorded(values), weight=2.0)
    assert [score.parts.get("user") for score in with_user.scored] == [1.0, 4.0, None, 7.0]
    assert [score.reason for score in with_user.scored] == [score.reason for score in plain.scored]
    moved = [new.total - old.total for new, old in zip(with_user.scored, plain.scored, strict=True)]
    step = 2 * 3 / math.sqrt(6)
    assert [moved[0], moved[1], moved[3]] == pytest.approx([-step, 0, step], abs=1e-5)
    assert with_user.scored[2].total == min(score.total for score in with_user.scored), "what is gated stays the worst"


def test_a_weight_of_nothing_records_and_moves_nothing() -> None:
    plain, with_user = scored(None), scored(Recorded({10: 1.0, 11: -5.0, 13: 0.25}), weight=0.0)
    assert [score.total for score in with_user.scored] == [score.total for score in plain.scored]
    assert with_user.scored[1].parts["user"] == -5.0


def test_the_function_sees_what_passed_the_gates_and_cannot_change_what_is_recorded() -> None:
    seen: list[RewardedSample] = []

    def spoil(samples: Any) -> list[float]:
        seen.extend(samples)
        for sample in samples:
            sample.fields["text"] = "spoilt"
            sample.attributes["length"] = "900"
        return [0.5] * len(samples)

    found = scored(Guarded(spoil, 5))
    assert [(sample.seq, sample.task, sample.label) for sample in seen] == [
        (seq, "topics", "pets") for seq in (10, 11, 13)
    ]
    assert found.scored[0].fields == {"text": "my cat sat near the old door"}
    assert {score.parts["attributes"] for score in found.scored if score.parts} == {
        score.parts["attributes"] for score in scored(None).scored if score.parts
    }


def test_a_round_without_valid_samples_calls_nobody() -> None:
    judge = make_judge(CARD, vectors_of(CARD, CARD.seeds))
    found = score_round(
        CARD, [planned()], [(10, written(""))], [], vectors_of(CARD, []), judge=judge, embedder=EMBEDDER,
        settings=RewardSettings(), reward=Recorded({}, "it was called"),
    )  # fmt: skip
    assert found.valid == []


# ---- what it may return --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values", [[1, 2.5], (1, 2.5), np.array([1, 2.5]), [np.float32(1), np.int64(2) + 0.5], [True, 2.5]]
)
def test_lists_tuples_and_arrays_of_numbers_are_taken(values: Any) -> None:
    found = checked_values(values, 2)
    assert found == [1.0, 2.5]
    assert all(type(value) is float for value in found)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1.0], "it returned 1 values for 2 samples"),
        ([1.0, 2.0, 3.0], "it returned 3 values for 2 samples"),
        ([1.0, float("nan")], "value 1 is nan, and must lie within 1e+06 of 0"),
        ([float("-inf"), 1.0], "value 0 is -inf, and must lie within 1e+06 of 0"),
        ([1.0, 1.1e6], "value 1 is 1.1e+06, and must lie within 1e+06 of 0"),
        ([1.0, "2"], "value 1 is something of type str and not a number"),
        ([None, 1.0], "value 0 is something of type NoneType and not a number"),
        ([1.0, 1j], "value 1 is something of type complex and not a number"),
        (np.ones((2, 2)), "value 0 is something of type list and not a number"),
        (np.float64(1), "it returned something of type float64 and not a list of numbers"),
        (None, "it returned something of type NoneType and not a list of numbers"),
        ("ab", "it returned something of type str and not a list of numbers"),
        ({1: 1.0, 2: 2.0}, "it returned something of type dict and not a list of numbers"),
        ((value for value in (1.0, 2.0)), "it returned something of type generator and not a list of numbers"),
    ],
)  # fmt: skip
def test_anything_else_is_a_failure_with_its_reason(values: Any, reason: str) -> None:
    with pytest.raises(RewardFailure) as caught:
        checked_values(values, 2)
    assert caught.value.reason == reason


@quick
@given(values=st.lists(st.floats(-LARGEST, LARGEST) | st.integers(-1000, 1000), max_size=20))
def test_whatever_is_taken_is_taken_as_it_is(values: list[float]) -> None:
    assert checked_values(values, len(values)) == values


# ---- what it may do ------------------------------------------------------------------------------------------


def test_what_it_raises_is_a_reason() -> None:
    def raises(samples: Any) -> list[float]:
        raise KeyError("no such word\nof mine")

    with pytest.raises(RewardFailure) as caught:
        Guarded(raises, 5)(SAMPLES)
    assert (caught.value.reason, caught.value.detail) == ("it raised KeyError", r"'no such word\nof mine'")


def test_an_attempt_to_leave_is_a_reason_too() -> None:
    with pytest.raises(RewardFailure, match="it raised SystemExit"):
        Guarded(lambda _: sys.exit(3), 5)(SAMPLES)


def test_one_that_takes_too_long_is_left_alone() -> None:
    ended = threading.Event()
    begun = time.monotonic()

    def waits(samples: Any) -> list[float]:
        ended.wait(30)
        return [1.0, 1.0]

    with pytest.raises(RewardFailure, match=r"it took longer than 0\.05 seconds"):
        Guarded(waits, 0.05)(SAMPLES)
    assert time.monotonic() - begun < 10
    ended.set()


def test_in_time_its_values_come_back() -> None:
    assert Guarded(lambda samples: [float(sample.seq) for sample in samples], 5)(SAMPLES) == [7.0, 9.0]


# ---- where it is found ---------------------------------------------------------------------------------------


def test_a_function_is_found_by_its_name(module: Callable[[str], str]) -> None:
    name = module("class Kept:\n    def score(samples):\n        return [1.0 for _ in samples]\n")
    assert load_function(f"{name}:Kept.score")(SAMPLES) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("x = 1", "score", "has no 'score'"),
        ("score = 1", "score", "is something of type int and not a function"),
        ("def score(samples, more): ...", "score", "cannot be called with the samples alone"),
        ("def score(): ...", "score", "cannot be called with the samples alone"),
        ("def score(samples)", "score", "raised SyntaxError"),
        ("raise RuntimeError('no key\\nis set')", "score", "raised RuntimeError: no key is set"),
        ("import surely_not_there", "score", "there is no module 'surely_not_there' here"),
    ],
)
def test_what_cannot_be_found_or_called_is_refused_on_one_line(
    module: Callable[[str], str], text: str, path: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=r"^user_reward\.function='reward_") as caught:
        load_function(f"{module(text)}:{path}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no module 'my_rewards' here or among the installed packages"):
        load_function("my_rewards:score")


def test_an_object_that_can_be_called_will_do() -> None:
    check_callable(Recorded({}), "it")
    check_callable(min, "it")  # its signature is not told


def test_a_caller_may_pass_a_function_and_its_name_is_recorded() -> None:
    settings, reward = settle(Settings(), own, named=False)
    assert settings.user_reward.function == f"{__name__}:own"
    assert reward is not None
    assert reward(SAMPLES) == [2.0, 2.0]
    again, _ = settle(settings, own, named=True)
    assert again == settings


def own(samples: Any) -> list[float]:
    return [2.0] * len(samples)


def test_two_of_them_are_refused() -> None:
    settings = Settings(user_reward=UserRewardSettings(function="my_rewards:score"))
    with pytest.raises(ConfigError, match="pass one of them"):
        settle(settings, own, named=True)


def test_without_a_function_there_is_no_reward() -> None:
    assert settle(Settings(), None, named=True) == (Settings(), None)


def test_what_only_a_log_names_is_not_imported(module: Callable[[str], str]) -> None:
    name = module("raise SystemExit('imported')")
    settings = Settings(user_reward=UserRewardSettings(function=f"{name}:score"))
    with pytest.raises(ConfigError, match="code that only a log names is not run: name it again with --set"):
        settle(settings, None, named=False)
    assert name not in sys.modules


# ---- what a log holds of it ----------------------------------------------------------------------------------


def event(seq: int, fact: Any) -> Event:
    return Event(
        seq=seq,
        id=str(seq),
        kind=fact.kind,
        version=1,
        run_id="r",
        task="t",
        causes=(),
        fact=fact,
        observed={},
        hash="",
    )


def score(sample: int, parts: dict[str, float]) -> SampleScored:
    return SampleScored(sample=sample, accepted=True, reason="", fields={}, parts=parts, total=0.0)


END = SetScored(round=1, samples=[], embeddings="", diversity={}, gains=[])


def test_recorded_values_are_those_of_one_round() -> None:
    facts = [score(7, {"user": 0.5}), score(8, {}), score(9, {"user": -1.0}), END, score(7, {"user": 3.0})]
    assert recorded_values(event(20 + i, fact) for i, fact in enumerate(facts))(SAMPLES) == [0.5, -1.0]


def test_a_recorded_failure_happens_again() -> None:
    facts = [RewardFailed(round=1, function="a:b", reason="it raised KeyError"), score(7, {}), END]
    with pytest.raises(RewardFailure, match="it raised KeyError"):
        recorded_values(event(20 + i, fact) for i, fact in enumerate(facts))(SAMPLES)


def test_a_value_that_is_missing_is_no_zero() -> None:
    with pytest.raises(RewardFailure, match="no value of it is recorded"):
        recorded_values([event(20, score(7, {"user": 0.5})), event(21, END)])(SAMPLES)
