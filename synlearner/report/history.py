"""What a report tells of each task, folded from the log beside the run's own state."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from synlearner.agent.bandit import Posterior, parts_of, posteriors, weighed
from synlearner.agent.cards import Card
from synlearner.agent.state import RunState, TaskState, apply
from synlearner.events.types import (
    DatasetDelivered,
    Event,
    ExperienceCredited,
    ExperienceItem,
    ExperienceLearned,
    ExperienceRecalled,
    JudgesCompared,
    PlannedPrompt,
    PolicyUpdated,
    PromptsPlanned,
    SampleGenerated,
    SampleScored,
    SetScored,
    StudentScored,
    TaskArrived,
)


@dataclass(slots=True)
class Round:
    """One round: what was asked, what became of it, how the policy moved."""

    number: int
    purpose: str
    prompts: list[PlannedPrompt]
    tokens: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)
    """Sum of each reward part over the samples that have it …"""
    counts: Counter[str] = field(default_factory=Counter)
    """… and their number."""
    diversity: Mapping[str, float] = field(default_factory=dict)
    judged: JudgesCompared | None = None
    """What the held-out judge said."""
    update: PolicyUpdated | None = None

    @property
    def requested(self) -> int:
        """Samples asked for."""
        return sum(prompt.samples for prompt in self.prompts)

    @property
    def scored(self) -> int:
        """Samples judged so far."""
        return self.accepted + self.rejected.total()

    @property
    def parts(self) -> dict[str, float]:
        """Mean of each raw reward part over the samples that passed the gates."""
        return {name: self.sums[name] / self.counts[name] for name in sorted(self.counts)}


@dataclass(slots=True)
class Sample:
    """One sample as the browser shows it."""

    seq: int
    round: int
    label: str
    strategy: str
    text: str
    """As it was written."""
    fields: dict[str, str] = field(default_factory=dict)
    """As it was read; empty if it could not be."""
    parts: dict[str, float] = field(default_factory=dict)
    total: float = 0.0
    fate: str = "not judged"
    """`accepted`, `delivered`, or why it was rejected."""


@dataclass(slots=True)
class Task:
    """One task of a run."""

    run_id: str
    name: str
    card: Card
    arrived: int
    """Seq of its arrival."""
    rounds: list[Round] = field(default_factory=list)
    samples: dict[int, Sample] = field(default_factory=dict)
    students: list[StudentScored] = field(default_factory=list)
    recalled: Counter[str] = field(default_factory=Counter)
    """Experience item to the rounds that it was chosen for."""
    learned: dict[str, ExperienceItem] = field(default_factory=dict)
    gains: dict[str, float] = field(default_factory=dict)
    """Item to the posterior mean that it was learnt with."""
    outcomes: tuple[tuple[str, str, float], ...] = ()
    seeds: PolicyUpdated | None = None
    """What the seeds have taught, where they were asked to."""
    delivered: DatasetDelivered | None = None
    untrained: bool = False
    """Whether samples of the untrained policy may be delivered too."""

    @property
    def believed(self) -> Mapping[str, Posterior]:
        """Posterior (mean, variance) of each strategy part's gain."""
        return posteriors(self.outcomes).parts

    @property
    def tried(self) -> Counter[str]:
        """Strategy part to the number of prompts that used it."""
        return Counter(part for _, strategy, _ in self.outcomes for part in parts_of(strategy))

    @property
    def rejected(self) -> Counter[str]:
        """Reason to the number of samples, over the rounds that the data set grew from."""
        own = (round_.rejected for round_ in self.rounds if round_.purpose != "reference" or self.untrained)
        return sum(own, start=Counter())


@dataclass(slots=True)
class History:
    """Everything that a report tells."""

    events: int = 0
    digest: str = ""
    begun: str = ""
    ended: str = ""
    state: RunState = field(default_factory=RunState)
    titles: dict[str, str] = field(default_factory=dict)
    """Experience item to its title."""
    tasks: list[Task] = field(default_factory=list)


def read_history(events: Iterable[Event]) -> History:
    """Fold *events*, from the first one on, into what a report tells. Keeps the texts of all samples."""
    history = History()
    for event in events:
        before = history.state.task
        history.state = apply(history.state, event)
        history.events, history.digest = event.seq, event.hash
        history.ended = str(event.observed.get("time", ""))
        history.begun = history.begun or history.ended
        match event.fact:
            case TaskArrived(card=card):
                history.tasks.append(Task(event.run_id, event.task, Card.from_record(card), event.seq))
            case ExperienceLearned(item=item):
                history.titles[item.id] = item.title or item.content
        if history.tasks and event.run_id == history.tasks[-1].run_id:
            settings = history.state.settings
            history.tasks[-1].untrained = settings.get("delivery", {}).get("untrained", False)
            weight = settings.get("students", {}).get("utility", 0.0)
            _tell(history.tasks[-1], event, history.state.task or before, weight)
    return history


def _tell(task: Task, event: Event, state: TaskState | None, weight: float) -> None:
    """Take an event of the task's own run into what is told of it; *weight* is that of samples' utility."""
    seq = event.seq
    match event.fact:
        case ExperienceRecalled(chosen=chosen):
            task.recalled.update(chosen)
        case PromptsPlanned(round=number, purpose=purpose, prompts=prompts):
            task.rounds.append(Round(number, purpose, prompts))
        case SampleGenerated() as sample:
            now = task.rounds[-1]
            now.tokens += len(sample.token_ids)
            prompt = now.prompts[sample.prompt]
            task.samples[seq] = Sample(seq, now.number, prompt.label, prompt.strategy, sample.text)
        case SampleScored() as score:
            _judge(task.rounds[-1], task.samples[score.sample], score)
        case SetScored(diversity=diversity):
            task.rounds[-1].diversity = diversity
            task.outcomes = tuple(weighed(state.outcomes, state.utilities, weight)) if state else ()
        case JudgesCompared() as judged:
            task.rounds[-1].judged = judged
        case PolicyUpdated(algorithm="seeds") as update:
            task.seeds = update
        case PolicyUpdated() as update:
            task.rounds[-1].update = update
        case StudentScored() as student:
            task.students.append(student)
        case DatasetDelivered(samples=samples) as delivered:
            task.delivered = delivered
            for chosen_seq in samples:
                task.samples[chosen_seq].fate = "delivered"
        case ExperienceLearned(item=item):
            task.learned[item.id] = item
        case ExperienceCredited(family=family, credits=credits) if family.startswith("distilled:"):
            task.gains |= {credit.item: credit.mean for credit in credits}


def _judge(now: Round, sample: Sample, score: SampleScored) -> None:
    sample.fields, sample.parts, sample.total = score.fields, score.parts, score.total
    sample.fate = "accepted" if score.accepted else score.reason
    sample.label = score.label or sample.label
    now.accepted += score.accepted
    if not score.accepted:
        now.rejected[score.reason] += 1
    for name, value in score.parts.items():
        now.sums[name] += value  # type: ignore[assignment]  # a Counter of floats adds as one of ints does
        now.counts[name] += 1


def sample_data(task: Task, limit: int) -> list[dict[str, Any]]:
    """Return the samples for the browser, at most *limit*: the delivered first, those of the untrained policy last."""
    order = {"delivered": 0, "accepted": 1, "reference": 3}
    first = sorted(task.samples.values(), key=lambda sample: (order.get(sample.fate, 2), -sample.seq))[:limit]
    return [
        {
            "seq": sample.seq,
            "round": sample.round,
            "label": sample.label,
            "strategy": sample.strategy,
            "text": "\n".join(sample.fields.values()) or sample.text,
            "total": round(sample.total, 3),
            "parts": ", ".join(f"{name} {value:.2f}" for name, value in sample.parts.items()),
            "fate": sample.fate,
        }
        for sample in first
    ]
