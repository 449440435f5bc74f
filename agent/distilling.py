"""What a finished task teaches the next ones. Pure, and without any model: posteriors become items.

Nothing here may come from the reporting data: items steer later prompts.
"""

from collections import Counter
from collections.abc import Sequence

from synlearner.agent.bandit import Posterior, posteriors, vouching, weighed
from synlearner.agent.cards import Card
from synlearner.agent.state import TaskState
from synlearner.agent.topics import TOPIC
from synlearner.events.types import AnyFact, ExperienceItem
from synlearner.memory import Experience, new_item

HELD = 24
"""Most topics that an item holds."""

NAMES = {"frame": "prompt frame", "attributes": "attribute plan", "decoding": "decoding setting"}


def situation(card: Card) -> str:
    """Return what a task is like, as it is embedded for recall: the same text for the query and for the items."""
    labels = f" Labels: {', '.join(card.labels)}." if card.labels else ""
    return f"{card.kind.replace('_', ' ')}: {card.description.strip().rstrip('.')}.{labels}"


def teach(task: TaskState, memory: Experience, seq: int, weight: float = 0.0) -> list[tuple[AnyFact, tuple[int, ...]]]:
    """Return what the task brings about in memory after the event *seq*, in one batch, each with its causes.

    First what becomes of the items that are there, then those of this task. *weight* is that of utility (`bandit.weighed`).
    """
    lessons = distil(task, weight)
    facts: list[tuple[AnyFact, tuple[int, ...]]] = [*memory.tidy(keep=frozenset(item.id for item, _ in lessons))]
    for item, posterior in lessons:
        learned = memory.learned(item, parents=vouching(task.round.plan, item))
        facts.append((learned, tuple(item.evidence)))
        # What its use in this very task has shown is counted already, prompt by prompt.
        if posterior and not memory.credited_since(item.id, task.seq):
            known = memory.informed(learned, *posterior, f"distilled:{task.card.name}")
            if known:
                facts.append((known, (seq + len(facts),)))
    return facts


def distil(task: TaskState, weight: float = 0.0) -> list[tuple[ExperienceItem, Posterior | None]]:
    """Return the task's items, each with the posterior of its gain that the task has shown, where there is one.

    Of each kind of strategy part the best one (a strategy), over all parts the worst one (a pitfall), and the case.
    """
    believed = posteriors(weighed(task.outcomes, task.utilities, weight)).parts
    tried = Counter(part for _, strategy, _ in task.outcomes for part in _parts(strategy))
    items = []
    for axis in NAMES:
        mine = [part for part in sorted(believed) if part.startswith(f"{axis}:") and tried[part] > 1]
        if mine:
            best = max(mine, key=lambda part: believed[part][0])
            if believed[best][0] > 0:
                items.append(_strategy(task, best, believed[best], polarity=1))
    worst = min((part for part in sorted(believed) if tried[part] > 1), key=lambda p: believed[p][0], default=None)
    if worst is not None and believed[worst][0] < 0:
        items.append(_strategy(task, worst, believed[worst], polarity=-1))
    topics = _topics(task)
    return [*items, *([(topics, None)] if topics else []), (_case(task), None)]


def _parts(strategy: str) -> Sequence[str]:
    return [f"{axis}:{value}" for axis, value in zip(NAMES, strategy.split("/"), strict=True)]


def _strategy(
    task: TaskState,
    part: str,
    believed: Posterior,
    *,
    polarity: int,
) -> tuple[ExperienceItem, Posterior]:
    axis, _, value = part.partition(":")
    verb = "Use" if polarity > 0 else "Avoid"
    item = new_item(
        f"{verb} the {NAMES[axis]} '{value}' for tasks like {task.card.name}: {task.card.description.strip()}",
        type="strategy" if polarity > 0 else "pitfall",
        title=f"{verb} {NAMES[axis]} {value}",
        when=situation(task.card),
        polarity=polarity,
        metadata={"part": part, "task": task.card.name},
        evidence=[task.seq],
    )
    mean, variance = believed
    # To avoid what costs x is worth x.
    return item, (polarity * mean + 0.0, variance)


def _topics(task: TaskState) -> ExperienceItem | None:
    """Return the topics that samples of the most worth were about, for tasks that have none; None without topics."""
    found = [replayed.prompt.attributes.get(TOPIC) for replayed in sorted(task.kept, key=lambda s: (-s.worth, s.seq))]
    topics = list(dict.fromkeys(topic for topic in found if topic))[:HELD]
    if not topics:
        return None
    return new_item(
        f"Topics that worked for {task.card.name}: {', '.join(topics)}.",
        type="lesson",
        title=f"Topics of {task.card.name}",
        when=situation(task.card),
        metadata={"task": task.card.name, "topics": topics},
        evidence=[task.seq],
    )


def _case(task: TaskState) -> ExperienceItem:
    share = task.accepted / task.requested if task.requested else 0.0
    reasons = Counter(dict(task.rejected)).most_common(1)
    # Not how many were delivered: that depends on the reporting data.
    lines = [f"Of {task.requested} samples for {task.card.name}, {share:.0%} were accepted."]
    if reasons:
        lines.append(f"Most others failed on {reasons[0][0]} ({reasons[0][1]}).")
    barren = [label for label in task.card.labels if task.pool and all(s.label != label for s in task.pool)]
    if barren:
        # An item has at most three sentences, and this one matters more than the next.
        lines.append(f"Nothing passed for label {barren[0]!r}{f' and {len(barren) - 1} others' if barren[1:] else ''}.")
    checks = [s for s in task.students if s.split == "seeds" and s.family == "embedding"]
    if checks and not barren:
        lines.append(f"A student trained on them was right on {checks[-1].accuracy:.0%} of the seeds.")
    return new_item(
        " ".join(lines),
        type="case",
        title=f"Case {task.card.name}",
        when=situation(task.card),
        metadata={"task": task.card.name},
        evidence=[task.seq],
    )
