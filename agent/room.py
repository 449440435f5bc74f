"""How many tokens a sample may take: as many as real texts of its label do, at the longest that the card allows. Pure.

Planning knows no tokenizer, so pieces are counted as byte-pair encodings make them: a short word is one, a long word or
one in capitals is several, digits and marks are one each. Against SmolLM2's own tokenizer the count of a label's seeds is off
by at most 13 % on 45 labels of nine public sets (docs/LOG.md).
"""

import math
import re

from synlearner.agent.cards import Card

PIECE = re.compile(r"[^\W\d_]+|\d|[^\w\s]|_")

USUAL = 1.5
"""Tokens that there is room for per word, at least."""

SPARE = 1.2
"""Times as many as the label's seeds have per word: some texts need more than most."""

ENDS = 6
"""Tokens for each field's name and end."""


def pieces(text: str) -> int:
    """Return about how many tokens *text* has."""
    return sum(map(_pieces_of_word, PIECE.findall(text)))


def _pieces_of_word(word: str) -> int:
    if not word.isascii():
        return max(2, len(word))
    shouted = word.isupper() and len(word) > 1
    return math.ceil(len(word) / (3 if shouted else 8))


def room_for(card: Card, label: str) -> int:
    """Return the most tokens of a sample of *label* (empty: of a card without labels)."""
    seeds = [row for row in card.seeds if not label or row["label"] == label]
    texts = [row[name] for row in seeds for name in card.fields]
    words = sum(len(text.split()) for text in texts)
    per_word = max(USUAL, SPARE * sum(map(pieces, texts)) / max(1, words))
    longest = sum(spec.words[1] for spec in card.fields.values())
    return math.ceil(round(per_word * longest, 6)) + ENDS * len(card.fields)
