"""What a run has come to: a fold over the log, `apply(state, event) -> state`. No clock, no I/O, bounded by one task.

Only the task at hand keeps its samples; of finished tasks a summary stays. Policy state outlives runs: the next
stream in the same home goes on with the weights that the last one left.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from synlearner.agent.cards import Card
from synlearner.agent.rewards import outcome, worth
from synlearner.agent.scoring import PoolSample
from synlearner.events.types import (
    DatasetDelivered,
    Event,
    ExperienceCredited,
    ExperienceLearned,
    ExperienceRecalled,
    HistoryForked,
    PolicyUpdated,
    PromptsPlanned,
    RunFinished,
    RunStarted,
    SampleGenerated,
    SampleScored,
    SetScored,
    StudentScored,
    TaskArrived,
    TaskFinished,
)


@dataclass(frozen=True, slots=True)
class RoundState:
    """The round at hand. What it still lacks is what is done next."""

    number: int
    recalled: ExperienceRecalled | None = None
    plan: PromptsPlanned | None = None
    plan_seq: int = 0
    samples: tuple[tuple[int, SampleGenerated], ...] = ()
    scores: tuple[SampleScored, ...] = ()
    set_seq: int = 0
    credited: int = 0
    """Prompts whose outcome has been attributed."""
    updated: bool = False
    checked: int = 0
    """Students scored on the seeds."""

    @property
    def requested(self) -> int:
        """Samples that the plan asks for."""
        return sum(prompt.samples for prompt in self.plan.prompts) if self.plan else 0

    @property
    def cut_off(self) -> bool:
        """Whether a part of a batch is here: no kill leaves that, but a log that was cut elsewhere does."""
        return 0 < len(self.samples) < self.requested or (bool(self.scores) and not self.set_seq)


@dataclass(frozen=True, slots=True)
class TaskState:
    """The task at hand."""

    index: int
    seq: int
    card: Card
    files: Mapping[str, str]
    """Reporting file to SHA-256."""
    start_adapter: str
    round: RoundState = field(default_factory=lambda: RoundState(0))
    learn_rounds: int = 0
    fill_rounds: int = 0
    reference_rounds: int = 0
    pool: tuple[PoolSample, ...] = ()
    reference: tuple[PoolSample, ...] = ()
    """Samples of the untrained policy that could be read."""
    outcomes: tuple[tuple[str, str, float], ...] = ()
    """(label, strategy, outcome) of every prompt so far: see `prompt_outcomes`."""
    requested: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    failed: int = 0
    tokens: int = 0
    delivered: tuple[int, ...] | None = None
    students: tuple[StudentScored, ...] = ()
    learned: int = 0

    @property
    def accepted(self) -> int:
        """Samples in the pool."""
        return len(self.pool)


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """What stays of a finished task."""

    name: str
    delivered: int
    students: tuple[StudentScored, ...]


@dataclass(frozen=True, slots=True)
class RunState:
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
            digests = {name: file.sha256 for name, file in files.items()}
            task = TaskState(index, event.seq, Card.from_record(card), digests, state.adapter)
            return replace(state, seq=event.seq, task=task)
        case TaskFinished(delivered=delivered) if state.task:
            summary = TaskSummary(state.task.card.name, delivered, state.task.students)
            return replace(state, seq=event.seq, task=None, done=(*state.done, summary))
        case PolicyUpdated() as fact:
            if not fact.skipped:
                updates = state.updates + 1
                state = replace(state, adapter=fact.adapter, optimizer=fact.optimizer, updates=updates)
        case _:
            pass
    ours = state.task is not None and event.run_id == state.run_id
    after = _apply_task(state.task, event) if state.task and ours else state.task
    return replace(state, seq=event.seq, task=after)


def _start(state: RunState, event: Event, fact: RunStarted) -> RunState:
    policy = fact.settings["policy"]
    policy_of = (fact.base_model, policy["rank"], policy["alpha"])
    fresh = replace(
        state,
        seq=event.seq,
        run_id=event.run_id,
        started=fact,
        started_seq=event.seq,
        settings=fact.settings,
        fork=0,
        finished=False,
        task=None,
        done=(),
        policy_of=policy_of,
    )
    # Weights of another base model or shape cannot be carried on.
    return fresh if policy_of == state.policy_of else replace(fresh, adapter="", optimizer="", updates=0)


def _fork(state: RunState, changes: Mapping[str, Any]) -> RunState:
    """Take over changed settings, and drop what the parent had only half appended when the fork cut it off."""
    settings = {part: dict(fields) for part, fields in state.settings.items()}
    for key, value in changes.items():
        part, _, name = key.partition(".")
        settings.setdefault(part, {})[name] = value
    state = replace(state, settings=settings, fork=state.seq)
    if not state.task:
        return state
    now = state.task.round
    if len(now.samples) < now.requested:
        now = replace(now, samples=())
    if not now.set_seq:
        now = replace(now, scores=())
    kept = tuple(student for student in state.task.students if student.split == "seeds")
    return replace(state, task=replace(state.task, round=now, students=kept))


def _apply_task(task: TaskState, event: Event) -> TaskState:
    """Return the task after an event of its own run."""
    now = task.round
    match event.fact:
        case ExperienceRecalled(round=number) as fact:
            return replace(task, round=RoundState(number, recalled=fact))
        case PromptsPlanned(round=number, purpose=purpose) as fact:
            now = now if now.number == number and not now.plan else RoundState(number)
            task = replace(task, round=replace(now, plan=fact, plan_seq=event.seq))
            name = f"{purpose}_rounds"
            return replace(task, **{name: getattr(task, name) + 1})
        case SampleGenerated() as fact:
            tokens = task.tokens + len(fact.token_ids)
            return replace(task, tokens=tokens, round=replace(now, samples=(*now.samples, (event.seq, fact))))
        case SampleScored() as fact:
            return replace(task, round=replace(now, scores=(*now.scores, fact)))
        case SetScored() as fact:
            return _close_scoring(replace(task, round=replace(now, set_seq=event.seq)), fact)
        case ExperienceCredited(family=family) if not family.startswith("distilled:"):
            return replace(task, round=replace(now, credited=now.credited + 1))
        case PolicyUpdated():
            return replace(task, round=replace(now, updated=True))
        case StudentScored(split="seeds") as fact:
            students = (*task.students, fact)
            return replace(task, students=students, round=replace(now, checked=now.checked + 1))
        case StudentScored() as fact:
            return replace(task, students=(*task.students, fact))
        case DatasetDelivered(samples=samples):
            return replace(task, delivered=tuple(samples))
        case ExperienceLearned():
            return replace(task, learned=task.learned + 1)
        case _:
            return task


def _close_scoring(task: TaskState, scored_set: SetScored) -> TaskState:
    """Take a round's scores into the task: pool, counts, outcomes; or the samples of the untrained policy."""
    now = task.round
    if now.plan is None:
        return task
    asked = {seq: now.plan.prompts[sample.prompt] for seq, sample in now.samples}
    places = {seq: place for place, seq in enumerate(scored_set.samples)}

    def pooled(score: SampleScored) -> PoolSample:
        prompt = asked[score.sample]
        value = worth(score.parts["fidelity"], score.parts["quality"]) if score.parts else 0.0
        place = places[score.sample]
        return PoolSample(
            score.sample, prompt.label, prompt.strategy, score.fields, value, scored_set.embeddings, place
        )

    if now.plan.purpose == "reference":
        return replace(task, reference=(*task.reference, *(pooled(s) for s in now.scores if s.sample in places)))
    accepted = tuple(pooled(score) for score in now.scores if score.accepted)
    rejected = dict(task.rejected)
    failed = 0
    for score in now.scores:
        if score.reason == "gate:engine":
            failed += 1
        elif not score.accepted:
            rejected[score.reason] = rejected.get(score.reason, 0) + 1
    values = zip(now.plan.prompts, prompt_outcomes(now), strict=True)
    return replace(
        task,
        pool=(*task.pool, *accepted),
        requested=task.requested + len(now.samples),
        rejected=rejected,
        failed=task.failed + failed,
        outcomes=(*task.outcomes, *((prompt.label, prompt.strategy, value) for prompt, value in values)),
    )


def prompt_outcomes(now: RoundState) -> list[float]:
    """Return what each prompt of a scored round was good for, in [0, 1]."""
    if now.plan is None:
        return []
    groups: list[list[dict[str, float] | None]] = [[] for _ in now.plan.prompts]
    for (_, sample), score in zip(now.samples, now.scores, strict=True):
        groups[sample.prompt].append(score.parts if score.accepted else None)
    return [outcome(group) if group else 0.0 for group in groups]
