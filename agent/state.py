"""What a run has come to: a fold over the log, `apply(state, event) -> state`. No clock, no I/O, bounded by one task.

Only the task at hand keeps its samples; of finished tasks a summary stays. Policy state outlives runs: the next
stream in the same home goes on with the weights that the last one left.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from synlearner.agent.cards import Card
from synlearner.agent.config import changed, completed
from synlearner.agent.task_state import Replayed, RoundState, TaskState
from synlearner.agent.tasks import apply_task, prompt_outcomes, with_feedback
from synlearner.events.chance import derive_seed
from synlearner.events.types import (
    AdaptersMerged,
    Event,
    FeedbackGiven,
    HistoryForked,
    JudgesCompared,
    PolicyUpdated,
    PromptsPlanned,
    RunFinished,
    RunStarted,
    StudentScored,
    TaskArrived,
    TaskFinished,
)

__all__ = [
    "RoundState", "RunState", "TaskState", "TaskSummary", "apply", "chance", "current_plan", "current_task",
    "prompt_outcomes",
]  # fmt: skip

REPLAYED = 256
"""Accepted samples of earlier tasks, the newest, that are at hand for learning from them again."""


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """What stays of a finished task."""

    name: str
    delivered: int
    students: tuple[StudentScored, ...]
    adapter: str = ""
    """What the policy was at its end."""
    judged: JudgesCompared | None = None
    """What the held-out judge said last."""
    alarms: int = 0
    """Rounds of which it raised an alarm."""


class RunState(Struct, frozen=True):
    """Everything that `decide` looks at."""

    seq: int = 0
    run_id: str = ""
    started: RunStarted | None = None
    started_seq: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    fork: int = 0
    """Seq of the newest fork of the run at hand: what follows it has other event ids than in the parent."""
    finished: bool = True
    task: TaskState | None = None
    done: tuple[TaskSummary, ...] = ()
    adapter: str = ""
    optimizer: str = ""
    updates: int = 0
    policy_of: tuple[Any, ...] = ()
    """Base model and adapter shape that `adapter` belongs to."""
    merged: int = 0
    """Tasks whose adapters the last merge took together."""
    replay: tuple[Replayed, ...] = ()
    """Accepted samples of earlier tasks."""

    def policy_digest(self) -> str:
        """Return SHA-256, in hex, of the policy: base model, adapter, optimiser state, number of updates."""
        text = repr((self.policy_of, self.adapter, self.optimizer, self.updates))
        return sha256(text.encode()).hexdigest()


def apply(state: RunState, event: Event) -> RunState:
    """Return the state after *event*; *state* itself is left as it was. Kinds that steer no run only move `seq`."""
    match event.fact:
        case RunStarted() as fact:
            return _start(state, event, fact)
        case HistoryForked(changes=changes):
            return _fork(replace(state, seq=event.seq), changes)
        case RunFinished():
            return replace(state, seq=event.seq, finished=True, task=None)
        case TaskArrived(index=index, card=card, files=files):
            if state.settings.get("stream", {}).get("adapter") == "task":
                state = replace(state, adapter="", optimizer="")
            digests = {name: file.sha256 for name, file in files.items()}
            task = TaskState(index, event.seq, Card.from_record(card), digests, state.adapter)
            return replace(state, seq=event.seq, task=task)
        case TaskFinished(delivered=delivered) if state.task:
            ended = state.task
            summary = TaskSummary(ended.card.name, delivered, ended.students, state.adapter, ended.judged, ended.alarms)
            replay = state.replay
            if state.settings.get("stream", {}).get("replay"):  # whoever learns from none need not hold them
                replay = (*replay, *state.task.kept)[-REPLAYED:]
            return replace(state, seq=event.seq, task=None, done=(*state.done, summary), replay=replay)
        case AdaptersMerged(adapter=adapter):
            return replace(state, seq=event.seq, adapter=adapter, optimizer="", merged=len(state.done))
        case FeedbackGiven() as fact if state.task:
            return replace(state, seq=event.seq, task=with_feedback(state.task, fact))
        case PolicyUpdated() as fact:
            if not fact.skipped:
                updates = state.updates + 1
                state = replace(state, adapter=fact.adapter, optimizer=fact.optimizer, updates=updates)
        case _:
            pass
    ours = state.task is not None and event.run_id == state.run_id
    after = apply_task(state.task, event) if state.task and ours else state.task
    return replace(state, seq=event.seq, task=after)


BEFORE: Mapping[str, Any] = {
    "judges": {"held_out": False, "second_field": False},
    "delivery": {"untrained": False, "rescue": False},
    "students": {"balanced": False},
}
"""What was so in runs from before there was a setting for it."""


def as_begun(state: RunState) -> dict[str, dict[str, Any]]:
    """Return the settings to go on with the run at hand by: what its version did not have is as if by default."""
    recorded = state.started.settings if state.started else {}
    known = {
        part: {
            name: value
            for name, value in fields.items()
            if name in recorded.get(part, {}) or value != BEFORE.get(part, {}).get(name)
        }
        for part, fields in state.settings.items()
    }
    return completed(known)


def _start(state: RunState, event: Event, fact: RunStarted) -> RunState:
    policy = fact.settings["policy"]
    policy_of = (fact.base_model, policy["rank"], policy["alpha"])
    fresh = replace(
        state,
        seq=event.seq,
        run_id=event.run_id,
        started=fact,
        started_seq=event.seq,
        settings={**fact.settings, **{part: {**old, **fact.settings.get(part, {})} for part, old in BEFORE.items()}},
        fork=0,
        finished=False,
        task=None,
        done=(),
        merged=0,
        policy_of=policy_of,
    )
    # Weights of another base model or shape cannot be carried on.
    return fresh if policy_of == state.policy_of else replace(fresh, adapter="", optimizer="", updates=0, replay=())


def _fork(state: RunState, changes: Mapping[str, Any]) -> RunState:
    """Take over changed settings, and drop what the parent had only half appended when the fork cut it off."""
    state = replace(state, settings=changed(state.settings, changes), fork=state.seq)
    if not state.task:
        return state
    now = state.task.round
    if len(now.samples) < now.requested:
        now = replace(now, samples=())
    if not now.set_seq:
        now = replace(now, scores=())
    kept = tuple(student for student in state.task.students if student.split == "seeds")
    return replace(state, task=replace(state.task, round=now, students=kept))


def current_task(state: RunState) -> TaskState:
    """Return the task at hand: `decide` asks for task actions only within one."""
    assert state.task is not None  # noqa: S101
    return state.task


def current_plan(state: RunState) -> PromptsPlanned:
    """Return the plan of the round at hand: `decide` asks for round actions only after planning."""
    plan = current_task(state).round.plan
    assert plan is not None  # noqa: S101
    return plan


def chance(state: RunState, task: TaskState, number: int, purpose: str) -> int:
    """Return the seed of what is done for *purpose* in the round of this *number*."""
    root = state.started.seed if state.started else 0
    return derive_seed(root, state.run_id, task.index, number, purpose)
