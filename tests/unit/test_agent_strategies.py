"""The strategy library: every combination is written out for every kind of card, and its samples can be read back."""

import itertools

import pytest
from pieces import KINDS, PAIR, STORY, checked
from worlds import card

from synlearner.agent.cards import Card, Row
from synlearner.agent.config import DaiSettings
from synlearner.agent.frames import FRAMES, Ask, Prompt, describe, headings, noun, write_sample
from synlearner.agent.parsing import parse
from synlearner.agent.strategies import ATTRIBUTE_PLANS, DECODINGS, Strategy, decoding, library, write

EVERYTHING = DaiSettings.model_validate({"frames": list(FRAMES), "attributes": ATTRIBUTE_PLANS})
OWN = {"attributes": {"tone": ["warm", "cold"]}}
NOTES = {
    "none": "",
    "keyword": "with the word 'river'",
    "length": "7 words",
    "persona": "by a cook",
    "topic": "about boats",
    "card": "tone: warm",
}


def asked(of: Card, plan: str, count: int = 3) -> Ask:
    """Return what a prompt is about, for the card's first label."""
    label = next(iter(of.labels), "")
    mine = [row for row in of.seeds if not label or row["label"] == label][:count]
    contrasts = [next(row for row in of.seeds if row["label"] == other) for other in list(of.labels)[1:]]
    notes = [NOTES[plan] if plan != "card" else ""] * len(mine) + [NOTES[plan]]
    return Ask(of, label, mine, contrasts, notes, {"tone": "warm"} if plan == "card" else {})


def all_prompts(of: Card) -> list[tuple[Strategy, Ask, Prompt]]:
    plans = {plan: asked(of, plan) for plan in ATTRIBUTE_PLANS}
    return [(s, plans[s.attributes], write(s, plans[s.attributes])) for s in library(of, EVERYTHING, topics=True)]


CARDS = {kind: checked(tree, **OWN) for kind, tree in KINDS.items()}
kinds = pytest.mark.parametrize("kind", CARDS)


def shown(of: Card, row: Row, prompt: Prompt) -> bool:
    return write_sample(of, row) in prompt.text + prompt.prefix


@kinds
def test_every_strategy_says_what_is_wanted_and_how_the_answer_begins(kind: str) -> None:
    of = CARDS[kind]
    for strategy, ask, prompt in all_prompts(of):
        for part in (ask.label, of.labels.get(ask.label, "")):
            assert part in prompt.text + prompt.prefix, strategy
        if strategy.frame != "attrprompt" or strategy.attributes == "card":  # it states drawn values alone
            assert NOTES[strategy.attributes] in prompt.text + prompt.prefix, strategy
        assert not prompt.prefix.endswith(" "), "a blank at the end splits the next word's token"
        assert prompt.stop


@kinds
def test_every_strategy_shows_its_examples_and_plain_shows_none(kind: str) -> None:
    of = CARDS[kind]
    for strategy, ask, prompt in all_prompts(of):
        examples = [shown(of, row, prompt) for row in ask.exemplars]
        assert examples == [strategy.frame != "plain"] * len(examples), strategy
        others = [shown(of, row, prompt) for row in ask.contrasts]
        assert others == [strategy.frame in {"contrast", "attrprompt"}] * len(others), strategy


@kinds
def test_what_continues_a_prompt_is_read_back(kind: str) -> None:
    """The next example in the form of the shown ones: the engine's text is what follows the prefix."""
    of = CARDS[kind]
    for strategy, _, prompt in all_prompts(of):
        for row in of.seeds:
            text = write_sample(of, row)
            first = next(iter(headings(of).values()))
            begun = len(of.fields) > 1 and prompt.prefix.endswith(f"{first}:")
            continued = text.removeprefix(f"{first}:") if begun else text
            wanted = {field: row[field] for field in of.fields}
            assert parse(of, continued, prompt.prefix) == wanted, strategy
            assert prompt.stop not in continued, strategy


@pytest.mark.parametrize("count", [1, 2, 4])
@kinds
def test_any_number_of_examples_will_do(kind: str, count: int) -> None:
    of = CARDS[kind]
    ask = asked(of, "persona", count)
    for frame in FRAMES.keys() - {"plain"} - (set() if of.labels else {"contrast"}):
        prompt = write(Strategy(frame, "persona", "open"), ask)
        assert all(shown(of, row, prompt) for row in ask.exemplars), frame


@kinds
def test_different_frames_write_different_prompts(kind: str) -> None:
    of = CARDS[kind]
    prompts = {s.frame: p for s, _, p in all_prompts(of) if s.attributes == "none"}
    twins = [pair for pair in itertools.combinations(sorted(prompts), 2) if prompts[pair[0]] == prompts[pair[1]]]
    # With several fields there is nothing to put quotes around.
    assert twins == ([] if len(of.fields) == 1 else [("quotes", "shown")])


def test_the_library_is_frames_times_plans_times_decodings() -> None:
    """Hand-worked: plain/none x 3, and 8 other frames x 4 plans x 3; a plan more with own attributes; no contrast without labels."""
    usual = DaiSettings()
    assert len(FRAMES) >= 8
    assert len(library(checked(card()), usual)) == 3 + 8 * 4 * 3
    assert len(library(checked(card(), **OWN), usual)) == 3 + 8 * 5 * 3
    assert len(library(checked(card(), label_attributes={"pets": {"age": ["old"]}}), usual)) == 3 + 8 * 5 * 3
    assert len(library(checked(STORY), usual)) == 3 + 7 * 4 * 3
    assert len({strategy.id for strategy in library(checked(PAIR), usual)}) == 99
    assert len(library(checked(card()), EVERYTHING, topics=True)) == 3 + 10 * 5 * 3


def test_settings_say_which_parts_there_are_to_choose_from() -> None:
    only = DaiSettings(frames=("dashes", "contrast"), attributes=("card", "topic"), decodings=("calm",))
    ids = {strategy.id for strategy in library(checked(card(), **OWN), only)}
    assert ids == {"dashes/card/calm", "contrast/card/calm"}
    assert {s.id for s in library(checked(card()), only)} == {"dashes/none/calm", "contrast/none/calm"}, (
        "nothing to draw"
    )
    assert {s.id for s in library(checked(card()), only, topics=True)} == {"dashes/topic/calm", "contrast/topic/calm"}
    alone = DaiSettings(frames=("contrast",))
    assert {s.frame for s in library(checked(STORY), alone)} == {"numbered"}, "without labels there is no contrast"


def test_the_settings_name_every_frame_plan_and_decoding() -> None:
    names = DaiSettings.model_validate(
        {"frames": [*FRAMES], "attributes": [*ATTRIBUTE_PLANS], "decodings": [*DECODINGS]}
    )
    assert set(names.frames) == set(FRAMES)


def test_a_strategy_is_its_three_parts() -> None:
    strategy = Strategy("dashes", "none", "bold")
    assert strategy.id == "dashes/none/bold"
    assert strategy.parts == ("frame:dashes", "attributes:none", "decoding:bold")


def test_there_is_room_for_the_longest_sample() -> None:
    """Hand-worked: ceil(1.5 x 14) + 6 for one field; ceil(1.5 x (12 + 10)) + 12 for two."""
    calm = decoding("calm", checked(card()), "pets")
    assert (calm.temperature, calm.min_p, calm.max_new_tokens) == (0.8, 0.1, 27)
    assert decoding("bold", checked(PAIR), "entailment").max_new_tokens == 45
    for name, (temperature, min_p, top_p, top_k) in DECODINGS.items():
        assert temperature > 0, name
        assert 0 <= min_p < 1, name
        assert 0 < top_p <= 1, name
        assert min_p or (top_p < 1 and top_k), "the tail is cut in one way or another"


NOUNS = {
    "the premise: a sentence from fiction": "premise",
    "A factual question.": "factual question",
    "a worked solution in plain sentences": "worked solution",
    "one remark": "remark",
    "a sentence that somebody wrote": "sentence",
    "A very long and winding name": "some field",
    "": "some field",
    "of": "some field",
}


@pytest.mark.parametrize("description", NOUNS)
def test_the_noun_of_a_description_is_its_short_beginning(description: str) -> None:
    assert noun(description, "some_field") == NOUNS[description]


def test_headings_are_nouns_and_field_names_where_nouns_are_equal() -> None:
    assert headings(checked(PAIR)) == {"text": "Premise", "text_b": "Hypothesis"}
    fields = {name: {"description": "a sentence"} for name in ("text", "text_b")}
    assert headings(checked(PAIR, fields=fields)) == {"text": "Text", "text_b": "Text b"}


def test_a_sample_is_written_without_the_blank_lines_that_would_end_it() -> None:
    assert write_sample(checked(card()), {"text": " one\n\n two  three "}) == "one two three"
    row = {"question": "How many?\n\n", "answer": " 3 + 4\n\n\n= 7 "}
    assert write_sample(checked(STORY), row) == "Word problem: How many?\nWorked solution: 3 + 4\n= 7"


def test_the_wish_names_the_label_with_its_meaning() -> None:
    of = checked(card())
    assert describe(of, "pets") == "a short remark. Kind: pets (about animals at home)"
    assert describe(checked(card(labels={"pets": "", "weather": ""})), "pets") == "a short remark. Kind: pets"
    assert describe(checked(STORY), "") == "a word problem with its solution"


def test_a_prompt_by_hand() -> None:
    of = checked(card())
    ask = Ask(of, "pets", of.seeds[:2], [], ["", "", ""])
    prompt = write(Strategy("numbered", "none", "open"), ask)
    assert prompt.text == (
        "Write a list of different examples. Each is a short remark. Kind: pets (about animals at home)."
    )
    assert prompt.prefix == "1. i saw the cat today near the river\n2. my sister talked about cat all evening\n3."
    assert prompt.stop == "\n"
