"""The loop uses the memory: settings steer it, every prompt is credited in its arm, and learning again forgets nothing."""

from pathlib import Path
from typing import Any

import pytest
from runs import SHORT, events_of, run
from worlds import write_stream

from synlearner.agent import Agent
from synlearner.agent.bandit import in_control, parts_of
from synlearner.events.types import ExperienceCredited, ExperienceLearned, ExperienceRecalled, PromptsPlanned
from synlearner.memory import HashEmbedder, Memory


def facts(home: Path, kind: type[Any]) -> list[Any]:
    return [event.fact for event in events_of(home) if isinstance(event.fact, kind)]


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that ran the same stream twice, with half of the prompts in the control arm."""
    folder = tmp_path_factory.mktemp("loop")
    stream = write_stream(folder / "s", "one")
    settings = (*SHORT, "memory.control=0.5", "loop.rounds=3", "loop.prompts=4", "memory.tokens=200")
    for seed in (1, 2):
        run(folder / "h", stream, seed=seed, settings=settings)
    return folder / "h"


def test_a_recall_holds_all_that_it_follows_from(twice: Path) -> None:
    recalled = facts(twice, ExperienceRecalled)
    assert all(fact.settings["gate"] == 0.25 and fact.settings["tokens"] == 200 for fact in recalled)
    assert all((fact.control, fact.k, fact.scope) == (0.5, 4, "") for fact in recalled)
    assert any(fact.chosen for fact in recalled)
    for fact in recalled:
        assert sum(each.tokens for each in fact.candidates if each.chosen) <= 200
        assert all(each.propensity > 0 for each in fact.candidates if each.chosen)


def test_every_prompt_of_a_round_with_memory_is_credited_in_its_arm(twice: Path) -> None:
    arms = {"memory": 0, "control": 0}
    recalled: ExperienceRecalled | None = None
    plan: PromptsPlanned | None = None
    place = 0
    for event in events_of(twice):
        match event.fact:
            case ExperienceRecalled() as fact:
                recalled, plan = fact, None
            case PromptsPlanned() as fact:
                if plan is not None and recalled is not None and recalled.chosen and plan.purpose in ("learn", "fill"):
                    assert place == len(plan.prompts)
                recalled, plan, place = (recalled if plan is None else None), fact, 0
            case ExperienceCredited(family=family) as fact if family.startswith("task:"):
                assert recalled is not None
                assert plan is not None
                assert fact.arm == ("control" if in_control(recalled)(place) else "memory")
                assert fact.used == plan.prompts[place].experience
                if fact.arm == "control":
                    assert fact.used == []
                arms[fact.arm] += 1
                place += 1
    assert min(arms.values()) > 3


def test_the_gain_of_memory_is_estimated_from_both_arms(twice: Path) -> None:
    with Memory.open(twice, write=False, embedder=HashEmbedder()) as memory:
        gain = memory.stats()["gain"]
    assert gain["control"] > 3
    assert gain["interval"][0] < gain["estimate"] < gain["interval"][1]


def test_an_item_that_two_runs_teach_keeps_what_the_first_has_shown(twice: Path) -> None:
    seen: dict[str, int] = {}
    for fact in facts(twice, ExperienceLearned):
        seen[fact.item.id] = seen.get(fact.item.id, 0) + 1
    again = [name for name, times in seen.items() if times > 1]
    observed = [fact for fact in facts(twice, ExperienceCredited) if fact.family.startswith("distilled:")]
    assert all(fact.noise > 0 for fact in observed)
    with Memory.open(twice, write=False, embedder=HashEmbedder()) as memory:
        for name in again:
            record = memory.state.record(name)
            assert record.uses >= sum(name in fact.used for fact in observed)


def test_gate_and_mirror_are_what_the_settings_say(tmp_path: Path) -> None:
    stream = write_stream(tmp_path / "s", "one", "two")
    run(tmp_path / "h", stream, settings=(*SHORT, "memory.gate=1.0", "memory.mirror=false", "memory.control=0"))
    recalled = facts(tmp_path / "h", ExperienceRecalled)
    assert recalled
    assert all(fact.settings["gate"] == 1.0 and fact.control == 0 for fact in recalled)
    assert all(candidate.similarity == 1 for fact in recalled for candidate in fact.candidates)
    assert not (tmp_path / "h" / "derived" / "memory" / "mirror").exists()
    run(tmp_path / "m", stream, settings=(*SHORT, "memory.mirror=true"))
    assert (tmp_path / "m" / "derived" / "memory" / "mirror").exists()
    with Agent.open(tmp_path / "m", embedder=HashEmbedder()) as agent:
        assert agent.memory.stats()["mirror"]["condition"] == "healthy"


def test_shuffled_memory_steers_as_much_but_elsewhere(tmp_path: Path) -> None:
    stream = write_stream(tmp_path / "s", "one")
    settings = (*SHORT, "memory.shuffled=true", "memory.control=0", "loop.rounds=4", "loop.prompts=8")
    for seed in (1, 2, 3):
        run(tmp_path / "h", stream, seed=seed, settings=settings)
    items = {fact.item.id: fact.item for fact in facts(tmp_path / "h", ExperienceLearned)}
    steered = [
        items[item].metadata["part"] in parts_of(prompt.strategy)
        for plan in facts(tmp_path / "h", PromptsPlanned)
        for prompt in plan.prompts
        for item in prompt.experience
    ]
    assert len(steered) > 4, "recalled items had prompts use a part"
    assert not all(steered), "but not always the one that they are about"
