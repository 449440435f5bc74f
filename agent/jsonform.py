"""Samples as JSON objects, one line each: how they stand in prompts, what a grammar makes of them, how they are read.

To the frames a JSON object is a text like any other, so none of them has to know.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from synlearner.agent.cards import Card, FieldSpec, Row
from synlearner.agent.frames import Ask, Prompt
from synlearner.agent.strategies import Strategy
from synlearner.events.types import Decoding
from synlearner.policies.schema import least_bytes, object_schema

FIELD = "json"
"""The one field of a card whose samples are JSON objects."""


def fitting(strategies: Sequence[Strategy]) -> list[Strategy]:
    """Return the strategies that JSON fits in: within quotation marks it does not, unless there is nothing else."""
    return [strategy for strategy in strategies if strategy.frame != "quotes"] or list(strategies)


def as_json(ask: Ask) -> Ask:
    """Return *ask* for samples that are JSON objects."""
    card = ask.card
    keys = " and ".join(card.fields)
    words = tuple(sum(spec.words[i] for spec in card.fields.values()) for i in (0, 1))
    description = f"{card.description.strip().rstrip('.')}, as one line of JSON with {keys}."
    field = FieldSpec(description=f"one line of JSON with {keys}", words=(words[0], words[1]))
    return replace(
        ask,
        card=card.model_copy(update={"fields": {FIELD: field}, "description": description}),
        exemplars=[line(card, row) for row in ask.exemplars],
        contrasts=[line(card, row) for row in ask.contrasts],
    )


def line(card: Card, row: Mapping[str, str]) -> Row:
    """Return *row* with its line of JSON under `FIELD`."""
    values = {name: " ".join(row[name].split(" ")) for name in card.fields}
    return {**row, FIELD: json.dumps(values, ensure_ascii=False)}


def constrained(card: Card, prompt: Prompt, decoding: Decoding, *, closing: bool) -> tuple[Prompt, Decoding]:
    """Return both with the card's grammar: a sample ends where its object does, and has room for marks and keys.

    With *closing* it also ends in time, for which there is always room.
    """
    windows = {name: spec.words for name, spec in card.fields.items()}
    grammar = object_schema(windows, closing=closing)
    room = decoding.max_new_tokens + math.ceil(0.5 * decoding.max_new_tokens) + 8 * len(card.fields)
    room = max(room, least_bytes(windows)) if closing else room
    return replace(prompt, stop=""), msgspec.structs.replace(decoding, grammar=grammar, max_new_tokens=room)


def parse_json(card: Card, text: str) -> Row:
    """Return the fields of a sample, or an empty row where it is no object of exactly these."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or found.keys() != card.fields.keys():
        return {}
    row = {name: found.get(name) for name in card.fields}
    texts = {name: value.strip() for name, value in row.items() if isinstance(value, str)}
    return texts if len(texts) == len(row) and all(texts.values()) else {}
