"""In whole runs: the probe of pairs' second fields, and the student that has a say in fidelity. Both are replayed."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny
from pieces import PAIR, checked
from runs import APART, StopAfter, events_of, facts_of, rewrite, run, run_in_pieces, versatile
from worlds import card, rows, scripted, write_stream

from synlearner.agent import Agent
from synlearner.agent.datasets import delivered_rows, export_dataset
from synlearner.agent.forking import fork_home
from synlearner.agent.judge import SeedsJudge
from synlearner.agent.nli import NliModel
from synlearner.agent.utility import utilities
from synlearner.agent.vectors import Vectors
from synlearner.agent.verifying import verify_run
from synlearner.events import HistoryForked, Home, RunStarted, SampleScored, SetScored
from synlearner.events.blobs import BlobStore
from synlearner.memory import HashEmbedder
from synlearner.policies.engine import Engine
from synlearner.report.history import read_history

TOLD = {"second_field_accuracy", "second_field_guess"}


def pairs_stream(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "pairs.yaml"
    seeds = [row | {"text_b": f"{row['text_b'][:-1]} {i}."} for i in range(4) for row in PAIR["seeds"]]
    file.write_text(json.dumps({"stream": "pairs", "tasks": [PAIR | {"seeds": seeds}]}), encoding="utf-8")
    return file


def verified(home: Path, engine: Engine) -> int:
    """Return how many events were computed anew; all of them are equal."""
    with Home.open(home, write=True) as found:
        result = verify_run(found, engine=engine, embedder=HashEmbedder())
    assert result.first_difference is None
    return result.checked


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    settings = [*APART, "reward.relation=0.5", "reward.min_fidelity=-1"]
    run(folder / "home", pairs_stream(folder), engine=versatile(), settings=settings)
    return folder / "home"


def test_every_round_of_pairs_is_probed_and_the_part_is_replayed(pairs: Path) -> None:
    sets = [fact for fact in facts_of(pairs, SetScored) if fact.diversity]
    assert len(sets) >= 2
    assert all(fact.diversity.keys() >= TOLD for fact in sets if fact.samples)
    scores = [fact for fact in facts_of(pairs, SampleScored) if fact.parts]
    assert scores
    assert all(0 <= fact.parts["relation"] <= 1 for fact in scores)
    assert len({fact.parts["relation"] for fact in scores}) > 1
    assert verified(pairs, versatile()) > 20


def test_the_data_card_of_a_pair_task_tells_it(pairs: Path, tmp_path: Path) -> None:
    with Home.open(pairs) as home:
        dataset = delivered_rows(home.log, "pairs")
        assert dataset.rows
        _, card = export_dataset(dataset, "jsonl", tmp_path / "data.jsonl", home.blobs)
    text = card.read_text()
    assert "| label told from 'text_b' alone, accuracy over five folds | " in text
    assert "| the same by always naming the commonest label | " in text


def test_a_log_from_before_the_probe_verifies(tmp_path: Path) -> None:
    run(tmp_path / "home", pairs_stream(tmp_path), engine=versatile(), settings=[*APART, "judges.second_field=false"])
    assert not [fact for fact in facts_of(tmp_path / "home", SetScored) if fact.diversity.keys() & TOLD]

    def edit(event: Any) -> Any:
        if not isinstance(event.fact, RunStarted):
            return event.fact
        judges = {key: value for key, value in event.fact.settings["judges"].items() if key != "second_field"}
        return msgspec.structs.replace(event.fact, settings=event.fact.settings | {"judges": judges})

    rewrite(tmp_path / "home", tmp_path / "before", edit)
    assert verified(tmp_path / "before", versatile()) > 20


# ---- the student in fidelity ---------------------------------------------------------------------------------

SHARED = (*APART, "reward.min_fidelity=-1", "loop.rounds=3", "loop.prompts=4", "loop.group=4", "loop.fill_rounds=0")


def by_hand(scores: list[tuple[int, str, SampleScored]], vectors: Vectors) -> tuple[list[float], list[int]]:
    """Return fidelity of every judged sample as the settings say, and the rounds in which a student had a say.

    *scores* are of samples in their order, each with its round and the label that was asked for.
    """
    of = checked(card())
    seeds = SeedsJudge(of, vectors.of_seeds(of), vectors.of_meanings(of), 0.5)
    found, rounds = [], []
    students: dict[int, SeedsJudge] = {}
    for number in sorted({number for number, *_ in scores}):
        pool = [(fact, fact.label or name) for earlier, name, fact in scores if fact.accepted and earlier < number]
        if min(sum(name == label for _, name in pool) for label in of.labels) >= 8:
            labels = [*(row["label"] for row in of.seeds), *(name for _, name in pool)]
            known = vectors.embed(of, [*of.seeds, *(other.fields for other, _ in pool)])
            students[number] = SeedsJudge(of.model_copy(update={"seeds": [{"label": x} for x in labels]}), known)
    for number, label, fact in scores:
        asked = vectors.embed(of, [fact.fields])
        value = seeds.fidelity(asked, [label])[0]
        if number in students:
            value = (value + students[number].fidelity(asked, [label])[0]) / 2
            rounds.append(number)
        found.append(value)
    return found, rounds


def scores_of(home: Path) -> list[tuple[int, str, SampleScored]]:
    """Return the judged samples of a home with their rounds and labels."""
    events = {event.seq: event for event in events_of(home)}
    found = []
    for event in events.values():
        if isinstance(event.fact, SampleScored) and event.fact.parts:
            sample = events[event.fact.sample]
            plan = events[sample.causes[0]].fact
            label = plan.prompts[sample.fact.prompt].label  # type: ignore[union-attr]
            found.append((sample.fact.round, label, event.fact))  # type: ignore[union-attr]
    return found


@pytest.mark.slow
def test_what_samples_are_worth_to_a_student_steers_and_is_replayed_and_resumed(tmp_path: Path) -> None:
    """It is recorded, paid for, and moves the choice of strategies; without weight nobody is asked."""
    stream = write_stream(tmp_path)
    settings = [*SHARED, "students.utility=9", "reward.utility=1"]
    whole = run(tmp_path / "whole", stream, settings=settings)
    scores = scores_of(tmp_path / "whole")
    first = [(label, fact) for number, label, fact in scores if number == min(number for number, *_ in scores)]
    assert [fact.parts["utility"] for _, fact in first] == utilities_by_hand(tmp_path, first)
    assert verified(tmp_path / "whole", scripted()) > 50

    for part, path in (("students", r"prompts\[\d+\]\..*"), ("reward", "total")):
        found = differs_without(tmp_path / "whole", tmp_path / part, part)
        assert re.fullmatch(rf"\$\.payload\.{path}", found), "what was planned or paid is not what it would be without"

    (told,) = read_history(events_of(tmp_path / "whole")).tasks
    (plain,) = read_history(events_of(tmp_path / "students")).tasks
    assert told.believed.keys() == plain.believed.keys()
    assert told.believed != plain.believed, "the report tells what was believed, by the weight of the run"

    pieces, _ = run_in_pieces(
        tmp_path / "pieces", lambda: run(tmp_path / "pieces", stream, settings=settings, watcher=StopAfter())
    )
    assert pieces.digest == whole.digest
    run(tmp_path / "plain", stream, settings=SHARED)
    assert not any("utility" in fact.parts for *_, fact in scores_of(tmp_path / "plain"))


def utilities_by_hand(folder: Path, scores: list[tuple[str, SampleScored]]) -> list[float]:
    """Return what the samples of a first round are worth to a student of them, on the seeds that their prompts did not show."""
    of, vectors = checked(card()), Vectors(BlobStore(folder / "blobs"), HashEmbedder())
    events = {event.seq: event for event in events_of(folder / "whole")}
    samples = [events[fact.sample] for _, fact in scores]
    shown = [events[s.causes[0]].fact.prompts[s.fact.prompt].exemplars for s in samples]  # type: ignore[union-attr]
    assert any(shown)
    rows_ = vectors.embed(of, [fact.fields for _, fact in scores])
    return utilities(of, rows_, [label for label, _ in scores], vectors.of_seeds(of), shown)


def differs_without(home: Path, target: Path, part: str) -> str:
    """Return the path of the first difference where the utility is said to have had no weight in *part* of the settings."""

    def edit(event: Any) -> Any:
        if not isinstance(event.fact, RunStarted):
            return event.fact
        changed = {part: {**event.fact.settings[part], "utility": 0.0}}
        return msgspec.structs.replace(event.fact, settings={**event.fact.settings, **changed})

    rewrite(home, target, edit)
    with Home.open(target, write=True) as found:
        difference = verify_run(found, engine=scripted(), embedder=HashEmbedder()).first_difference
    return difference.path if difference else ""


@pytest.mark.slow
def test_a_student_judges_once_there_is_enough_and_is_replayed_and_resumed(tmp_path: Path) -> None:
    stream = write_stream(tmp_path)
    settings = [*SHARED, "reward.student=0.5", "loop.rounds=4", "delivery.rescue=false"]
    whole = run(tmp_path / "whole", stream, settings=settings)
    scores = scores_of(tmp_path / "whole")
    fidelity, rounds = by_hand(scores, Vectors(BlobStore(tmp_path / "blobs"), HashEmbedder()))
    assert [fact.parts["fidelity"] for *_, fact in scores] == pytest.approx(fidelity, abs=2e-6)
    assert 0 < len(rounds) < len(scores), "a student judges later rounds, and not the first"
    assert verified(tmp_path / "whole", scripted()) > 60
    pieces, times = run_in_pieces(
        tmp_path / "pieces", lambda: run(tmp_path / "pieces", stream, settings=settings, watcher=StopAfter())
    )
    assert times > 10
    assert pieces.digest == whole.digest


# ---- a model of natural language inference -------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A home whose samples a tiny model has judged, and the model's folder."""
    folder = tmp_path_factory.mktemp("judged")
    words = [row["text"] for row in rows(80)]
    model = tiny.encoder(folder / "model", words, ["contradiction", "entailment", "neutral"])
    settings = [*APART, f"nli.model={model}", "reward.min_fidelity=-1"]
    run(folder / "home", write_stream(folder), settings=settings)
    return folder / "home", model


def test_its_digest_is_recorded_and_what_it_said_is_replayed(judged: tuple[Path, Path]) -> None:
    home, model = judged
    (started,) = facts_of(home, RunStarted)
    assert started.settings["nli"]["digest"] == NliModel(str(model)).digest
    assert verified(home, scripted()) > 50


def test_without_the_model_what_it_said_is_not_checked_and_the_rest_is(
    judged: tuple[Path, Path], tmp_path: Path
) -> None:
    home, model = judged
    aside = model.rename(tmp_path / "aside")
    try:
        with Home.open(home, write=True) as found:
            result = verify_run(found, engine=scripted(), embedder=HashEmbedder())
    finally:
        aside.rename(model)
    assert result.first_difference is None
    assert result.checked > 10
    assert [note.partition(":")[0] for note in result.unchecked] == ["Balance", "Compare", "Score"]


@pytest.mark.slow
def test_judges_are_those_of_the_settings_on_either_side_of_a_fork(pairs: Path, tmp_path: Path) -> None:
    model = tiny.encoder(tmp_path / "model", ["a"], ["contradiction", "entailment", "neutral"])
    middle = [event.seq for event in events_of(pairs) if event.kind == "set_scored"][1]
    fork_home(pairs, middle, tmp_path / "fork", [f"nli.model={model}", "nli.share=1", "reward.relation=0"])
    (fork,) = facts_of(tmp_path / "fork", HistoryForked)
    assert fork.changes["nli.digest"] == NliModel(str(model)).digest
    with Agent.open(tmp_path / "fork", engine=versatile(), embedder=HashEmbedder()) as agent:
        agent.run(pairs.parent / "pairs.yaml")
    scores = [
        event for event in events_of(tmp_path / "fork") if isinstance(event.fact, SampleScored) and event.fact.parts
    ]
    sides = [{"relation" in e.fact.parts for e in scores if (e.seq > middle) is late} for late in (False, True)]  # type: ignore[union-attr]
    assert sides == [{True}, {False}]
    assert verified(tmp_path / "fork", versatile()) > 20
