"""Which parts of a strategy work here: a joint posterior over them, and seeded Thompson draws from it.

The outcome of a prompt is explained by its label's usual outcome plus the gains of the strategy's three parts, with
the same joint update that memory uses for experience items (`synlearner.memory.credit`). Outcomes of one task differ much
less than those of another, so what a gain may be, and what is noise, is measured by their own spread. What earlier tasks
taught enters as one more observation per recalled item, no more certain than gains are equal from task to task, and the less
certain the less alike the tasks are.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from synlearner.agent.strategies import Strategy
from synlearner.events.chance import derive_seed
from synlearner.events.types import Candidate, ExperienceItem, ExperienceRecalled, PromptsPlanned
from synlearner.memory import joint_update
from synlearner.memory.recall import normal
from synlearner.memory.state import Record

Posterior = tuple[float, float]
"""Mean and variance of a part's gain, in units of the outcome."""

Outcome = tuple[str, str, float]
"""Label, strategy and outcome of a prompt."""

GAIN = 0.35
"""Deviation of a part's gain before anything is known of it, in deviations of an outcome around its label's mean."""

SPREAD, SURE = 0.06, 4
"""That deviation before there are outcomes, and as how many of them it counts."""

DRIFT = 0.5
"""Deviation of a part's gain from task to task, in the same unit: what works for one may hurt the next."""

BOLDNESS = 0.5
"""Share of a posterior deviation that is drawn with: a task has too few prompts to try everything out."""


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What is thought of strategy parts."""

    spread: float = SPREAD
    """Deviation of an outcome around its label's mean."""
    parts: Mapping[str, Posterior] = field(default_factory=dict)
    """Of the parts that something is known of."""

    def of(self, part: str) -> Posterior:
        """Return the posterior of *part*, or the prior."""
        return self.parts.get(part, (0.0, (GAIN * self.spread) ** 2))


def posteriors(outcomes: Sequence[Outcome]) -> Beliefs:
    """Return what the outcomes of a task's prompts say, in their order.

    An outcome counts by how far it is from the mean of its label's; that of a label with no other says nothing.
    """
    prompts = Counter(label for label, *_ in outcomes)
    deviations = _deviations(outcomes)
    squares = math.fsum(value**2 for value in deviations)
    freedom = len(outcomes) - len(prompts)
    known = Beliefs(math.sqrt((squares + SURE * SPREAD**2) / (freedom + SURE)))
    found: dict[str, Posterior] = {}
    for (label, strategy, _), value in zip(outcomes, deviations, strict=True):
        if prompts[label] > 1:
            parts = parts_of(strategy)
            before = [found.get(part, known.of(part)) for part in parts]
            found.update(zip(parts, joint_update(before, value, known.spread**2), strict=True))
    return Beliefs(known.spread, found)


def weighed(outcomes: Sequence[Outcome], utilities: Sequence[float | None], weight: float) -> Sequence[Outcome]:
    """Return *outcomes* with what each prompt's samples were worth to a student among them, in units of the outcome.

    A weighted mean of how far both are from the mean of their label's, each in its own deviations: 1 for the outcome and
    *weight* for the utility. Where no utility is known (None) the outcome stays.
    """
    told = [(place, utility) for place, utility in enumerate(utilities) if utility is not None]
    gains = _deviations([outcomes[place] for place, _ in told])
    useful = _deviations([(*outcomes[place][:2], utility) for place, utility in told])
    squares = math.fsum(value**2 for value in useful)
    if not weight or not squares:
        return outcomes
    unit = math.sqrt(math.fsum(value**2 for value in gains) / squares)
    found = list(outcomes)
    for (place, _), gain, utility in zip(told, gains, useful, strict=True):
        label, strategy, value = outcomes[place]
        found[place] = (label, strategy, value + weight / (1 + weight) * (unit * utility - gain))
    return found


def _deviations(outcomes: Sequence[Outcome]) -> list[float]:
    """Return how far each outcome is from the mean of its label's."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for label, _, value in outcomes:
        values[label].append(value)
    means = {label: math.fsum(mine) / len(mine) for label, mine in values.items()}
    return [value - means[label] for label, _, value in outcomes]


def with_experience(
    own: Beliefs,
    chosen: Sequence[Candidate],
    records: Mapping[str, Record],
) -> Beliefs:
    """Return *own* beliefs joined with what recalled items say of a part.

    Args:
        own: What this task has shown.
        chosen: The candidates that recall chose.
        records: Item id to what memory holds of it. Items that name no `part` say nothing here.
    """
    joined = dict(own.parts)
    for candidate in chosen:
        record = records[candidate.item]
        part = record.item.metadata.get("part")
        if part is None:
            continue
        mean, variance = joined.get(part, own.of(part))
        # A task half as alike says a quarter as much. Avoiding a part that costs x is worth x.
        doubt = (record.variance + (DRIFT * own.spread) ** 2) / max(candidate.similarity, 0.05) ** 2
        precision = 1 / variance + 1 / doubt
        joined[part] = ((mean / variance + record.item.polarity * candidate.draw / doubt) / precision, 1 / precision)
    return Beliefs(own.spread, joined)


def beliefs(
    outcomes: Sequence[Outcome],
    recalled: ExperienceRecalled | None,
    records: Mapping[str, Record],
) -> tuple[Beliefs, dict[str, list[str]]]:
    """Return what is believed of every part, and which recalled strategies vouch for a part.

    Args:
        outcomes: Of this task's prompts so far.
        recalled: What memory was asked for this round, if it was.
        records: What memory holds, by item id.
    """
    chosen = [candidate for candidate in recalled.candidates if candidate.chosen] if recalled else []
    vouchers: dict[str, list[str]] = {}
    for candidate in chosen:
        item = records[candidate.item].item
        if item.polarity > 0 and "part" in item.metadata:
            vouchers.setdefault(item.metadata["part"], []).append(item.id)
    return with_experience(posteriors(outcomes), chosen, records), vouchers


def shuffled(
    recalled: ExperienceRecalled | None, records: Mapping[str, Record], strategies: Sequence[Strategy]
) -> dict[str, Record]:
    """Return the chosen *records*, each of which speaks of a part of the same kind that was drawn from *strategies*.

    A control for experiments: as much advice, of the same certainty, that has nothing to do with what was learnt.
    """
    parts = sorted({part for strategy in strategies for part in strategy.parts})
    found: dict[str, Record] = {}
    if recalled is None:
        return found
    for candidate in recalled.candidates:
        if not candidate.chosen:
            continue
        record = found[candidate.item] = records[candidate.item]
        kind = record.item.metadata.get("part", "").partition(":")[0]
        alike = [part for part in parts if part.partition(":")[0] == kind]
        if alike:
            part = alike[derive_seed(recalled.seed, candidate.item, "shuffle") % len(alike)]
            item = msgspec.structs.replace(record.item, metadata=record.item.metadata | {"part": part})
            found[candidate.item] = msgspec.structs.replace(record, item=item)
    return found


def topics_held(recalled: ExperienceRecalled | None, records: Mapping[str, Record]) -> dict[str, list[str]]:
    """Return the recalled items that hold topics, each with them."""
    chosen = [records[c.item].item for c in recalled.candidates if c.chosen] if recalled else []
    return {item.id: list(item.metadata["topics"]) for item in chosen if item.metadata.get("topics")}


def in_control(recalled: ExperienceRecalled | None) -> Callable[[int], bool]:
    """Return which of a round's prompts, by place, are planned as if nothing had been recalled: a seeded few of them."""
    if recalled is None or not recalled.chosen:
        return lambda _: False
    share, seed = recalled.control, recalled.seed
    return lambda place: derive_seed(seed, place, "control") < share * 2.0**53


def vouching(plan: PromptsPlanned | None, item: ExperienceItem) -> list[str]:
    """Return the recalled items that had a prompt of *plan* use the part that *item* is about: its parents."""
    part = item.metadata.get("part")
    prompts = plan.prompts if plan else []
    return sorted({used for p in prompts if part in parts_of(p.strategy) for used in p.experience if used != item.id})


def choose(strategies: Sequence[Strategy], believed: Beliefs, seed: int) -> Strategy:
    """Return the strategy with the best sum of seeded draws, one per part; ties by id."""
    draws: dict[str, float] = {}
    for part in sorted({part for strategy in strategies for part in strategy.parts}):
        mean, variance = believed.of(part)
        draws[part] = mean + BOLDNESS * math.sqrt(variance) * normal(seed, part)
    return max(strategies, key=lambda s: (math.fsum(draws[part] for part in s.parts), s.id))


def parts_of(strategy: str) -> tuple[str, str, str]:
    """Return the parts of a strategy's id."""
    return Strategy(*strategy.split("/")).parts
