"""Samples that were not written as they were asked for and are of use nevertheless. Pure.

A text that ran out of room, or is too long, is of use up to its last whole sentence; a text that its judge takes for
another label's is of use under that one. Both may be delivered, and neither is paid or learnt from: what the policy
learns is to write what was asked for.
"""

import re
from collections.abc import Sequence

import numpy as np

from synlearner.agent.cards import Card, Row
from synlearner.agent.features import Matrix
from synlearner.agent.judge import Judge
from synlearner.agent.parsing import leaks_label
from synlearner.events.types import SampleScored

_END = re.compile(r"""[.!?…]["'”’)\]]*(?=\s|$)""")
"""Of a sentence."""

LIKELIEST = "likeliest"
"""The part of a sample's score that is its fidelity to the label it is accepted under, where it was asked for another."""


def whole_sentences(card: Card, row: Row) -> Row:
    """Return *row* with its last field up to the last whole sentence that the card has room for; empty if there is none."""
    if not row:
        return {}
    last = list(card.fields)[-1]
    least, most = card.fields[last].words
    for end in reversed(list(_END.finditer(row[last]))):
        text = row[last][: end.end()]
        if least <= len(text.split()) <= most:
            return {**row, last: text}
    return {}


def likeliest(
    judge: Judge, card: Card, vectors_N_D: Matrix, labels: Sequence[str], rows: Sequence[Row]
) -> list[tuple[str, float]]:
    """Return the label that *judge* finds likeliest for each sample, with its fidelity.

    Ties go to the label that was asked for, then to the card's first. A label that the text names is out of the question.
    """
    if not card.labels or not rows:
        return [("", 0.0)] * len(rows)
    names = list(card.labels)
    told_C_N = np.array([judge.fidelity(vectors_N_D, [name] * len(rows), rows) for name in names])
    found = []
    for told_C, asked, row in zip(told_C_N.T, labels, rows, strict=True):
        order = sorted(range(len(names)), key=lambda i: (-told_C[i], names[i] != asked, i))
        best = next((i for i in order if names[i] == asked or not leaks_label(card, row, names[i])), names.index(asked))
        found.append((names[best], float(told_C[best])))
    return found


def is_rescued(score: SampleScored) -> bool:
    """Tell whether a sample was accepted although it is not what was asked for."""
    return score.accepted and (score.trimmed or bool(score.label))
