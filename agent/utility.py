"""What a sample is worth to a student: how much worse, without it, a student of the accepted samples would know the seeds.

How a student does on the seeds is the reward of a whole task: one number, and late. Each sample gets its own share of it, by
leaving it out (Koh and Liang 2017, arXiv:1703.04730; Ghorbani and Zou 2019, arXiv:1904.02868). Here that takes no second
training, since this student is ridge regression of one-hot labels on embeddings. With `A = (X'X + RIDGE)^-1`, a sample's
features `x`, its residual `e` and its leverage `h = x'Ax`, the weights without it are `W - A x e' / (1 - h)`
(Allen 1974, Technometrics 16:125), and so are what they say of every seed.

A sample is asked of the seeds that its prompt did not show: to write a shown one again is worth nothing.
"""

from collections.abc import Collection, Sequence

import numpy as np

from synlearner.agent.cards import Card
from synlearner.agent.features import Matrix, student_features
from synlearner.agent.judge import Scores

RIDGE = 1.0
"""Penalty on the square of the weights, of unit rows with a constant beside them."""


def utilities(
    card: Card,
    known_N_D: Matrix,
    labels: Sequence[str],
    seeds_S_D: Matrix,
    shown: Sequence[Collection[int]],
) -> list[float]:
    """Return what each of the last `len(shown)` samples is worth to a student of all of them.

    Args:
        card: With labels, and seeds that the student is scored on.
        known_N_D: Unit rows of the samples that the student learns from.
        labels: Theirs.
        seeds_S_D: Unit rows of the card's seeds, in their order.
        shown: For each of the last samples the places of the seeds that its prompt showed.

    Returns:
        The rise of the mean squared error on a seed where the sample is left out, times the number of samples, to 6
        digits; 0 where a prompt showed every seed.
    """
    if not shown:
        return []
    classes = list(card.labels)
    x_N_F, seeds_S_F = _features(known_N_D, card), _features(seeds_S_D, card)
    y_N_C, seeds_S_C = _one_hot(labels, classes), _one_hot([row["label"] for row in card.seeds], classes)
    inverse_F_F = np.linalg.inv(x_N_F.T @ x_N_F + RIDGE * np.eye(x_N_F.shape[1]))
    weights_F_C = inverse_F_F @ x_N_F.T @ y_N_C
    new_M_F, new_M_C = x_N_F[-len(shown) :], y_N_C[-len(shown) :]
    residual_M_C = new_M_C - new_M_F @ weights_F_C
    moved_M_F = new_M_F @ inverse_F_F
    # Without the sample the student says `pull x residual` less of a seed.
    pull_S_M = (seeds_S_F @ moved_M_F.T) / (1 - (moved_M_F * new_M_F).sum(axis=1))
    missed_S_C = seeds_S_F @ weights_F_C - seeds_S_C
    rise_S_M = pull_S_M**2 * (residual_M_C**2).sum(axis=1) - 2 * pull_S_M * (missed_S_C @ residual_M_C.T)
    asked_S_M = np.array([[place not in mine for mine in shown] for place in range(len(card.seeds))])
    mean_M = (rise_S_M * asked_S_M).sum(axis=0) / np.maximum(asked_S_M.sum(axis=0), 1)
    return [round(float(value), 6) for value in len(labels) * mean_M]


def _features(vectors_N_D: Matrix, card: Card) -> Scores:
    """Return what the student sees, a constant beside it, in double precision."""
    features = student_features(vectors_N_D, card).astype(np.float64)
    return np.concatenate([features, np.ones((len(features), 1))], axis=1)


def _one_hot(labels: Sequence[str], classes: Sequence[str]) -> Scores:
    return np.array([[float(label == name) for name in classes] for label in labels])
