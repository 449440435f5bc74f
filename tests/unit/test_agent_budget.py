"""The cap on tokens, kept by a whole run."""

from pathlib import Path
from typing import Any

from worlds import QUICK, scripted, write_stream

from synlearner.agent import Agent
from synlearner.events.home import Home
from synlearner.events.types import PromptsPlanned, SampleGenerated
from synlearner.memory import HashEmbedder

UNBOUND = ("constraints.diversity=0", "constraints.fidelity=0")


def test_a_run_stops_at_the_cap_within_a_round(tmp_path: Path) -> None:
    stream = write_stream(tmp_path, samples=40)
    settings = [*QUICK, *UNBOUND, "loop.tokens=100", "loop.fill_rounds=50", "memory.k=0"]
    with Agent.open(tmp_path / "h", engine=scripted(), embedder=HashEmbedder()) as agent:
        agent.run(stream, settings=settings)
    with Home.open(tmp_path / "h") as home:
        facts = [event.fact for event in home.log.read()]
    rounds: list[list[Any]] = []
    for fact in facts:
        if isinstance(fact, PromptsPlanned):
            rounds.append([fact.purpose, 0, len(fact.prompts)])
        elif isinstance(fact, SampleGenerated):
            rounds[-1][1] += len(fact.token_ids)
    own = [tokens for purpose, tokens, _ in rounds if purpose != "reference"]
    assert sum(own[:-1]) < 100 <= sum(own)
    assert sum(own) - 100 <= 1.5 * own[-1] / rounds[-1][2], "by about one prompt at most"
