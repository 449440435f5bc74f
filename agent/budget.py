"""How much is still to be written for a task: samples that are lacking, and tokens that are left."""

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


def spent(task: TaskState, settings: Settings) -> int:
    """Return the tokens that count against `loop.tokens`."""
    return task.tokens - (0 if settings.constraints.any else task.reference_tokens)


def affordable(task: TaskState, settings: Settings) -> int:
    """Return how many samples there are tokens for, by what samples took so far; at least those of one prompt."""
    if not settings.loop.tokens:
        return max(ROWS, settings.loop.prompts * settings.loop.group)
    words = sum(sum(spec.words) / 2 for spec in task.card.fields.values())
    written = task.tokens - task.reference_tokens
    each = written / task.requested if task.requested and written else 1.5 * words
    return max(settings.loop.group, int((settings.loop.tokens - spent(task, settings)) / each))


def missing(task: TaskState, loop: LoopSettings) -> dict[str, float]:
    """Return how many accepted samples each label lacks for the choice to be made (0 or below: none)."""
    labels = list(task.card.labels) or [""]
    wanted = math.ceil(loop.oversample * more(task.multipliers) * task.card.samples / len(labels))
    return {label: float(wanted - sum(s.label == label for s in task.pool)) for label in labels}
