"""Attribute values: pairs covered, conflicts kept apart, contradictions refused before anything runs."""

import random
import re
from itertools import combinations, product
from typing import Any

import pytest
from pieces import checked
from worlds import card

from synlearner.agent.attributes import allowed, complete, coverage, draw, options
from synlearner.agent.planning import pair_coverage
from synlearner.agent.rewards import attribute_share
from synlearner.errors import ConfigError

VALUES = {"tone": ["warm", "cold", "dry"], "place": ["home", "street"], "time": ["noon", "night"]}


def drawn_until(count: int, rules: list[dict[str, Any]] | None = None, **changes: Any) -> list[dict[str, str]]:
    rng = random.Random(3)  # noqa: S311
    settings: dict[str, Any] = {"at_once": 3, **changes}
    found: list[dict[str, str]] = []
    for _ in range(count):
        found.append(draw(VALUES, rules or [], "pets", found, rng, **settings))
    return found


def test_pairs_are_covered_by_few_prompts() -> None:
    """7.3.31: attributes were drawn uniformly. Hand-worked: 3 x 2 + 3 x 2 + 2 x 2 = 16 pairs, 3 a prompt: 6 at least."""
    assert coverage(VALUES, [], "pets", drawn_until(8)) == (16, 16)
    even = [coverage(VALUES, [], "pets", drawn_until(n))[0] for n in range(1, 7)]
    assert even[:3] == [3, 6, 9], "every early prompt brings three new pairs"
    loose = coverage(VALUES, [], "pets", drawn_until(8, covering=False))[0]
    assert loose < 16, "chance alone does not cover in as many prompts"


def test_after_all_pairs_were_had_the_rarest_come_again() -> None:
    times = [sum(pair.items() <= each.items() for each in drawn_until(48)) for pair in all_pairs()]
    assert min(times) >= 5
    assert max(times) <= 15


def all_pairs() -> list[dict[str, str]]:
    return [{a: v, b: w} for a, b in combinations(VALUES, 2) for v, w in product(VALUES[a], VALUES[b])]


def test_what_contradicts_is_never_drawn_together() -> None:
    rules: list[dict[str, Any]] = [{"tone": ["cold", "dry"], "place": "home"}, {"label": "pets", "time": "night"}]
    found = drawn_until(60, rules)
    assert all(allowed({"label": "pets", **each}, rules) for each in found)
    assert {each["place"] for each in found} == {"home", "street"}
    assert {each["tone"] for each in found if each["place"] == "home"} == {"warm"}
    covered, possible = coverage(VALUES, rules, "pets", found)
    assert covered == possible == (3 * 2 - 2) + 3 + 2


def test_a_rule_of_three_forbids_only_all_three() -> None:
    rule = [{"tone": "cold", "place": "home", "time": "noon"}]
    assert not allowed({"tone": "cold", "place": "home", "time": "noon"}, rule)
    assert allowed({"tone": "cold", "place": "home", "time": "night"}, rule)
    assert complete(VALUES, rule, {"tone": "cold", "place": "home"}) == {
        "tone": "cold",
        "place": "home",
        "time": "night",
    }


def test_a_prompt_states_no_more_attributes_than_it_may() -> None:
    found = drawn_until(20, at_once=2)
    assert {len(each) for each in found} == {2}
    assert {name for each in found for name in each} == set(VALUES)
    assert coverage(VALUES, [], "pets", found)[0] == 16


def test_of_an_attribute_that_names_the_labels_only_the_own_one_is_drawn() -> None:
    assert options({"mood": ["Pets", "weather", "calm"]}, {}, "pets", ["pets", "weather"]) == {"mood": ["Pets", "calm"]}
    assert options({"mood": ["weather", "calm"]}, {}, "pets", ["pets", "weather"]) == {"mood": ["weather", "calm"]}
    assert options({"mood": ["a"]}, {"mood": ["b"]}, "pets", []) == {"mood": ["b"]}, "a label's own values stand first"


def test_coverage_of_a_task_by_hand() -> None:
    """Two labels with 2 x 2 pairs; of pets two were had (one twice), of weather none."""
    of = checked(card(attributes={"tone": ["warm", "cold"], "time": ["noon", "night"]}))
    had = [
        {"tone": "warm", "time": "noon"},
        {"tone": "warm", "time": "noon"},
        {"tone": "cold", "time": "noon"},
        {"keyword": "x"},
    ]
    assert pair_coverage(of, [("pets", each) for each in had]) == {"pair_coverage": 0.25}
    assert pair_coverage(checked(card()), []) == {}


TONES: dict[str, Any] = {"tone": ["warm", "cold"], "time": ["noon", "night"]}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no values": ({"attributes": {"tone": []}}, "attributes: 'tone' has no values"),
    "a value twice": ({"attributes": {"tone": ["warm", "Warm "]}}, "attributes: 'tone' has the value 'warm' twice"),
    "an empty value": ({"attributes": {"tone": ["warm", " "]}}, "attributes: 'tone' has an empty value"),
    "the label": ({"attributes": {"label": ["a"]}}, "attributes: 'label' is the name of the label itself"),
    "one alone": ({"attributes": TONES, "conflicts": [{"tone": "warm"}]}, "conflicts: rule 1 names 1 attributes"),
    "unknown attribute": (
        {"attributes": TONES, "conflicts": [{"tone": "warm", "mood": "x"}]},
        "conflicts: rule 1: 'mood' is no attribute; known: label, time, tone",
    ),
    "unknown value": (
        {"attributes": TONES, "conflicts": [{"tone": "hot", "time": "noon"}]},
        "conflicts: rule 1: 'tone' has no value 'hot'",
    ),
    "unknown label": (
        {"attributes": TONES, "conflicts": [{"label": "birds", "time": "noon"}]},
        "conflicts: rule 1: 'label' has no value 'birds'",
    ),
    "a value that nothing goes with": (
        {"attributes": TONES, "conflicts": [{"tone": "warm", "time": ["noon", "night"]}]},
        "attributes: tone='warm' contradicts every value of another attribute for label 'pets'",
    ),
    "a label without values": (
        {"attributes": TONES, "conflicts": [{"label": "weather", "tone": ["warm", "cold"]}]},
        "attributes: conflicts leave 'tone' no value for label 'weather'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_contradictory_attributes_are_refused_with_the_reason(case: str) -> None:
    changes, expected = REFUSED[case]
    with pytest.raises(ConfigError, match=re.escape(expected)) as caught:
        checked(card(**changes))
    assert "\n" not in str(caught.value)


def test_a_card_without_conflicts_is_recorded_as_it_always_was() -> None:
    """Digests of streams that name none stay what they were."""
    assert "conflicts" not in checked(card()).record()
    of = checked(card(attributes=TONES, conflicts=[{"tone": "warm", "time": "noon"}]))
    assert of.from_record(of.record()) == of


def test_a_length_in_words_and_not_in_numbers_is_not_checked() -> None:
    """A card with `length: [short, long]` ended the run with a traceback."""
    of = checked(card(attributes={"length": ["short", "long"]}))
    for wanted in ("short", "0"):
        assert attribute_share({"length": wanted}, of, {"text": "my cat sat"}) is None
    assert attribute_share({"length": "3"}, of, {"text": "my cat sat"}) == 1.0
