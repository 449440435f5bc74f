"""Does a pair's second field give its label away? A probe that never sees the first field tries. Pure, without chance.

A set whose labels can be told from the hypothesis alone teaches the artefact and not the relation: Gururangan et al. 2018,
arXiv:1803.02324; Poliak et al. 2018, arXiv:1805.01042. The probe is logistic regression on the second field's embedding.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from synlearner.agent.cards import Card
from synlearner.agent.crossfit import Fitted, cross_fitted
from synlearner.agent.features import Matrix
from synlearner.agent.judge import Scores, corrected


def has_second(card: Card) -> bool:
    """Tell whether there is anything to probe: two fields, and labels that say how they relate."""
    return card.kind == "pair_classification"


def second_field(vectors_N_D: Matrix) -> Matrix:
    """Return the unit rows of the second field, shape `(N, D / 2)`."""
    half: Matrix = np.split(vectors_N_D, 2, axis=1)[1] * np.float32(np.sqrt(2))
    return half


class SecondFieldProbe:
    """Knows seeds and accepted samples, and says how little of a new one's label its second field gives away."""

    def __init__(self, card: Card, known_N_D: Matrix, labels: Sequence[str]) -> None:
        """Learn from unit rows of whole pairs; the label of every class has to be among *labels*."""
        self._classes = list(card.labels)
        self._fitted = Fitted(second_field(known_N_D), labels, self._classes)

    def relation(self, vectors_N_D: Matrix, labels: Sequence[str]) -> Scores:
        """Return in [0, 1]: 1 where the second field speaks for the label no more than chance, 0 where it settles it."""
        found = self._fitted.probabilities(second_field(vectors_N_D))
        relation: Scores = 1 - np.clip(corrected(found, labels, self._classes), 0.0, 1.0)
        return relation


def told_by_second(
    card: Card,
    vectors_N_D: Matrix,
    labels: Sequence[str],
    seeds_S_D: Matrix | None = None,
    seed_labels: Sequence[str] = (),
) -> dict[str, float]:
    """Return how often the probe tells the label of samples that it was not trained on, and how often a guess does.

    Args:
        card: Of pairs.
        vectors_N_D: Unit rows of the samples; cross-fitted over five folds.
        labels: Theirs.
        seeds_S_D: Unit rows that every fold's probe learns from too.
        seed_labels: Theirs.

    Returns:
        `second_field_accuracy` and `second_field_guess`, the share of the commonest label; nothing of no samples.
    """
    if not labels:
        return {}
    classes = list(card.labels)
    seeds = None if seeds_S_D is None else second_field(seeds_S_D)
    found = cross_fitted(second_field(vectors_N_D), labels, classes, seeds, seed_labels)
    right = [classes[place] == label for place, label in zip(found.argmax(axis=1), labels, strict=True)]
    guess = Counter(labels).most_common(1)[0][1]
    return {
        "second_field_accuracy": round(sum(right) / len(labels), 6),
        "second_field_guess": round(guess / len(labels), 6),
    }
