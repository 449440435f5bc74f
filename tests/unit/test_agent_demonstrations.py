"""What a task's seeds teach: each of them once, behind others of its label, and as a sample would be read."""

import json

import pytest
from pieces import PAIR, STORY, checked, task_of
from worlds import card, rows

from synlearner.agent.cards import Card
from synlearner.agent.config import Settings, parse_settings
from synlearner.agent.demonstrations import Demonstration, demonstrations
from synlearner.agent.frames import FRAMES
from synlearner.agent.jsonform import parse_json
from synlearner.agent.parsing import parse
from synlearner.policies.rows import clip_at_stop

TOPICS, PAIRS, STORIES = checked(card()), checked(PAIR), checked(STORY)


def taught(of: Card, *settings: str, seed: int = 1) -> list[Demonstration]:
    return demonstrations(task_of(of), parse_settings(settings) if settings else Settings(), seed)


@pytest.mark.parametrize("frame", sorted(FRAMES))
@pytest.mark.parametrize("of", [TOPICS, PAIRS, STORIES], ids=lambda of: of.kind)
def test_an_answer_is_read_back_as_its_seed(of: Card, frame: str) -> None:
    """Whatever the frame: as text, and as an object."""
    for demonstration, row in zip(taught(of, f"dai.frames=[{frame}]"), of.seeds, strict=True):
        prompt = demonstration.prompt
        assert prompt.stop
        assert demonstration.answer.endswith(prompt.stop)
        assert parse(of, clip_at_stop(demonstration.answer, prompt.stop), prompt.prefix) == {
            f: row[f] for f in of.fields
        }
    for demonstration, row in zip(taught(of, f"dai.frames=[{frame}]", "policy.grammar=json"), of.seeds, strict=True):
        assert parse_json(of, demonstration.answer) == {f: row[f] for f in of.fields}
        assert list(json.loads(demonstration.answer)) == list(of.fields)


@pytest.mark.parametrize("of", [TOPICS, PAIRS, STORIES], ids=lambda of: of.kind)
def test_a_seed_stands_behind_others_of_its_label_and_never_in_its_own_prompt(of: Card) -> None:
    for place, demonstration in enumerate(taught(of, "dai.frames=[numbered,shown,contrast,attrprompt]")):
        prompt = demonstration.prompt
        assert prompt.exemplars
        assert place not in prompt.exemplars
        text = next(iter(of.fields))
        assert of.seeds[place][text] not in prompt.text + prompt.prefix
        if of.labels:
            assert {of.seeds[i]["label"] for i in prompt.exemplars} == {of.seeds[place]["label"]} == {prompt.label}


def test_the_only_seed_of_a_label_has_nothing_to_stand_behind() -> None:
    pets = [row for row in rows(4) if row["label"] == "pets"]
    weather = [row for row in rows(4) if row["label"] == "weather"]
    mixed = checked(card(seeds=[*pets, weather[0]]))
    assert [demonstration.prompt.label for demonstration in taught(mixed)] == ["pets"] * len(pets)


def test_what_a_prompt_asks_for_is_what_its_seed_has() -> None:
    """A word of it, or its length; `persona` and the card's own attributes are nobody's to know."""
    many = checked(card(seeds=rows(12)))
    found = taught(many, "dai.frames=[numbered]")
    for demonstration, row in zip(found, many.seeds, strict=True):
        asked, end = demonstration.prompt.attributes, demonstration.prompt.prefix.splitlines()[-1]
        if "keyword" in asked:
            assert asked["keyword"] in row["text"].lower()
            assert end.endswith(f"(with the word '{asked['keyword']}')")
        elif "length" in asked:
            assert asked == {"length": str(len(row["text"].split()))}
            assert end.endswith(f"({asked['length']} words)")
    plans = {demonstration.prompt.strategy.split("/")[1] for demonstration in found}
    assert plans == {"none", "keyword", "length"}
    assert {len(demonstration.prompt.attributes) for demonstration in taught(many, "dai.attributes=[persona]")} == {0}


def test_frames_vary_and_chance_is_seeded() -> None:
    many = checked(card(seeds=rows(12)))
    assert taught(many) == taught(many)
    assert taught(many) != taught(many, seed=2)
    frames = {demonstration.prompt.strategy.split("/")[0] for demonstration in taught(many)}
    assert len(frames) > 4
    assert frames <= set(Settings().dai.frames)
