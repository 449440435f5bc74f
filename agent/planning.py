"""Diversity-aware initialisation: which prompts to send. Pure: state in, prompts out, chance from seeds.

For every prompt a label that still lacks samples, a strategy drawn from what is believed of its parts, seeds of the
label as exemplars, and attribute values that the label's prompts have not had together.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from synlearner.agent.attributes import coverage, draw, options
from synlearner.agent.bandit import Beliefs, choose, parts_of
from synlearner.agent.budget import FEWEST, ROWS, affordable, missing
from synlearner.agent.cards import Card, Row
from synlearner.agent.config import DaiSettings, Settings
from synlearner.agent.constraints import heat
from synlearner.agent.frames import Ask, write_sample
from synlearner.agent.jsonform import as_json, constrained, fitting
from synlearner.agent.policy_settings import PolicySettings
from synlearner.agent.state import TaskState
from synlearner.agent.strategies import PERSONAS, Strategy, decoding, library, write
from synlearner.agent.topics import TOPIC, keyword, topics_of
from synlearner.events.chance import derive_seed
from synlearner.events.types import PlannedPrompt

EXEMPLAR_WORDS = 260
"""Most words that exemplars may have together: long prompts cost more than they teach."""

NOTES = {"keyword": "with the word '{}'", "length": "{} words"}
"""How an attribute of a sample is noted."""

PLAIN = Strategy("plain", "none", "open")
"""What the untrained policy is measured with."""

Drawn = tuple[str, Mapping[str, str]]
"""A label, and the attributes that a prompt of it had."""


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans the rounds of a task.

    Args:
        task: The task so far.
        settings: Of the run.
        believed: What is thought of every part of a strategy (`synlearner.agent.bandit`).
        vouchers: Strategy part to the experience items that speak for it.
    """

    task: TaskState
    settings: Settings
    believed: Beliefs = field(default_factory=Beliefs)
    vouchers: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def learning(self, seed: int) -> list[PlannedPrompt]:
        """Return the prompts of a round in which the policy learns: as many per label as can be."""
        counts = {label: sum(s.label == label for s in self.task.pool) for label in self.task.card.labels or [""]}
        order = sorted(counts, key=lambda label: counts[label])
        prompts = min(self.settings.loop.prompts, affordable(self.task, self.settings) // self.settings.loop.group)
        labels = [order[i % len(order)] for i in range(prompts)]
        return self._prompts(labels, seed)

    def filling(self, seed: int) -> list[PlannedPrompt]:
        """Return the prompts of a round that only fills the data set: labels in the order of what they lack."""
        loop, task = self.settings.loop, self.task
        lacking = missing(task, loop)
        labels: list[str] = []
        share = max(task.accepted / task.requested, 0.1) if task.requested else 0.5
        rows = min(ROWS, affordable(task, self.settings))
        while len(labels) * loop.group + loop.group <= rows:
            label = max(lacking, key=lambda name: lacking[name])
            if lacking[label] <= 0 and len(labels) * loop.group >= FEWEST:
                break
            lacking[label] -= share * loop.group
            labels.append(label)
        return self._prompts(labels, seed)

    def _prompts(self, labels: Sequence[str], seed: int) -> list[PlannedPrompt]:
        has_topics = all(topics_of(self.task, label) for label in self.task.card.labels or [""])
        strategies = library(self.task.card, self.settings.dai, topics=has_topics)
        if self.settings.policy.grammar == "json":
            strategies = fitting(strategies)
        prompts: list[PlannedPrompt] = []
        for i, label in enumerate(labels):
            strategy = choose(strategies, self.believed, derive_seed(seed, i))
            before = [*self.task.drawn, *((p.label, p.attributes) for p in prompts if p.attributes)]
            prompts.append(self._prompt(label, strategy, before, derive_seed(seed, i, "prompt")))
        return prompts

    def _prompt(self, label: str, strategy: Strategy, before: Sequence[Drawn], seed: int) -> PlannedPrompt:
        task, loop = self.task, self.settings.loop
        rng = random.Random(seed)  # noqa: S311 - reproducible chance is the point
        exemplars, rows = shots(task, label, self.settings.dai, rng)
        attributes, notes = self._attributes(label, strategy, rows, before, rng)
        experience = {item for part in parts_of(strategy.id) for item in self.vouchers.get(part, ())}
        source = topics_of(task, label).get(attributes.get(TOPIC, ""), "policy")
        return written(
            task.card,
            strategy,
            Ask(task.card, label, rows, contrasts(task.card, label, rng), notes, attributes),
            exemplars=exemplars,
            experience=sorted(experience | ({source} - {"policy"})),
            samples=loop.group,
            seed=derive_seed(seed, "samples"),
            heat=heat(task.multipliers, self.settings.constraints),
            policy=self.settings.policy,
        )

    def _attributes(
        self, label: str, strategy: Strategy, rows: Sequence[Row], before: Sequence[Drawn], rng: random.Random
    ) -> tuple[dict[str, str], list[str]]:
        """Return the drawn attributes, and the notes for the exemplars and the sample that is wanted."""
        card = self.task.card
        mine = [drawn for other, drawn in before if other == label]
        texts = [write_sample(card, row) for row in rows]
        match strategy.attributes:
            case "keyword":
                wanted = self._new_keyword(label, mine, rng)
                words = [*(keyword(text, rng) for text in texts), wanted]
                return {"keyword": wanted}, [NOTES["keyword"].format(word) for word in words]
            case "topic":
                wanted = _rarest(list(topics_of(self.task, label)), TOPIC, mine, rng)
                return {TOPIC: wanted}, [*(f"about {keyword(text, rng)}" for text in texts), f"about {wanted}"]
            case "length":
                low, high = (sum(spec.words[i] for spec in card.fields.values()) for i in (0, 1))
                length = rng.randint(low, high)
                lengths = [*(len(text.split()) for text in texts), length]
                return {"length": str(length)}, [NOTES["length"].format(each) for each in lengths]
            case "persona":
                people = rng.sample(PERSONAS, len(PERSONAS))
                wanted = _rarest(people, "persona", mine, rng)
                others = [person for person in people if person != wanted] * len(rows)
                return {"persona": wanted}, [f"by {person}" for person in [*others[: len(rows)], wanted]]
            case "card":
                drawn = draw(
                    options(card.attributes, card.label_attributes.get(label, {}), label, card.labels),
                    card.conflicts,
                    label,
                    mine,
                    rng,
                    at_once=self.settings.dai.at_once,
                    covering=self.settings.dai.coverage,
                )
                return drawn, [*([""] * len(rows)), "; ".join(f"{n}: {v}".replace("_", " ") for n, v in drawn.items())]
            case _:
                return {}, [""] * (len(rows) + 1)

    def _new_keyword(self, label: str, before: Sequence[Mapping[str, str]], rng: random.Random) -> str:
        """Return a word of this label's real or accepted samples: on topic by construction, growing with the pool."""
        card = self.task.card
        texts = [write_sample(card, row) for row in card.seeds if not label or row["label"] == label]
        texts += [write_sample(card, s.row) for s in self.task.pool if s.label == label]
        had = [drawn["keyword"] for drawn in before if "keyword" in drawn] if self.settings.dai.coverage else []
        return keyword(rng.choice(texts), rng, had)


def plan_reference(task: TaskState, wanted: int, seed: int) -> list[PlannedPrompt]:
    """Return plain prompts for the untrained policy, the labels in equal numbers, until it has *wanted* samples."""
    labels = list(task.card.labels) or [""]
    wanted = min(ROWS, wanted - len(task.reference))
    shares = [wanted // len(labels) + (i < wanted % len(labels)) for i in range(len(labels))]
    # Start where the last round ended, so that remainders do not always go to the same labels.
    turn = len(task.reference) % len(labels)
    labels = labels[turn:] + labels[:turn]
    return [
        written(
            task.card,
            PLAIN,
            Ask(task.card, label, [], [], [""]),
            exemplars=[],
            experience=[],
            samples=share,
            seed=derive_seed(seed, i, "prompt"),
        )
        for i, (label, share) in enumerate(zip(labels, shares, strict=True))
        if share
    ]


def pair_coverage(card: Card, prompts: Sequence[Drawn]) -> dict[str, float]:
    """Return the share of pairs of the card's attribute values that *prompts* have had; nothing for cards without."""
    covered = possible = 0
    for label in card.labels or [""]:
        values = options(card.attributes, card.label_attributes.get(label, {}), label, card.labels)
        mine = [drawn for other, drawn in prompts if other == label]
        had, all_ = coverage(values, card.conflicts, label, mine) if values else (0, 0)
        covered, possible = covered + had, possible + all_
    return {"pair_coverage": round(covered / possible, 6)} if possible else {}


def written(
    card: Card,
    strategy: Strategy,
    ask: Ask,
    *,
    exemplars: list[int],
    experience: list[str],
    samples: int,
    seed: int,
    heat: float = 1.0,
    policy: PolicySettings | None = None,
) -> PlannedPrompt:
    """Return *ask* as *strategy* writes it out; *policy* says whether as JSON."""
    how = decoding(strategy.decoding, card, ask.label, heat)
    if policy is not None and policy.grammar == "json":
        # The embedded engine alone ends a sample in time: elsewhere the gate refuses what was cut off.
        closing = policy.engine == "transformers"
        prompt, how = constrained(card, write(strategy, as_json(ask)), how, closing=closing)
    else:
        prompt = write(strategy, ask)
    return PlannedPrompt(
        strategy=strategy.id,
        label=ask.label,
        attributes=dict(ask.attributes),
        exemplars=exemplars if strategy.frame != "plain" else [],
        experience=experience,
        text=prompt.text,
        prefix=prompt.prefix,
        stop=prompt.stop,
        samples=samples,
        decoding=how,
        seed=seed,
    )


def shots(
    task: TaskState, label: str, dai: DaiSettings, rng: random.Random, *, without: int | None = None
) -> tuple[list[int], list[Row]]:
    """Return what a prompt shows: the places of its seeds, and all its rows, accepted samples (`dai.shots`) first.

    As many as fit; if none does, the shortest. The seed at place *without* is not among them.
    """
    card, most = task.card, dai.exemplars
    seeds = [i for i, row in enumerate(card.seeds) if i != without and (not label or row["label"] == label)]
    rng.shuffle(seeds)
    candidates = [*_accepted(task, label, dai, rng), *((i, card.seeds[i]) for i in seeds)]
    chosen: list[tuple[int | None, Row]] = []
    left = EXEMPLAR_WORDS
    for place, row in candidates:
        words = _words(card, row)
        if words <= left and len(chosen) < most:
            chosen.append((place, row))
            left -= words
    chosen = chosen or [min(candidates, key=lambda candidate: _words(card, candidate[1]))]
    return [place for place, _ in chosen if place is not None], [row for _, row in chosen]


def _accepted(task: TaskState, label: str, dai: DaiSettings, rng: random.Random) -> list[tuple[None, Row]]:
    """Return the accepted samples of the label that a prompt may show before seeds."""
    if dai.shots == "seeds":
        return []
    mine = [sample for sample in task.pool if sample.label == label]
    rng.shuffle(mine)
    if dai.shots == "best":
        mine.sort(key=lambda sample: -sample.worth)
        return [(None, sample.row) for sample in mine[: dai.exemplars]]
    return [(None, sample.row) for sample in mine[: max(1, dai.exemplars // 4)]]


def contrasts(card: Card, label: str, rng: random.Random) -> list[Row]:
    """Return a seed of every other label: any that leaves room for those of the others, else the shortest."""
    chosen = []
    for other in card.labels:
        if other == label:
            continue
        mine = [row for row in card.seeds if row["label"] == other]
        short = [row for row in mine if _words(card, row) * len(card.labels) <= 2 * EXEMPLAR_WORDS]
        chosen.append(rng.choice(short) if short else min(mine, key=lambda row: _words(card, row)))
    return chosen


def _words(card: Card, row: Row) -> int:
    return len(write_sample(card, row).split())


def _rarest(values: Sequence[str], name: str, before: Sequence[Mapping[str, str]], rng: random.Random) -> str:
    """Return one of the *values* that attribute *name* has had least often."""
    times = {value: sum(drawn.get(name) == value for drawn in before) for value in values}
    fewest = min(times.values())
    return rng.choice([value for value in values if times[value] == fewest])
