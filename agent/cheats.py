"""Samples that try to be paid for nothing, made from any card: each must rank below every honest one. Pure.

At least thirty for each kind of task; `tests/unit/test_agent_cheats.py` scores them on all cards at hand.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synlearner.agent.cards import Card, Row
from synlearner.agent.frames import describe, headings, write_sample
from synlearner.events.types import PlannedPrompt

GERMAN = "Gestern lief unser Hund quer durch den Garten und bellte dabei laut hinter jedem Vogel her."
RUSSIAN = "Вчера наша собака бегала по саду и громко лаяла на каждую птицу за забором."
SALAD = "purple anvil tremble ocean dishwasher marble ninety lantern copper violin sandal pigeon tunnel vinegar"
CODE = "for (i = 0; i < n; i++) { a[i] += b[i] * c[i]; } // <<x>> {y}"
DIGITS = "3 14 15 92 65 35 89 79 32 38 46 26 43 38 32 79"
HELP = "I hope this helps! Let me know if you need another one."


@dataclass(frozen=True, slots=True)
class Cheat:
    """A sample as an engine might return it."""

    name: str
    text: str
    finish: str = "stop"
    as_json: bool = False
    """Whether JSON was due."""


def cheats(card: Card, good: Sequence[Row], prompt: PlannedPrompt) -> list[Cheat]:
    """Return the cheats that *card* allows; names are unique.

    Args:
        card: Any.
        good: Honest samples that are scored before these, at least one.
        prompt: What they pretend to answer.
    """
    longest = max(good, key=lambda row: sum(map(len, row.values())))
    row = {field: longest[field] for field in card.fields}
    found = [*_whole(card, row, prompt), *_bodies(card, row), *_copies(card, row), *_json(card, row)]
    if card.labels:
        found += _labelled(card, row, prompt.label)
    if len(card.fields) > 1:
        found += _headed(card, row)
    return found


def _whole(card: Card, row: Row, prompt: PlannedPrompt) -> Iterator[Cheat]:
    """Yield texts that pay no heed to the card's fields, and those that talk about the task."""
    sample = write_sample(card, row)
    yield Cheat("nothing", "")
    yield Cheat("blanks", " \n \t ")
    yield Cheat("marks alone", "… !! ?? ,, -- ..")
    yield Cheat("the prompt", prompt.text)
    yield Cheat("the prompt's end", " ".join(prompt.text.split()[-30:]))
    yield Cheat("cut off", f"{sample} and then the", finish="length")
    yield Cheat("an engine's error", "CUDA out of memory", finish="error")
    yield Cheat("an offer before it", f"Sure! Here is what you asked for: {sample}")
    yield Cheat("an offer behind it", f"{sample} {HELP}")
    yield Cheat("a refusal", _fill(card, row, "I'm sorry, but I cannot help with that request."))
    yield Cheat("an excuse", _fill(card, row, "As a language model I have no views of my own on this matter."))


def _bodies(card: Card, row: Row) -> Iterator[Cheat]:
    """Yield samples whose fields are there and hold nothing."""
    words = row[list(card.fields)[-1]].split()
    texts = {
        "the description": describe(card, ""),
        "the attributes": ", ".join(f"{name}: {values[0]}" for name, values in _attributes(card).items()),
        "one word": "good " * max(6, len(words)),
        "one phrase": " ".join(words[:3] * 8),
        "one syllable": "ha" * 40,
        "one letter": "a" * 60,
        "twice the same": " ".join(words * 2),
        "far too long": " ".join(f"{words[i % len(words)]}{i}" for i in range(2 * _most(card) + 1)),
        "another language": GERMAN,
        "another script": RUSSIAN,
        "different words": SALAD,
        "digits": DIGITS,
        "code": CODE,
        "mark-up": f"```\n{' '.join(words)}\n```",
        "no letters": "-> <- => <= || && ## ** -> <- => <= || && ## **",
    }
    for name, text in texts.items():
        yield Cheat(name, _fill(card, row, text))


def _copies(card: Card, row: Row) -> Iterator[Cheat]:
    """Yield what was there before, in other dress."""
    sample = write_sample(card, row)
    seeds = [{field: seed[field] for field in card.fields} for seed in card.seeds]
    longest = max(seeds, key=lambda seed: sum(map(len, seed.values())))
    yield Cheat("a good one again", sample)
    yield Cheat("a good one in capitals", sample.upper())
    yield Cheat("a good one and a word", f"{sample} indeed")
    yield Cheat("a seed", write_sample(card, longest))
    yield Cheat("a seed with commas", write_sample(card, {f: text.replace(" ", ", ") for f, text in longest.items()}))
    yield Cheat("a seed and a word", f"{write_sample(card, longest)} indeed")
    yield Cheat("a part of a seed", write_sample(card, {f: _part(text) for f, text in longest.items()}))


def _json(card: Card, row: Row) -> Iterator[Cheat]:
    """Yield what is no JSON object of the card's fields where one is due, and one where none is."""
    line = json.dumps(row, ensure_ascii=False)
    first = next(iter(card.fields))
    yield Cheat("JSON where text is due", _fill(card, row, line))
    yield Cheat("prose where JSON is due", write_sample(card, row), as_json=True)
    yield Cheat("JSON cut short", line[:-2], as_json=True)
    yield Cheat("JSON with a key too many", json.dumps(row | {"label": "x"}), as_json=True)
    yield Cheat("JSON without a field", json.dumps({f: v for f, v in row.items() if f != first}), as_json=True)
    yield Cheat("JSON of nothing", json.dumps(dict.fromkeys(row, "")), as_json=True)
    yield Cheat("JSON in a list", f"[{line}]", as_json=True)
    yield Cheat("JSON and a word", f"{line} there", as_json=True)


def _labelled(card: Card, row: Row, label: str) -> Iterator[Cheat]:
    last = list(card.fields)[-1]
    named = ", ".join(card.labels)
    yield Cheat("the labels", _fill(card, row, named))
    yield Cheat("the labels behind it", write_sample(card, row | {last: f"{row[last]} ({named})"}))
    yield Cheat("the label's meaning", _fill(card, row, card.labels[label] or label))
    if card.kind == "pair_classification":
        first = row[next(iter(card.fields))]
        yield Cheat("the first once more", write_sample(card, row | {last: first}))
        yield Cheat("the first, denied", write_sample(card, row | {last: f"It is not true that {first}"}))
        yield Cheat("a part of the first", write_sample(card, row | {last: _part(first)}))
        yield Cheat("a part of the first, denied", write_sample(card, row | {last: f"{_part(first)} not"}))


def _headed(card: Card, row: Row) -> Iterator[Cheat]:
    heads = list(headings(card).values())
    sample = write_sample(card, row)
    yield Cheat("a heading without text", sample[: sample.rindex(f"{heads[-1]}:") + len(heads[-1]) + 1])
    yield Cheat("a field missing", f"{heads[-1]}: {row[list(card.fields)[-1]]}")
    yield Cheat("two at once", f"{sample}\n{sample}")


def _fill(card: Card, row: Row, text: str) -> str:
    return write_sample(card, dict.fromkeys(row, text)) if len(row) == 1 else write_sample(card, _last(card, row, text))


def _last(card: Card, row: Row, text: str) -> Row:
    return row | {list(card.fields)[-1]: text}


def _attributes(card: Card) -> dict[str, list[str]]:
    return dict(card.attributes) or {"length": ["40"], "label": list(card.labels) or [card.name]}


def _part(text: str) -> str:
    words = text.split()
    return " ".join(words[: max(4, 3 * len(words) // 4)])


def _most(card: Card) -> int:
    return max(spec.words[1] for spec in card.fields.values())
