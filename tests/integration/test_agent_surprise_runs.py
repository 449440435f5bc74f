"""Runs in which the base model reads texts, for a band of perplexity and likelihood per label.

What it says is recorded, replayed without the model, and left out where nobody can tell.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from runs import APART, StopAfter, events_of, facts_of, rewrite, run_in_pieces
from runs import run as run_scripted
from worlds import scripted, write_stream

from synlearner.agent import Agent
from synlearner.agent.decide import Generate
from synlearner.agent.surprise import Band
from synlearner.agent.verifying import Verification, verify_run
from synlearner.agent.watcher import Watcher
from synlearner.events import Home, SampleScored
from synlearner.events.types import SetScored
from synlearner.memory import HashEmbedder
from synlearner.policies.engine import Engine

BANDED = (
    *APART,
    "reward.band=true",
    "reward.likelihood=0.3",
    "stream.adapter=none",
    "reward.min_fidelity=-1",
    "reward.min_quality=0",
)
TAKEN = {
    "the surprise of texts by the base model, which is taken as recorded",
    "the likelihood of labels by the base model, which is taken as recorded",
}


def run_tiny(home: Path, stream: Path, model: Path, watcher: Watcher | None = None) -> Any:
    with Agent.open(home, embedder=HashEmbedder()) as agent:
        return agent.run(stream, settings=[*BANDED, f"policy.model={model}"], watcher=watcher)


def verify(home: Path, engine: Engine | None = None, *, regenerate: bool = False) -> Verification:
    with Home.open(home, write=True) as found:
        return verify_run(found, engine=engine, embedder=HashEmbedder(), regenerate=regenerate)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> tuple[Path, Path, Path]:
    """A home with a finished run of a model of its own, the stream's file, and the model."""
    folder = tmp_path_factory.mktemp("banded")
    stream = write_stream(folder / "s", fields={"text": {"words": [1, 40]}})
    model = shutil.copytree(tiny_folder, folder / "model")
    run_tiny(folder / "home", stream, model)
    return folder / "home", stream, model


def parts_of(home: Path) -> list[dict[str, float]]:
    return [fact.parts for fact in facts_of(home, SampleScored) if fact.parts]


def test_every_judged_sample_says_how_surprising_it_is_and_every_set_where_the_seeds_lie(
    world: tuple[Path, Path, Path],
) -> None:
    found = parts_of(world[0])
    assert found
    assert all(parts["surprise"] > 0 for parts in found)
    assert all(-1 <= parts["likelihood"] <= 1 for parts in found)
    assert len({parts["likelihood"] for parts in found}) > 1
    sets = [fact for fact in facts_of(world[0], SetScored) if fact.diversity]
    assert len({(s.diversity["surprise_low"], s.diversity["surprise_high"]) for s in sets}) == 1
    band = Band(sets[0].diversity["surprise_low"], sets[0].diversity["surprise_high"])
    assert 0 < band.low < band.high
    assert all(parts["quality"] <= band.share(parts["surprise"]) + 1e-6 for parts in found)


def test_a_run_killed_in_the_middle_of_rounds_ends_with_the_same_digest(
    world: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """Seeds and samples are measured again by a model that is loaded again."""
    whole = events_of(world[0])
    after_writing = StopAfter(lambda _, action: isinstance(action, Generate))
    report, times = run_in_pieces(tmp_path / "h", lambda: run_tiny(tmp_path / "h", world[1], world[2], after_writing))
    assert times > 2
    assert report.digest == whole[-1].hash


def test_a_log_is_verified_without_the_model(world: tuple[Path, Path, Path], tmp_path: Path) -> None:
    home = shutil.copytree(world[0], tmp_path / "home")
    hidden = world[2].rename(tmp_path / "elsewhere")
    try:
        found = verify(home)
    finally:
        hidden.rename(world[2])
    assert found.first_difference is None
    assert set(found.unchecked) >= TAKEN


def test_written_again_it_is_measured_again(world: tuple[Path, Path, Path], tmp_path: Path) -> None:
    home = shutil.copytree(world[0], tmp_path / "home")
    found = verify(home, regenerate=True)
    assert found.first_difference is None
    assert not TAKEN & set(found.unchecked)


def edited(home: Path, target: Path, changes: dict[str, float]) -> Verification:
    """Change parts of the judged sample of the best quality, and verify."""
    judged = {e.seq: e.fact.parts for e in events_of(home) if isinstance(e.fact, SampleScored) and e.fact.parts}
    chosen = max(judged, key=lambda seq: judged[seq]["quality"])

    def edit(event: Any) -> Any:
        if event.seq != chosen:
            return event.fact
        return msgspec.structs.replace(event.fact, parts=event.fact.parts | changes)

    rewrite(home, target, edit)
    return verify(target)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"surprise": 90.0}, {"gain", "quality"}),  # the gain is weighed by quality, and by fidelity
        ({"quality": 0.123}, {"quality"}),
        ({"likelihood": -1.0}, {"fidelity"}),
    ],
)
def test_parts_that_do_not_follow_from_the_recorded_figure_are_found(
    world: tuple[Path, Path, Path], tmp_path: Path, changes: dict[str, float], parts: set[str]
) -> None:
    """Or the total of a gated sample before it, which is that of the worst of its group."""
    difference = edited(world[0], tmp_path / "edited", changes).first_difference
    assert difference is not None
    assert difference.path.removeprefix("$.payload.").removeprefix("parts.") in parts | {"total"}


def observed_of(home: Path) -> Sequence[Any]:
    return [e.observed for e in events_of(home) if isinstance(e.fact, SetScored) and e.fact.diversity]


def test_an_engine_without_weights_here_leaves_the_band_out_and_says_so(tmp_path: Path) -> None:
    stream = write_stream(tmp_path)
    run_scripted(tmp_path / "home", stream, settings=(*APART, "reward.band=true", "reward.likelihood=0.3"))
    run_scripted(tmp_path / "plain", stream, settings=APART)
    found = parts_of(tmp_path / "home")
    assert len(found) > 5
    assert all(not {"surprise", "likelihood"} & parts.keys() for parts in found)
    for name in ("no_band", "no_likelihood"):
        reasons = {observed[name] for observed in observed_of(tmp_path / "home")}
        assert reasons == {"the engine has no weights here that could read a given text"}
        assert all(name not in observed for observed in observed_of(tmp_path / "plain"))
    assert verify(tmp_path / "home", scripted()).first_difference is None


def test_a_card_with_few_seeds_leaves_it_out_and_says_so(tmp_path: Path, tiny_folder: Path) -> None:
    few = [{"text": f"{word} all day long", "label": label} for word, label in (("cats", "pets"), ("rain", "weather"))]
    run_tiny(tmp_path / "home", write_stream(tmp_path, seeds=few), tiny_folder)
    assert {observed["no_band"] for observed in observed_of(tmp_path / "home")} == {
        "the card has 2 seeds, and a band takes 8"
    }
