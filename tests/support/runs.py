"""Whole runs for integration tests: short settings, a stream of all kinds, and ways to stop, read and falsify a run."""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pieces import PAIR, STORY
from worlds import QUICK, card, scripted, text_of

from synlearner.agent import Agent, RunReport
from synlearner.agent.decide import Action
from synlearner.agent.state import RunState
from synlearner.agent.watcher import Silent, Watcher
from synlearner.events.blobs import references
from synlearner.events.home import Home
from synlearner.events.types import AnyFact, Draft, Event
from synlearner.memory import HashEmbedder
from synlearner.policies.engine import Engine
from synlearner.policies.scripted import ScriptedEngine

SHORT = (*QUICK, "loop.prompts=2", "loop.fill_rounds=1", "loop.student_every=1")
"""Two learning rounds of two prompts, and one that fills: about a hundred events a task."""

LEAN = (*SHORT, "loop.student_every=0", "students.curve=0", "students.families=[embedding]", "memory.k=0")
"""The same with as few students as can be, and without memory."""

APART = (*LEAN, "delivery.untrained=false")
"""The same where the untrained policy's samples are read and not judged: who scores is asked of the policy's own alone."""


def run(
    home: Path, stream: Path, *, engine: Engine | None = None, watcher: Watcher | None = None, **kwargs: Any
) -> RunReport:
    """Run *stream* in *home* with the scripted engine."""
    settings = kwargs.pop("settings", SHORT)
    with Agent.open(home, engine=engine or scripted(), embedder=HashEmbedder()) as agent:
        return agent.run(stream, settings=settings, watcher=watcher, **kwargs)


def events_of(home: Path) -> list[Event]:
    """Return the events of a home."""
    with Home.open(home) as found:
        return list(found.log.read())


def facts_of(home: Path, kind: type[AnyFact]) -> list[Any]:
    """Return the facts of one kind."""
    return [event.fact for event in events_of(home) if isinstance(event.fact, kind)]


class Stopped(Exception):
    """A run was stopped from outside."""


class StopAfter(Silent):
    """Stops a run after an action that *when* picks; a run that is finished is not stopped."""

    def __init__(self, when: Callable[[RunState, Action], bool] = lambda *_: True) -> None:
        self._when = when

    def ends(self, state: RunState, action: Action, events: Sequence[Event]) -> None:
        if not state.finished and self._when(state, action):
            raise Stopped


def run_in_pieces(home: Path, go_on: Callable[[], RunReport]) -> tuple[RunReport, int]:
    """Call *go_on* until it is not stopped any more; return the report and how often it was stopped."""
    times = 0
    while True:
        try:
            return go_on(), times
        except Stopped:
            times += 1


def rewrite(source: Path, target: Path, edit: Callable[[Event], Any]) -> None:
    """Append the events of *source* to a new home with the facts that *edit* returns: the chain is whole again."""
    with Home.open(source) as old, Home.open(target, create=True) as new:
        drafts = []
        for event in old.log.read():
            fact = edit(event)
            for digest in {*references(event.fact), *references(fact)}:
                if old.blobs.has(digest):
                    new.blobs.take(digest, old.blobs)
            told: dict[str, Any] = {
                "run_id": event.run_id,
                "task": event.task,
                "causes": event.causes,
                "observed": event.observed,
            }
            drafts.append(Draft(fact=fact, id=event.id, **told))
        new.log.append(drafts, expected_seq=0)


def write_mixed_stream(folder: Path) -> Path:
    """Write a stream with one card of each kind; only the first has test data."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"text": text_of(label, 10 + i), "label": label} for label in ("pets", "weather") for i in range(6)]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    tasks = [card(test="test.jsonl"), PAIR, STORY]
    file = folder / "mixed.yaml"
    file.write_text(json.dumps({"stream": "mixed", "tasks": tasks}), encoding="utf-8")
    return file


def versatile() -> ScriptedEngine:
    """Return an engine that writes samples of all three kinds; the first heading of several is in the prompt."""
    topics = scripted(junk=0.1)

    def reply(text: str, seed: int) -> str:
        rng = random.Random(hashlib.sha256(f"{text}{seed}".encode()).digest())  # noqa: S311 - chance is seeded
        thing, number, other = (
            rng.choice(["boat", "lamp", "tree", "desk", "horse"]),
            rng.randrange(3, 900),
            rng.randrange(2, 90),
        )
        if "hypothesis" in text.lower():
            return f" A {thing} stands near house {number}.\nHypothesis: Near house {number} there is something."
        if "word problem" in text.lower():
            whole = number + other
            return f" A farm has {number} of one {thing} and buys {other} more. How many?\nWorked solution: It has {whole} now."
        return topics._reply(text, seed)

    return ScriptedEngine(reply)
