"""Samples as JSON objects: what prompts show of them, what is asked for, and how they are read."""

import json
from dataclasses import replace

import jsonschema
import pytest
from pieces import KINDS, PAIR, STORY, checked, task_of

from synlearner.agent.config import Settings, parse_settings
from synlearner.agent.frames import FRAMES, Ask, Prompt
from synlearner.agent.jsonform import as_json, constrained, parse_json
from synlearner.agent.planning import Planner
from synlearner.events.types import Decoding
from synlearner.policies.schema import closes

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


def test_the_embedded_engine_alone_is_asked_to_end_samples_in_time() -> None:
    served = parse_settings(["policy.grammar=json", "policy.engine=openai", "policy.base_url=http://localhost:1/v1"])
    for settings, expected in ((JSON, True), (served, False)):
        for prompt in Planner(task_of(checked(PAIR)), settings).learning(3):
            assert closes(prompt.decoding.grammar) is expected


def test_a_sample_that_must_end_in_time_has_the_room_to() -> None:
    """Hand-worked: 9 words have 20 tokens and half as many more, and 8 for the key: 38. The shortest object has 47 bytes."""
    name = "a_name_of_some_length"
    fields = {name: {"description": "words", "words": [9, 9]}}
    card = checked(STORY, fields=fields, seeds=[{name: "one two three four five six seven eight nine"}])
    prompt, decoding = Prompt("", "", ""), Decoding(temperature=1.0, min_p=0.0, max_new_tokens=20)
    assert constrained(card, prompt, decoding, closing=False)[1].max_new_tokens == 38
    assert constrained(card, prompt, decoding, closing=True)[1].max_new_tokens == 47


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
