"""Diversity-aware initialisation: which prompts to send. Pure: state in, prompts out, chance from seeds.

For every prompt a label that still lacks samples, a strategy drawn from what is believed of its parts, seeds of the
label as exemplars, and attribute values that differ from prompt to prompt.
"""

import math
import random
from collections.abc import Mapping, Sequence

from synlearner.agent.bandit import Posterior, choose, parts_of
from synlearner.agent.cards import Card, Row
from synlearner.agent.config import LoopSettings
from synlearner.agent.parsing import normal
from synlearner.agent.state import TaskState
from synlearner.agent.strategies import PERSONAS, Ask, Strategy, decoding, library, write, write_sample
from synlearner.events.chance import derive_seed
from synlearner.events.types import PlannedPrompt

EXEMPLARS = 4
"""Most seeds that a prompt shows."""

EXEMPLAR_WORDS = 260
"""Most words that they may have together: long prompts cost more than they teach."""

ROWS = 64
"""Most samples in a round that only fills the data set: what an engine writes side by side."""

FEWEST = 24
"""Least samples in such a round: fewer would cost the engine as much time."""

PLAIN = Strategy("plain", "none", "open")
"""What the untrained policy is measured with."""


def plan_learning(
    task: TaskState,
    loop: LoopSettings,
    believed: Mapping[str, Posterior],
    vouchers: Mapping[str, Sequence[str]],
    seed: int,
) -> list[PlannedPrompt]:
    """Return the prompts of a round in which the policy learns: as many per label as can be."""
    counts = {label: sum(s.label == label for s in task.pool) for label in task.card.labels or [""]}
    order = sorted(counts, key=lambda label: counts[label])
    labels = [order[i % len(order)] for i in range(loop.prompts)]
    return [
        _prompt(
            task,
            label,
            choose(library(task.card), believed, derive_seed(seed, i)),
            loop.group,
            vouchers,
            derive_seed(seed, i, "prompt"),
        )
        for i, label in enumerate(labels)
    ]


def plan_filling(
    task: TaskState,
    loop: LoopSettings,
    believed: Mapping[str, Posterior],
    vouchers: Mapping[str, Sequence[str]],
    seed: int,
) -> list[PlannedPrompt]:
    """Return the prompts of a round that only fills the data set: labels in the order of what they lack."""
    lacking = missing(task, loop)
    prompts: list[PlannedPrompt] = []
    share = max(task.accepted / task.requested, 0.1) if task.requested else 0.5
    while len(prompts) * loop.group + loop.group <= ROWS:
        label = max(lacking, key=lambda name: lacking[name])
        if lacking[label] <= 0 and len(prompts) * loop.group >= FEWEST:
            break
        lacking[label] -= share * loop.group
        i = len(prompts)
        strategy = choose(library(task.card), believed, derive_seed(seed, i))
        prompts.append(_prompt(task, label, strategy, loop.group, vouchers, derive_seed(seed, i, "prompt")))
    return prompts


def plan_reference(task: TaskState, seed: int) -> list[PlannedPrompt]:
    """Return plain prompts for the untrained policy, the labels in equal numbers, until it has as many samples."""
    labels = list(task.card.labels) or [""]
    wanted = min(ROWS, task.card.samples - len(task.reference))
    shares = [wanted // len(labels) + (i < wanted % len(labels)) for i in range(len(labels))]
    # Start where the last round ended, so that remainders do not always go to the same labels.
    turn = len(task.reference) % len(labels)
    labels = labels[turn:] + labels[:turn]
    return [
        _prompt(task, label, PLAIN, share, {}, derive_seed(seed, i, "prompt"))
        for i, (label, share) in enumerate(zip(labels, shares, strict=True))
        if share
    ]


def missing(task: TaskState, loop: LoopSettings) -> dict[str, float]:
    """Return how many accepted samples each label lacks for the choice to be made (0 or below: none)."""
    labels = list(task.card.labels) or [""]
    wanted = math.ceil(loop.oversample * task.card.samples / len(labels))
    return {label: float(wanted - sum(s.label == label for s in task.pool)) for label in labels}


def _prompt(
    task: TaskState,
    label: str,
    strategy: Strategy,
    samples: int,
    vouchers: Mapping[str, Sequence[str]],
    seed: int,
) -> PlannedPrompt:
    card = task.card
    rng = random.Random(seed)  # noqa: S311 - reproducible chance is the point
    exemplars = _exemplars(card, label, rng)
    rows = [card.seeds[i] for i in exemplars]
    attributes, notes = _attributes(task, label, strategy, rows, rng)
    contrasts = [_contrast(card, other, rng) for other in card.labels if other != label]
    prompt = write(strategy, Ask(card, label, rows, contrasts, notes))
    experience = sorted({item for part in parts_of(strategy.id) for item in vouchers.get(part, ())})
    return PlannedPrompt(
        strategy=strategy.id,
        label=label,
        attributes=attributes,
        exemplars=exemplars if strategy.frame != "plain" else [],
        experience=experience,
        text=prompt.text,
        prefix=prompt.prefix,
        stop=prompt.stop,
        samples=samples,
        decoding=decoding(strategy.decoding, card),
        seed=derive_seed(seed, "samples"),
    )


def _exemplars(card: Card, label: str, rng: random.Random) -> list[int]:
    """Return seeds of the label, as many as fit; if none does, the shortest."""
    mine = [i for i, row in enumerate(card.seeds) if not label or row["label"] == label]
    rng.shuffle(mine)
    lengths = {i: _words(card, card.seeds[i]) for i in mine}
    chosen: list[int] = []
    left = EXEMPLAR_WORDS
    for i in mine:
        if lengths[i] <= left and len(chosen) < EXEMPLARS:
            chosen.append(i)
            left -= lengths[i]
    return chosen or [min(mine, key=lambda i: lengths[i])]


def _contrast(card: Card, label: str, rng: random.Random) -> Row:
    """Return a seed of the label: any that leaves room for those of the other labels, else the shortest."""
    mine = [row for row in card.seeds if row["label"] == label]
    short = [row for row in mine if _words(card, row) * len(card.labels) <= 2 * EXEMPLAR_WORDS]
    return rng.choice(short) if short else min(mine, key=lambda row: _words(card, row))


def _words(card: Card, row: Row) -> int:
    return len(write_sample(card, row).split())


def _attributes(
    task: TaskState,
    label: str,
    strategy: Strategy,
    rows: Sequence[Row],
    rng: random.Random,
) -> tuple[dict[str, str], list[str]]:
    """Return the drawn attributes, and the notes for the exemplars and the sample that is wanted."""
    card = task.card
    match strategy.attributes:
        case "keyword":
            wanted = _new_keyword(task, label, rng)
            notes = [f"with the word '{_keyword(write_sample(card, row), rng)}'" for row in rows]
            return {"keyword": wanted}, [*notes, f"with the word '{wanted}'"]
        case "length":
            low, high = (sum(spec.words[i] for spec in card.fields.values()) for i in (0, 1))
            length = rng.randint(low, high)
            return {"length": str(length)}, [
                *(f"{len(write_sample(card, r).split())} words" for r in rows),
                f"{length} words",
            ]
        case "persona":
            people = rng.sample(PERSONAS, len(rows) + 1)
            return {"persona": people[-1]}, [f"by {person}" for person in people]
        case "card":
            pairs = {**card.attributes, **card.label_attributes.get(label, {})}
            drawn = {name: rng.choice(values) for name, values in pairs.items()}
            return drawn, [*([""] * len(rows)), "; ".join(f"{n.replace('_', ' ')}: {v}" for n, v in drawn.items())]
        case _:
            return {}, [""] * (len(rows) + 1)


def _new_keyword(task: TaskState, label: str, rng: random.Random) -> str:
    """Return a word of this label's real or accepted samples: on topic by construction, and growing with the pool."""
    card = task.card
    texts = [write_sample(card, row) for row in card.seeds if not label or row["label"] == label]
    texts += [write_sample(card, s.row) for s in task.pool if s.label == label]
    return _keyword(rng.choice(texts), rng)


def _keyword(text: str, rng: random.Random) -> str:
    words = sorted({word for word in normal(text).split() if len(word) >= 5 and word.isalpha()})
    return rng.choice(words) if words else max(normal(text).split() or ["it"], key=len)
