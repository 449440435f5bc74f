"""Classifiers of what was accepted so far, none of which judges a sample that it was trained on. Pure, without chance."""

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from synlearner.agent.cards import Card, Row
from synlearner.agent.features import Matrix, student_features
from synlearner.agent.judge import Judge, Scores, classifier, corrected

FOLDS = 5

NEWEST = 64
"""Accepted samples of a label that are learnt from, the newest: what a round costs is bounded, and follows the policy."""

FEWEST = 8
"""Accepted samples of every label before anybody learns from them."""


def newest(labels: Sequence[str], most: int = NEWEST) -> list[int]:
    """Return the places of the last *most* of each label, in their order."""
    seen: Counter[str] = Counter()
    kept = []
    for place in reversed(range(len(labels))):
        seen[labels[place]] += 1
        if seen[labels[place]] <= most:
            kept.append(place)
    return kept[::-1]


def enough(labels: Sequence[str], classes: Collection[str]) -> bool:
    """Tell whether there are `FEWEST` of every class, of which there are some."""
    counts = Counter(labels)
    return bool(classes) and all(counts[name] >= FEWEST for name in classes)


def folds(labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the fold of each sample: those of a label are dealt out in turn."""
    dealt: Counter[str] = Counter()
    found = []
    for label in labels:
        found.append(dealt[label] % FOLDS)
        dealt[label] += 1
    return np.array(found, dtype=np.int64)


class Fitted:
    """Logistic regression that has learnt; it always says the one label where all that it learnt from is of one."""

    def __init__(self, known_N_D: Matrix, labels: Sequence[str], classes: Sequence[str]) -> None:
        """Learn from features of at least one row; *classes* are the columns of what it says."""
        self._columns = [list(classes).index(name) for name in sorted(set(labels))]
        self._width = len(classes)
        self._model = classifier().fit(known_N_D, list(labels)) if len(self._columns) > 1 else None

    def probabilities(self, asked_M_D: Matrix) -> Scores:
        """Return what it says of others, shape `(M, C)`: 0 for a class that it never met."""
        found = np.zeros((len(asked_M_D), self._width))
        if len(asked_M_D):
            found[:, self._columns] = 1.0 if self._model is None else self._model.predict_proba(asked_M_D)
        return found


def cross_fitted(
    seen_N_D: Matrix,
    labels: Sequence[str],
    classes: Sequence[str],
    seeds_S_D: Matrix | None = None,
    seed_labels: Sequence[str] = (),
) -> Scores:
    """Return what is said of each sample by a classifier of the others' folds (and of the seeds), shape `(N, C)`.

    A fold that leaves nothing to learn from is told nothing: its rows are 0.
    """
    fold_N = folds(labels)
    found = np.zeros((len(labels), len(classes)))
    base = seen_N_D[:0] if seeds_S_D is None else seeds_S_D
    for fold in range(FOLDS):
        mine, others = np.flatnonzero(fold_N == fold), np.flatnonzero(fold_N != fold)
        known = [*seed_labels, *(labels[i] for i in others)]
        if len(mine) and known:
            found[mine] = Fitted(np.concatenate([base, seen_N_D[others]]), known, classes).probabilities(seen_N_D[mine])
    return found


class StudentJudge:
    """What a student of seeds and accepted samples says of other samples; its fidelity is that of `SeedsJudge`."""

    def __init__(self, card: Card, known_N_D: Matrix, labels: Sequence[str]) -> None:
        """Learn from unit rows of seeds and samples."""
        self._card = card
        self._fitted = Fitted(student_features(known_N_D, card), labels, list(card.labels))

    def fidelity(self, vectors_N_D: Matrix, labels: Sequence[str], rows: Sequence[Row] = ()) -> Scores:
        """Return the chance-corrected probability of each sample's label."""
        return corrected(
            self._fitted.probabilities(student_features(vectors_N_D, self._card)), labels, list(self._card.labels)
        )


class SharedJudge:
    """Two judges, each with its share: fidelity is linear in probability, so it is that of the mixed probabilities."""

    def __init__(self, first: Judge, second: Judge, share: float) -> None:
        """Give *second* its *share*, in [0, 1]."""
        self._first, self._second, self._share = first, second, share

    def fidelity(self, vectors_N_D: Matrix, labels: Sequence[str], rows: Sequence[Row] = ()) -> Scores:
        """Return the weighted mean of both."""
        one, other = (judge.fidelity(vectors_N_D, labels, rows) for judge in (self._first, self._second))
        mixed: Scores = (1 - self._share) * one + self._share * other
        return mixed
