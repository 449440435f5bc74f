"""How much is still to be written for a task: samples that are lacking, tokens that are left, whether learning pays."""

import math

from synlearner.agent.config import LoopSettings, Settings
from synlearner.agent.constraints import more
from synlearner.agent.state import TaskState

ROWS = 64
"""Most samples in a round that only fills the data set: what an engine writes side by side."""

FEWEST = 24
"""Least samples in such a round: fewer would cost the engine as much time."""


def reference_wanted(task: TaskState, settings: Settings) -> int:
    """Return how many samples of the untrained policy are wanted: to be reported, else to set the floors with."""
    if task.card.labels and "test" in task.files:
        return task.card.samples
    floors = settings.constraints
    return min(task.card.samples, floors.reference) if floors.any else 0


def uses_reference(settings: Settings) -> bool:
    """Tell whether the untrained policy's samples are for more than reporting: then their tokens count."""
    return settings.constraints.any or settings.delivery.untrained


def spent(task: TaskState, settings: Settings) -> int:
    """Return the tokens that count against `loop.tokens`."""
    return task.tokens - (0 if uses_reference(settings) else task.reference_tokens)


def affordable(task: TaskState, settings: Settings) -> int:
    """Return how many samples there are tokens for, by what samples took so far; at least those of one prompt."""
    if not settings.loop.tokens:
        return max(ROWS, settings.loop.prompts * settings.loop.group)
    words = sum(sum(spec.words) / 2 for spec in task.card.fields.values())
    written = task.tokens - task.reference_tokens
    each = written / task.requested if task.requested and written else 1.5 * words
    return max(settings.loop.group, int((settings.loop.tokens - spent(task, settings)) / each))


def plateaued(task: TaskState, patience: int) -> bool:
    """Tell whether the last *patience* checks found no student of accepted samples better on the seeds than before.

    Of the families the first that was trained counts. A patience of 0 never ends.
    """
    checks = [student for student in task.students if student.source == "accepted" and student.split == "seeds"]
    curve = [student.accuracy for student in checks if student.family == checks[0].family]
    return 0 < patience < len(curve) and max(curve[-patience:]) <= max(curve[:-patience])


def missing(task: TaskState, loop: LoopSettings) -> dict[str, float]:
    """Return how many accepted samples each label lacks for the choice to be made (0 or below: none)."""
    labels = list(task.card.labels) or [""]
    wanted = math.ceil(loop.oversample * more(task.multipliers) * task.card.samples / len(labels))
    return {label: float(wanted - sum(s.label == label for s in task.pool)) for label in labels}
