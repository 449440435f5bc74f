"""Likelihood per label as a judge: worked by hand, its laws, and what it does to a sample's parts."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pieces import EMBEDDER, checked, planned, vectors_of, written
from worlds import card, rows

from synlearner.agent.cards import Card
from synlearner.agent.config import RewardSettings
from synlearner.agent.judge import make_judge
from synlearner.agent.likelihood import Likelihood, MeasuredLikelihood, RecordedLikelihood, context
from synlearner.agent.scoring import RoundScores, score_round
from synlearner.agent.surprise import CannotTell

TOPICS = checked(card(seeds=rows(8)))
LABELS = list(TOPICS.labels)
TEXTS = ["i saw a little kitten on the old roof", "my puppy likes the hamster of my uncle", ""]


class Told:
    """Tells prepared nats by label, whatever the texts; keeps what it was asked."""

    def __init__(self, seeds: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> None:
        self.asked: list[tuple[str, int]] = []
        self._tables = {len(seeds): np.array(seeds), len(others): np.array(others)}

    def __call__(self, texts: Sequence[str], behind: str) -> list[float]:
        self.asked.append((behind, len(texts)))
        place = [context(TOPICS, label) for label in LABELS].index(behind)
        return [float(value) for value in self._tables[len(texts)][:, place]]


SEEDS = [[3.0, 4.0]] * (len(TOPICS.seeds) // 2) + [[4.0, 4.0]] * (len(TOPICS.seeds) // 2)
"""Half of them prefer the first label by a nat, half neither: they prefer it by half a nat on average."""


def test_it_is_what_speaks_for_a_label_beyond_what_the_seeds_say_there() -> None:
    """Hand-worked: centred, the seeds are (.5, -.5) and (0, 0): usual (.25, -.25), deviation sqrt(.125).

    A text of (3, 5) nats is (1, -1) centred: evidence (.75, -.75) / sqrt(.125), and fidelity tanh of the first.
    """
    judge = MeasuredLikelihood(Told(SEEDS, [[3.0, 5.0], [3.0, 3.5]]))
    found = judge.fidelity([1, 2], TOPICS, [{"text": "a"}, {"text": "b"}], [LABELS[0], LABELS[1]])
    assert found == [pytest.approx(math.tanh(0.75 / math.sqrt(0.125)), abs=1e-6), 0.0]


def test_seeds_are_read_once_for_a_card_and_behind_each_label() -> None:
    told = Told(SEEDS, [[3.0, 5.0]])
    judge = MeasuredLikelihood(told)
    judge.ready(TOPICS)
    for _ in range(2):
        judge.fidelity([1], TOPICS, [{"text": "a"}], LABELS[:1])
    contexts = [context(TOPICS, label) for label in LABELS]
    assert told.asked == [(c, len(TOPICS.seeds)) for c in contexts] + 2 * [(c, 1) for c in contexts]
    meaning = TOPICS.labels[LABELS[0]]
    assert contexts[0] == f"{LABELS[0]}: {meaning}\nText:\n"
    assert meaning


def test_no_rows_are_no_question() -> None:
    told = Told(SEEDS, [[3.0, 5.0]])
    assert MeasuredLikelihood(told).fidelity([], TOPICS, [], []) == []
    assert {count for _, count in told.asked} == {len(TOPICS.seeds)}


def test_without_weights_here_nobody_can_tell() -> None:
    with pytest.raises(CannotTell, match="no weights here"):
        MeasuredLikelihood(lambda _, __: None).ready(TOPICS)
    with pytest.raises(CannotTell, match="none is recorded"):
        RecordedLikelihood({}).ready(TOPICS)


nats = st.lists(st.floats(0, 20), min_size=2, max_size=2)


@given(st.lists(nats, min_size=1, max_size=5), st.floats(-5, 5))
def test_a_texts_values_over_the_labels_cancel_and_its_length_has_no_say(found: list[list[float]], more: float) -> None:
    """Chance-corrected probabilities of two labels are opposite; what is harder behind every label is just harder."""
    count = len(found)
    rows_ = [{"text": "a"}] * count

    def said(table: list[list[float]], label: str) -> list[float]:
        judge = MeasuredLikelihood(Told(SEEDS, table))
        return judge.fidelity(list(range(count)), TOPICS, rows_, [label] * count)

    first, second = (said(found, label) for label in LABELS)
    assert first == pytest.approx([-value for value in second], abs=2e-6)
    assert all(-1 <= value <= 1 for value in first)
    assert said([[a + more, b + more] for a, b in found], LABELS[0]) == pytest.approx(first, abs=1e-5)


# ---- in a round ----------------------------------------------------------------------------------------------


def score(of: Card, texts: Sequence[str], likelihood: Likelihood | None, share: float) -> RoundScores:
    samples = [(10 + i, written(text, index=i)) for i, text in enumerate(texts)]
    return score_round(
        of, [planned(LABELS[0])], samples, (), vectors_of(of, []), judge=make_judge(of, vectors_of(of, of.seeds)),
        embedder=EMBEDDER, settings=RewardSettings(min_fidelity=-1, likelihood=share), likelihood=likelihood,
    )  # fmt: skip


def test_fidelity_is_shared_and_what_was_said_is_recorded_beside_it() -> None:
    values = {10: 0.9, 11: -0.5}
    plain, shared = score(TOPICS, TEXTS, None, 0.3), score(TOPICS, TEXTS, RecordedLikelihood(values), 0.3)
    for before, after in zip(plain.scored[:2], shared.scored[:2], strict=True):
        assert "likelihood" not in before.parts
        assert after.parts["likelihood"] == values[after.sample]
        expected = 0.7 * before.parts["fidelity"] + 0.3 * values[after.sample]
        assert after.parts["fidelity"] == pytest.approx(expected, abs=1e-6)
    assert shared.scored[2].parts == {}, "what the gates refuse is not read"


def test_the_raw_figure_itself_moves_no_total() -> None:
    """Where it says what the judge says, fidelity and with it all totals are those of a round without it."""
    plain = score(TOPICS, TEXTS, None, 0.5)
    values = {s.sample: s.parts["fidelity"] for s in plain.scored if s.parts}
    assert len(set(values.values())) == 2
    with_it = score(TOPICS, TEXTS, RecordedLikelihood(values), 0.5)
    assert [s.total for s in with_it.scored] == pytest.approx([s.total for s in plain.scored], abs=1e-4)


def test_what_is_recorded_gives_the_same_scores_without_anybody_being_asked() -> None:
    first = score(TOPICS, TEXTS, MeasuredLikelihood(Told(SEEDS, [[3.0, 5.0], [3.0, 3.5]])), 0.5)
    values = {s.sample: s.parts["likelihood"] for s in first.scored if s.parts}
    assert len(values) == 2
    assert score(TOPICS, TEXTS, RecordedLikelihood(values), 0.5).scored == first.scored
