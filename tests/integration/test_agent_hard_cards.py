"""Cards that a run cannot serve as they stand: it goes on where it can, and says in one line what is lacking and why."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from runs import SHORT, StopAfter, Stopped, events_of, facts_of, run
from worlds import TOPICS, card, rows, scripted, text_of, tiny_model, write_stream

from synlearner.agent import Agent
from synlearner.agent.cards import load_stream
from synlearner.agent.datasets import delivered_rows, export_dataset
from synlearner.agent.decide import Action
from synlearner.agent.state import RunState
from synlearner.agent.watcher import Silent
from synlearner.demo import built_in
from synlearner.errors import ConfigError
from synlearner.events.home import Home
from synlearner.events.types import DatasetDelivered, Event, PolicyUpdated, PromptsPlanned, StudentScored, TaskFinished
from synlearner.memory import HashEmbedder
from synlearner.policies.scripted import ScriptedEngine
from synlearner.progress import headline

UNRESCUED = (*SHORT, "delivery.rescue=false")


class Told(Silent):
    """Keeps what a person is told of each event."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def ends(self, state: RunState, action: Action, events: Sequence[Event]) -> None:
        self.lines += filter(None, (headline(event, state) for event in events))


def test_a_label_that_nobody_can_write_about_is_named_and_the_others_are_delivered(tmp_path: Path) -> None:
    """The engine fails at whatever has to do with the sky: the run ends, and says to who watches and reads what lacks.

    Nothing is rescued: the judge without a model takes some texts about pets for others.
    """
    sky = ["weather", "sky", *TOPICS["weather"]]

    def reply(text: str, seed: int) -> str:
        number = int(hashlib.sha256(f"{text}{seed}".encode()).hexdigest(), 16) % 400
        return "x" if any(word in text.lower() for word in sky) else text_of("pets", number)

    told, home = Told(), tmp_path / "home"
    report = run(home, write_stream(tmp_path, "one"), engine=ScriptedEngine(reply), watcher=told, settings=UNRESCUED)
    assert report.tasks[0].delivered > 0
    with Home.open(home) as found:
        dataset = delivered_rows(found.log, "one")
    assert {row["label"] for row in dataset.rows} == {"pets"}
    _, page = export_dataset(dataset, "jsonl", tmp_path / "out.jsonl")
    lacking = f"{len(dataset.rows)} of 10 wanted, none of 'weather': no more passed in the rounds"
    assert any(lacking in line for line in told.lines)
    assert lacking in page.read_text()
    figures = {f.source: f for f in facts_of(home, StudentScored) if f.split == "test" and f.family == "embedding"}
    assert figures["delivered"].accuracy == 0.5, "it always says pets"
    assert figures["seeds_and_delivered"].trained_on == 8 + len(dataset.rows)
    (totals,) = facts_of(home, TaskFinished)
    assert totals.requested == totals.accepted + totals.rejected + totals.failed


@pytest.mark.parametrize("label", ["pets", "weather"])
def test_seeds_of_one_label_alone_are_refused_before_anything_runs(tmp_path: Path, label: str) -> None:
    seeds = [row for row in rows(8) if row["label"] == label]
    (other,) = TOPICS.keys() - {label}
    with Agent.open(tmp_path / "home", engine=scripted(), embedder=HashEmbedder()) as agent:
        with pytest.raises(ConfigError, match=f"seeds: no row has the label '{other}'"):
            agent.synthesize(card(seeds=seeds), 4)
        assert agent._home.log.head().seq == 0


def test_attributes_that_contradict_one_another_are_refused_with_the_value_that_has_no_way_out(tmp_path: Path) -> None:
    wrong = card(attributes={"tone": ["dry", "merry"], "place": ["home"]}, conflicts=[{"tone": "dry", "place": "home"}])
    with Agent.open(tmp_path / "home", engine=scripted(), embedder=HashEmbedder()) as agent:
        with pytest.raises(ConfigError, match="'dry'"):
            agent.synthesize(wrong, 4)
        assert agent._home.log.head().seq == 0


def test_synthesising_goes_on_where_it_was_stopped_and_refuses_another_card_till_then(tmp_path: Path) -> None:
    stop = StopAfter(lambda state, _: state.task is not None and state.task.round.number == 3)
    with Agent.open(tmp_path / "home", engine=scripted(), embedder=HashEmbedder()) as agent:
        with pytest.raises(Stopped):
            agent.synthesize(card("one"), 4, settings=SHORT, watcher=stop)
        with pytest.raises(ConfigError, match="holds an unfinished run of stream 'one', and 'two' is another one"):
            agent.synthesize(card("two"), 4, settings=SHORT)
        with pytest.raises(ConfigError, match="holds an unfinished run of stream 'one', and 'one' is changed since"):
            agent.synthesize(card("one"), 5, settings=SHORT)
        found = agent.synthesize(card("one"), 4, settings=SHORT)
    with Agent.open(tmp_path / "whole", engine=scripted(), embedder=HashEmbedder()) as agent:
        assert agent.synthesize(card("one"), 4, settings=SHORT) == found
    assert events_of(tmp_path / "home")[-1].hash == events_of(tmp_path / "whole")[-1].hash


@pytest.mark.slow
def test_the_faithful_preset_runs_the_papers_stream_to_its_end_and_both_phases_move_the_weights(tmp_path: Path) -> None:
    """Shortened to two rounds a task, with a tiny model that writes gibberish: nothing of it is left out as alike."""
    changes = [
        f"policy.model={tiny_model(tmp_path / 'model')}", "policy.rank=4", "loop.rounds=2", "loop.eft_rounds=1",
        "loop.prompts=2", "loop.fill_rounds=0",
    ]  # fmt: skip
    paper = load_stream(str(built_in("paper")))
    with Agent.open(tmp_path / "home", embedder=HashEmbedder()) as agent:
        report = agent.run(paper, preset="faithful", settings=changes)
    assert [task.name for task in report.tasks] == [task.card.name for task in paper.tasks]
    moves = [fact.algorithm for fact in facts_of(tmp_path / "home", PolicyUpdated) if not fact.skipped]
    assert {"eft", "grpo"} <= set(moves)
    for plan in facts_of(tmp_path / "home", PromptsPlanned):
        assert plan.purpose == "learn"
        assert {prompt.strategy for prompt in plan.prompts} == {"attrprompt/card/paper"}
        assert all(len(prompt.attributes) >= 7 for prompt in plan.prompts)
    for fact in facts_of(tmp_path / "home", DatasetDelivered):
        assert not {"near_copy", "near_duplicate"} & {reason for reason, count in fact.left_out.items() if count}
    for totals in facts_of(tmp_path / "home", TaskFinished):
        assert totals.requested == totals.accepted + totals.rejected + totals.failed == 16
