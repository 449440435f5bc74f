"""The loop with a real engine and a real learner, on a tiny model with random weights."""

import shutil
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from runs import StopAfter, events_of, facts_of, rewrite, run_in_pieces
from tiny import base_weights, likelihoods, load
from worlds import write_stream

from synlearner.agent import Agent, RunReport
from synlearner.agent.decide import Learn
from synlearner.agent.forking import fork_home
from synlearner.agent.rebuilding import rebuild
from synlearner.agent.verifying import Verification, verify_run
from synlearner.agent.watcher import Silent, Watcher
from synlearner.events.home import Home
from synlearner.events.types import (
    DatasetDelivered,
    Event,
    PolicyServed,
    PolicyUpdated,
    PromptsPlanned,
    RunStarted,
    SampleGenerated,
)
from synlearner.memory import HashEmbedder
from synlearner.policies.learner import StepSettings, Trained, TrainedGroup, learn, token_logprobs
from synlearner.policies.logprobs import Support
from synlearner.policies.model import PolicyModel
from synlearner.policies.packing import pack
from synlearner.policies.receipts import tokenizer_digest

LOOSE = (
    "loop.rounds=3", "loop.eft_rounds=1", "loop.prompts=4", "loop.group=4", "loop.fill_rounds=1", "loop.student_every=0",
    "policy.rank=4", "policy.alpha=8", "policy.threads=1", "reward.min_fidelity=-1", "reward.min_quality=0",
    "students.families=[tfidf]", "students.bootstrap=100", "learning.eft_rate=0.01", "learning.grpo_rate=0.01",
    "seeds.epochs=1", "seeds.rate=0.01", "seeds.batch=4",
)  # fmt: skip
"""Gibberish is accepted, and weights move fast."""

ROOM = {"fields": {"text": {"words": [1, 60]}}, "samples": 6}
"""Long texts may end by themselves: the random model writes an end about every two hundred tokens."""


class World:
    """A stream, the tiny model, and how to run the one with the other."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.model = model
        self.stream = write_stream(folder / "stream", "one", "two", **ROOM)
        self.settings = [*LOOSE, f"policy.model={model}"]

    def run(self, home: Path, watcher: Watcher | None = None, **kwargs: Any) -> RunReport:
        arguments: dict[str, Any] = {"stream": self.stream, "settings": self.settings} | kwargs
        with Agent.open(home, embedder=HashEmbedder()) as agent:
            return agent.run(arguments.pop("stream"), watcher=watcher or Silent(), **arguments)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> World:
    return World(tmp_path_factory.mktemp("world"), tiny_folder)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, world: World) -> tuple[Path, RunReport]:
    home = tmp_path_factory.mktemp("learnt") / "home"
    return home, world.run(home)


def verify(home: Path, **kwargs: Any) -> Verification:
    with Home.open(home, write=True) as found:
        return verify_run(found, embedder=HashEmbedder(), **kwargs)


# ---- what is learnt ------------------------------------------------------------------------------------------


def updates(home: Path) -> list[tuple[PolicyUpdated, list[TrainedGroup]]]:
    """Return every learning step of a home with the samples that it learnt from."""
    events = events_of(home)
    plans = {event.seq: event.fact for event in events if isinstance(event.fact, PromptsPlanned)}
    samples = {event.seq: event for event in events if isinstance(event.fact, SampleGenerated)}
    found = []
    for update in (event.fact for event in events if isinstance(event.fact, PolicyUpdated)):
        groups: dict[tuple[int, int], TrainedGroup] = {}
        for seq, advantage in zip(update.samples, update.advantages, strict=True):
            written: Any = samples[seq].fact
            prompt = plans[samples[seq].causes[0]].prompts[written.prompt]
            key = (samples[seq].causes[0], written.prompt)
            groups.setdefault(key, TrainedGroup(prompt.text, prompt.prefix, prompt.decoding, []))
            groups[key].samples.append(Trained(written.token_ids, written.logprobs, advantage))
        found.append((update, list(groups.values())))
    return found


def gains(home: Path, world: World) -> list[list[float]]:
    """Return for every step of fine-tuning by how much each sample became more likely."""
    model = load(world.model)
    found = []
    with Home.open(home) as opened:
        for update, groups in updates(home):
            if update.algorithm == "eft" and not update.skipped:
                blobs = [opened.blobs.get(digest) if digest else None for digest in (update.parent, update.adapter)]
                before, after = (likelihoods(model, groups, blob) for blob in blobs)
                found.append([b - a for a, b in zip(before, after, strict=True)])
    return found


def test_the_loop_learns_in_all_ways(learnt: tuple[Path, RunReport]) -> None:
    steps = [update for update, _ in updates(learnt[0])]
    assert [update.algorithm for update in steps] == ["seeds", "eft", "grpo", "grpo"] * 2
    assert Counter(bool(update.skipped) for update in steps)[False] >= 6
    for before, after in pairwise(steps):
        assert after.parent == before.adapter
    for update in steps:
        assert (update.adapter != update.parent) is (not update.skipped)
        assert update.algorithm != "eft" or set(update.advantages) <= {1.0}
        assert update.algorithm != "seeds" or not (update.samples or update.advantages or update.skipped)


def test_fine_tuning_makes_accepted_samples_more_likely(learnt: tuple[Path, RunReport], world: World) -> None:
    assert min(sum(moved) / len(moved) for moved in gains(learnt[0], world)) > 0.001  # of none there is no least


def test_fine_tuning_again_begins_with_a_lower_loss(learnt: tuple[Path, RunReport], world: World) -> None:
    model = load(world.model)
    _, groups = next(found for found in updates(learnt[0]) if found[0].algorithm == "eft" and not found[0].skipped)
    settings = StepSettings("eft", 0.01)
    blobs: dict[str, bytes | None] = {"adapter": None, "optimizer": None}
    losses = []
    for _ in range(4):
        learned = learn(model, groups, settings, adapter=blobs["adapter"], optimizer=blobs["optimizer"], reference=None)
        blobs = {"adapter": learned.adapter, "optimizer": learned.optimizer}
        losses.append(learned.loss)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.01


def rewarded(model: PolicyModel, groups: list[TrainedGroup], adapter: bytes | None) -> float:
    """Return the sum of all samples' log-probabilities, each as drawn and times its advantage."""
    model.load_adapter(adapter)
    total = 0.0
    for group in groups:
        how = group.decoding
        support = Support(how.temperature, how.min_p, top_k=how.top_k, top_p=how.top_p)
        prompt = model.prompt_tokens(group.text, group.prefix)
        packed = pack(prompt, [sample.token_ids for sample in group.samples], model.device)
        with torch.no_grad():
            logprobs_T = token_logprobs(model, packed, support)[0]
        advantages_N = torch.tensor([sample.advantage for sample in group.samples])
        total += float((logprobs_T * advantages_N[packed.owner_T]).sum())
    return total


def test_rewards_make_good_samples_more_likely_than_bad_ones(learnt: tuple[Path, RunReport], world: World) -> None:
    """A short first step goes up the gradient; the run's own are long, with momentum, and may overshoot."""
    model = load(world.model)
    found = [(update, groups) for update, groups in updates(learnt[0]) if update.algorithm == "grpo" and groups]
    assert found
    for update, groups in found:
        for group in groups:
            assert sum(sample.advantage for sample in group.samples) == pytest.approx(0, abs=1e-5)
        with Home.open(learnt[0]) as opened:
            before = opened.blobs.get(update.parent) if update.parent else None
        step = learn(model, groups, StepSettings("grpo", 1e-4), adapter=before, optimizer=None, reference=None)
        assert rewarded(model, groups, step.adapter) > rewarded(model, groups, before)


def test_samples_name_the_policy_that_wrote_them(learnt: tuple[Path, RunReport]) -> None:
    """The reference is written by the untrained policy, everything else by the newest adapter."""
    adapter, plan = "", None
    for event in events_of(learnt[0]):
        if isinstance(event.fact, PromptsPlanned):
            plan = event.fact
        elif isinstance(event.fact, SampleGenerated):
            assert plan is not None
            assert event.fact.policy == ("" if plan.purpose == "reference" else adapter)
            assert len(event.fact.logprobs) == len(event.fact.token_ids) > 0
        elif isinstance(event.fact, PolicyUpdated):
            adapter = event.fact.adapter
    assert adapter


def test_every_sample_names_a_receipt_of_who_wrote_it(learnt: tuple[Path, RunReport], world: World) -> None:
    events = {event.seq: event for event in events_of(learnt[0])}
    model = load(world.model)
    count = 0
    for event in events.values():
        if isinstance(event.fact, SampleGenerated):
            receipt = events[event.causes[1]].fact
            assert isinstance(receipt, PolicyServed)
            assert (receipt.adapter, receipt.engine) == (event.fact.policy, event.fact.engine)
            assert (receipt.base_model, receipt.tokenizer) == (model.base_digest, tokenizer_digest(model))
            assert receipt.probed
            count += 1
        elif isinstance(event.fact, PolicyServed):
            assert event.observed["gap"] < 1e-4 < event.observed["moved"]
    assert count > 50


def test_the_base_is_the_same_before_and_after(tmp_path: Path, world: World) -> None:
    before = base_weights(load(world.model))
    home = tmp_path / "home"
    world.run(home)
    world.run(home, seed=1)
    digests = {fact.base_model for fact in facts_of(home, RunStarted)}
    assert digests == {load(world.model).base_digest}
    after = base_weights(load(world.model))
    assert all(torch.equal(before[name], after[name]) for name in before)


# ---- the same again ------------------------------------------------------------------------------------------


def test_a_run_that_learns_gives_the_same_digest_again(
    learnt: tuple[Path, RunReport], world: World, tmp_path: Path
) -> None:
    torch.manual_seed(99)
    assert world.run(tmp_path / "home") == learnt[1]


def test_stopped_at_every_learning_step_it_ends_with_the_same_digest(
    learnt: tuple[Path, RunReport], world: World, tmp_path: Path
) -> None:
    stop = StopAfter(lambda _, action: isinstance(action, Learn))
    report, times = run_in_pieces(tmp_path, lambda: world.run(tmp_path / "home", stop))
    assert times == 8
    assert report == learnt[1]


def test_verifying_trains_to_the_same_adapters_and_writes_the_same_samples(learnt: tuple[Path, RunReport]) -> None:
    found = verify(learnt[0], regenerate=True)
    assert found.first_difference is None
    assert found.unchecked == []
    assert found.checked == learnt[1].events - 1


@pytest.mark.parametrize(
    ("changes", "path"), [({"loss": 0.125}, "$.payload.loss"), ({"adapter": "parent"}, "$.payload.adapter")]
)
def test_a_planted_update_is_named(
    learnt: tuple[Path, RunReport], tmp_path: Path, changes: dict[str, Any], path: str
) -> None:
    """Other weights than those that the samples lead to: the blob exists, and only training again can tell."""
    moved = [
        event for event in events_of(learnt[0]) if isinstance(event.fact, PolicyUpdated) and not event.fact.skipped
    ]
    seq, fact = moved[1].seq, moved[1].fact
    assert isinstance(fact, PolicyUpdated)
    values = {key: fact.parent if value == "parent" else value for key, value in changes.items()}

    def edited(event: Event) -> Any:
        return msgspec.structs.replace(event.fact, **values) if event.seq == seq else event.fact

    rewrite(learnt[0], tmp_path / "changed", edited)
    found = verify(tmp_path / "changed").first_difference
    assert found is not None
    assert (found.seq, found.kind, found.path) == (seq, "policy_updated", path)


def test_a_fork_within_the_learning_goes_on_from_its_weights(
    learnt: tuple[Path, RunReport], world: World, tmp_path: Path
) -> None:
    first = next(
        event
        for event in events_of(learnt[0])
        if isinstance(event.fact, PolicyUpdated) and event.fact.algorithm != "seeds" and not event.fact.skipped
    )
    fork_home(learnt[0], first.seq, tmp_path / "fork", ["learning.grpo_rate=0.001", "loop.fill_rounds=0"])
    with Agent.open(tmp_path / "fork", embedder=HashEmbedder()) as agent:
        agent.run(world.stream)
    after = [fact for fact in facts_of(tmp_path / "fork", PolicyUpdated) if not fact.skipped]
    assert isinstance(first.fact, PolicyUpdated)
    place = next(i for i, fact in enumerate(after) if fact.adapter == first.fact.adapter)
    assert after[place + 1].parent == first.fact.adapter
    assert after[place + 1].adapter not in {fact.adapter for fact in facts_of(learnt[0], PolicyUpdated)}
    assert verify(tmp_path / "fork").first_difference is None


# ---- along the stream ----------------------------------------------------------------------------------------


def test_the_next_stream_goes_on_with_the_weights_and_another_shape_starts_afresh(
    learnt: tuple[Path, RunReport], world: World, tmp_path: Path
) -> None:
    home = Path(shutil.copytree(learnt[0], tmp_path / "home"))
    last = facts_of(home, PolicyUpdated)[-1].adapter
    known = len(facts_of(home, PolicyUpdated))
    stream = write_stream(tmp_path / "next", "three", **ROOM)
    world.run(home, stream=stream, seed=2)
    assert facts_of(home, PolicyUpdated)[known].parent == last
    known = len(facts_of(home, PolicyUpdated))
    world.run(home, stream=stream, settings=[*world.settings, "policy.rank=2"], seed=3)
    assert facts_of(home, PolicyUpdated)[known].parent == ""


def test_a_rebuild_reads_the_weights_and_trains_nothing(learnt: tuple[Path, RunReport], tmp_path: Path) -> None:
    home = Path(shutil.copytree(learnt[0], tmp_path / "home"))
    with Home.open(home, write=True) as found:
        first = rebuild(found)
        shutil.rmtree(home / "derived")
        assert rebuild(found) == first
    assert sum(len(fact.samples) for fact in facts_of(home, DatasetDelivered)) > 0
