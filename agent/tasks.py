"""The task at hand as the events of its own run make it, one by one. Pure; its state is bounded."""

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from synlearner.agent.rescue import LIKELIEST, is_rescued
from synlearner.agent.rewards import Parts, outcome, outcome_utility, worth
from synlearner.agent.scoring import PoolSample
from synlearner.agent.task_state import ENGINE, Replayed, RoundState, TaskState
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
        case PolicyUpdated(algorithm="seeds", adapter=adapter):
            return replace(task, seeded=True, start_adapter=adapter)
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

    def pooled(score: SampleScored, *, as_asked: bool = False) -> PoolSample:
        prompt, parts = asked[score.sample], score.parts
        value = worth(parts.get(LIKELIEST, parts["fidelity"]), parts["quality"]) if parts else 0.0
        label = prompt.label if as_asked else score.label or prompt.label
        place = places[score.sample]
        return PoolSample(score.sample, label, prompt.strategy, score.fields, value, scored_set.embeddings, place)

    if now.plan.purpose == "reference":
        task = replace(
            task, reference=(*task.reference, *(pooled(s, as_asked=True) for s in now.scores if s.sample in places))
        )
        return _with_untrained(task, tuple(pooled(score) for score in now.scores if score.accepted))
    accepted = tuple(pooled(score) for score in now.scores if score.accepted)
    rejected = dict(task.rejected)
    failed = 0
    for score in now.scores:
        if score.reason == ENGINE:
            failed += 1
        elif not score.accepted:
            rejected[score.reason] = rejected.get(score.reason, 0) + 1
    values = zip(now.plan.prompts, prompt_outcomes(now), strict=True)
    samples = dict(now.samples)
    rescued = {score.sample for score in now.scores if is_rescued(score)}
    as_asked = [s for s in accepted if s.seq not in rescued]
    new = (Replayed(s.seq, s.label, s.worth, asked[s.seq], samples[s.seq]) for s in as_asked)
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


def _with_untrained(task: TaskState, accepted: tuple[PoolSample, ...]) -> TaskState:
    """Take in the untrained policy's samples of a round, if they were judged and not only read."""
    if any(score.reason == "reference" for score in task.round.scores):
        return task
    fates = Counter(task.untrained_fates)
    fates.update(score.reason for score in task.round.scores)
    return replace(task, untrained=(*task.untrained, *accepted), untrained_fates=dict(fates))


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
    sample = next((s for s in task.candidates if fact.target == f"sample:{s.seq}"), None)
    if sample is None or task.delivered is not None:
        return task
    usual = [value for label, _, value in task.outcomes if label == sample.label]
    value = min(1.0, max(0.0, sum(usual) / max(1, len(usual)) + JUDGED * fact.score))
    judged = (*task.outcomes, (sample.label, sample.strategy, value))
    task = replace(task, outcomes=judged, utilities=(*task.utilities, None))
    left = [] if fact.score < 0 else [replace(sample, worth=sample.worth + fact.score * (1 - sample.worth))]
    pool, untrained = (
        tuple(new for old in samples for new in (left if old is sample else [old]))
        for samples in (task.pool, task.untrained)
    )
    changed = replace(task, pool=pool, untrained=untrained)
    if left:
        return changed
    kept = tuple(s for s in task.kept if s.seq != sample.seq)
    return replace(changed, rejected=dict(Counter(task.rejected) + Counter({"feedback": 1})), kept=kept)


def prompt_outcomes(now: RoundState) -> list[float]:
    """Return what each prompt of a scored round was good for, in [0, 1]."""
    return [outcome(group) if group else 0.0 for group in _accepted_parts(now)]


def _accepted_parts(now: RoundState) -> list[list[Parts | None]]:
    """Return the parts of each prompt's samples; None stands for one that was not accepted as what was asked for."""
    groups: list[list[Parts | None]] = [[] for _ in now.plan.prompts] if now.plan else []
    for (_, sample), score in zip(now.samples, now.scores, strict=True):
        groups[sample.prompt].append(score.parts if score.accepted and not is_rescued(score) else None)
    return groups
