"""Who says whether a sample is what was asked for: judges that never see the label that was asked for.

All that they know of the real data are the card's seeds; of the labels, what the card says that they mean.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.utils.extmath import softmax

from synlearner.agent.cards import Card, Row
from synlearner.agent.features import Matrix, student_features

Scores = NDArray[np.float64]

SPREAD = 0.1
"""Cosines that differ by so much speak e times as strongly for a label."""


class Judge(Protocol):
    """Scores how well samples fit their label."""

    def fidelity(self, vectors_N_D: Matrix, labels: Sequence[str], rows: Sequence[Row] = ()) -> Scores:
        """Return one score per sample in [-1, 1]: 1 is certain, 0 is chance, below 0 speaks against it.

        *rows* are their texts, for a judge that reads.
        """


class SeedsJudge:
    """Logistic regression on the seeds' embeddings. Fidelity is `(p - chance) / (1 - chance)` of the label.

    Eight seeds a label say little, so the labels' meanings may have a say as well: the softmax of a sample's likeness to
    them, less the seeds' usual likeness, so that no meaning is near to everything. Together they tell right from wrong
    labels better on each of eight public sets (`benchmarks/bench_feedback.py`, docs/LOG.md).
    """

    def __init__(self, card: Card, seeds_N_D: Matrix, meanings_C_D: Matrix | None = None, share: float = 0.5) -> None:
        """Learn from the seeds.

        Args:
            card: With labels.
            seeds_N_D: Unit rows of its seeds.
            meanings_C_D: Unit rows of its labels' meanings, in their order; None leaves them out.
            share: Of the meanings in the probability, in [0, 1].
        """
        self._card = card
        self._model = classifier().fit(student_features(seeds_N_D, card), [row["label"] for row in card.seeds])
        self._classes = list(self._model.classes_)
        self._share = share if meanings_C_D is not None else 0.0
        if meanings_C_D is not None:
            order = [list(card.labels).index(label) for label in self._classes]
            self._meanings_C_D = meanings_C_D[order]
            self._usual_C = (seeds_N_D @ self._meanings_C_D.T).mean(axis=0)

    def fidelity(self, vectors_N_D: Matrix, labels: Sequence[str], rows: Sequence[Row] = ()) -> Scores:
        """Return the chance-corrected probability of each sample's label."""
        if not len(vectors_N_D):
            return np.zeros(0)
        probability_N_C = self._model.predict_proba(student_features(vectors_N_D, self._card))
        if self._share:
            likeness_N_C = (vectors_N_D @ self._meanings_C_D.T - self._usual_C).astype(np.float64)
            probability_N_C = (1 - self._share) * probability_N_C + self._share * softmax(likeness_N_C / SPREAD)
        return corrected(probability_N_C, labels, self._classes)


class TopicJudge:
    """For cards without labels: how close a sample is to the seeds, on the scale of the seeds among themselves.

    1 is as close to its nearest seed as seeds are to each other on average, 0 is as far as can be.
    """

    def __init__(self, seeds_N_D: Matrix) -> None:
        self._seeds_N_D = seeds_N_D
        cosines = seeds_N_D @ seeds_N_D.T
        np.fill_diagonal(cosines, -1.0)
        self._usual = float(np.clip(cosines.max(axis=1).mean(), 0.05, 1.0)) if len(seeds_N_D) > 1 else 1.0

    def fidelity(self, vectors_N_D: Matrix, labels: Sequence[str], rows: Sequence[Row] = ()) -> Scores:
        """Return each sample's closeness; *labels* are not looked at."""
        if not len(vectors_N_D):
            return np.zeros(0)
        nearest = (vectors_N_D @ self._seeds_N_D.T).max(axis=1)
        closeness: Scores = np.clip(nearest / self._usual, 0.0, 1.0).astype(np.float64)
        return closeness


def make_judge(card: Card, seeds_N_D: Matrix, meanings_C_D: Matrix | None = None, share: float = 0.5) -> Judge:
    """Return the judge for *card*; *meanings_C_D* and their *share* as in `SeedsJudge`."""
    return SeedsJudge(card, seeds_N_D, meanings_C_D, share) if card.labels else TopicJudge(seeds_N_D)


def corrected(probability_N_C: Scores, labels: Sequence[str], classes: Sequence[str]) -> Scores:
    """Return `(p - chance) / (1 - chance)` of each row's label, shape `(N,)`; *classes* are the columns."""
    places = np.array([classes.index(label) for label in labels], dtype=np.int64)
    chance = 1 / len(classes)
    return np.asarray((probability_N_C[np.arange(len(labels)), places] - chance) / (1 - chance), dtype=np.float64)


def classifier(*, balanced: bool = False) -> Any:
    """Return the untrained classifier of judges and students: deterministic, no random state.

    With *balanced* labels weigh the same, however many rows they have.
    """
    return LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced" if balanced else None)
