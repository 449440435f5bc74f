"""The held-out judge in whole runs: it looks at every round, and changes nothing but what is recorded of it."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from runs import LEAN, events_of, facts_of, rewrite, run
from worlds import scripted, write_stream

from synlearner.agent import RunReport
from synlearner.agent.judging import Scorer
from synlearner.agent.rescue import is_rescued
from synlearner.agent.verifying import verify_run
from synlearner.events import Home, JudgesCompared, RunStarted, SampleScored, SetScored
from synlearner.memory import HashEmbedder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunReport]:
    folder = tmp_path_factory.mktemp("held")
    return folder / "home", run(folder / "home", write_stream(folder), settings=LEAN)


def test_every_round_with_accepted_samples_is_looked_at(whole: tuple[Path, RunReport]) -> None:
    home, report = whole
    events = events_of(home)
    found = [event.fact for event in events if isinstance(event.fact, JudgesCompared)]
    purposes = {e.fact.round: e.fact.purpose for e in events if e.kind == "prompts_planned"}  # type: ignore[union-attr]
    numbers = {event.seq: event.fact.round for event in events if event.kind == "sample_generated"}  # type: ignore[union-attr]
    scores = [event.fact for event in events if isinstance(event.fact, SampleScored) and not is_rescued(event.fact)]
    own = {number for number, purpose in purposes.items() if purpose != "reference"}
    accepted = Counter(numbers[score.sample] for score in scores if score.accepted and numbers[score.sample] in own)
    assert {fact.round: fact.compared for fact in found} == accepted
    assert {purposes[fact.round] for fact in found} == {"learn", "fill"}
    means = {
        n: np.mean([s.parts["fidelity"] for s in scores if s.accepted and numbers[s.sample] == n]) for n in accepted
    }
    assert [fact.training for fact in found] == pytest.approx([means[fact.round] for fact in found], abs=2e-6)
    judges = report.tasks[0].judges
    assert judges is not None
    last = found[-1]
    assert (judges.training, judges.held_out, judges.gap) == (last.training, last.held_out, last.gap)
    assert judges.alarms == sum(fact.alarm for fact in found)


class Contrarian:
    """Says the worst of everything: its opinion must not matter."""

    def fidelity(self, rows: Any, labels: Any) -> Any:
        return -np.ones(len(labels))


def test_whatever_it_says_changes_nothing_else(
    whole: tuple[Path, RunReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scorer, "held_out", lambda *_: Contrarian())
    run(tmp_path / "home", write_stream(tmp_path), settings=LEAN)
    ours, theirs = (
        [(e.seq, e.id, e.kind, e.causes, e.fact) for e in events_of(home) if not isinstance(e.fact, JudgesCompared)]
        for home in (whole[0], tmp_path / "home")
    )
    assert ours == theirs
    assert {fact.held_out for fact in facts_of(tmp_path / "home", JudgesCompared)} == {-1.0}


def test_without_it_nothing_is_recorded_and_a_log_from_before_verifies(tmp_path: Path) -> None:
    report = run(tmp_path / "home", write_stream(tmp_path), settings=[*LEAN, "judges.held_out=false"])
    assert facts_of(tmp_path / "home", JudgesCompared) == []
    assert facts_of(tmp_path / "home", SetScored)
    assert report.tasks[0].judges is None

    def edit(event: Any) -> Any:
        if not isinstance(event.fact, RunStarted):
            return event.fact
        settings = {part: values for part, values in event.fact.settings.items() if part != "judges"}
        return msgspec.structs.replace(event.fact, settings=settings)

    rewrite(tmp_path / "home", tmp_path / "before", edit)
    with Home.open(tmp_path / "before", write=True) as home:
        found = verify_run(home, engine=scripted(), embedder=HashEmbedder())
    assert found.first_difference is None
    assert found.checked > 50
