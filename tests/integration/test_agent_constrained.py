"""A run whose samples are JSON objects that end in time: what is learnt from them, and verified."""

import json
from pathlib import Path

import jsonschema
import pytest
from runs import events_of
from worlds import write_stream

from synlearner.agent import Agent
from synlearner.agent.verifying import verify_run
from synlearner.events.home import Home
from synlearner.events.types import PolicyUpdated, PromptsPlanned, SampleGenerated
from synlearner.memory import HashEmbedder

SETTINGS = (
    "loop.rounds=2", "loop.eft_rounds=0", "loop.prompts=2", "loop.group=4", "loop.fill_rounds=0", "loop.student_every=0",
    "policy.rank=4", "policy.alpha=8", "policy.threads=1", "policy.grammar=json", "reward.min_fidelity=-1",
    "students.families=[tfidf]", "students.bootstrap=100",
)  # fmt: skip


@pytest.mark.slow
def test_every_sample_is_valid_and_each_step_is_repeated_with_its_masks(tmp_path: Path, tiny_folder: Path) -> None:
    """The random model seldom ends a text by itself: without the rule most samples would be cut off."""
    stream = write_stream(tmp_path, "one", fields={"text": {"words": [1, 4]}}, samples=6)
    settings = [*SETTINGS, f"policy.model={tiny_folder}"]
    with Agent.open(tmp_path / "home", embedder=HashEmbedder()) as agent:
        agent.run(stream, settings=settings)
    plan: PromptsPlanned | None = None
    written, gaps = 0, []
    for event in events_of(tmp_path / "home"):
        if isinstance(event.fact, PromptsPlanned):
            plan = event.fact
        elif isinstance(event.fact, SampleGenerated) and plan is not None:
            grammar = plan.prompts[event.fact.prompt].decoding.grammar
            if grammar:
                jsonschema.validate(json.loads(event.fact.text), json.loads(grammar))
                written += 1
        elif isinstance(event.fact, PolicyUpdated) and not event.fact.skipped:
            gaps.append(event.observed["gap"])
    assert written >= 8
    assert max(gaps, default=0.0) < 1e-4
    with Home.open(tmp_path / "home", write=True) as home:
        found = verify_run(home, embedder=HashEmbedder())
    assert found.first_difference is None
