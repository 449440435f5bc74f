"""Which texts share their wording: near-copies within a pool, and what leaked from real data. Pure and exact.

Near-copies are pairs with a high Jaccard index of character 5-grams. MinHash estimates that very index where a corpus is
too large to count; one sparse product counts a pool exactly, so that no chance decides what is left out.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer

from synlearner.agent.cards import Card, Row
from synlearner.agent.config import DeliverySettings
from synlearner.agent.parsing import joined, normal

SHINGLE = 5
"""Characters of a shingle, blanks included."""

STEP = 256
"""Texts that are compared with all others at once: bounds the memory of the product."""


def shingles(text: str) -> list[str]:
    """Return the character 5-grams of a normalised text; a shorter text is its own only one."""
    return [text[i : i + SHINGLE] for i in range(max(1, len(text) - SHINGLE + 1))]


def near_copies(texts_N: Sequence[str], others_M: Sequence[str], least: float) -> Iterator[tuple[int, int]]:
    """Give the places `(n, m)` of the pairs of normalised texts whose Jaccard index of shingles is at least *least*."""
    if not texts_N or not others_M:
        return
    counter = CountVectorizer(analyzer=shingles, binary=True, dtype=np.int32)
    found = counter.fit_transform([*texts_N, *others_M])
    sizes = np.asarray(found.sum(axis=1)).ravel()
    others = found[len(texts_N) :].T.tocsr()
    for start in range(0, len(texts_N), STEP):
        shared = (found[start : min(start + STEP, len(texts_N))] @ others).tocoo()
        mine, theirs = start + shared.row, shared.col
        close = shared.data / (sizes[mine] + sizes[len(texts_N) + theirs] - shared.data) >= least
        yield from zip(mine[close].tolist(), theirs[close].tolist(), strict=True)


def word_runs(text: str, words: int) -> set[tuple[str, ...]]:
    """Return all runs of so many words of a text; none where it has fewer."""
    found = normal(text).split()
    return {tuple(found[i : i + words]) for i in range(len(found) - words + 1)}


def leaked(card: Card, rows: Sequence[Row], real: Sequence[Row], rule: DeliverySettings) -> set[int]:
    """Return the places in *rows* of those that share their wording with a row of *real*.

    Either is a leak: `rule.leak_words` words in a row of one field in any text of the real row; a Jaccard index of
    shingles of at least `rule.leak_wording`, which the same normalised text always has.

    Args:
        card: Says which fields a row of *rows* has.
        rows: Samples.
        real: Rows of data that must not leak. Those without the card's fields are taken with all their texts but the
            label.
        rule: How much is too much.
    """
    mine = [normal(joined(card, row)) for row in rows]
    theirs = [normal(" ".join(texts_of(card, row))) for row in real]
    runs = {run for row in real for text in texts_of(card, row) for run in word_runs(text, rule.leak_words)}
    found = {
        i
        for i, row in enumerate(rows)
        if any(not runs.isdisjoint(word_runs(row[field], rule.leak_words)) for field in card.fields)
    }
    return found | {i for i, _ in near_copies(mine, theirs, rule.leak_wording)}


def texts_of(card: Card, row: Row) -> list[str]:
    """Return the texts of a real row: the card's fields, or where it has not all of them, all texts but the label."""
    if all(isinstance(row.get(field), str) for field in card.fields):
        return [row[field] for field in card.fields]
    return [text for key, text in row.items() if key != "label" and isinstance(text, str)]
