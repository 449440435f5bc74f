"""Prompt frames: how a strategy is written out for a label.

Small models continue better than they obey, so most frames put examples into the beginning of the answer and let the
model write the next one. `plain` is the bare instruction: what the untrained policy is measured with.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from synlearner.agent.cards import Card, Row


@dataclass(frozen=True, slots=True)
class Prompt:
    """A strategy written out for a label: the user's turn, how the answer begins, and where a sample ends."""

    text: str
    prefix: str
    stop: str


@dataclass(frozen=True, slots=True)
class Ask:
    """What one prompt is about."""

    card: Card
    label: str
    exemplars: list[Row]
    contrasts: list[Row]
    """One example of each other label."""
    notes: list[str]
    """What the attribute plan says of each exemplar, and last of the sample that is wanted; empty texts for nothing."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """The same of the sample that is wanted, as it was drawn."""


# ---- words ---------------------------------------------------------------------------------------------------


_CUT = re.compile(r"[:;,(.]|\b(?:about|of|in|on|at|for|from|that|which|who|with|to|by|typed|posted|solved)\b")


def noun(description: str, fallback: str) -> str:
    """Return the short noun that a description begins with: 'The premise: a sentence …' -> 'premise'."""
    head = _CUT.split(description.strip(), maxsplit=1)[0]
    words = [word for word in head.split() if word.lower() not in {"a", "an", "the", "one"}]
    return " ".join(words).lower() if 1 <= len(words) <= 3 else fallback.replace("_", " ")


def headings(card: Card) -> dict[str, str]:
    """Return how each field is headed in multi-field samples."""
    names = {field: noun(spec.description, field).capitalize() for field, spec in card.fields.items()}
    return names if len(set(names.values())) == len(names) else {f: f.replace("_", " ").capitalize() for f in names}


def write_sample(card: Card, row: Mapping[str, str]) -> str:
    """Return a row as it stands in prompts: the bare text, or one headed block for several fields."""
    if len(card.fields) == 1:
        return " ".join(row[next(iter(card.fields))].split())
    return "\n".join(f"{head}: {_tidy(row[field])}" for field, head in headings(card).items())


def _tidy(text: str) -> str:
    # Line breaks inside a field are kept (worked solutions need them), blank lines are not: they end a sample.
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def describe(card: Card, label: str) -> str:
    """Return what is wanted, as a phrase: the card's description, and the label with its meaning."""
    what = card.description.strip().rstrip(".")
    what = what[:1].lower() + what[1:]
    if not label:
        return what
    meaning = card.labels[label]
    return f"{what}. Kind: {label}{f' ({meaning})' if meaning else ''}"


def _shape(card: Card) -> str:
    ranges = [f"{spec.words[0]} to {spec.words[1]} words" for spec in card.fields.values()]
    if len(ranges) == 1:
        return ranges[0]
    return "; ".join(f"{head}: {words}" for head, words in zip(headings(card).values(), ranges, strict=True))


def begin(card: Card) -> str:
    """Return how every sample of the card begins: the first heading of several, or nothing."""
    return "" if len(card.fields) == 1 else f"{next(iter(headings(card).values()))}:"


def _stop(card: Card) -> str:
    return "\n" if len(card.fields) == 1 else "\n\n"


def _noted(note: str, text: str, card: Card) -> str:
    """Put an attribute note before a sample."""
    if not note:
        return text
    return f"({note}) {text}" if len(card.fields) == 1 else f"({note})\n{text}"


def _lines(ask: Ask, marks: Callable[[int], str]) -> str:
    """Return the exemplars, each behind its mark, and the mark of the one that is wanted."""
    card, gap = ask.card, _stop(ask.card)
    texts = [_noted(note, write_sample(card, row), card) for row, note in zip(ask.exemplars, ask.notes, strict=False)]
    wanted = _noted(ask.notes[-1], begin(card), card)
    return "".join(f"{marks(i)}{text}{gap}" for i, text in enumerate(texts)) + f"{marks(len(texts))}{wanted}".rstrip(
        " "
    )


# ---- frames --------------------------------------------------------------------------------------------------


def _plain(ask: Ask) -> Prompt:
    form = "Answer with the text only."
    if len(ask.card.fields) > 1:
        form = f"Answer with one line for each of: {', '.join(headings(ask.card).values())}."
    return Prompt(
        f"Write {describe(ask.card, ask.label)}. Length: {_shape(ask.card)}. {form}", begin(ask.card), _stop(ask.card)
    )


def _numbered(ask: Ask) -> Prompt:
    text = f"Write a list of different examples. Each is {describe(ask.card, ask.label)}."
    return Prompt(
        text, _lines(ask, lambda i: f"{i + 1}. " if len(ask.card.fields) == 1 else f"{i + 1}.\n"), _stop(ask.card)
    )


def _dashes(ask: Ask) -> Prompt:
    text = f"Give many examples, no two alike. Wanted: {describe(ask.card, ask.label)}."
    return Prompt(text, _lines(ask, lambda _: "- " if len(ask.card.fields) == 1 else "-\n"), _stop(ask.card))


def _headed(ask: Ask) -> Prompt:
    head = noun(ask.card.description, "example").capitalize()
    text = f"{head} after {head.lower()}, each by somebody else. Wanted: {describe(ask.card, ask.label)}."
    return Prompt(
        text, _lines(ask, lambda _: f"{head}: " if len(ask.card.fields) == 1 else f"{head}:\n"), _stop(ask.card)
    )


def _definition(ask: Ask) -> Prompt:
    label = ask.label or noun(ask.card.description, "example")
    meaning = ask.card.labels.get(ask.label, "") or ask.card.description
    text = f"What does '{label}' mean here? Explain it and give examples: {ask.card.description}"
    start = f"'{label}' means: {meaning}. Examples:{_stop(ask.card)}"
    return Prompt(text, start + _lines(ask, lambda _: "* " if len(ask.card.fields) == 1 else "*\n"), _stop(ask.card))


def _contrast(ask: Ask) -> Prompt:
    card, gap = ask.card, _stop(ask.card)
    text = f"Write examples of each kind: {'; '.join(f'{k} ({v})' if v else k for k, v in card.labels.items())}. {card.description}"
    others = "".join(_mark(card, row["label"]) + write_sample(card, row) + gap for row in ask.contrasts)
    return Prompt(text, others + _lines(ask, lambda _: _mark(card, ask.label)), gap)


def _mark(card: Card, label: str) -> str:
    return f"[{label}] " if len(card.fields) == 1 else f"[{label}]\n"


def _shown(ask: Ask) -> Prompt:
    """Examples in the user's turn, the answer begins right away."""
    shown = "\n\n".join(
        _noted(n, write_sample(ask.card, r), ask.card) for r, n in zip(ask.exemplars, ask.notes, strict=False)
    )
    text = f"Here is what I want: {describe(ask.card, ask.label)}. Length: {_shape(ask.card)}.\n\n{shown}\n\nWrite another one, about something else."
    head = noun(ask.card.description, "text").capitalize()
    prefix = f"{head}:" if len(ask.card.fields) == 1 else begin(ask.card)
    return Prompt(text, f"({ask.notes[-1]}) {prefix}" if ask.notes[-1] else prefix, _stop(ask.card))


def _quotes(ask: Ask) -> Prompt:
    if len(ask.card.fields) > 1:
        return _shown(ask)
    text = f"Quote what different people wrote: {describe(ask.card, ask.label)}."
    lines = [
        f'{_who(i, note)} wrote: "{write_sample(ask.card, row)}"\n'
        for i, (row, note) in enumerate(zip(ask.exemplars, ask.notes, strict=False))
    ]
    return Prompt(text, "".join(lines) + f'{_who(len(lines), ask.notes[-1])} wrote: "', '"')


def _who(index: int, note: str) -> str:
    people = ("One", "Another", "A third", "A fourth", "A fifth", "Somebody")
    return people[min(index, len(people) - 1)] + (f" ({note})" if note else "")


def _rewrite(ask: Ask) -> Prompt:
    """Ask for a variation of the last exemplar."""
    card = ask.card
    text = f"Rewrite each example so that it is about something else but is still {describe(card, ask.label)}."
    gap = _stop(card)
    pairs = [ask.exemplars[i : i + 2] for i in range(0, len(ask.exemplars) - 1, 2)]
    shown = "".join(
        f"{_old(card)}{write_sample(card, a)}{gap}{_new(card)}{write_sample(card, b)}{gap}" for a, b in pairs
    )
    last = write_sample(card, ask.exemplars[-1])
    return Prompt(
        text, f"{shown}{_old(card)}{last}{gap}{_new(card)}{_noted(ask.notes[-1], begin(card), card)}".rstrip(" "), gap
    )


def _old(card: Card) -> str:
    return "Example: " if len(card.fields) == 1 else "Example:\n"


def _new(card: Card) -> str:
    return "Variation: " if len(card.fields) == 1 else "Variation:\n"


def _scenario(ask: Ask) -> Prompt:
    text = f"Picture many different situations. In each of them somebody writes {describe(ask.card, ask.label)}."
    gap = " " if len(ask.card.fields) == 1 else "\n"
    return Prompt(text, _lines(ask, lambda i: f"Situation {i + 1}:{gap}"), _stop(ask.card))


def _attrprompt(ask: Ask) -> Prompt:
    """Bare instruction with attributes and labelled real examples: AttrPrompt (Yu et al. 2023, arXiv:2306.15895)."""
    card = ask.card
    rows = [*ask.contrasts, *ask.exemplars]
    shown = "\n\n".join(write_sample(card, row) + (f"\nLabel: {row['label']}" if card.labels else "") for row in rows)
    wanted = [f"- {name.replace('_', ' ')}: {value.replace('_', ' ')}" for name, value in ask.attributes.items()]
    text = "\n".join(
        [
            f"You write data to train a classifier with. Write {describe(card, ask.label)}.",
            f"Requirements:\n- length: {_shape(card)}",
            *wanted,
            "- do not copy the examples, do not name the label, write as a real person would",
            f"Real examples:\n\n{shown}",
            "\nWrite one new text.",
        ]
    )
    return Prompt(text, "Text:" if len(card.fields) == 1 else begin(card), _stop(card))


FRAMES: Mapping[str, Callable[[Ask], Prompt]] = {
    "plain": _plain,
    "numbered": _numbered,
    "dashes": _dashes,
    "headed": _headed,
    "definition": _definition,
    "contrast": _contrast,
    "shown": _shown,
    "quotes": _quotes,
    "rewrite": _rewrite,
    "scenario": _scenario,
    "attrprompt": _attrprompt,
}
"""Prompt frames by name."""
