"""Along the stream: what is carried from task to task, with weights that move; floors; feedback in the middle of a run."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from runs import StopAfter, Stopped, events_of, facts_of, run
from worlds import TOPICS, card, rows, scripted, tiny_model, write_stream

from synlearner.agent import Agent
from synlearner.agent.decide import Action, Balance, Check, Learn, Plan
from synlearner.agent.loop import fold_run
from synlearner.agent.state import RunState
from synlearner.agent.tasks import KEPT
from synlearner.agent.verifying import verify_run
from synlearner.errors import ConfigError
from synlearner.events.home import Home
from synlearner.events.types import (
    AdaptersMerged,
    AnyFact,
    AttributesProposed,
    ConstraintsAdjusted,
    DatasetDelivered,
    ExperienceCredited,
    ExperienceLearned,
    FeedbackGiven,
    PolicyUpdated,
    PromptsPlanned,
    SampleGenerated,
    SampleScored,
    SetScored,
    TaskFinished,
)
from synlearner.memory import HashEmbedder
from synlearner.policies.engine import Engine
from synlearner.policies.scripted import ScriptedEngine

LEARNING = (  # so many samples that some of a task's are accepted and some are not, whatever a random model writes
    "loop.rounds=2", "loop.prompts=4", "loop.group=8", "loop.fill_rounds=0", "loop.student_every=0", "memory.k=0",
    "students.bootstrap=100", "policy.rank=2", "constraints.reference=4", "reward.min_quality=0", "reward.min_fidelity=-1",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


def learned(folder: Path, model: Path, *settings: str, tasks: Sequence[str] = ("one", "two", "three")) -> list[Any]:
    """Run a stream of cards without test data; return the events."""
    file = folder / "stream.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    cards = [card(name, samples=4, fields={"text": {"words": [1, 30]}}) for name in tasks]
    file.write_text(json.dumps({"stream": "s", "tasks": cards}), encoding="utf-8")
    with Agent.open(folder / "home", embedder=HashEmbedder()) as agent:
        agent.run(file, settings=[*LEARNING, f"policy.model={model}", *settings])
    return events_of(folder / "home")


def of(events: Sequence[Any], kind: type[AnyFact], task: str = "") -> list[Any]:
    return [e.fact for e in events if isinstance(e.fact, kind) and task in {"", e.task}]


def verified(home: Path, engine: Engine | None = None) -> bool:
    with Home.open(home, write=True) as opened:
        return verify_run(opened, embedder=HashEmbedder(), engine=engine).first_difference is None


def test_an_adapter_is_carried_on(tmp_path: Path, model: Path) -> None:
    events = learned(tmp_path, model, tasks=("one", "two"))
    last, first = of(events, PolicyUpdated, "one")[-1], of(events, PolicyUpdated, "two")[0]
    assert first.parent == last.adapter != ""


def test_an_adapter_per_task_begins_anew(tmp_path: Path, model: Path) -> None:
    events = learned(tmp_path, model, "stream.adapter=task", tasks=("one", "two"))
    assert of(events, PolicyUpdated, "one")[-1].adapter
    assert of(events, PolicyUpdated, "two")[0].parent == ""
    learning = [e for e in events if isinstance(e.fact, SampleGenerated) and e.task == "two"]
    assert learning[0].fact.policy == ""
    assert verified(tmp_path / "home")


def test_merged_adapters_are_the_mean_and_the_next_task_begins_there(tmp_path: Path, model: Path) -> None:
    """7.4.38: merging into the base drifts. Here the base is never touched."""
    events = learned(tmp_path, model, "stream.adapter=merge")
    (merged,) = of(events, AdaptersMerged)
    ends = [of(events, PolicyUpdated, task)[-1].adapter for task in ("one", "two")]
    assert merged.parents == ends
    assert of(events, PolicyUpdated, "three")[0].parent == merged.adapter not in ends
    assert verified(tmp_path / "home")


def test_weights_can_be_switched_off(tmp_path: Path, model: Path) -> None:
    events = learned(tmp_path, model, "stream.adapter=none", tasks=("one", "two"))
    assert of(events, PolicyUpdated) == []
    assert {fact.policy for fact in of(events, SampleGenerated)} == {""}
    assert [fact.purpose for fact in of(events, PromptsPlanned, "one")].count("learn") == 2


def test_earlier_samples_are_learnt_from_again(tmp_path: Path, model: Path) -> None:
    events = learned(tmp_path, model, "stream.replay=3", tasks=("one", "two"))
    eft = of(events, PolicyUpdated, "two")[0]
    assert eft.algorithm == "eft"
    written = {e.seq: e.task for e in events if isinstance(e.fact, SampleGenerated)}
    again = [seq for seq in eft.samples if written[seq] == "one"]
    with Home.open(tmp_path / "home") as home:
        kept = {sample.seq for sample in fold_run(home.log).replay}
    assert 1 <= len(again) <= 3
    assert set(again) <= kept
    assert len(kept) <= 2 * KEPT
    assert not [s for fact in of(events, PolicyUpdated, "one") for s in fact.samples if written[s] != "one"]
    assert verified(tmp_path / "home")


# ---- floors --------------------------------------------------------------------------------------------------


def test_multipliers_are_recorded_and_pull_from_the_next_round_on(tmp_path: Path) -> None:
    """A floor of ten times the untrained policy's Vendi score cannot be held: the levers go as far as they may."""
    stream = write_stream(tmp_path, samples=20)
    settings = ["loop.rounds=4", "loop.prompts=6", "loop.group=4", "loop.fill_rounds=0", "students.bootstrap=100",
                "constraints.diversity=10", "constraints.fidelity=0", "memory.k=0", "dai.decodings=[open]"]  # fmt: skip
    run(tmp_path / "home", stream, settings=settings)
    facts = facts_of(tmp_path / "home", ConstraintsAdjusted)
    assert [fact.round for fact in facts] == sorted({fact.round for fact in facts})
    assert facts[-1].multipliers["diversity"] == 4.0
    assert facts[-1].values["diversity"] < facts[-1].floors["diversity"]
    plans = [fact for fact in facts_of(tmp_path / "home", PromptsPlanned) if fact.purpose == "learn"]
    heats = [plan.prompts[0].decoding.temperature for plan in plans]
    assert heats[0] == 1.0
    assert heats[-1] == 1.4
    assert verified(tmp_path / "home", scripted())


def test_without_floors_nothing_is_adjusted_and_nobody_is_asked(tmp_path: Path) -> None:
    file = write_stream(tmp_path)
    run(tmp_path / "home", file, settings=[*LEARNING[:7], "constraints.diversity=0", "constraints.fidelity=0"])
    assert facts_of(tmp_path / "home", ConstraintsAdjusted) == []


def performed(kind: type[Action], _: RunState, action: Action) -> bool:
    return isinstance(action, kind)


def test_a_run_with_everything_on_is_resumed_to_the_same_digest(tmp_path: Path) -> None:
    stream = write_stream(tmp_path, "one", "two", attributes={"tone": ["warm", "cold"], "time": ["noon", "night"]})
    settings = [*LEARNING[:5], "students.bootstrap=100", "dai.proposals=4", "stream.adapter=merge", "stream.replay=4"]
    whole = run(tmp_path / "whole", stream, settings=settings)
    for action in (Balance, Plan, Learn):
        home = tmp_path / action.__name__
        with pytest.raises(Stopped):
            run(home, stream, settings=settings, watcher=StopAfter(partial(performed, action)))
        assert run(home, stream, settings=settings) == whole
    coverage = [fact.diversity["pair_coverage"] for fact in facts_of(tmp_path / "whole", SetScored) if fact.diversity]
    assert all(0 <= share <= 1 for share in coverage)
    assert facts_of(tmp_path / "whole", AttributesProposed) == [], "the card has attributes of its own"


# ---- feedback ------------------------------------------------------------------------------------------------


def stopped(folder: Path) -> tuple[Path, list[str]]:
    """Return a home whose run was stopped in the second task, with accepted samples, and its settings."""
    settings = ["loop.rounds=3", "loop.prompts=4", "loop.group=3", "loop.fill_rounds=1", "students.bootstrap=100"]
    stream = write_stream(folder, "one", "two")
    with pytest.raises(Stopped):
        run(folder / "home", stream, settings=settings,
            watcher=StopAfter(lambda s, a: isinstance(a, Check) and s.task is not None and s.task.index == 1))  # fmt: skip
    return folder / "home", settings


def test_feedback_on_a_sample_changes_pool_worth_strategies_and_memory(tmp_path: Path) -> None:
    home, settings = stopped(tmp_path)
    with Agent.open(home, engine=scripted(), embedder=HashEmbedder()) as agent:
        before = fold_run(agent._home.log).task
        assert before is not None
        bad, good = before.pool[0], before.pool[1]
        assert agent.feedback(f"sample:{bad.seq}", -1, "nonsense")["effect"] == "the sample leaves the pool"
        told = agent.feedback(f"sample:{good.seq}", 0.5)
        assert told["effect"] == "the sample gains worth"
        assert agent.feedback(f"sample:{before.untrained[0].seq}", -1)["effect"] == "the sample leaves the pool"
        after = fold_run(agent._home.log).task
    assert after is not None
    assert bad.seq not in {sample.seq for sample in after.pool}
    counts = after.counts(untrained=True)
    assert counts.rejected["feedback"] == 2
    assert counts.requested == counts.accepted + sum(counts.rejected.values()) + counts.failed
    raised = next(sample for sample in after.pool if sample.seq == good.seq)
    assert raised.worth == pytest.approx(good.worth + 0.5 * (1 - good.worth))
    assert after.untrained == before.untrained[1:]
    assert [strategy for _, strategy, _ in after.outcomes[-3:-1]] == [bad.strategy, good.strategy]
    assert [e.task for e in events_of(home) if isinstance(e.fact, FeedbackGiven)] == ["two"] * 3
    assert [fact.source for fact in facts_of(home, FeedbackGiven)] == ["user"] * 3
    credits_ = [f for f in facts_of(home, ExperienceCredited) if f.family == "feedback:user"]
    assert {c.item for f in credits_ for c in f.credits if not c.depth} >= set(told["credited"])
    run(home, tmp_path / "stream.yaml", settings=settings)
    (_, totals) = facts_of(home, TaskFinished)
    assert totals.requested == totals.accepted + totals.rejected + totals.failed
    assert verified(home, scripted()), "the run goes on from what was judged, and replays"


def test_feedback_on_a_task_credits_what_was_learnt_from_it(tmp_path: Path) -> None:
    run(tmp_path / "home", write_stream(tmp_path))
    with Agent.open(tmp_path / "home", embedder=HashEmbedder()) as agent:
        told = agent.feedback("task:topics", -1, "useless", "reviewer")
        mine = {i for i, r in agent.memory.state.records.items() if r.item.metadata.get("task") == "topics"}
        assert set(told["credited"]) == mine != set()
        assert all(agent.memory.state.records[item].mean < 0.05 for item in mine)
        for target, score in (
            ("task:nobody", 1),
            ("sample:1", 1),
            ("cat:1", 1),
            ("task:topics", 2),
            ("task:topics", "x"),
        ):
            with pytest.raises(ConfigError):
                agent.feedback(target, score)  # type: ignore[arg-type]


# ---- bad input -----------------------------------------------------------------------------------------------


def test_a_label_that_nobody_can_write_about_is_told_and_the_run_goes_on(tmp_path: Path) -> None:
    """Of weather nothing passes: the other label is delivered, and the case says what failed."""
    usual = scripted(junk=0.0)
    engine = ScriptedEngine(lambda text, seed: "x" if "Kind: weather" in text else usual._reply(text, seed))
    settings = [*LEARNING[:5], "students.bootstrap=100", "dai.frames=[numbered]", "reward.min_fidelity=-1"]
    settings.append("delivery.rescue=false")
    run(tmp_path / "home", write_stream(tmp_path, samples=8), engine=engine, settings=settings)
    (delivered,) = facts_of(tmp_path / "home", DatasetDelivered)
    asked = {e.seq: e.fact for e in events_of(tmp_path / "home") if isinstance(e.fact, SampleScored | PromptsPlanned)}
    labels = {fact.fields["text"] for fact in asked.values() if isinstance(fact, SampleScored) and fact.accepted}
    assert delivered.samples
    assert delivered.rejected["gate:length"] >= 8
    assert not any(word in text for text in labels for word in TOPICS["weather"])
    told = [f.item.content for f in facts_of(tmp_path / "home", ExperienceLearned) if f.item.type == "case"]
    assert "Nothing passed for label 'weather'." in told[0]


def test_seeds_of_one_label_only_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seeds: no row has the label 'weather'"):
        run(tmp_path / "home", write_stream(tmp_path, seeds=[row for row in rows(4) if row["label"] == "pets"]))
    assert not (tmp_path / "home" / "log.sqlite").exists() or facts_of(tmp_path / "home", TaskFinished) == []
