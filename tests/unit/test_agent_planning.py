"""Planning: labels covered, strategies by belief, prompts that differ, and all of it from one seed."""

from collections import Counter
from collections.abc import Sequence

import pytest
from pieces import KINDS, PAIR, checked, pooled, task_of
from worlds import card, rows

from synlearner.agent.bandit import Beliefs, parts_of
from synlearner.agent.budget import FEWEST, ROWS, missing
from synlearner.agent.config import LoopSettings, Settings, parse_settings
from synlearner.agent.frames import write_sample
from synlearner.agent.parsing import normal
from synlearner.agent.planning import PLAIN, Planner, plan_reference
from synlearner.agent.scoring import PoolSample
from synlearner.agent.state import TaskState
from synlearner.events.types import PlannedPrompt

LOOP = LoopSettings(prompts=8, group=3, oversample=1.5)
TOPICS = checked(
    card(seeds=rows(8), attributes={"tone": ["warm", "cold"]}, label_attributes={"pets": {"age": ["old"]}})
)
SURE = 1e-9
"""Variance of a belief that leaves nothing to chance."""


def learning(task: TaskState, seed: int = 1, part: str = "", loop: LoopSettings = LOOP) -> list[PlannedPrompt]:
    """Return a plan; with *part*, one of which everything is expected."""
    return Planner(task, Settings(loop=loop), Beliefs(parts={part: (9.0, SURE)} if part else {})).learning(seed)


def filling(task: TaskState, seed: int = 1, loop: LoopSettings = LOOP) -> list[PlannedPrompt]:
    """Return a plan of a round that only fills."""
    return Planner(task, Settings(loop=loop)).filling(seed)


def with_pool(pets: int, weather: int, **changes: object) -> TaskState:
    pool = (*(pooled(i, "pets") for i in range(pets)), *(pooled(100 + i, "weather") for i in range(weather)))
    return task_of(TOPICS, pool=pool, **changes)


def asked(prompts: Sequence[PlannedPrompt]) -> Counter[str]:
    """Return the samples asked for, by label."""
    return Counter({label: sum(p.samples for p in prompts if p.label == label) for label in {p.label for p in prompts}})


# ---- learning ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_learning_round_covers_the_labels_equally(kind: str) -> None:
    of = checked(KINDS[kind])
    prompts = learning(task_of(of))
    assert len(prompts) == 8
    assert {p.samples for p in prompts} == {3}
    assert asked(prompts) == Counter({label: 24 // max(1, len(of.labels)) for label in of.labels or [""]})


def test_labels_with_the_fewest_samples_come_first() -> None:
    loop = LOOP.model_copy(update={"prompts": 1})
    assert asked(learning(with_pool(3, 2), loop=loop)) == {"weather": 3}
    assert asked(learning(with_pool(2, 3), loop=loop)) == {"pets": 3}


def test_the_same_seed_makes_the_same_plan_and_another_another() -> None:
    task = with_pool(3, 2)
    assert learning(task, 1) == learning(task, 1)
    assert learning(task, 1) != learning(task, 2)
    assert filling(task) == filling(task)
    assert plan_reference(task, 9, 1) == plan_reference(task, 9, 1)


def test_no_two_prompts_share_a_seed() -> None:
    seeds = [p.seed for number in range(20) for p in learning(task_of(TOPICS), number)]
    assert len(set(seeds)) == len(seeds)


def test_prompts_of_one_round_differ() -> None:
    """7.3.31: attributes were drawn uniformly, with no care for coverage."""
    prompts = learning(task_of(TOPICS))
    assert len({(p.text, p.prefix) for p in prompts}) == len(prompts)
    assert len({p.strategy for p in prompts}) > 3


# ---- examples ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    ["numbered", "dashes", "headed", "definition", "contrast", "shown", "quotes", "rewrite", "scenario", "attrprompt"],
)
def test_examples_are_seeds_of_the_label_and_stand_in_the_prompt(frame: str) -> None:
    settings = parse_settings([f"dai.frames=[{frame}]"])
    for prompt in Planner(task_of(TOPICS), settings).learning(1):
        assert prompt.strategy.startswith(f"{frame}/")
        assert 1 <= len(prompt.exemplars) <= Settings().dai.exemplars
        assert len(set(prompt.exemplars)) == len(prompt.exemplars), "7.3.29: half of the examples were duplicates"
        for place in prompt.exemplars:
            assert TOPICS.seeds[place]["label"] == prompt.label
            assert write_sample(TOPICS, TOPICS.seeds[place]) in prompt.text + prompt.prefix


def test_plain_names_no_examples() -> None:
    for prompt in learning(task_of(TOPICS), part="frame:plain"):
        assert prompt.exemplars == []
        assert not any(row["text"] in prompt.text + prompt.prefix for row in TOPICS.seeds)


def test_long_examples_are_fewer() -> None:
    """Hand-worked: two of 150 words are more than 260; the first one is shown in any case."""
    long = [
        {"text": f"{label} {i} " + "word " * 148, "label": label} for label in ("pets", "weather") for i in range(4)
    ]
    prompts = learning(task_of(checked(card(seeds=long))), part="frame:dashes")
    assert {len(p.exemplars) for p in prompts} == {1}


def test_a_seed_that_is_too_long_is_shown_only_where_there_is_no_other() -> None:
    """Two seeds of 300 words are above the limit: the short one is shown, and the shorter of two long ones."""
    long = [{"text": "word " * 300, "label": "pets"}, {"text": "short one", "label": "pets"}]
    longer = [{"text": "word " * 400, "label": "weather"}, {"text": "word " * 300, "label": "weather"}]
    of = checked(card(seeds=[*long, *longer]))
    for prompt in learning(task_of(of), loop=LoopSettings(prompts=12)):
        shown = prompt.exemplars if not prompt.strategy.startswith("plain") else []
        assert shown in ([], [1] if prompt.label == "pets" else [3])
        if prompt.strategy.startswith("contrast"):
            assert len(prompt.text.split()) + len(prompt.prefix.split()) < 2 * 300 + 100


def test_examples_change_from_prompt_to_prompt() -> None:
    prompts = learning(task_of(TOPICS), part="frame:dashes")
    assert len({tuple(p.exemplars) for p in prompts}) > 3


# ---- attributes ----------------------------------------------------------------------------------------------


def test_a_keyword_is_a_word_of_the_label() -> None:
    pool = (pooled(1, "pets", text="an iguana lives here"),)
    found = set()
    for seed in range(20):
        for prompt in learning(task_of(TOPICS, pool=pool), seed, part="attributes:keyword"):
            texts = [row["text"] for row in TOPICS.seeds if row["label"] == prompt.label]
            texts += ["an iguana lives here"] if prompt.label == "pets" else []
            assert prompt.attributes["keyword"] in normal(" ".join(texts)).split()
            assert f"with the word '{prompt.attributes['keyword']}'" in prompt.text + prompt.prefix
            found.add(prompt.attributes["keyword"])
    assert "iguana" in found, "accepted samples widen what is asked for"


def test_a_length_is_within_the_window_of_the_card() -> None:
    lengths = {
        int(p.attributes["length"])
        for seed in range(20)
        for p in learning(task_of(checked(PAIR)), seed, part="attributes:length")
    }
    assert min(lengths) >= 3 + 2
    assert max(lengths) <= 12 + 10
    assert len(lengths) > 8


def test_a_persona_is_another_than_those_of_the_examples() -> None:
    for prompt in learning(task_of(TOPICS), part="attributes:persona"):
        whole = prompt.text + prompt.prefix
        assert whole.count(f"by {prompt.attributes['persona']})") == 1


def test_the_cards_own_attributes_are_drawn_with_those_of_the_label() -> None:
    for prompt in learning(task_of(TOPICS), part="attributes:card"):
        assert prompt.attributes["tone"] in {"warm", "cold"}
        assert prompt.attributes.get("age") == ("old" if prompt.label == "pets" else None)
        assert f"tone: {prompt.attributes['tone']}" in prompt.text + prompt.prefix


# ---- experience ----------------------------------------------------------------------------------------------


def test_a_prompt_names_the_experience_that_vouches_for_its_parts() -> None:
    vouchers = {"frame:dashes": ["b", "a"], "decoding:calm": ["a"], "frame:plain": ["never"]}
    believed = Beliefs(parts={"frame:dashes": (9.0, SURE), "decoding:calm": (9.0, SURE)})
    for prompt in Planner(task_of(TOPICS), Settings(loop=LOOP), believed, vouchers).learning(1):
        assert prompt.experience == ["a", "b"]
    believed = Beliefs(parts={"frame:quotes": (9.0, SURE)})
    for prompt in Planner(task_of(TOPICS), Settings(loop=LOOP), believed, vouchers).learning(1):
        assert prompt.experience == (["a"] if "decoding:calm" in parts_of(prompt.strategy) else [])


# ---- filling -------------------------------------------------------------------------------------------------


def test_what_is_missing_by_hand() -> None:
    """Hand-worked: ceil(1.5 x 10 / 2) = 8 of each label."""
    assert missing(with_pool(3, 9), LOOP) == {"pets": 5.0, "weather": -1.0}
    assert missing(task_of(checked(KINDS["generation"])), LOOP) == {"": 9.0}


def test_filling_goes_where_samples_lack() -> None:
    prompts = filling(with_pool(1, 9, requested=20))
    assert asked(prompts)["pets"] > 3 * asked(prompts)["weather"]
    even = asked(filling(with_pool(1, 1, requested=4)))
    assert abs(even["pets"] - even["weather"]) <= LOOP.group


def test_filling_asks_for_more_where_less_is_accepted() -> None:
    rare = filling(with_pool(2, 2, requested=40))
    usual = filling(with_pool(2, 2, requested=5))
    assert sum(asked(rare).values()) > sum(asked(usual).values())


@pytest.mark.parametrize("group", [2, 6, 7, 64])
@pytest.mark.parametrize(("pets", "weather"), [(0, 0), (8, 7), (7, 7)])
def test_a_filling_round_is_neither_empty_nor_wider_than_the_engine(group: int, pets: int, weather: int) -> None:
    loop = LOOP.model_copy(update={"group": group})
    prompts = filling(with_pool(pets, weather, requested=50), loop=loop)
    assert min(FEWEST, group) <= sum(p.samples for p in prompts) <= ROWS
    assert {p.samples for p in prompts} == {group}


# ---- the reference -------------------------------------------------------------------------------------------


def reference(samples: int, have: int, labels: int = 3) -> list[PlannedPrompt]:
    names = [f"label {i}" for i in range(labels)]
    of = checked(
        card(samples=samples, labels=dict.fromkeys(names, ""), seeds=[{"text": f"text {n}", "label": n} for n in names])
    )
    return plan_reference(task_of(of, reference=tuple(pooled(i) for i in range(have))), samples, 1)


def test_the_reference_asks_plainly_for_what_it_still_lacks() -> None:
    prompts = reference(10, 4)
    assert {p.strategy for p in prompts} == {PLAIN.id}
    assert sum(p.samples for p in prompts) == 6
    assert all((p.exemplars, p.experience, p.attributes) == ([], [], {}) for p in prompts)


def test_the_reference_shares_equally_and_the_remainder_wanders() -> None:
    """Hand-worked: 4 samples over 3 labels are 2, 1, 1, begun after the ones that there are."""
    assert asked(reference(4, 0)) == {"label 0": 2, "label 1": 1, "label 2": 1}
    assert asked(reference(5, 1)) == {"label 1": 2, "label 2": 1, "label 0": 1}
    assert asked(reference(3, 1)) == {"label 1": 1, "label 2": 1}


def test_a_reference_round_is_not_wider_than_the_engine() -> None:
    assert sum(p.samples for p in reference(500, 0)) == ROWS


# ---- accepted samples as examples ----------------------------------------------------------------------------


def shown(shots: str, pool: Sequence[PoolSample], frame: str = "numbered") -> list[PlannedPrompt]:
    """Return a plan whose prompts may show accepted samples."""
    settings = parse_settings([f"dai.shots={shots}", f"dai.frames=[{frame}]", "dai.attributes=[none]"])
    return Planner(task_of(TOPICS, pool=tuple(pool)), settings).learning(1)


GOOD = [pooled(i, "pets", text=f"good{i} of a kind", worth=0.9) for i in range(5)]
POOR = [pooled(10 + i, "pets", text=f"poor{i} of a kind", worth=0.2) for i in range(5)]


def test_a_mixed_prompt_shows_one_accepted_sample_to_three_seeds() -> None:
    for prompt in shown("mixed", GOOD):
        own = prompt.prefix.count(" of a kind")
        assert (own, len(prompt.exemplars)) == ((1, 3) if prompt.label == "pets" else (0, 4))


def test_the_best_accepted_samples_take_the_place_of_seeds() -> None:
    for prompt in shown("best", [*POOR, *GOOD]):
        assert "poor" not in prompt.prefix, "there are enough better ones"
        own = prompt.prefix.count("good")
        assert (own, len(prompt.exemplars)) == ((4, 0) if prompt.label == "pets" else (0, 4))


def test_seeds_stand_in_until_there_are_enough_accepted_samples() -> None:
    pets = [prompt for prompt in shown("best", GOOD[:1]) if prompt.label == "pets"]
    assert {(p.prefix.count("good"), len(p.exemplars)) for p in pets} == {(1, 3)}


def test_by_default_a_prompt_shows_seeds_alone() -> None:
    assert all(" of a kind" not in prompt.prefix and prompt.exemplars for prompt in shown("seeds", GOOD))
