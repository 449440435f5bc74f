"""How samples are worded, against how the seeds are: by hand, and on real rows."""

import random
from pathlib import Path

import pytest
from pieces import PAIR, STORY, checked
from worlds import card, rows

from synlearner.agent.cards import load_stream
from synlearner.agent.parsing import gate
from synlearner.agent.wording import LEAST_BITS, PLAIN_BITS, Known, Wording, novelty_bits

TOPICS = checked(card(seeds=rows(8)))
WORDING = Wording(TOPICS)
PAIRS = Wording(checked(PAIR))


def why(text: str, **attributes: str) -> str:
    return WORDING.problem({"text": text}, attributes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("my old cat sleeps on the warm roof all day", ""),
        ("Gestern lief unser Hund quer durch den Garten und bellte laut", "gate:language"),
        ("Вчера наша собака бегала", "gate:language"),
        ("3 14 15 92 65 35", "gate:language"),
        ('{"text": "my cat sleeps"}', "gate:markup"),
        ("```\nmy cat sleeps\n```", "gate:markup"),
        ("a[i] += b[i] * {c};", "gate:markup"),
        ("my cat sleeps here. I hope this helps!", "gate:chatter"),
        ("as a language model i love your cat", "gate:chatter"),
        ("pets and the weather and our pets again", "gate:label_leak"),
        ("keyword: pets, weather, label", "gate:label_leak"),
        ("text: topics, keyword: 40", "gate:copy_of_prompt"),
        ("about animals at home", "gate:copy_of_prompt"),
        ("hahahahahahahahahahahahahahahahahahahahahaha", "gate:repetition"),
    ],
)
def test_what_no_seed_does_closes_the_gate(text: str, reason: str) -> None:
    assert why(text) == reason


def test_two_halves_of_two_seeds_are_a_copy() -> None:
    halves = "my sister talked about cat all evening i saw the dog today near the river"
    assert why(halves) == "gate:copy_of_seed"


def test_the_values_that_a_prompt_asked_for_are_no_text() -> None:
    assert why("tone: warm, place: seaside") == ""
    assert why("tone: warm, place: seaside", tone="warm", place="seaside") == "gate:copy_of_prompt"
    assert why("a warm day at the seaside with my cat", tone="warm", place="seaside") == ""


def test_what_a_seed_does_is_allowed() -> None:
    """7.2.11: a list of forbidden words punished ordinary English. Here the seeds say what is ordinary."""
    seeds = [
        {"text": "{my} [cat] = <dog>; I hope this helps", "label": "pets"},
        {"text": "Вчера шёл дождь 12 34 56", "label": "weather"},
        {"text": "pets or weather, both are fine", "label": "weather"},
    ]
    lenient = Wording(checked(card(seeds=seeds)))
    for text in ("{our} dog = <cat>; yes", "I hope this helps you and your dog", "Снег", "our pets hate this weather"):
        assert lenient.problem({"text": text}, {}) == "", text


def test_the_second_of_a_pair_that_only_repeats_or_denies_the_first_is_an_echo() -> None:
    """7.2.15: overlap counted as entailment and negation as contradiction, so that is what was written."""
    first = "A man in a red coat plays the old guitar."
    for second in ("A man in a red coat plays", "It is not true that a man in a red coat plays.",
                   "A man in a red coat never plays the old guitar"):  # fmt: skip
        assert PAIRS.problem({"text": first, "text_b": second}, {}) == "gate:echo", second
    assert PAIRS.problem({"text": first, "text_b": "Somebody gives a concert."}, {}) == ""


def test_an_echo_passes_where_a_seed_is_one() -> None:
    echo = {"text": "A dog runs over the field", "text_b": "A dog runs", "label": "entailment"}
    own = Wording(checked({**PAIR, "seeds": [*PAIR["seeds"], echo]}))
    assert own.problem({"text": "A man plays the old guitar.", "text_b": "A man plays"}, {}) == ""


def test_news_by_hand() -> None:
    """Of 40 equal letters LZ78 makes phrases of 1, 2, … 8 letters and a rest of 4: 9 log2(9) / 40 = .713 bits."""
    assert novelty_bits("a" * 40) == pytest.approx(0.7132, abs=1e-4)
    assert novelty_bits("a" * 39) == PLAIN_BITS, "too short to tell"
    assert novelty_bits("good " * 12) < LEAST_BITS
    assert novelty_bits("The trombone has a slide that changes the length of the tube and so the pitch.") > PLAIN_BITS


def test_near_copies_are_known_by_their_trigrams() -> None:
    """Hand-worked: 10 words have 8 trigrams; with another last word 7 of 8 are shared, with two others 6 of 8."""
    text = "one two three four five six seven eight nine ten"
    known = Known([text])
    assert known.holds(text.replace("ten", "eleven"))
    assert not known.holds(text.replace("nine ten", "x y"))
    assert not known.holds("one two three four five six seven"), "seven words are too few"
    assert not Known().holds(text)


def test_a_story_with_numbers_and_signs_passes() -> None:
    sums = Wording(checked(STORY))
    row = {
        "question": "A farm has 12 cows and buys 30 more. How many is that?",
        "answer": "12 + 30 = 42 cows.\n#### 42",
    }
    assert sums.problem(row, {}) == ""


def test_hardly_any_real_row_is_refused(shared: Path) -> None:
    """Held-out real rows pass the gates that are new here: at most 2.5 % of 200 rows of every data set do not."""
    for name in ("public8.yaml", "mixed.yaml"):
        for task in load_stream(shared / "streams" / name).tasks:
            assert task.real_train
            own = Wording(task.card)
            chosen = random.Random(5).sample(task.real_train.rows, 200)  # noqa: S311 - no secret
            texts = [{field: row[field] for field in task.card.fields} for row in chosen]
            passed = [row for row in texts if not gate(task.card, row, "stop", "", {})]
            refused = [row for row in passed if own.problem(row, {})]
            assert len(refused) <= 0.025 * len(texts), (task.card.name, refused)
