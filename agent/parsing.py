"""From an engine's text to the card's fields, and the gates that it must pass. Pure; bad text is data, never raises."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise

from synlearner.agent.cards import Card, Row
from synlearner.agent.frames import headings

_CHATTER = re.compile(
    r"""^(?:
      (?:sure|certainly|of\ course|okay|absolutely)\b[^.?]{0,40}[!:,]   # Sure! Here is one:
    | here(?:'s|\ is|\ are)\b[^.?]{0,60}(?::|\b(?:example|text|version|list)s?\b)
    | as\ an\ ai\b
    | i(?:'m|\ am)\ (?:sorry,\ but\ (?:i|as)\b|unable\ to\ (?:assist|help|provide|write|generate))
    | i\ (?:cannot|can't|can\ not)\ (?:assist|help\ with|provide|write|generate|create|fulfil)
    | (?:note|answer|example|explanation|text)\s*:
    | what\ an?\ \w+\ (?:question|request|challenge|example|idea|prompt)\b
    | you\ (?:can|could)\ (?:write|use|say|ask)\b
    | the\ (?:text|example|answer|question|prompt)\ (?:is|would|to|for|below|above)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""How an assistant talks about a text instead of writing it. Checked only where no seed talks like that."""

_MARKS = ('"', "'", "`", "*", "“”", "‘’")


def parse(card: Card, text: str, prefix: str) -> Row:
    """Return the fields of a sample, or an empty row where it has not all of them.

    A single-field sample is its text without wrapping quotes and blanks. Samples of several fields stand under their
    headings; the first heading may be in the prompt's *prefix*.
    """
    if len(card.fields) == 1:
        body = _bare(text)
        return {next(iter(card.fields)): body} if body else {}
    heads = headings(card)
    first = next(iter(heads.values()))
    whole = f"{first}:{text}" if prefix.rstrip().endswith(f"{first}:") else text
    marks = "|".join(re.escape(head) for head in heads.values())
    # At the beginning of a line, or behind a finished sentence: small models often forget the line break.
    head = rf"(?:^|(?<=[.!?;\"”'])\s)\W{{0,3}}({marks})\s*:"
    pieces = re.split(head, whole, flags=re.IGNORECASE | re.MULTILINE)
    found = {head.casefold(): _bare(body) for head, body in zip(pieces[1::2], pieces[2::2], strict=True)}
    row = {field: found.get(head.casefold(), "") for field, head in heads.items()}
    return row if all(row.values()) and len(pieces) == 2 * len(heads) + 1 else {}


def _bare(text: str) -> str:
    """Return *text* without blanks and marks around it. A mark that has others in the text quotes a part, and stays."""
    before = ""
    while text != before:
        before = text = text.strip()
        for mark in _MARKS:
            inner = text.strip(mark)
            if not set(mark) & set(inner):
                text = inner
    return text


def gate(card: Card, row: Row, finish: str, label: str, seen: Mapping[str, str]) -> str:
    """Return why a sample cannot be used, or an empty text. Nothing compensates for a closed gate.

    Args:
        card: What was asked for.
        row: The parsed sample.
        finish: Of the engine.
        label: Which was asked for.
        seen: Normalised texts that it must not repeat, each with what it is (`seed`, `sample`).
    """
    if finish == "error":
        return "gate:engine"
    if not row:
        return "gate:format"
    if finish == "length":
        return "gate:cut_off"
    texts = list(row.values())
    if any(_CHATTER.match(text) for text in texts) and not _seeds_chatter(card):
        return "gate:chatter"
    if not all(_fits(text, card.fields[field].words) for field, text in row.items()):
        return "gate:length"
    if leaks_label(card, row, label):
        return "gate:label_leak"
    if any(repeats_itself(text) for text in texts) or len({normal(text) for text in texts}) < len(texts):
        return "gate:repetition"
    key = normal(" ".join(texts))
    if not key:
        return "gate:format"
    what = seen.get(key) or ("seed" if any(copies(text, card.seeds) for text in texts) else "")
    return f"gate:copy_of_{what}" if what else ""


def too_long(card: Card, row: Row) -> bool:
    """Tell whether a field has more words than the card allows."""
    return any(len(text.split()) > card.fields[field].words[1] for field, text in row.items())


def leaks_label(card: Card, row: Row, label: str) -> bool:
    """Tell whether a sample names *label*, which no seed of it does."""
    return any(names_label(text, label) for text in row.values()) and not _seeds_name(card, label)


def normal(text: str) -> str:
    """Return *text* as copies are recognised: letters and digits, lower case, single blanks."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def joined(card: Card, row: Mapping[str, str]) -> str:
    """Return a row's fields as one text, in the card's order."""
    return " ".join(row[field] for field in card.fields)


def copies(text: str, rows: Iterable[Row], *, share: float = 0.8) -> bool:
    """Tell whether *text* shares *share* of its word trigrams with one real row (short texts: all of its words)."""
    words = normal(text).split()
    mine = trigrams(words)
    for row in rows:
        for value in row.values():
            other = normal(value).split()
            if len(mine & trigrams(other)) >= share * len(mine):
                return True
    return False


def trigrams(words: list[str]) -> set[tuple[str, ...]]:
    """Return the runs of three words, or all words of a shorter text as one run."""
    return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}


def repeats_itself(text: str) -> bool:
    """Tell whether one word makes up more than half of a text of five or more words, or trigrams come again and again."""
    words = normal(text).split()
    if len(words) < 5:
        return False
    if Counter(words).most_common(1)[0][1] > len(words) / 2:
        return True
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(trigrams)) < 0.7 * len(trigrams)


def distinct_share(text: str) -> float:
    """Return the share of word bigrams that are different, in [0, 1]; 1 for texts too short to have two."""
    words = normal(text).split()
    bigrams = list(pairwise(words))
    return len(set(bigrams)) / len(bigrams) if bigrams else 1.0


def words_fit(text: str, words: tuple[int, int]) -> float:
    """Return 1 inside the window, falling linearly to 0 at half the lower and twice the upper bound."""
    low, high = words
    count = len(text.split())
    if count < low:
        return max(0.0, 1 - (low - count) / max(low / 2, 1))
    return 1.0 if count <= high else max(0.0, 1 - (count - high) / high)


def names_label(text: str, label: str) -> bool:
    """Tell whether the label itself stands in the text, as whole words."""
    return bool(label) and f" {normal(label)} " in f" {normal(text)} "


def _seeds_name(card: Card, label: str) -> bool:
    # Where real examples say their label ("my credit card was stolen"), saying it is no leak.
    return any(names_label(joined(card, row), label) for row in card.seeds if row.get("label") == label)


def _seeds_chatter(card: Card) -> bool:
    return any(_CHATTER.match(row[field]) for row in card.seeds for field in card.fields)


def _fits(text: str, words: tuple[int, int]) -> bool:
    return words_fit(text, words) > 0
