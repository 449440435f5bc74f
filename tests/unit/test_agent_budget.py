"""The cap on tokens: what there is room for by hand, and a whole run that keeps to it."""

from pathlib import Path
from typing import Any

from pieces import checked, task_of
from worlds import QUICK, card, scripted, write_stream

from synlearner.agent import Agent, parse_settings
from synlearner.agent.budget import affordable
from synlearner.agent.planning import Planner
from synlearner.events.home import Home
from synlearner.events.types import PromptsPlanned, SampleGenerated
from synlearner.memory import HashEmbedder

CARD = checked(card())
UNBOUND = ("constraints.diversity=0", "constraints.fidelity=0")


def test_a_round_asks_for_no_more_than_there_are_tokens_for() -> None:
    """Hand-worked: 10 samples took 200 tokens, 20 each; 300 - 200 leave room for 5, so for one prompt of 3."""
    settings = parse_settings(["loop.tokens=300", "loop.prompts=8", "loop.group=3"])
    task = task_of(CARD, tokens=200, requested=10)
    assert affordable(task, settings) == 5
    assert len(Planner(task, settings).learning(1)) == 1
    assert sum(prompt.samples for prompt in Planner(task, settings).filling(1)) == 3
    spent_all = task_of(CARD, tokens=299, requested=10)
    assert len(Planner(spent_all, settings).learning(1)) == 1, "a round that begins has a prompt"


def test_without_samples_yet_the_fields_say_how_long_they_may_be() -> None:
    low, high = CARD.fields["text"].words
    settings = parse_settings([f"loop.tokens={int(1.5 * (low + high) / 2 * 10) + 1}"])
    assert affordable(task_of(CARD), settings) == 10
    assert affordable(task_of(CARD), parse_settings(["loop.tokens=0"])) >= 64


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
