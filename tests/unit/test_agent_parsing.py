"""From text to fields, and the gates. Regressions: weaknesses 7.2 and 7.3 of the reference implementation."""

from pathlib import Path

import pytest
from pieces import PAIR, STORY, checked
from worlds import card

from synlearner.agent.cards import Row, load_stream
from synlearner.agent.parsing import (
    copies,
    distinct_share,
    gate,
    joined,
    names_label,
    normal,
    parse,
    repeats_itself,
    words_fit,
)

TOPICS = checked(card())
PAIRS = checked(PAIR)
SUMS = checked(STORY)


def why(text: str, label: str = "pets", *, finish: str = "stop", seen: dict[str, str] | None = None) -> str:
    """Return the gate that closes on a sample of the card with one field."""
    return gate(TOPICS, parse(TOPICS, text, ""), finish, label, seen or {})


# ---- one field -----------------------------------------------------------------------------------------------

BARE = {
    "my cat sat down": "my cat sat down",
    '  "my cat sat down" \n': "my cat sat down",
    "“my cat sat down”": "my cat sat down",
    "**my cat sat down**": "my cat sat down",
    "'\"my cat sat down\"'": "my cat sat down",
    'my cat sat down"': "my cat sat down",
    '"my cat sat down': "my cat sat down",
    'she calls it "a cat"': 'she calls it "a cat"',
    '"a cat" is what she calls it': '"a cat" is what she calls it',
    '"one" and "two"': '"one" and "two"',
    "it isn't": "it isn't",
}


@pytest.mark.parametrize("text", BARE)
def test_marks_around_a_sample_are_taken_off_and_those_of_a_quoted_part_stay(text: str) -> None:
    assert parse(TOPICS, text, "") == {"text": BARE[text]}


@pytest.mark.parametrize("text", ["", " \n\t", '""', "***", "“”"])
def test_a_sample_without_a_text_has_no_fields(text: str) -> None:
    assert parse(TOPICS, text, "") == {}


# ---- several fields ------------------------------------------------------------------------------------------

HEADED = "Premise: A man sings.\nHypothesis: Somebody makes a sound."
ROW = {"text": "A man sings.", "text_b": "Somebody makes a sound."}


def test_fields_stand_under_their_headings() -> None:
    assert parse(PAIRS, HEADED, "") == ROW


def test_the_first_heading_may_stand_in_the_prefix() -> None:
    rest = HEADED.removeprefix("Premise:")
    for prefix in ("Premise:", "3.\nPremise: ", "(by a cook)\nPremise:"):
        assert parse(PAIRS, rest, prefix) == ROW
    assert parse(PAIRS, rest, "3.") == {}


@pytest.mark.parametrize(
    "text",
    [
        "**Premise:** A man sings.\n**Hypothesis:** Somebody makes a sound.",
        "premise : A man sings.\nHYPOTHESIS: Somebody makes a sound.",
        '- Premise: "A man sings."\n- Hypothesis: "Somebody makes a sound."',
        "Hypothesis: Somebody makes a sound.\nPremise: A man sings.",
        "Premise: A man sings. Hypothesis: Somebody makes a sound.",
    ],
    ids=["bold", "case", "list", "order", "one line"],
)
def test_headings_are_read_in_every_usual_dress(text: str) -> None:
    assert parse(PAIRS, text, "") == ROW


def test_a_field_may_have_several_lines() -> None:
    text = "Word problem: Ann has 3 apples.\nWorked solution: 3 + 4 = 7\n#### 7"
    assert parse(SUMS, text, "") == {"question": "Ann has 3 apples.", "answer": "3 + 4 = 7\n#### 7"}


UNREADABLE = {
    "prose where headed fields are due": "A man sings. Somebody makes a sound.",
    "JSON where headed fields are due": '{"text": "A man sings.", "text_b": "Somebody makes a sound."}',
    "one field missing": "Premise: A man sings.",
    "one field empty": "Premise: A man sings.\nHypothesis:",
    "a heading that comes twice": HEADED + "\nHypothesis: Nobody sings.",
    "two samples in one": HEADED + "\n" + HEADED,
    "a heading within a sentence": "Premise: A man sings a hypothesis: Somebody makes a sound.",
    "an empty text": "",
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_sample_that_has_not_all_its_fields_once_is_none(case: str) -> None:
    """7.2.10: prose was wrapped into JSON and paid in full; 7.3.27: a lost field became `UNKNOWN`."""
    row = parse(PAIRS, UNREADABLE[case], "")
    assert row == {}
    assert gate(PAIRS, row, "stop", "entailment", {}) == "gate:format"


# ---- gates ---------------------------------------------------------------------------------------------------


def test_an_honest_sample_passes() -> None:
    assert why("my old cat sleeps on the roof") == ""
    assert gate(PAIRS, ROW, "stop", "entailment", {}) == ""


def test_ordinary_english_that_looks_like_code_passes() -> None:
    """7.2.11: `from `, `class `, `return `, `function` and `format` cost a natural review all of its reward."""
    assert why("in class we return information from a function about dogs") == ""


CLOSED = {
    "gate:engine": ("my cat sat down", "error"),
    "gate:cut_off": ("my cat sat down", "length"),
    "gate:format": ("", "stop"),
    "gate:length": ("cat", "stop"),
    "gate:repetition": ("rain rain rain rain rain rain", "stop"),
}


@pytest.mark.parametrize("reason", CLOSED)
def test_a_bad_sample_is_data_with_a_reason(reason: str) -> None:
    text, finish = CLOSED[reason]
    assert why(text, finish=finish) == reason


def test_a_failed_engine_counts_before_anything_that_the_text_says() -> None:
    assert why("", finish="error") == "gate:engine"


@pytest.mark.parametrize(
    "text",
    [
        "Sure! Here is one about a cat.",
        "I'm sorry, but I cannot write about pets.",
        "As an AI I have no cats at home.",
        "Here are some examples of what a cat says.",
        "What a wonderful idea to write this.",
        "You can write about a cat here.",
        "Note: the remark is about a cat.",
        "I cannot provide a remark of this kind.",
    ],
)
def test_talk_about_the_task_is_not_a_sample(text: str) -> None:
    """7.3.28: refusals became `neutral` reviews."""
    assert why(text) == "gate:chatter"


@pytest.mark.parametrize(
    "text",
    [
        "Surely my cat is the best of all",
        "Okay content but not as deep as my dog",
        "I can't believe how good this cat is",
        "I'm sorry it hurt your dog so much",
        "Here is my cat again",
        "The answer my dog gave was a bark",
    ],
)
def test_people_who_begin_like_an_assistant_pass(text: str) -> None:
    """7.2.11 again: of real reviews and messages about 1 % began with what a first list of words refused."""
    assert why(text) == ""


def test_talk_passes_where_real_examples_talk_like_that() -> None:
    seeds = [{"text": "Sure! I will feed your cat", "label": "pets"}, {"text": "it rains", "label": "weather"}]
    real = checked(card(seeds=seeds))
    assert gate(real, {"text": "Sure! The dog is with me."}, "stop", "pets", {}) == ""


def test_talk_in_any_field_closes_the_gate() -> None:
    assert gate(PAIRS, ROW | {"text_b": "Sure, somebody sings."}, "stop", "entailment", {}) == "gate:chatter"


def test_a_listing_of_the_labels_is_a_leak() -> None:
    """7.2.14: naming all ten topics scored 1.0."""
    assert why("pets, weather and sports") == "gate:label_leak"
    assert gate(PAIRS, ROW | {"text_b": "this is entailment"}, "stop", "entailment", {}) == "gate:label_leak"


def test_another_label_and_a_part_of_a_word_are_no_leak() -> None:
    assert why("the weather is nice for my cat") == ""
    assert why("the carpets of my cat are old") == ""


def test_saying_the_label_is_no_leak_where_real_examples_say_it() -> None:
    seeds: list[Row] = [{"text": "we love all pets here", "label": "pets"}, {"text": "it rains", "label": "weather"}]
    real = checked(card(seeds=seeds))
    assert gate(real, {"text": "our pets are both asleep"}, "stop", "pets", {}) == ""
    assert gate(real, {"text": "our weather is bad today"}, "stop", "weather", {}) == "gate:label_leak"


def test_the_window_of_words_is_left_at_half_and_at_twice_its_bounds() -> None:
    """Hand-worked for [3, 14]: 1 - (3 - 2) / 1.5 = 1/3 passes with 2 words; 28 words are twice the most."""
    assert why("my cat") == ""
    assert why("cat") == "gate:length"
    assert why(" ".join(f"word{i}" for i in range(27))) == ""
    assert why(" ".join(f"word{i}" for i in range(28))) == "gate:length"


def test_equal_fields_are_a_repetition() -> None:
    row = {"text": "A man sings a song.", "text_b": "a man sings a song"}
    assert gate(PAIRS, row, "stop", "entailment", {}) == "gate:repetition"


def test_a_copy_is_recognised_by_its_words() -> None:
    seen = {normal("My cat, sat down!"): "sample"}
    assert why("my CAT sat... down", seen=seen) == "gate:copy_of_sample"
    assert why("I saw the cat today, near the river!") == "gate:copy_of_seed"


def test_a_seed_with_one_word_changed_is_still_a_copy() -> None:
    """Hand-worked: a seed of 11 words has 9 trigrams; with another last word the sample shares 8 of its 9."""
    seed = "one two three four five six seven eight nine ten eleven"
    assert copies(seed.replace("eleven", "twelve"), [{"text": seed}])
    assert not copies(seed.replace("five", "six"), [{"text": seed}])
    assert copies("two three four", [{"text": seed}]), "a cut-out of a seed is a copy"
    assert not copies("two four", [{"text": seed}])


def test_a_copied_field_of_a_pair_closes_the_gate() -> None:
    row = {"text": "Two dogs run over a field!", "text_b": "There are some animals."}
    assert gate(PAIRS, row, "stop", "entailment", {}) == "gate:copy_of_seed"


def test_a_text_without_letters_cannot_be_used() -> None:
    assert why("… !! ?? ,, --") in {"gate:format", "gate:length"}


# ---- measures, by hand ---------------------------------------------------------------------------------------


def test_repetition_by_hand() -> None:
    assert repeats_itself("so so so good so")
    assert not repeats_itself("so so so good"), "four words are too few to tell"
    assert repeats_itself("the cat sat the cat sat the cat sat"), "3 different trigrams of 7"
    assert not repeats_itself("the cat saw the dog and the dog saw me")


def test_the_window_falls_off_linearly() -> None:
    """Hand-worked for [4, 10]: 3 words lack 1 of 2; 15 words are 5 of 10 too many."""
    assert [words_fit("w " * count, (4, 10)) for count in (2, 3, 4, 10, 15, 20, 30)] == [0, 0.5, 1, 1, 0.5, 0, 0]
    assert words_fit("", (1, 5)) == 0


def test_the_share_of_different_bigrams_by_hand() -> None:
    assert distinct_share("a b a b") == pytest.approx(2 / 3)
    assert distinct_share("a") == 1.0


def test_texts_are_compared_without_case_and_punctuation() -> None:
    assert normal(" Ünï-CÖDE,  x! ") == "ünï cöde x"
    assert joined(PAIRS, ROW) == "A man sings. Somebody makes a sound."
    assert names_label("A very-good film", "very good")
    assert not names_label("goodness", "good")
    assert not names_label("anything", "")


def test_almost_all_real_examples_would_pass(shared: Path) -> None:
    """A gate that real data do not pass would teach the policy to be unreal. It closed on 6.3 % at most (tweets that name their
    emotion) when this was written."""
    streams = [load_stream(file) for file in sorted((shared / "streams").glob("*.yaml"))]
    tasks = {task.card.name: task for stream in streams for task in stream.tasks}
    for name, task in tasks.items():
        assert task.test is not None
        closed = []
        for row in task.test.rows[:250]:
            fields = {field: row[field] for field in task.card.fields}
            closed.append(gate(task.card, fields, "stop", row.get("label", ""), {}))
        assert sum(map(bool, closed)) <= 0.08 * len(closed), (name, set(closed))
