"""Who says whether a sample is what was asked for: judges that never see the label that was asked for.

All that they know of the real data are the card's seeds.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from synlearner.agent.cards import Card
from synlearner.agent.features import Matrix, student_features

Scores = NDArray[np.float64]


class Judge(Protocol):
    """Scores how well samples fit their label."""

    def fidelity(self, vectors_N_D: Matrix, labels: Sequence[str]) -> Scores:
        """Return one score per sample in [-1, 1]: 1 is certain, 0 is chance, below 0 speaks against it."""


class SeedsJudge:
    """Logistic regression on the seeds' embeddings. Fidelity is `(p - chance) / (1 - chance)` of the label."""

    def __init__(self, card: Card, seeds_N_D: Matrix) -> None:
        self._card = card
        self._model = classifier().fit(student_features(seeds_N_D, card), [row["label"] for row in card.seeds])

    def fidelity(self, vectors_N_D: Matrix, labels: Sequence[str]) -> Scores:
        """Return the chance-corrected probability of each sample's label."""
        if not len(vectors_N_D):
            return np.zeros(0)
        classes = list(self._model.classes_)
        probability_N_C = self._model.predict_proba(student_features(vectors_N_D, self._card))
        asked = probability_N_C[np.arange(len(labels)), [classes.index(label) for label in labels]]
        chance = 1 / len(classes)
        return np.asarray((asked - chance) / (1 - chance), dtype=np.float64)


class TopicJudge:
    """For cards without labels: how close a sample is to the seeds, on the scale of the seeds among themselves.

    1 is as close to its nearest seed as seeds are to each other on average, 0 is as far as can be.
    """

    def __init__(self, seeds_N_D: Matrix) -> None:
        self._seeds_N_D = seeds_N_D
        cosines = seeds_N_D @ seeds_N_D.T
        np.fill_diagonal(cosines, -1.0)
        self._usual = float(np.clip(cosines.max(axis=1).mean(), 0.05, 1.0)) if len(seeds_N_D) > 1 else 1.0

    def fidelity(self, vectors_N_D: Matrix, labels: Sequence[str]) -> Scores:
        """Return each sample's closeness; *labels* are not looked at."""
        if not len(vectors_N_D):
            return np.zeros(0)
        nearest = (vectors_N_D @ self._seeds_N_D.T).max(axis=1)
        closeness: Scores = np.clip(nearest / self._usual, 0.0, 1.0).astype(np.float64)
        return closeness


def make_judge(card: Card, seeds_N_D: Matrix) -> Judge:
    """Return the judge for *card*."""
    return SeedsJudge(card, seeds_N_D) if card.labels else TopicJudge(seeds_N_D)


def classifier() -> Any:
    """Return the untrained classifier of judges and embedding students: deterministic, no random state."""
    return LogisticRegression(C=10.0, max_iter=2000)
