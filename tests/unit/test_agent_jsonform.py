"""Samples as JSON objects: what prompts show of them, what is asked for, and how they are read."""

import json
from dataclasses import replace

import jsonschema
import pytest
from pieces import KINDS, PAIR, checked, task_of

from synlearner.agent.config import Settings, parse_settings
from synlearner.agent.frames import FRAMES, Ask
from synlearner.agent.jsonform import as_json, parse_json
from synlearner.agent.planning import Planner

JSON = parse_settings(["policy.grammar=json"])


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_show_objects_that_follow_the_grammar_they_ask_for(kind: str) -> None:
    card = checked(KINDS[kind])
    for prompt in Planner(task_of(card), JSON).learning(3):
        assert prompt.stop == ""
        assert "quotes" not in prompt.strategy
        schema = json.loads(prompt.decoding.grammar)
        assert schema["required"] == list(card.fields)
        shown = [line[line.index("{") :] for line in (prompt.text + "\n" + prompt.prefix).split("\n") if '{"' in line]
        for line in shown:
            jsonschema.validate(json.loads(line), schema)
        assert shown or prompt.strategy.startswith("plain")


def test_without_a_grammar_nothing_changes() -> None:
    card = checked(PAIR)
    prompts = Planner(task_of(card), Settings()).learning(3)
    assert {prompt.decoding.grammar for prompt in prompts} == {""}
    assert not any('{"' in prompt.prefix for prompt in prompts)


@pytest.mark.parametrize("frame", FRAMES)
def test_every_frame_can_write_objects(frame: str) -> None:
    card = checked(PAIR)
    rows = [row for row in card.seeds if row["label"] == "entailment"]
    ask = Ask(card, "entailment", rows, [card.seeds[2]], [""] * (len(rows) + 1))
    prompt = FRAMES[frame](as_json(ask))
    whole = prompt.text + prompt.prefix
    assert "as one line of JSON with text and text_b" in whole
    if frame != "plain":
        assert json.dumps({name: rows[0][name] for name in card.fields}) in whole
    assert ask == replace(ask, card=card), "the card itself stays"


def test_objects_are_read_and_everything_else_is_no_row() -> None:
    card = checked(PAIR)
    assert parse_json(card, '{"text": " a b ", "text_b": "c"}') == {"text": "a b", "text_b": "c"}
    assert parse_json(card, '{"text": " a b ", "text_b": "c", "label": "x"}') == {}
    for bad in ("", "text", "[1]", "null", '{"text": "a"}', '{"text": "a", "text_b": 3}', '{"text": "a", "text_b": " "}',
                '{"text": "a", "text_b": "b"', "[" * 100_000):  # fmt: skip
        assert parse_json(card, bad) == {}
