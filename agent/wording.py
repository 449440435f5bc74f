"""How the card's real examples are worded, and what in a sample is unlike all of them. Pure; learnt from the seeds alone.

No list of forbidden words: every limit is set by what the seeds do, with room to spare. Where a seed does it too, it
is allowed. A test holds the share of real rows that are refused, on ten public data sets, to 2.5 %.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import get_args

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from synlearner.agent.cards import Card, Row
from synlearner.agent.config import AttributePlan
from synlearner.agent.parsing import joined, names_label, normal, trigrams

LONG = 8
"""Words from which on a text says something about its language, and has enough trigrams to be a near-copy."""

COPIED = 0.8
"""Share of trigrams that makes a copy."""

ECHOED = 0.9
"""Share of a field's bigrams that stand in the field before it, negations aside, that makes an echo."""

LEAST_BITS, PLAIN_BITS = 2.0, 2.4
"""Of `novelty_bits`: below the first a text is a loop; real texts have more than the second."""

_SYMBOLS = frozenset("{}[]<>=_`|\\~^*#+;")
_MARKUP = re.compile(r"^\s*[\[{].*[\]}]\s*$|```|</\w+>", re.DOTALL)
_AFTERWORD = re.compile(
    r"""\b(?:as\ an?\ (?:ai|(?:large\ )?language\ model)
      | i\ hope\ (?:this|that)\ (?:helps|meets)
      | let\ me\ know\ if\ you
      | feel\ free\ to\ (?:ask|modify|adjust|change)
      | would\ you\ like\ me\ to\ (?:write|add|change|provide|make|help)
      | (?:here|these|those)\ (?:is|are)\ (?:some|a\ few|more|another)\ (?:examples?|texts?|versions?)
      )\b""",
    re.IGNORECASE | re.VERBOSE,
)
"""How an assistant talks about a text behind it, or anywhere."""
_NEGATIONS = frozenset(
    [
        "not",
        "no",
        "never",
        "nobody",
        "none",
        "nothing",
        "n",
        "t",
        "it",
        "is",
        "true",
        "that",
        "false",
        "isn",
        "don",
        "doesn",
        "didn",
        "wasn",
        "aren",
    ]
)


def novelty_bits(text: str) -> float:
    """Return how much news a character of *text* brings, in bits: about 3 in prose, 1.5 in one word over and over.

    The length that the dictionary coder LZ78 (Ziv & Lempel 1978) comes to, per character: a compression ratio that is
    the same on every machine. Texts under 40 characters are too short to tell, and count as plain.
    """
    if len(text) < 40:
        return PLAIN_BITS
    phrases = {""}
    now = ""
    for letter in text.casefold():
        now += letter
        if now not in phrases:
            phrases.add(now)
            now = ""
    count = len(phrases) - 1 + bool(now)
    return count * math.log2(count) / len(text)


class Wording:
    """What the seeds of *card* are like.

    Args:
        card: With its seeds.
    """

    def __init__(self, card: Card) -> None:
        self._card = card
        whole = [joined(card, row) for row in card.seeds]
        words = [normal(text).split() for text in whole]
        holders = Counter(word for text in words for word in set(text))
        english = _share(words, ENGLISH_STOP_WORDS) > 0.2
        common = {word for word, count in holders.items() if count >= max(3, len(words) // 20)}
        self._common = frozenset(common | ENGLISH_STOP_WORDS if english else common)
        self._least_common = {field: self._least(card, field) for field in card.fields}
        self._least_letters = {field: min(_letters(row[field]) for row in card.seeds) for field in card.fields}
        self._most_symbols = {field: max(_symbols(row[field]) for row in card.seeds) for field in card.fields}
        self._scripts = {script for text in whole for script in _scripts(text)}
        self._marked_up = any(_MARKUP.search(row[field]) for row in card.seeds for field in card.fields)
        self._afterwords = any(_AFTERWORD.search(text) for text in whole)
        self._most_labels = max(self._labels_in(text) for text in whole)
        self._echoes = any(_echo(card, row) >= ECHOED for row in card.seeds)
        self._trigrams = {
            field: {gram for row in card.seeds for gram in trigrams(normal(row[field]).split())}
            for field in card.fields
        }
        plans = [card.attributes, *card.label_attributes.values()]
        asked = [*card.labels, *card.fields, "label", card.name, card.kind, *get_args(AttributePlan)]
        asked += [word for plan in plans for name, values in plan.items() for word in (name, *values)]
        self._asked = frozenset(_names(asked))
        told = [card.description, *card.labels.values(), *(spec.description for spec in card.fields.values())]
        self._told = {gram for text in told for gram in trigrams(normal(text).split())}

    def problem(self, row: Row, attributes: Mapping[str, str]) -> str:
        """Return the gate that *row* does not pass, or an empty text.

        Args:
            row: A sample that has passed `synlearner.agent.parsing.gate`.
            attributes: What its prompt asked for.
        """
        for field, text in row.items():
            reason = self._of_field(field, text)
            if reason:
                return reason
        text = joined(self._card, row)
        if not self._afterwords and _AFTERWORD.search(text):
            return "gate:chatter"
        many = min(3, len(self._card.labels))
        if many and self._labels_in(text) >= max(many, self._most_labels + 1):
            return "gate:label_leak"
        if any(_lists(value, self._asked, attributes) for value in row.values()):
            return "gate:copy_of_prompt"
        if not self._echoes and _echo(self._card, row) >= ECHOED:
            return "gate:echo"
        return ""

    def _of_field(self, field: str, text: str) -> str:
        if not self._marked_up and _MARKUP.search(text):
            return "gate:markup"
        if _symbols(text) > max(0.1, 3 * self._most_symbols[field]):
            return "gate:markup"
        if _letters(text) < min(0.4, 0.6 * self._least_letters[field]):
            return "gate:language"
        scripts = _scripts(text)
        strange = sum(count for script, count in scripts.items() if script not in self._scripts)
        if strange > 0.2 * max(1, scripts.total()):
            return "gate:language"
        if novelty_bits(text) < LEAST_BITS:
            return "gate:repetition"
        words = normal(text).split()
        if len(words) >= LONG and _share([words], self._common) < min(0.1, 0.5 * self._least_common[field]):
            return "gate:language"
        grams = trigrams(words)
        if len(grams & self._trigrams[field]) >= COPIED * len(grams):
            return "gate:copy_of_seed"
        if len(grams & self._told) >= COPIED * len(grams):
            return "gate:copy_of_prompt"
        return ""

    def _least(self, card: Card, field: str) -> float:
        texts = [normal(row[field]).split() for row in card.seeds]
        return min((_share([text], self._common) for text in texts if len(text) >= LONG), default=0.0)

    def _labels_in(self, text: str) -> int:
        return sum(names_label(text, label) for label in self._card.labels)


class Known:
    """Texts that were there before, to find near-copies of them: all but a few words the same."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._holders: dict[tuple[str, ...], list[int]] = {}
        self._count = 0
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Remember a text."""
        for gram in trigrams(normal(text).split()):
            self._holders.setdefault(gram, []).append(self._count)
        self._count += 1

    def holds(self, text: str) -> bool:
        """Tell whether one known text has four fifths of the trigrams of *text*; short texts are never near-copies."""
        words = normal(text).split()
        if len(words) < LONG:
            return False
        grams = trigrams(words)
        shared = Counter(place for gram in grams for place in self._holders.get(gram, ()))
        return bool(shared) and max(shared.values()) >= COPIED * len(grams)


def _share(texts: Iterable[list[str]], words: frozenset[str]) -> float:
    flat = [word in words for text in texts for word in text]
    return sum(flat) / max(1, len(flat))


def _letters(text: str) -> float:
    dense = "".join(text.split())
    return sum(letter.isalpha() for letter in dense) / max(1, len(dense))


def _symbols(text: str) -> float:
    return sum(letter in _SYMBOLS for letter in text) / max(1, len(text))


def _scripts(text: str) -> Counter[str]:
    """Count letters by script: the first word of a letter's Unicode name (`LATIN`, `CYRILLIC`, `CJK`)."""
    return Counter(unicodedata.name(letter, "?").split()[0] for letter in text if letter.isalpha())


def _names(words: Iterable[str]) -> set[str]:
    return set(normal(" ".join(words).replace("_", " ")).split())


def _lists(text: str, asked: frozenset[str], attributes: Mapping[str, str]) -> bool:
    """Tell whether *text* is made of what the prompt asked for: attributes with their values, fields and labels."""
    known = asked | _names([*attributes, *attributes.values()])
    words = [word for word in normal(text.replace("_", " ")).split() if not word.isdecimal()]
    return bool(words) and sum(word in known for word in words) >= COPIED * len(words)


def _echo(card: Card, row: Mapping[str, str]) -> float:
    """Return the share of the second field's bigrams that stand in the first, negations aside; 0 for other kinds."""
    if card.kind != "pair_classification":
        return 0.0
    first, second = (
        set(pairwise(word for word in normal(row[field]).split() if word not in _NEGATIONS)) for field in card.fields
    )
    return len(first & second) / len(second) if second else 0.0
