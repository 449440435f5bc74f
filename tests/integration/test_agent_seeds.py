"""The seeds teach a tiny model with random weights: before the first round, once, and as the log says."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from runs import StopAfter, Stopped, facts_of
from tiny import likelihoods, load
from worlds import QUICK, card, scripted, write_stream

from synlearner.agent import Agent
from synlearner.agent.config import Settings
from synlearner.agent.decide import Learn
from synlearner.agent.demonstrations import demonstrations
from synlearner.agent.snapshot import RUN
from synlearner.agent.state import RunState
from synlearner.events.checkpoints import Checkpoint
from synlearner.events.home import Home
from synlearner.events.types import PolicyUpdated
from synlearner.memory import HashEmbedder
from synlearner.policies.learner import Trained, TrainedGroup
from synlearner.policies.model import PolicyModel
from synlearner.report.history import read_history

FAST = (*QUICK, "policy.rank=4", "policy.threads=1", "seeds.epochs=2", "seeds.rate=0.01", "seeds.batch=4")


def taught(folder: Path, model: Path, *settings: str, grammar: str = "none", **card: Any) -> tuple[Path, PolicyUpdated]:
    """Return the home of a run that stopped when the seeds had taught, and the fact of it."""
    home, stream = folder / "home", write_stream(folder / "stream", "one", **card)
    asked = [*FAST, f"policy.model={model}", f"policy.grammar={grammar}", *settings]
    with suppress(Stopped), Agent.open(home, embedder=HashEmbedder()) as agent:
        agent.run(stream, watcher=StopAfter(lambda _, action: action == Learn("seeds")), settings=asked)
    (update,) = facts_of(home, PolicyUpdated)
    assert (update.algorithm, update.samples, update.advantages, update.parent) == ("seeds", [], [], "")
    return home, update


def as_tokens(model: PolicyModel, state: RunState, seed: int) -> list[TrainedGroup]:
    """Return the demonstrations of another seed: prompts that no step has seen."""
    assert state.task is not None
    return [
        TrainedGroup(p.text, p.prefix, p.decoding, [Trained(model.answer_tokens(p.text, p.prefix, answer), [], 1.0)])
        for p, answer in demonstrations(state.task, Settings.model_validate(state.settings), seed)
    ]


@pytest.mark.parametrize("grammar", ["none", "json"])
def test_seeds_become_more_likely_behind_one_another(tmp_path: Path, tiny_folder: Path, grammar: str) -> None:
    home, update = taught(tmp_path, tiny_folder, grammar=grammar)
    model = load(tiny_folder)
    with Home.open(home) as opened:
        state = Checkpoint(opened, RUN).state()
        groups = as_tokens(model, state, 99)
        before, after = (likelihoods(model, groups, blob) for blob in (None, opened.blobs.get(update.adapter)))
    assert len(groups) == len(card()["seeds"])
    assert sum(after) / len(after) > sum(before) / len(before) + 0.01


def test_the_task_starts_from_what_the_seeds_have_taught(tmp_path: Path, tiny_folder: Path) -> None:
    """KL is measured from there, and the round at hand still has its own update to come."""
    home, update = taught(tmp_path, tiny_folder)
    with Home.open(home) as opened:
        state = Checkpoint(opened, RUN).state()
    assert state.task is not None
    assert (state.adapter, state.task.start_adapter, state.task.seeded) == (update.adapter, update.adapter, True)
    assert not state.task.round.updated


def test_a_seed_that_the_model_cannot_read_teaches_nothing(tmp_path: Path, tiny_folder: Path) -> None:
    """It is left out, as a prompt is that cannot be answered; where there is no other, the log says why."""
    words = "pets like these words a lot " * 500
    long = [{"text": f"{label} {n} {words}", "label": label} for label in ("pets", "weather") for n in range(2)]
    short = [{"text": f"my {animal} sat here today", "label": "pets"} for animal in ("cat", "dog")]
    _, none = taught(tmp_path / "none", tiny_folder, "dai.frames=[numbered]", seeds=long)
    assert none.skipped.startswith("no seed has another one of its label")
    _, some = taught(tmp_path / "some", tiny_folder, "dai.frames=[numbered]", seeds=[*long, *short])
    assert not some.skipped


def test_an_engine_without_weights_says_so_and_goes_on(tmp_path: Path) -> None:
    """Also where no round came before; the report tells it."""
    stream = tmp_path / "stream.json"
    stream.write_text(json.dumps({"stream": "small", "tasks": [card()]}))
    nothing_first = ("constraints.diversity=0", "constraints.fidelity=0", "delivery.untrained=false")
    with Agent.open(tmp_path / "home", engine=scripted(), embedder=HashEmbedder()) as agent:
        agent.run(stream, settings=[*QUICK, *nothing_first, "seeds.epochs=1"])
    with Home.open(tmp_path / "home") as home:
        (task,) = read_history(home.log.read()).tasks
    assert task.seeds is not None
    assert [now.update.algorithm for now in task.rounds if now.update] == ["eft", "grpo"]
    updates = facts_of(tmp_path / "home", PolicyUpdated)
    assert [update.algorithm for update in updates] == ["seeds", "eft", "grpo"]
    assert {update.skipped for update in updates} == {"the scripted engine has no weights to train"}
