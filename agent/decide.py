"""What to do next: a pure function of the state. That is why resuming and forking are free."""

from dataclasses import dataclass
from typing import Literal

from synlearner.agent.budget import ROWS, missing, plateaued, reference_wanted, spent
from synlearner.agent.config import Settings
from synlearner.agent.state import RunState, TaskState

REFERENCE_TRIES = 3
"""Most rounds for the untrained policy, per round that it would need if every sample could be read."""


Purpose = Literal["propose", "reference", "learn", "fill"]
"""What a round is for: topics, the untrained policy's samples, learning, or filling the data set alone."""


Algorithm = Literal["seeds", "eft", "grpo"]
"""Fine-tuning on the card's seeds, on accepted samples, or learning from rewards."""


@dataclass(frozen=True, slots=True)
class ArriveTask:
    """Begin the next task."""

    index: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Ask memory."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Choose the prompts of a round."""

    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Generate:
    """Let the engine write the round's samples."""


@dataclass(frozen=True, slots=True)
class Score:
    """Judge the round's samples and their set."""


@dataclass(frozen=True, slots=True)
class Propose:
    """Choose among the topics that were proposed."""


@dataclass(frozen=True, slots=True)
class Balance:
    """Compare the round with the floors and move the multipliers."""


@dataclass(frozen=True, slots=True)
class Compare:
    """Ask the held-out judge of the round's accepted samples."""


@dataclass(frozen=True, slots=True)
class MergeAdapters:
    """Go on with the mean of the adapters of the finished tasks."""


@dataclass(frozen=True, slots=True)
class CreditExperience:
    """Attribute the outcome of the round's next prompt to the experience that shaped it, if any did."""


@dataclass(frozen=True, slots=True)
class Learn:
    """Move the weights."""

    algorithm: Algorithm


@dataclass(frozen=True, slots=True)
class Check:
    """Train students on what is accepted so far, score them on the seeds."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Choose the data set."""


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Train the students and their references, score them on the test data."""


@dataclass(frozen=True, slots=True)
class FinishTask:
    """Distil the task's experience and close it."""


@dataclass(frozen=True, slots=True)
class FinishRun:
    """Close the run."""


Action = (
    ArriveTask | Recall | Plan | Generate | Propose | Score | CreditExperience | Learn | Balance | Compare | Check
    | Deliver | Evaluate | FinishTask | MergeAdapters | FinishRun
)  # fmt: skip


def decide(state: RunState) -> Action | None:
    """Return the next action of the run at hand; None if there is no run to go on with."""
    if state.finished or state.started is None:
        return None
    settings = Settings.model_validate(state.settings)
    task = state.task
    if task is None:
        index = len(state.done)
        if index == len(state.started.tasks):
            return FinishRun()
        return MergeAdapters() if _wants_merge(state, settings) else ArriveTask(index)
    return _within_round(task, settings) or _next_round(task, settings) or _closing(task)


def _wants_merge(state: RunState, settings: Settings) -> bool:
    """Tell whether tasks have ended with adapters that no merge has taken together yet."""
    ended = [task.adapter for task in state.done if task.adapter]
    return settings.stream.adapter == "merge" and len(set(ended)) > 1 and state.merged < len(state.done)


def _within_round(task: TaskState, settings: Settings) -> Action | None:
    """Return what the round at hand still lacks."""
    now = task.round
    if now.plan is None:
        return None
    if len(now.samples) < now.requested:
        return Generate()
    if now.plan.purpose == "propose":
        return None if task.proposed else Propose()
    if not now.set_seq:
        return Score()
    if now.plan.purpose == "reference":
        return None
    # Every prompt of a round that memory had something for: those planned without it tell what it is worth.
    if now.credited < len(now.plan.prompts) and (now.remembered or any(p.experience for p in now.plan.prompts)):
        return CreditExperience()
    if now.plan.purpose == "learn" and not now.updated and settings.stream.adapter != "none":
        return Learn("eft" if task.learn_rounds <= settings.loop.eft_rounds else "grpo")
    if settings.constraints.any and task.reference and not now.balanced:
        return Balance()
    if settings.judges.held_out and not now.compared and _can_compare(task):
        return Compare()
    return Check() if _wants_check(task, settings.loop.student_every) else None


def _can_compare(task: TaskState) -> bool:
    """Tell whether there is something to compare: accepted samples with labels, and the untrained policy's."""
    return bool(task.card.labels and task.reference) and any(score.accepted for score in task.round.scores)


def _wants_check(task: TaskState, every: int) -> bool:
    """Tell whether students are due: there is nothing to train without labels or accepted samples."""
    now = task.round
    due = every > 0 and task.learn_rounds % every == 0 and not now.checked
    learning = now.plan is not None and now.plan.purpose == "learn"
    return due and learning and bool(task.card.labels) and bool(task.pool)


def _next_round(task: TaskState, settings: Settings) -> Action | None:
    """Return how the next round begins, if there is one. The seeds teach before the first that is for learning."""
    loop = settings.loop
    if task.delivered is not None:
        return None
    if _wants_reference(task, settings):
        return Plan("reference")
    if loop.tokens and spent(task, settings) >= loop.tokens:
        return None
    purpose: Purpose
    if settings.dai.proposals and task.proposed is None and not _has_attributes(task):
        purpose = "propose"
    elif task.learn_rounds < loop.rounds and not plateaued(task, loop.patience):
        fresh = not task.seeded and not task.learn_rounds  # a fork may ask for it later: then it is too late
        if settings.seeds.epochs and fresh and settings.stream.adapter != "none":
            return Learn("seeds")
        purpose = "learn"
    elif task.fill_rounds < loop.fill_rounds and any(lack > 0 for lack in missing(task, loop).values()):
        purpose = "fill"
    else:
        return None
    open_recall = task.round.recalled is not None and task.round.plan is None
    return Plan(purpose) if open_recall or not settings.memory.k else Recall()


def _has_attributes(task: TaskState) -> bool:
    return bool(task.card.attributes or task.card.label_attributes)


def _wants_reference(task: TaskState, settings: Settings) -> bool:
    wanted = reference_wanted(task, settings)
    return len(task.reference) < wanted and task.reference_rounds < -(-wanted // ROWS) * REFERENCE_TRIES


def _closing(task: TaskState) -> Action:
    if task.delivered is None:
        return Deliver()
    evaluated = any(student.split == "test" for student in task.students)
    if task.card.labels and "test" in task.files and not evaluated:
        return Evaluate()
    return FinishTask()
