"""Verifying: a run that happened passes, and whatever was changed in it is named by seq, kind and place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from runs import SHORT, events_of, rewrite, run, versatile, write_mixed_stream
from worlds import scripted, write_stream

from synlearner.agent import Agent
from synlearner.agent.forking import fork_home
from synlearner.agent.verifying import Verification, verify_run
from synlearner.events.home import Home
from synlearner.events.types import Draft, PolicyUpdated
from synlearner.memory import HashEmbedder
from synlearner.policies.engine import Engine
from synlearner.policies.scripted import ScriptedEngine

replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two tasks, the second of which recalls what the first taught."""
    folder = tmp_path_factory.mktemp("verified")
    run(folder / "home", write_stream(folder, "one", "two"))
    return folder / "home"


def verify(home: Path, engine: Engine | None = None, **kwargs: Any) -> Verification:
    with Home.open(home, write=True) as found:
        return verify_run(found, engine=engine or scripted(), embedder=HashEmbedder(), **kwargs)


def test_a_run_that_happened_passes(home: Path) -> None:
    found = verify(home)
    events = events_of(home)
    assert found.first_difference is None
    assert found.unchecked == []
    written = sum(event.kind in {"policy_served", "sample_generated"} for event in events)
    assert found.checked == len(events) - written - 1, "all but the samples, their receipts and the begin of the run"


def test_with_regeneration_the_samples_pass_too(home: Path) -> None:
    found = verify(home, regenerate=True)
    assert found.first_difference is None
    assert found.checked == len(events_of(home)) - 1


def test_verifying_writes_no_event(home: Path) -> None:
    before = events_of(home)
    verify(home, regenerate=True)
    assert events_of(home) == before


def test_a_stream_of_all_kinds_and_a_second_run_pass(tmp_path: Path) -> None:
    run(tmp_path / "home", write_mixed_stream(tmp_path), engine=versatile())
    run(tmp_path / "home", write_mixed_stream(tmp_path), engine=versatile(), seed=4)
    found = verify(tmp_path / "home", versatile(), regenerate=True)
    assert found.first_difference is None
    assert found.checked == len(events_of(tmp_path / "home")) - 2


def test_an_unfinished_run_passes_as_far_as_it_got(home: Path) -> None:
    assert verify(home, until=60).first_difference is None
    assert verify(home, until=0).checked == 0


# ---- planted changes -----------------------------------------------------------------------------------------


def first_prompt(fact: Any, **changes: Any) -> Any:
    return replace(fact, prompts=[replace(fact.prompts[0], **changes), *fact.prompts[1:]])


Edit = tuple[str, Callable[[Any], bool], Callable[[Any], Any], str]
EDITS: dict[str, Edit] = {
    "the card": ("task_arrived", lambda f: f.index == 1, lambda f: replace(f, card=f.card | {"samples": 99}), "$.payload.card.samples"),
    "the total of a score": ("sample_scored", lambda f: f.accepted, lambda f: replace(f, total=f.total + 0.5), "$.payload.total"),
    "a part of a score": (
        "sample_scored", lambda f: f.accepted, lambda f: replace(f, parts=f.parts | {"fidelity": 0.999}), "$.payload.parts.fidelity"
    ),
    "what was accepted": ("sample_scored", lambda f: not f.accepted, lambda f: replace(f, accepted=True, reason=""), "$.payload.accepted"),
    "the text of a scored sample": (
        "sample_scored", lambda f: f.accepted, lambda f: replace(f, fields={"text": "other"}), "$.payload.fields.text"
    ),
    "a gain": ("set_scored", lambda f: f.gains, lambda f: replace(f, gains=[9.0, *f.gains[1:]]), "$.payload.gains[0]"),
    "what the held-out judge said": (
        "judges_compared", lambda f: f.compared, lambda f: replace(f, alarm=not f.alarm), "$.payload.alarm"
    ),
    "what was recalled": ("experience_recalled", lambda f: f.chosen, lambda f: replace(f, chosen=[]), "$.payload.chosen"),
    "a draw of recall": (
        "experience_recalled",
        lambda f: f.candidates,
        lambda f: replace(f, candidates=[replace(f.candidates[0], draw=0.5), *f.candidates[1:]]),
        "$.payload.candidates[0].draw",
    ),
    "the seed of recall": ("experience_recalled", lambda f: f.round > 0, lambda f: replace(f, seed=f.seed + 1), "$.payload.seed"),
    "the text of a prompt": ("prompts_planned", lambda f: f.round == 2, lambda f: first_prompt(f, text="Write."), "$.payload.prompts[0].text"),
    "the label of a prompt": (
        "prompts_planned", lambda f: f.round == 1, lambda f: first_prompt(f, label="weather"), "$.payload.prompts[0].label"
    ),
    "a learnt item": (
        "experience_learned",
        lambda f: f.item.type == "case",
        lambda f: replace(f, item=replace(f.item, content="All was well.")),
        "$.payload.item.content",
    ),
    "a credit": (
        "experience_credited",
        lambda f: f.credits and f.family.startswith("task:"),
        lambda f: replace(f, credits=[replace(f.credits[0], mean=0.9), *f.credits[1:]]),
        "$.payload.credits[0].mean",
    ),
    "the accuracy of a student": (
        "student_scored", lambda f: f.split == "test", lambda f: replace(f, accuracy=1.0 - f.accuracy / 2), "$.payload.accuracy"
    ),
    "an advantage": (
        "policy_updated", lambda f: f.samples, lambda f: replace(f, advantages=[7.0, *f.advantages[1:]]), "$.payload.advantages[0]"
    ),
    "the data set": ("dataset_delivered", lambda f: f.samples, lambda f: replace(f, samples=f.samples[1:]), "$.payload.samples"),
    "the counts": ("task_finished", lambda f: f.requested, lambda f: replace(f, rejected=f.rejected + 1), "$.payload.rejected"),
    "the end": ("run_finished", lambda f: f.tasks, lambda f: replace(f, delivered=0), "$.payload.delivered"),
}  # fmt: skip


def plant(home: Path, target: Path, edit: Edit) -> int:
    """Rewrite *home* with a change of the first fact that fits, and return its seq."""
    kind, fits, change, _ = edit
    seq = next(event.seq for event in events_of(home) if event.kind == kind and fits(event.fact))

    rewrite(home, target, lambda event: change(event.fact) if event.seq == seq else event.fact)
    return seq


@pytest.mark.parametrize("case", EDITS)
def test_a_planted_change_is_named_by_seq_kind_and_place(home: Path, tmp_path: Path, case: str) -> None:
    """The chain of the changed history is whole: only doing it again can tell."""
    seq = plant(home, tmp_path / "changed", EDITS[case])
    found = verify(tmp_path / "changed").first_difference
    assert found is not None
    assert (found.seq, found.kind, found.path) == (seq, EDITS[case][0], EDITS[case][3])
    assert found.recorded != found.recomputed


@pytest.mark.parametrize("of_the_run", [True, False])
@pytest.mark.parametrize("where", ["within", "behind"])
def test_an_event_that_no_action_leads_to_is_named(home: Path, tmp_path: Path, where: str, of_the_run: bool) -> None:
    """Weights slipped in behind the end of a run moved the policy, and nobody noticed."""
    events = events_of(home)
    at = len(events) if where == "behind" else next(e.seq for e in events if e.kind == "policy_updated")
    stray = next(event for event in events if event.kind == "policy_updated")
    fork_home(home, at, tmp_path / "fork", [])
    with Home.open(tmp_path / "fork", write=True) as found:
        assert isinstance(stray.fact, PolicyUpdated)
        fact = replace(stray.fact, skipped="", samples=[])
        draft = Draft(fact=fact, id="stray", run_id=stray.run_id if of_the_run else "", task=stray.task)
        found.log.append([draft], expected_seq=at + 1)
    difference = verify(tmp_path / "fork").first_difference
    assert difference is not None
    assert (difference.seq, difference.kind) == (at + 2, "policy_updated")


def test_judgements_and_lessons_of_people_are_no_difference(tmp_path: Path) -> None:
    run(tmp_path / "home", write_stream(tmp_path, "one"))
    with Agent.open(tmp_path / "home", embedder=HashEmbedder()) as agent:
        agent.memory.add("Ask for short texts first.")
        (item, *_) = [entry["id"] for entry in agent.memory.get_all()["results"]]
        agent.feedback(f"item:{item}", 1)
        agent.feedback("task:one", -1)
        agent.memory.delete(item)
    run(tmp_path / "home", tmp_path / "stream.yaml", seed=1)
    assert verify(tmp_path / "home").first_difference is None


def test_a_history_that_is_only_copied_passes(home: Path, tmp_path: Path) -> None:
    rewrite(home, tmp_path / "copy", lambda event: event.fact)
    assert events_of(tmp_path / "copy")[-1].hash == events_of(home)[-1].hash
    assert verify(tmp_path / "copy").first_difference is None


def test_a_changed_sample_is_found_by_its_score_and_by_writing_it_again(home: Path, tmp_path: Path) -> None:
    edit: Edit = (
        "sample_generated", lambda f: f.round == 1, lambda f: replace(f, text="my cat sat on another mat"), "$.payload.text"
    )  # fmt: skip
    seq = plant(home, tmp_path / "changed", edit)
    by_score = verify(tmp_path / "changed").first_difference
    assert by_score is not None
    assert by_score.kind == "sample_scored"
    by_sample = verify(tmp_path / "changed", regenerate=True).first_difference
    assert by_sample is not None
    assert (by_sample.seq, by_sample.path) == (seq, "$.payload.text")


def test_an_engine_that_writes_otherwise_is_found_out(home: Path) -> None:
    found = verify(home, ScriptedEngine(lambda *_: "something else"), regenerate=True).first_difference
    assert found is not None
    assert (found.kind, found.path) == ("sample_generated", "$.payload.text")
    assert found.recomputed == "something else"


# ---- what cannot be checked here -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_without_the_files_of_the_stream_the_rest_is_checked_and_the_gap_is_told(tmp_path: Path, how: str) -> None:
    stream = write_stream(tmp_path, "one")
    run(tmp_path / "home", stream)
    if how == "gone":
        stream.unlink()
    else:
        write_stream(tmp_path, "one", samples=11)
    found = verify(tmp_path / "home")
    assert found.first_difference is None
    assert [text.split(":")[0] for text in found.unchecked] == ["ArriveTask", "Deliver", "Evaluate"]
    assert found.checked > 50


def test_a_change_is_found_without_the_files_too(tmp_path: Path) -> None:
    stream = write_stream(tmp_path, "one")
    run(tmp_path / "home", stream, settings=SHORT)
    stream.unlink()
    seq = plant(tmp_path / "home", tmp_path / "changed", EDITS["a learnt item"])
    found = verify(tmp_path / "changed").first_difference
    assert found is not None
    assert found.seq == seq
