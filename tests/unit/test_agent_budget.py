"""The cap on tokens: what there is room for by hand, and a whole run that keeps to it; and when learning has ended."""

from pathlib import Path
from typing import Any

from pieces import checked, task_of
from worlds import QUICK, card, scripted, write_stream

from synlearner.agent import Agent, parse_settings
from synlearner.agent.budget import affordable, plateaued
from synlearner.agent.decide import Action, Plan, decide
from synlearner.agent.planning import Planner
from synlearner.agent.state import RunState, TaskState
from synlearner.events.home import Home
from synlearner.events.types import PromptsPlanned, RunStarted, SampleGenerated, StudentScored
from synlearner.memory import HashEmbedder

CARD = checked(card())
UNBOUND = ("constraints.diversity=0", "constraints.fidelity=0", "delivery.untrained=false")


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


def checks(*accuracies: float, **changes: Any) -> TaskState:
    """Return a task whose students of the accepted samples were that good, one check after the other."""
    told: dict[str, Any] = {
        "source": "accepted", "split": "seeds", "samples": [], "trained_on": 8, "scored_on": 8, "macro_f1": 0.5,
        "interval": (0.0, 1.0),
    }  # fmt: skip
    families = ("embedding", "tfidf")
    found = [
        StudentScored(family=f, accuracy=a if f == "embedding" else 1 - a, **told) for a in accuracies for f in families
    ]
    return task_of(CARD, students=tuple(found), **changes)


def test_learning_pays_no_longer_once_no_check_was_better_than_before() -> None:
    assert not plateaued(checks(), 1)
    assert not plateaued(checks(0.5), 1), "nothing came before"
    assert plateaued(checks(0.5, 0.5), 1), "equal is no better"
    assert not plateaued(checks(0.5, 0.6), 1)
    assert not plateaued(checks(0.6, 0.5), 2), "one more may be better"
    assert plateaued(checks(0.6, 0.5, 0.55), 2), "better than the last, and not than the best"
    assert not plateaued(checks(0.6, 0.5, 0.7), 2)
    assert not plateaued(checks(0.6, 0.5, 0.5, 0.5), 0), "a patience of 0 is endless"


def test_learning_rounds_end_when_they_no_longer_pay() -> None:
    def after(task: TaskState, *settings: str) -> Action | None:
        chosen = parse_settings([*UNBOUND, "loop.rounds=9", "memory.k=0", *settings]).model_dump(mode="json")
        started = RunStarted(stream="s", stream_digest="", tasks=["t"], settings=chosen, seed=0, base_model="b")
        return decide(RunState(seq=9, run_id="r", started=started, settings=chosen, finished=False, task=task, done=()))

    flat = checks(0.5, 0.5, 0.5, learn_rounds=3)
    assert after(flat) == Plan("learn")
    assert after(flat, "loop.patience=2") == Plan("fill")
    assert after(flat, "loop.patience=3") == Plan("learn")


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
    assert sum(own) - 100 <= 2 * own[-1] / rounds[-1][2], "by a prompt or two at most"
