"""Topics for prompts to come, proposed by the policy and by the memory where a card gives no attributes. Pure.

Attributes that have nothing to do with a task hurt a small model, so a proposed topic must be near to its label's seeds, not
nearer to another label's, and unlike the topics that are there already.
"""

import random
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from synlearner.agent.cards import Card, Row
from synlearner.agent.config import DaiSettings
from synlearner.agent.frames import describe, write_sample
from synlearner.agent.parsing import joined, normal
from synlearner.agent.task_state import TaskState
from synlearner.events.chance import derive_seed
from synlearner.events.types import AttributesProposed, Decoding, PlannedPrompt, Proposal
from synlearner.memory import Embedder

TOPIC = "topic"
ASKED = 3
"""Lists that the policy writes for each label."""
NOVEL = 0.25
"""Least distance (1 - cosine) of a topic to those that are there."""
ASTRAY = 0.05
"""How much nearer a topic may be to another label's seeds than to its own: topics of sentiments serve both."""
WORDS = 4
"""Most words of a topic."""

Vector = NDArray[np.float32]


def plan_topics(task: TaskState, seed: int) -> list[PlannedPrompt]:
    """Return a prompt for each label that lets the policy go on with a list of the seeds' own words."""
    return [_ask(task.card, label, derive_seed(seed, i)) for i, label in enumerate(task.card.labels or [""])]


def _ask(card: Card, label: str, seed: int) -> PlannedPrompt:
    rng = random.Random(seed)  # noqa: S311 - reproducible chance is the point
    rows = [row for row in card.seeds if not label or row["label"] == label]
    known = [keyword(write_sample(card, row), rng) for row in rng.sample(rows, min(4, len(rows)))]
    return PlannedPrompt(
        strategy="plain/none/open",
        label=label,
        attributes={},
        exemplars=[],
        experience=[],
        text=f"What can it be about? List many different topics, a few words each. Wanted: {describe(card, label)}.",
        prefix=f"Topics: {', '.join(dict.fromkeys(known))},",
        stop="\n",
        samples=ASKED,
        decoding=Decoding(temperature=1.0, min_p=0.05, max_new_tokens=48),
        seed=derive_seed(seed, "samples"),
    )


def judge_topics(
    task: TaskState,
    recalled: Mapping[str, Sequence[str]],
    embedder: Embedder,
    settings: DaiSettings,
) -> AttributesProposed:
    """Return every topic that was proposed, with the reason of its refusal where it is refused.

    Args:
        task: With what the policy wrote in the round at hand.
        recalled: Experience item to the topics that it holds; they are looked at first, for every label.
        embedder: Of texts.
        settings: How many are kept, and how near to the seeds they have to be.
    """
    card, written = task.card, _written(task)
    centres = {label: _centre(embedder, card, label) for label in card.labels or [""]}
    proposals: list[Proposal] = []
    for label in centres:
        pairs = [(value, item) for item, values in recalled.items() for value in values]
        pairs += [(value, "policy") for text in written.get(label, ()) for value in _items(text)]
        pairs = list({normal(value): (value, source) for value, source in reversed(pairs)}.values())[::-1]
        proposals += _sift(label, pairs, centres, embedder, settings)
    return AttributesProposed(attribute=TOPIC, proposals=proposals)


def topics_of(task: TaskState, label: str) -> dict[str, str]:
    """Return the label's topics, each with where it comes from."""
    if task.proposed is None:
        return {}
    return {p.value: p.source for p in task.proposed.proposals if p.label == label and not p.reason}


def keyword(text: str, rng: random.Random, but: Sequence[str] = ()) -> str:
    """Return a word of *text* of five or more letters, not one of *but* if there is another; else its longest word."""
    words = sorted({word for word in normal(text).split() if len(word) >= 5 and word.isalpha()})
    fresh = [word for word in words if word not in but]
    return rng.choice(fresh or words) if words else max(normal(text).split() or ["it"], key=len)


def _written(task: TaskState) -> dict[str, list[str]]:
    """Return the lists that the policy wrote in the round at hand, by label."""
    prompts = task.round.plan.prompts if task.round.plan else []
    written: dict[str, list[str]] = {prompt.label: [] for prompt in prompts}
    for _, sample in task.round.samples:
        written[prompts[sample.prompt].label].append(sample.text)
    return written


def _items(text: str) -> list[str]:
    items = (" ".join(item.split()).strip(".;:\"'- ") for item in text.split(","))
    return [item for item in items if item]


def _centre(embedder: Embedder, card: Card, label: str) -> tuple[Vector, float]:
    """Return the unit mean of a label's seeds, and the mean cosine of the seeds to it."""
    rows: list[Row] = [row for row in card.seeds if not label or row["label"] == label]
    vectors = np.asarray(embedder.embed([joined(card, row) for row in rows]), dtype=np.float32)
    mean = vectors.mean(axis=0)
    mean /= max(float(np.linalg.norm(mean)), 1e-9)
    return mean, max(float((vectors @ mean).mean()), 1e-9)


def _sift(
    label: str,
    pairs: Sequence[tuple[str, str]],
    centres: Mapping[str, tuple[Vector, float]],
    embedder: Embedder,
    settings: DaiSettings,
) -> list[Proposal]:
    """Judge the (topic, source) pairs of a label in their order."""
    kept: list[Vector] = []
    found = []
    for value, source in pairs:
        words = normal(value).split()
        if not 1 <= len(words) <= WORDS or len(normal(value)) < 3 or value[-1:].isdigit():
            found.append(Proposal(label=label, value=value, source=source, relevance=0.0, novelty=0.0, reason="form"))
            continue
        # One by one: a text's vector depends in its last bits on what is embedded beside it.
        vector = np.asarray(embedder.embed([value]), dtype=np.float32)[0]
        near = {name: float(vector @ mean) / usual for name, (mean, usual) in centres.items()}
        novelty = 1 - max((float(vector @ other) for other in kept), default=0.0)
        if near[label] < settings.relevance:
            reason = "relevance"
        elif max(near.values()) > near[label] + ASTRAY:
            reason = "label"
        elif novelty < NOVEL:
            reason = "novelty"
        else:
            reason = "" if len(kept) < settings.proposals else "enough"
        if not reason:
            kept.append(vector)
        figures = {"relevance": round(near[label], 6), "novelty": round(novelty, 6)}
        found.append(Proposal(label=label, value=value, source=source, reason=reason, **figures))
    return found
