"""What to do next: a pure function of the state. That is why resuming and forking are free."""

from dataclasses import dataclass
from typing import Literal

from synlearner.agent.config import Settings
from synlearner.agent.planning import missing
from synlearner.agent.state import RunState, TaskState

REFERENCE_TRIES = 3
"""Most rounds for the untrained policy, per round that it would need if every sample could be read."""


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

    purpose: Literal["learn", "fill", "reference"]


@dataclass(frozen=True, slots=True)
class Generate:
    """Let the engine write the round's samples."""


@dataclass(frozen=True, slots=True)
class Score:
    """Judge the round's samples and their set."""


@dataclass(frozen=True, slots=True)
class CreditExperience:
    """Attribute the outcome of the round's next prompt to the experience that shaped it."""


@dataclass(frozen=True, slots=True)
class Learn:
    """Move the weights."""

    algorithm: Literal["eft", "grpo"]


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
    ArriveTask | Recall | Plan | Generate | Score | CreditExperience | Learn | Check | Deliver | Evaluate
    | FinishTask | FinishRun
)  # fmt: skip


def decide(state: RunState) -> Action | None:
    """Return the next action of the run at hand; None if there is no run to go on with."""
    if state.finished or state.started is None:
        return None
    settings = Settings.model_validate(state.settings)
    task = state.task
    if task is None:
        index = len(state.done)
        return ArriveTask(index) if index < len(state.started.tasks) else FinishRun()
    return _within_round(task, settings) or _next_round(task, settings) or _closing(task)


def _within_round(task: TaskState, settings: Settings) -> Action | None:
    """Return what the round at hand still lacks."""
    now = task.round
    if now.plan is None:
        return None
    if len(now.samples) < now.requested:
        return Generate()
    if not now.set_seq:
        return Score()
    if now.plan.purpose == "reference":
        return None
    if now.credited < sum(bool(prompt.experience) for prompt in now.plan.prompts):
        return CreditExperience()
    if now.plan.purpose == "learn" and not now.updated:
        return Learn("eft" if task.learn_rounds <= settings.loop.eft_rounds else "grpo")
    return Check() if _wants_check(task, settings.loop.student_every) else None


def _wants_check(task: TaskState, every: int) -> bool:
    """Tell whether students are due: there is nothing to train without labels or accepted samples."""
    now = task.round
    due = every > 0 and task.learn_rounds % every == 0 and not now.checked
    learning = now.plan is not None and now.plan.purpose == "learn"
    return due and learning and bool(task.card.labels) and bool(task.pool)


def _next_round(task: TaskState, settings: Settings) -> Action | None:
    """Return how the next round begins, if there is one."""
    loop = settings.loop
    if task.delivered is not None:
        return None
    purpose: Literal["learn", "fill", "reference"]
    if task.learn_rounds < loop.rounds:
        purpose = "learn"
    elif task.fill_rounds < loop.fill_rounds and any(lack > 0 for lack in missing(task, loop).values()):
        purpose = "fill"
    elif _wants_reference(task):
        return Plan("reference")
    else:
        return None
    open_recall = task.round.recalled is not None and task.round.plan is None
    return Plan(purpose) if open_recall or not settings.memory.k else Recall()


def _wants_reference(task: TaskState) -> bool:
    needed = -(-task.card.samples // 64) * REFERENCE_TRIES
    reported = bool(task.card.labels) and "test" in task.files
    return reported and len(task.reference) < task.card.samples and task.reference_rounds < needed


def _closing(task: TaskState) -> Action:
    if task.delivered is None:
        return Deliver()
    evaluated = any(student.split == "test" for student in task.students)
    if task.card.labels and "test" in task.files and not evaluated:
        return Evaluate()
    return FinishTask()
