"""Which label the untrained policy takes a text for: behind each label's name and meaning, how likely is the text.

What it finds likelier behind a label than it finds that card's seeds there on average speaks for the label. What the
model says is recorded as the part `likelihood`: a log is verified without the model.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.extmath import softmax

from synlearner.agent.cards import Card, Row
from synlearner.agent.judge import corrected
from synlearner.agent.surprise import CannotTell, as_text
from synlearner.events.types import Event, SampleScored, SetScored

NARROWEST = 0.01
"""Nats per token: labels between which seeds differ by less speak as softly as if they differed by this."""


class Likelihood(Protocol):
    """Says by likelihood whether texts fit their labels."""

    def ready(self, card: Card) -> None:
        """Raise CannotTell if nobody can tell for this card."""

    def fidelity(self, samples: Sequence[int], card: Card, rows: Sequence[Row], labels: Sequence[str]) -> list[float]:
        """Return one score per row in [-1, 1], as a judge does; *samples* are their seqs."""


class MeasuredLikelihood:
    """By a model that is at hand."""

    def __init__(self, measure: Callable[[Sequence[str], str], list[float] | None]) -> None:
        """Take what returns nats per token of texts behind a context, or None where there is no model to ask."""
        self._measure = measure
        self._seeds: tuple[Card, NDArray[np.float64]] | None = None

    def ready(self, card: Card) -> None:
        """Read the card's seeds."""
        self._of_seeds(card)

    def fidelity(self, samples: Sequence[int], card: Card, rows: Sequence[Row], labels: Sequence[str]) -> list[float]:
        """Return the chance-corrected softmax of what speaks for each label, on the scale of the seeds."""
        usual_S_C = self._of_seeds(card)
        if not rows:
            return []
        evidence_N_C = (self._preferences(card, rows) - usual_S_C.mean(axis=0)) / max(usual_S_C.std(), NARROWEST)
        return [round(float(value), 6) for value in corrected(softmax(evidence_N_C), labels, list(card.labels))]

    def _of_seeds(self, card: Card) -> NDArray[np.float64]:
        """Return the preferences of the card's seeds, which are read once."""
        if self._seeds is None or self._seeds[0] is not card:
            self._seeds = (card, self._preferences(card, card.seeds))
        return self._seeds[1]

    def _preferences(self, card: Card, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return by how much likelier than on average over the labels each text is behind each, nats per token, `(N, C)`."""
        texts = [as_text(card, row) for row in rows]
        told = [self._measure(texts, context(card, label)) for label in card.labels]
        likely = [[-value for value in values] for values in told if values is not None]
        if len(likely) < len(told):
            raise CannotTell("the engine has no weights here that could read a given text")
        found = np.array(likely).T.reshape(len(rows), len(told))
        centred: NDArray[np.float64] = found - found.mean(axis=1, keepdims=True)
        return centred


def context(card: Card, label: str) -> str:
    """Return what a text of *label* is read behind."""
    return f"{label}: {card.labels[label] or label}\nText:\n"


class RecordedLikelihood:
    """What a log holds of one round."""

    def __init__(self, values: Mapping[int, float]) -> None:
        self._values = values

    def ready(self, card: Card) -> None:
        """Raise CannotTell where the round was judged without."""
        if not self._values:
            raise CannotTell("none is recorded")

    def fidelity(self, samples: Sequence[int], card: Card, rows: Sequence[Row], labels: Sequence[str]) -> list[float]:
        """Return the recorded values."""
        return [self._values.get(seq, 0.0) for seq in samples]


def recorded_likelihood(events: Iterable[Event]) -> RecordedLikelihood:
    """Return what the first of *events*, those of one scored round, hold."""
    values: dict[int, float] = {}
    for event in events:
        match event.fact:
            case SampleScored(sample=sample, parts={"likelihood": value}):
                values[sample] = value
            case SetScored():
                break
    return RecordedLikelihood(values)
