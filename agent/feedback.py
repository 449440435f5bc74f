"""What people and other programs think of a sample or of a task's data set, and what follows from it.

It is recorded as `feedback_given`, and enters twice. A sample that still waits for the choice of its data set leaves
the pool (below 0) or gains worth, and its strategy is credited (`synlearner.agent.tasks.with_feedback`). And memory's
items that shaped the sample's prompt, or were learnt from the task, are credited with the score: as an observation of
their gain, the noisier the more items share it, and noisier than judging the item itself.
"""

from collections.abc import Sequence
from typing import Any

from synlearner.agent.datasets import delivered_rows
from synlearner.agent.loop import fold_run
from synlearner.errors import ConfigError
from synlearner.events.chance import event_id
from synlearner.events.home import Home
from synlearner.events.types import Draft, FeedbackGiven, PromptsPlanned, SampleGenerated
from synlearner.memory import Memory
from synlearner.memory.credit import NOISE_VARIANCE, observed

INDIRECT = 4.0
"""How much noisier a judgement of what came of an item is than one of the item."""


def give_feedback(
    home: Home, memory: Memory, target: str, score: float, text: str = "", source: str = "user"
) -> dict[str, Any]:
    """Record a judgement from -1 (harmful) to 1 (as good as it gets); return what follows from it.

    Args:
        home: Open for writing.
        memory: Of this home.
        target: `item:ID` of memory, `sample:SEQ`, or `task:NAME` for its data set.
        score: The judgement.
        text: Why.
        source: Who.

    Returns:
        `target`, `score`, `effect` (in words) and `credited` (the items).

    Raises:
        ConfigError: If there is no such target, or the score is out of range.
    """
    if isinstance(score, bool) or not isinstance(score, int | float) or not -1 <= score <= 1:
        raise ConfigError(f"score {score!r:.40} is not between -1 (harmful) and 1 (as good as it gets)")
    kind, _, name = target.partition(":")
    if kind == "item":
        memory.feedback(name, score, text, source)
        return {"target": target, "score": score, "effect": "the item's standing moved", "credited": [name]}
    task, items, effect = _meaning(home, memory, target, kind, name, score)
    head = home.log.head().seq
    fact = FeedbackGiven(target=target, score=float(score), text=text, source=source)
    drafts = [Draft(fact=fact, id=event_id("", "feedback", head), task=task)]
    noise = NOISE_VARIANCE * INDIRECT * len(items)
    for place, item in enumerate(items):
        credited = observed(float(score), noise, f"feedback:{source}", item, memory.state)
        drafts.append(
            Draft(fact=credited, id=event_id("", "feedback", head, place), task=task, causes=(head + 1,)),
        )
    for event in home.log.append(drafts, expected_seq=head):
        memory.apply(event)
    return {"target": target, "score": score, "effect": effect, "credited": list(items)}


def _meaning(
    home: Home, memory: Memory, target: str, kind: str, name: str, score: float
) -> tuple[str, Sequence[str], str]:
    """Return the target's task, the items in memory that it speaks of, and what else it does, in words."""
    known = memory.state.records
    if kind == "sample" and name.isdecimal():
        event = home.log.get(int(name))
        if isinstance(event.fact, SampleGenerated):
            plan = home.log.get(event.causes[0]).fact
            used = plan.prompts[event.fact.prompt].experience if isinstance(plan, PromptsPlanned) else []
            return event.task, [item for item in used if item in known], _effect(home, int(name), score)
    elif kind == "task":
        delivered_rows(home.log, name)
        return name, sorted(i for i, r in known.items() if r.active and r.item.metadata.get("task") == name), "recorded"
    raise ConfigError(f"feedback target {target!r} is none of item:ID, sample:SEQ of a sample, task:NAME")


def _effect(home: Home, seq: int, score: float) -> str:
    task = fold_run(home.log).task
    waiting = task is not None and task.delivered is None and any(sample.seq == seq for sample in task.candidates)
    if not waiting:
        return "recorded"
    return "the sample leaves the pool" if score < 0 else "the sample gains worth"
