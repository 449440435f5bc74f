"""The over-optimisation alarm, worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import EMBEDDER, PAIR, checked
from worlds import TOPICS, card, rows, text_of

from strategies import quick
from synlearner.agent.comparing import FEWEST, compare_judges
from synlearner.agent.features import HASHED, embed_rows, word_rows
from synlearner.agent.judge import make_judge
from synlearner.agent.judge_settings import JudgeSettings
from synlearner.events.types import JudgesCompared

Judged = tuple[list[float], list[float]]
USUAL: Judged = ([0.5, 0.3] * 4, [0.4, 0.2] * 4)
"""Eight samples of the untrained policy: the judges differ by .1 on each."""


def compared(accepted: Judged, untrained: Judged = USUAL, least: float = 0.0, alarm: float = 0.1) -> JudgesCompared:
    return compare_judges(3, accepted, untrained, least, JudgeSettings(alarm=alarm))


def learnt(*, count: int = 8, gap: float = 0.4, training: float = 0.8) -> Judged:
    """Return samples that the training judge rates so high, and the other one so much lower."""
    return [training] * count, [training - gap] * count


def test_the_gap_is_what_the_judges_differ_by_beyond_the_usual() -> None:
    """Hand-worked: (.7 - .4) - (.3 - .2); the third of the untrained policy's would not have been accepted."""
    found = compared(([0.8, 0.6], [0.5, 0.3]), ([0.4, 0.2, -0.5], [0.3, 0.1, 0.9]))
    assert (found.round, found.compared, found.untrained) == (3, 2, 2)
    assert (found.training, found.held_out) == (0.7, 0.4)
    assert (found.untrained_training, found.untrained_held_out) == (0.3, 0.2)
    assert (found.gap, found.deviation, found.alarm) == (0.2, 0.0, False)


def test_the_deviation_is_that_of_both_means() -> None:
    """Hand-worked: differences 0 and .4 have variance .08 and squared error .04; the others are all alike."""
    assert compared(([0.5, 0.9], [0.5, 0.5])).deviation == pytest.approx(0.2)
    assert compared(([0.5], [0.1])).deviation == 0, "one sample tells no spread"


def test_praise_by_the_one_judge_alone_is_an_alarm() -> None:
    found = compared(learnt())
    assert (found.gap, found.alarm) == (0.3, True)


@pytest.mark.parametrize(
    ("case", "accepted"),
    [
        ("both judges think better of it", learnt(gap=0.1)),
        ("the gap is within the limit", learnt(gap=0.19)),
        ("fidelity has not risen", learnt(training=0.35)),
        ("too few samples", learnt(count=FEWEST - 1)),
        ("within two standard errors", ([1.0, 0.6] * 4, [0.0, 1.0] * 4)),
    ],
)
def test_anything_less_is_none(case: str, accepted: Judged) -> None:
    assert not compared(accepted).alarm, case


def test_too_few_of_the_untrained_policy_raise_none() -> None:
    assert not compared(learnt(), (USUAL[0][:7], USUAL[1][:7])).alarm
    nobody = compared(learnt(), ([], []))
    assert (nobody.untrained, nobody.untrained_training, nobody.gap, nobody.alarm) == (0, 0.0, 0.4, False)


def test_the_limit_is_a_setting() -> None:
    assert not compared(learnt(), alarm=0.31).alarm


fidelities = st.floats(-1, 1)
sides = st.lists(st.tuples(fidelities, fidelities), min_size=1, max_size=20)


@quick
@given(mine=sides, theirs=sides, order=st.randoms(use_true_random=False))
def test_no_order_of_samples_matters(
    mine: list[tuple[float, float]], theirs: list[tuple[float, float]], order: object
) -> None:
    def judged(rows: list[tuple[float, float]]) -> Judged:
        return [row[0] for row in rows], [row[1] for row in rows]

    other = list(mine)
    order.shuffle(other)  # type: ignore[attr-defined]
    first, second = compared(judged(mine), judged(theirs)), compared(judged(other), judged(theirs))
    assert (first.gap, first.deviation) == pytest.approx((second.gap, second.deviation), abs=2e-6)


@quick
@given(mine=st.lists(fidelities, min_size=1, max_size=30), theirs=st.lists(fidelities, max_size=30))
def test_a_judge_has_no_gap_to_itself(mine: list[float], theirs: list[float]) -> None:
    found = compared((mine, mine), (theirs, theirs))
    assert (found.gap, found.deviation, found.alarm) == (0.0, 0.0, False)


@quick
@given(gap=st.floats(-1, 1), noise=st.floats(0, 0.5), seed=st.integers(0, 9))
def test_an_alarm_is_always_sure(gap: float, noise: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    held_out = 0.5 - gap + noise * rng.normal(size=12)
    found = compared(([0.5] * 12, held_out.tolist()), alarm=0.1)
    assert found.alarm <= (found.gap > 0.1 and found.gap > 0.1 + 1.9 * found.deviation)


# ---- two real judges -----------------------------------------------------------------------------------------

TOPIC = checked(card(seeds=rows(8)))
SPELLING = make_judge(TOPIC, embed_rows(EMBEDDER, TOPIC, TOPIC.seeds))
WORDS = make_judge(TOPIC, word_rows(EMBEDDER, TOPIC, TOPIC.seeds))


def both(texts: list[str]) -> Judged:
    found = [{"text": text} for text in texts]
    labels = ["pets"] * len(found)
    spelling = SPELLING.fidelity(embed_rows(EMBEDDER, TOPIC, found), labels)
    return spelling.tolist(), WORDS.fidelity(word_rows(EMBEDDER, TOPIC, found), labels).tolist()


def test_texts_that_please_a_judge_of_spelling_alone_are_noticed() -> None:
    """The label's words with a letter behind each, against sentences about the label: no such word, all of its trigrams."""
    honest, later = (
        both([text_of("pets", 20 + i) for i in range(20)]),
        both([text_of("pets", 60 + i) for i in range(20)]),
    )
    words = TOPICS["pets"]
    made_up = [" ".join(f"{words[(i + k) % 8]}y" for k in range(6)) for i in range(20)]
    hacked = compared(both(made_up), honest, least=-1.0)
    assert hacked.training > hacked.untrained_training
    assert hacked.alarm
    assert not compared(later, honest, least=-1.0).alarm


def test_the_held_out_judge_knows_words_and_not_their_order() -> None:
    one, other = both(["my cat saw the rain"]), both(["rain the saw cat my"])
    assert one[1] == pytest.approx(other[1], abs=1e-6)
    assert one[0] != pytest.approx(other[0], abs=1e-3)
    own = [row["label"] for row in TOPIC.seeds]
    assert WORDS.fidelity(word_rows(EMBEDDER, TOPIC, TOPIC.seeds), own).min() > 0
    vectors = word_rows(EMBEDDER, checked(PAIR), checked(PAIR).seeds)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-6)


def test_where_an_embedder_has_no_view_on_words_they_are_hashed() -> None:
    class Plain:
        dimension, fingerprint = 8, "plain"

        def embed(self, texts: list[str]) -> np.ndarray:
            raise AssertionError("sentences are for the other judge")

    found = word_rows(Plain(), TOPIC, [{"text": "a cat"}, {"text": "cat a"}, {"text": ""}])  # type: ignore[arg-type]
    assert found.shape == (3, HASHED)
    assert np.array_equal(found[0], found[1])
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(3), abs=1e-6)
