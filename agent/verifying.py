"""Verify: perform every recorded action again and compare, event by event; name the first that differs.

Samples are taken as recorded (or sampled again, to regenerate); recalls, plans, scores, credits, learning steps and
students are computed anew from the past that each action saw.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from synlearner.agent.build import build_policy, limit_threads
from synlearner.agent.cards import Stream, load_stream
from synlearner.agent.config import Settings
from synlearner.agent.decide import (
    Action,
    ArriveTask,
    Balance,
    Compare,
    Deliver,
    Evaluate,
    Generate,
    Score,
    decide,
)
from synlearner.agent.execute import Executor
from synlearner.agent.judging import Scorer
from synlearner.agent.likelihood import recorded_likelihood
from synlearner.agent.nli import settle_nli
from synlearner.agent.state import RunState, apply
from synlearner.agent.surprise import recorded_surprise
from synlearner.agent.training import fingerprint
from synlearner.agent.user_reward import recorded_values
from synlearner.agent.watcher import Silent, Watcher
from synlearner.errors import ConfigError, ModelError
from synlearner.events.home import Home
from synlearner.events.past import PastHome
from synlearner.events.types import (
    Draft,
    Event,
    ExperienceCredited,
    ExperienceLearned,
    ExperienceRetired,
    FeedbackGiven,
    HistoryForked,
    PayloadRedacted,
    Redacted,
    RunStarted,
)
from synlearner.memory import Embedder, default_embedder
from synlearner.memory.experience import Experience
from synlearner.policies.engine import Engine

OUTSIDE = (FeedbackGiven, ExperienceLearned, ExperienceCredited, ExperienceRetired, PayloadRedacted)
"""Facts that people and programs may bring about between actions."""
EVERYTHING = ("", "")
"""In the place of (run, task): all of what comes after."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first event that is not what its action leads to."""

    seq: int
    kind: str
    path: str
    """Where in the event, as a JSON path."""
    recorded: Any
    recomputed: Any
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """What verifying found."""

    first_difference: Difference | None
    checked: int
    """Events that were computed anew and are equal."""
    unchecked: list[str]
    """Actions that could not be performed again here, and why."""


def verify_run(
    home: Home,
    *,
    until: int | None = None,
    regenerate: bool = False,
    engine: Engine | None = None,
    embedder: Embedder | None = None,
    watcher: Watcher | None = None,
) -> Verification:
    """Perform every recorded action up to *until* again and compare.

    Args:
        home: Open for writing: recomputed blobs are written (and are the recorded ones, or a difference).
        until: Last event to look at.
        regenerate: Sample again too, instead of taking the recorded samples.
        engine: The caller's, where the runs were made with one.
        embedder: The caller's, where the home was made with one.
        watcher: Sees the actions.
    """
    verifier = _Verifier(home, regenerate, engine, embedder, watcher or Silent())
    difference = verifier.walk(home.log.read(until=until))
    return Verification(difference, verifier.checked, sorted(verifier.unchecked))


class _Verifier:
    """Walks the log action by action, with the past as each action saw it."""

    def __init__(
        self,
        home: Home,
        regenerate: bool,
        engine: Engine | None,
        embedder: Embedder | None,
        watcher: Watcher,
    ) -> None:
        self._past = PastHome(home)
        self._log = home.log
        self._embedder = embedder
        self._memory = Experience(self._past, embedder, mirror=False)
        self._regenerate = regenerate
        self._engine = engine
        self._watcher = watcher
        self._state = RunState()
        self._executor: Executor | None = None
        self._has_stream = False
        self._lacks_nli = ""
        """Why the model that judges, if one was named, is not the one that judged."""
        self._passing = ""
        """Kind of the events of an action that cannot be performed again."""
        self._blind: set[tuple[str, str]] = set()
        """(run, task) that cannot be performed again, since something in them was redacted."""
        self.checked = 0
        self.unchecked: set[str] = set()

    def walk(self, events: Iterator[Event]) -> Difference | None:
        """Return the first difference, or None."""
        expected: list[Draft] = []
        for event in events:
            if isinstance(event.fact, HistoryForked):
                expected = []  # the fork cut its parent off, within a batch or not
            elif self._depends_on_redacted(event):
                expected = []
            elif not expected and event.kind != self._passing:
                self._passing = ""
                if self._is_stray(event):
                    return Difference(
                        event.seq, event.kind, "$.kind", event.kind, None, "no action leads to this event"
                    )
                expected = self._perform(event)
            if expected:
                difference = compare(event, expected.pop(0))
                if difference:
                    return self._explained(difference, event)
                self.checked += 1
            self._take(event)
        return None

    def _depends_on_redacted(self, event: Event) -> bool:
        """Tell whether *event* is without its payload, or follows from one that is: then it cannot be computed."""
        here = (event.run_id, event.task)
        if isinstance(event.fact, Redacted):
            task = self._state.task
            if event.kind == FeedbackGiven.kind:  # it concerned the task at hand, if there was one
                here = (self._state.run_id, task.card.name) if task else here
            # What was learnt is recalled by everybody, and samples may be learnt from again.
            forever = event.kind == ExperienceLearned.kind or self._state.settings.get("stream", {}).get("replay")
            if forever or here != EVERYTHING:
                self._blind.add(EVERYTHING if forever else here)
                scope = "" if forever else f" in task {here[1]!r}"
                self.unchecked.add(f"what follows{scope} from event {event.seq} ({event.kind}), which was redacted")
            return True
        return here in self._blind or EVERYTHING in self._blind

    def _is_stray(self, event: Event) -> bool:
        """Tell whether nothing can have led to *event*: no action of the run at hand, and nobody outside of runs."""
        if isinstance(event.fact, RunStarted):
            return False
        if not event.run_id:
            return not isinstance(event.fact, OUTSIDE)
        return event.run_id != self._state.run_id or decide(self._state) is None

    def _perform(self, event: Event) -> list[Draft]:
        """Return what the action that *event* begins leads to; nothing if there is none, or it is not performed."""
        of_this_run = event.run_id and event.run_id == self._state.run_id
        action = decide(self._state) if of_this_run else None
        if action is None or (isinstance(action, Generate) and not self._regenerate):
            return []
        executor = self._ready_executor()
        if lacking := self._lacking(action):
            self.unchecked.add(f"{type(action).__name__}: {lacking}")
            self._passing = event.kind
            return []
        reward = self._state.settings.get("user_reward", {}).get("function")
        if isinstance(action, Score) and reward:
            # What a log names is not imported: totals are computed again from the values that it holds.
            executor.scorer.reward = recorded_values(self._log.read(after=event.seq - 1))
            self.unchecked.add(f"the values of the reward {reward!r:.120}, which are taken as recorded")
        if isinstance(action, Score) and not self._regenerate:
            self._take_as_recorded(executor.scorer, event.seq)
        self._watcher.begins(self._state, action)
        return executor.perform(self._state, action)

    def _take_as_recorded(self, scorer: Scorer, seq: int) -> None:
        """Let the log itself, from *seq* on, say what the base model makes of texts."""
        rewards = self._state.settings.get("reward", {})
        if rewards.get("band"):
            scorer.surprise = recorded_surprise(self._log.read(after=seq - 1))
            self.unchecked.add("the surprise of texts by the base model, which is taken as recorded")
        if rewards.get("likelihood"):
            scorer.likelihood = recorded_likelihood(self._log.read(after=seq - 1))
            self.unchecked.add("the likelihood of labels by the base model, which is taken as recorded")

    def _lacking(self, action: Action) -> str:
        """Return what is not at hand to perform *action* with, or an empty text."""
        if isinstance(action, ArriveTask | Deliver | Evaluate) and not self._has_stream:
            return "the stream's files are gone or have changed"
        return self._lacks_nli if isinstance(action, Score | Balance | Compare) else ""

    def _take(self, event: Event) -> None:
        self._past.advance(event)
        self._state = apply(self._state, event)
        self._memory.apply(event)
        if isinstance(event.fact, RunStarted | HistoryForked):  # judges, threads and models are as the settings say
            self._executor = None

    def _ready_executor(self) -> Executor:
        if self._executor is None:
            settings = Settings.model_validate(self._state.settings)
            limit_threads(settings.policy.threads)
            seed = self._state.started.seed if self._state.started else 0
            stream = self._find_stream()
            self._has_stream = stream is not None
            embedder = self._embedder or default_embedder(self._memory.state.embedder)
            policy = build_policy(settings, seed, self._engine)
            nli, self._lacks_nli = None, ""
            try:
                _, nli = settle_nli(settings, [])
            except (ModelError, ConfigError) as error:
                self._lacks_nli = str(error)
            self._executor = Executor(self._past.blobs, self._memory, embedder, policy, stream, self._watcher, nli=nli)
        return self._executor

    def _find_stream(self) -> Stream | None:
        """Return the stream that the run was started with, if its files are where they were and the same."""
        source = self._past.log.get(self._state.started_seq).observed.get("source")
        try:
            stream = load_stream(Path(source)) if source else None
        except ConfigError:
            return None
        same = stream and self._state.started and stream.digest() == self._state.started.stream_digest
        return stream if same else None

    def _explained(self, difference: Difference, event: Event) -> Difference:
        here, then = fingerprint(), event.observed.get("fingerprint")
        if not then or then == here:
            return difference
        changed = ", ".join(f"{k} was {then.get(k)!r} and is {here[k]!r}" for k in here if here[k] != then.get(k))
        return replace(difference, note=f"numbers are bit-identical only inside one fingerprint; here {changed}")


def compare(event: Event, draft: Draft) -> Difference | None:
    """Return the first difference between a recorded *event* and a recomputed *draft*, or None."""
    old, new = (
        {
            "kind": side.fact.kind,
            "id": side.id,
            "task": side.task,
            "causes": list(side.causes),
            "payload": msgspec.to_builtins(side.fact),
        }
        for side in (event, draft)
    )
    for path, recorded, recomputed in _walk(old, new, "$"):
        return Difference(event.seq, event.kind, path, recorded, recomputed)
    return None


def _walk(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from _walk(old.get(key), new.get(key), f"{path}.{key}")
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        for place, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from _walk(left, right, f"{path}[{place}]")
    elif old != new:
        yield path, old, new
