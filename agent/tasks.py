"""The task at hand, as the events of its own run make it: its round, its samples, what they showed. Pure, bounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from synlearner.agent.cards import Card
from synlearner.agent.rewards import Parts, outcome, outcome_utility, worth
from synlearner.agent.scoring import PoolSample
from synlearner.events.types import (
    AttributesProposed,
    ConstraintsAdjusted,
    DatasetDelivered,
    Event,
    ExperienceCredited,
    ExperienceLearned,
    ExperienceRecalled,
    FeedbackGiven,
    JudgesCompared,
    PlannedPrompt,
    PolicyUpdated,
    PromptsPlanned,
    Redacted,
    RewardFailed,
    SampleGenerated,
    SampleScored,
    SetScored,
    StudentScored,
)

KEPT = 32
"""Accepted samples of a task that later tasks may learn from again."""

JUDGED = 0.5
"""What a person's whole praise (1) is worth to a strategy, in units of the outcome."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """An accepted sample with the prompt that it answered: all that learning from it again takes."""

    seq: int
    label: str
    worth: float
    prompt: PlannedPrompt
    sample: SampleGenerated


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
    balanced: bool = False
    """Whether the multipliers have been adjusted to it."""
    compared: bool = False
    """Whether the held-out judge has looked at it."""
    checked: int = 0
    """Students scored on the seeds."""

    @property
    def requested(self) -> int:
        """Samples that the plan asks for."""
        return sum(prompt.samples for prompt in self.plan.prompts) if self.plan else 0

    @property
    def remembered(self) -> bool:
        """Whether memory had something for this round."""
        return self.recalled is not None and bool(self.recalled.chosen)

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
    reference_asked: int = 0
    """Samples that the untrained policy was asked for."""
    proposed: AttributesProposed | None = None
    """Topics for each label; None where nobody was asked."""
    drawn: tuple[tuple[str, Mapping[str, str]], ...] = ()
    """(label, attributes) of every prompt so far, but for those of the untrained policy."""
    multipliers: Mapping[str, float] = field(default_factory=dict)
    """Of the constraints, by name: see `synlearner.agent.constraints`."""
    judged: JudgesCompared | None = None
    """What the held-out judge said of the newest round that it looked at."""
    alarms: int = 0
    """Rounds of which it raised an alarm."""
    reward_failed: bool = False
    """Whether the user's own reward has failed in this task."""
    kept: tuple[Replayed, ...] = ()
    """What later tasks may learn from again: the accepted samples of most worth, labels in equal shares."""
    outcomes: tuple[tuple[str, str, float], ...] = ()
    """(label, strategy, outcome) of every prompt so far: see `prompt_outcomes`."""
    utilities: tuple[float | None, ...] = ()
    """What the samples of each were worth to a student; None where nobody told."""
    requested: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    failed: int = 0
    tokens: int = 0
    reference_tokens: int = 0
    """Those of them that the untrained policy wrote."""
    delivered: tuple[int, ...] | None = None
    students: tuple[StudentScored, ...] = ()
    learned: int = 0

    @property
    def accepted(self) -> int:
        """Samples in the pool."""
        return len(self.pool)


def apply_task(task: TaskState, event: Event) -> TaskState:
    """Return the task after an event of its own run."""
    now = task.round
    match event.fact:
        case ExperienceRecalled(round=number) as fact:
            return replace(task, round=RoundState(number, recalled=fact))
        case PromptsPlanned(round=number) as fact:
            now = now if now.number == number and not now.plan else RoundState(number)
            task = replace(task, round=replace(now, plan=fact, plan_seq=event.seq))
            return _planned(task, fact)
        case SampleGenerated() as fact:
            count = len(fact.token_ids)
            untrained = count if now.plan and now.plan.purpose == "reference" else 0
            return replace(
                task,
                tokens=task.tokens + count,
                reference_tokens=task.reference_tokens + untrained,
                round=replace(now, samples=(*now.samples, (event.seq, fact))),
            )
        case SampleScored() as fact:
            return replace(task, round=replace(now, scores=(*now.scores, fact)))
        case RewardFailed():
            return replace(task, reward_failed=True)
        case SetScored() as fact:
            return _close_scoring(replace(task, round=replace(now, set_seq=event.seq)), fact)
        case AttributesProposed() as fact:
            return replace(task, proposed=fact)
        case ConstraintsAdjusted(multipliers=multipliers):
            return replace(task, multipliers=multipliers, round=replace(now, balanced=True))
        case JudgesCompared() as fact:
            alarms = task.alarms + fact.alarm
            return replace(task, judged=fact, alarms=alarms, round=replace(now, compared=True))
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
        case Redacted(kind=kind):
            return _without_payload(task, event, kind)
        case _:
            return task


def _without_payload(task: TaskState, event: Event, kind: str) -> TaskState:
    """Return the task after an event whose payload was taken out. It was finished by then, so little depends on it.

    Samples and scores keep their places, which follow from those of the others: without text, and not accepted.
    """
    now = task.round
    if kind == ExperienceRecalled.kind:
        return replace(task, round=RoundState(now.number + 1))
    if kind == PromptsPlanned.kind:
        return replace(task, round=RoundState(now.number if now.plan is None else now.number + 1))
    if kind == SampleScored.kind:
        (sample,) = event.causes
        score = SampleScored(sample=sample, accepted=False, reason="redacted", fields={}, parts={}, total=0.0)
        return replace(task, round=replace(now, scores=(*now.scores, score)))
    if kind == SampleGenerated.kind:
        prompts = now.plan.prompts if now.plan else []
        places = [(prompt, index) for prompt, plan in enumerate(prompts) for index in range(plan.samples)]
        prompt, index = places[len(now.samples)] if len(now.samples) < len(places) else (0, 0)
        sample_ = SampleGenerated(
            round=now.number, prompt=prompt, index=index, text="", token_ids=[], logprobs=[], finish="redacted",
            policy="", engine="",
        )  # fmt: skip
        return replace(task, round=replace(now, samples=(*now.samples, (event.seq, sample_))))
    return replace(task, learned=task.learned + 1) if kind == ExperienceLearned.kind else task


def _planned(task: TaskState, fact: PromptsPlanned) -> TaskState:
    """Count a plan, and what it drew."""
    asked = task.round.requested
    match fact.purpose:
        case "learn" | "fill":
            drawn = tuple((prompt.label, prompt.attributes) for prompt in fact.prompts if prompt.attributes)
            name = f"{fact.purpose}_rounds"
            return replace(task, drawn=(*task.drawn, *drawn), **{name: getattr(task, name) + 1})
        case "reference":
            rounds, total = task.reference_rounds + 1, task.reference_asked + asked
            return replace(task, reference_rounds=rounds, reference_asked=total)
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
    samples = dict(now.samples)
    new = (Replayed(s.seq, s.label, s.worth, asked[s.seq], samples[s.seq]) for s in accepted)
    return replace(
        task,
        pool=(*task.pool, *accepted),
        kept=_most_worth([*task.kept, *new]),
        requested=task.requested + len(now.samples),
        rejected=rejected,
        failed=task.failed + failed,
        outcomes=(*task.outcomes, *((prompt.label, prompt.strategy, value) for prompt, value in values)),
        utilities=(*task.utilities, *map(outcome_utility, _accepted_parts(now))),
    )


def _most_worth(samples: Sequence[Replayed]) -> tuple[Replayed, ...]:
    """Return at most `KEPT` samples: of each label in turn the one of most worth that is left."""
    ranked = sorted(samples, key=lambda s: (-s.worth, s.seq))
    turns: dict[str, int] = {}
    placed = []
    for sample in ranked:
        turn = turns[sample.label] = turns.get(sample.label, 0) + 1
        placed.append((turn, sample))
    chosen = sorted(placed, key=lambda pair: pair[0])[:KEPT]
    return tuple(sorted((sample for _, sample in chosen), key=lambda s: s.seq))


def with_feedback(task: TaskState, fact: FeedbackGiven) -> TaskState:
    """Return the task after somebody judged one of its accepted samples.

    One that is judged harmful leaves the pool (and counts as rejected), any other gains worth; its strategy is
    credited with the label's usual outcome, raised or lowered by the judgement. Other targets change nothing here.
    """
    sample = next((s for s in task.pool if fact.target == f"sample:{s.seq}"), None)
    if sample is None or task.delivered is not None:
        return task
    usual = [value for label, _, value in task.outcomes if label == sample.label]
    value = min(1.0, max(0.0, sum(usual) / max(1, len(usual)) + JUDGED * fact.score))
    judged = (*task.outcomes, (sample.label, sample.strategy, value))
    task = replace(task, outcomes=judged, utilities=(*task.utilities, None))
    others = tuple(s for s in task.pool if s is not sample)
    if fact.score < 0:
        rejected = dict(task.rejected)
        rejected["feedback"] = rejected.get("feedback", 0) + 1
        kept = tuple(s for s in task.kept if s.seq != sample.seq)
        return replace(task, pool=others, rejected=rejected, kept=kept)
    better = replace(sample, worth=sample.worth + fact.score * (1 - sample.worth))
    return replace(task, pool=tuple(better if s is sample else s for s in task.pool))


def prompt_outcomes(now: RoundState) -> list[float]:
    """Return what each prompt of a scored round was good for, in [0, 1]."""
    return [outcome(group) if group else 0.0 for group in _accepted_parts(now)]


def _accepted_parts(now: RoundState) -> list[list[Parts | None]]:
    """Return the parts of each prompt's samples; None stands for one that was not accepted."""
    groups: list[list[Parts | None]] = [[] for _ in now.plan.prompts] if now.plan else []
    for (_, sample), score in zip(now.samples, now.scores, strict=True):
        groups[sample.prompt].append(score.parts if score.accepted else None)
    return groups
