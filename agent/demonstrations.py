"""What a task's seeds teach before the first round of learning: behind some of a label's seeds, another one. Pure.

A seed is the best example of what a prompt should be answered with that there is, so each stands once an epoch behind a
prompt that shows others of its label, and that asks for the seed's own length or a word of it, as the rounds' prompts do.
Nothing is written for it, so it costs no tokens.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from synlearner.agent.config import Settings
from synlearner.agent.frames import Ask, begin, write_sample
from synlearner.agent.jsonform import FIELD, fitting, line
from synlearner.agent.planning import NOTES, contrasts, shots, written
from synlearner.agent.strategies import Strategy, library
from synlearner.agent.task_state import TaskState
from synlearner.agent.topics import keyword
from synlearner.events.chance import derive_seed
from synlearner.events.types import PlannedPrompt

PLANS = frozenset({"none", "keyword", "length"})
"""Attribute plans whose attributes every text has: who wrote a seed nobody knows."""


class Demonstration(NamedTuple):
    """A prompt, and what it should be answered with."""

    prompt: PlannedPrompt
    answer: str


def demonstrations(task: TaskState, settings: Settings, seed: int) -> list[Demonstration]:
    """Return a demonstration for each seed, in their order. A seed that is the only one of its label has none to stand behind."""
    labels = [row["label"] if task.card.labels else "" for row in task.card.seeds]
    of = Counter(labels)
    return [
        _demonstration(task, settings, place, label, derive_seed(seed, place))
        for place, label in enumerate(labels)
        if of[label] > 1
    ]


def _demonstration(task: TaskState, settings: Settings, place: int, label: str, seed: int) -> Demonstration:
    card, rng = task.card, random.Random(seed)  # noqa: S311 - reproducible chance is the point
    strategies = library(card, settings.dai)
    if settings.policy.grammar == "json":
        strategies = fitting(strategies)
    frame = rng.choice(sorted({strategy.frame for strategy in strategies}))
    plan = rng.choice(
        sorted({s.attributes for s in strategies if s.frame == frame and s.attributes in PLANS}) or ["none"]
    )
    exemplars, rows = shots(task, label, settings.dai, rng, without=place)
    attributes, notes = _noted(plan, [write_sample(card, row) for row in (*rows, card.seeds[place])], rng)
    ask = Ask(card, label, rows, contrasts(card, label, rng), notes, attributes)
    prompt = written(
        card, Strategy(frame, plan, "open"), ask,
        exemplars=exemplars, experience=[], samples=1, seed=seed, policy=settings.policy,
    )  # fmt: skip
    return Demonstration(prompt, _answer(task, place, prompt))


def _noted(plan: str, texts: Sequence[str], rng: random.Random) -> tuple[Mapping[str, str], list[str]]:
    """Return the attributes that the last of *texts* has, and a note for each."""
    match plan:
        case "keyword":
            values = [keyword(text, rng) for text in texts]
        case "length":
            values = [str(len(text.split())) for text in texts]
        case _:
            return {}, [""] * len(texts)
    return {plan: values[-1]}, [NOTES[plan].format(value) for value in values]


def _answer(task: TaskState, place: int, prompt: PlannedPrompt) -> str:
    """Return how the prompt's beginning of the answer goes on, up to where a sample ends."""
    card, row = task.card, task.card.seeds[place]
    as_object = bool(prompt.decoding.grammar)
    text, begun = (line(card, row)[FIELD], "") if as_object else (write_sample(card, row), begin(card))
    blank = "" if begun or not prompt.prefix or prompt.prefix.endswith(('"', "\n")) else " "
    return f"{blank}{text.removeprefix(begun)}{prompt.stop}"
