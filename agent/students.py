"""Small models that tell whether data are any good: trained on one set, scored on another. Deterministic.

Several families, so that a data set cannot please one kind of student alone: MiniLM embeddings + logistic regression,
TF-IDF + logistic regression, and by choice a small transformer that is fine-tuned (`synlearner.agent.finetuning`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline

from synlearner.agent.cards import Card, Row
from synlearner.agent.features import Matrix, student_features
from synlearner.agent.finetuning import fine_tuned
from synlearner.agent.judge import classifier
from synlearner.agent.parsing import joined


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Rows with their labels and vectors."""

    rows: Sequence[Row]
    labels: Sequence[str]
    vectors: Matrix


@dataclass(frozen=True, slots=True)
class StudentFigures:
    """How a student did."""

    accuracy: float
    macro_f1: float
    interval: tuple[float, float]
    """95 %, of the accuracy."""


def score_student(
    family: str,
    card: Card,
    train: LabelledSet,
    scored: LabelledSet,
    *,
    bootstrap: int,
    seed: int,
    encoder: str = "minilm",
    balanced: bool = True,
) -> StudentFigures:
    """Train a student of *family* on *train*, score it on *scored*.

    A training set of a single label trains a student that always says it.

    Args:
        family: `embedding`, `tfidf` or `transformer`.
        card: Whose rows these are.
        train: To learn from.
        scored: To be scored on.
        bootstrap: Resamples for the interval.
        seed: Of the bootstrap, and of what a transformer begins with.
        encoder: What a transformer is made of.
        balanced: Whether labels weigh the same in what is learnt, however many rows they have.

    Raises:
        ValueError: If *train* has no rows.
        ModelError: If the encoder is not there.
    """
    if not train.rows:
        raise ValueError("a student needs at least one row to learn from")
    if family == "transformer" and len(set(train.labels)) > 1:
        predicted = fine_tuned(
            card, train.rows, train.labels, scored.rows, encoder=encoder, seed=seed, balanced=balanced
        )
    else:
        predicted = _predict(family, card, train, scored, balanced=balanced)
    actual = np.array(scored.labels)
    correct = (predicted == actual).astype(np.float64)
    return StudentFigures(
        round(float(accuracy_score(actual, predicted)), 6),
        round(float(f1_score(actual, predicted, average="macro", zero_division=0.0)), 6),
        interval(correct, bootstrap, seed),
    )


def interval(correct: np.ndarray, bootstrap: int, seed: int) -> tuple[float, float]:
    """Return the 95 % percentile interval of a mean of 0s and 1s, by bootstrap over rows.

    A resample's sum of N draws from 0s and 1s is binomial, so it is drawn as one number.
    """
    rng = np.random.Generator(np.random.Philox(key=seed))
    means = rng.binomial(len(correct), correct.mean(), size=bootstrap) / len(correct)
    low, high = np.percentile(means, [2.5, 97.5])
    return round(float(low), 6), round(float(high), 6)


def _predict(family: str, card: Card, train: LabelledSet, scored: LabelledSet, *, balanced: bool) -> np.ndarray:
    if len(set(train.labels)) == 1:
        constant = DummyClassifier(strategy="most_frequent").fit(np.zeros((len(train.labels), 1)), train.labels)
        return np.asarray(constant.predict(np.zeros((len(scored.labels), 1))))
    if family == "embedding":
        model = classifier(balanced=balanced).fit(student_features(train.vectors, card), train.labels)
        return np.asarray(model.predict(student_features(scored.vectors, card)))
    words = make_pipeline(TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)), classifier(balanced=balanced))
    words.fit([joined(card, row) for row in train.rows], train.labels)
    return np.asarray(words.predict([joined(card, row) for row in scored.rows]))
