"""What a run came to, as people and programs read it: the table of the command line and its `--json`."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from synlearner.agent.config import Settings
from synlearner.agent.state import RunState, TaskSummary
from synlearner.events.types import Head, StudentScored


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class References(_Model):
    """Accuracy of the same student trained on something else; None where there is nothing to train on."""

    seeds: float | None = None
    seeds_and_delivered: float | None = None
    untrained: float | None = None
    real: float | None = None


class StudentReport(_Model):
    """A student trained on the delivered samples, scored on the card's test data."""

    accuracy: float
    macro_f1: float
    interval: tuple[float, float]
    reference: References
    curve: dict[int, float] = {}
    """Accuracy by how many of the delivered samples it was trained on, up to all of them; empty where none was asked."""


class JudgesReport(_Model):
    """What the held-out judge said of the last round that it looked at."""

    training: float
    """Mean fidelity of accepted samples by the judge that the reward knows."""
    held_out: float
    gap: float
    """By how much more they differ than on the untrained policy's samples."""
    alarms: int
    """Rounds in which the policy seemed to learn the judge."""


class TaskReport(_Model):
    """One finished task."""

    name: str
    delivered: int
    student: StudentReport | None
    """None where the card has no labels or no test data, or nothing was delivered."""
    judges: JudgesReport | None = None
    """None where nothing was compared."""


class RunReport(_Model):
    """One run."""

    run_id: str
    events: int
    digest: str
    tasks: list[TaskReport]


def report(state: RunState, head: Head) -> RunReport:
    """Return the report of the newest run in *state*."""
    family = Settings.model_validate(state.settings).students.families[:1]
    tasks = [_task_report(summary, family[0] if family else "") for summary in state.done]
    return RunReport(run_id=state.run_id, events=head.seq, digest=head.hash, tasks=tasks)


def _task_report(summary: TaskSummary, family: str) -> TaskReport:
    student = _student(summary.students, family)
    last, judges = summary.judged, None
    if last is not None:
        judges = JudgesReport(training=last.training, held_out=last.held_out, gap=last.gap, alarms=summary.alarms)
    return TaskReport(name=summary.name, delivered=summary.delivered, student=student, judges=judges)


def _student(students: Sequence[StudentScored], family: str) -> StudentReport | None:
    found = {s.source: s for s in students if s.split == "test" and s.family == family}
    mine = found.get("delivered")
    if mine is None:
        return None
    others = {name: found[name].accuracy for name in References.model_fields if name in found}
    curve = [s for s in students if s.source == "curve" and s.family == family]
    return StudentReport(
        accuracy=mine.accuracy,
        macro_f1=mine.macro_f1,
        interval=mine.interval,
        reference=References(**others),
        curve={s.trained_on: s.accuracy for s in [*curve, mine]} if curve else {},
    )
