"""Which parts of a strategy work here: a joint posterior over them, and seeded Thompson draws from it.

The outcome of a prompt is explained by its label's usual outcome plus the gains of the strategy's three parts, with
the same joint update that memory uses for experience items (`synlearner.memory.credit`). What earlier tasks taught
enters as one more observation per recalled item, the less certain the less alike the tasks are.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from synlearner.agent.strategies import Strategy
from synlearner.events.chance import derive_seed
from synlearner.events.types import Candidate, ExperienceItem, ExperienceRecalled, PromptsPlanned
from synlearner.memory import joint_update
from synlearner.memory.recall import normal
from synlearner.memory.state import PRIOR_MEAN, PRIOR_VARIANCE, Record

Posterior = tuple[float, float]
"""Mean and variance of a part's gain, in units of the outcome."""


def posteriors(outcomes: Iterable[tuple[str, str, float]]) -> dict[str, Posterior]:
    """Return each part's posterior after the (label, strategy, outcome) of all prompts, in their order."""
    found: dict[str, Posterior] = {}
    seen: dict[str, list[float]] = {}
    for label, strategy, value in outcomes:
        before = seen.setdefault(label, [])
        if before:
            parts = parts_of(strategy)
            known = [found.get(part, (PRIOR_MEAN, PRIOR_VARIANCE)) for part in parts]
            found.update(zip(parts, joint_update(known, value - sum(before) / len(before)), strict=True))
        before.append(value)
    return found


def with_experience(
    own: Mapping[str, Posterior],
    chosen: Sequence[Candidate],
    records: Mapping[str, Record],
) -> dict[str, Posterior]:
    """Return *own* posteriors joined with what recalled items say of a part.

    Args:
        own: What this task has shown.
        chosen: The candidates that recall chose.
        records: Item id to what memory holds of it. Items that name no `part` say nothing here.
    """
    joined = dict(own)
    for candidate in chosen:
        record = records[candidate.item]
        part = record.item.metadata.get("part")
        if part is None:
            continue
        mean, variance = joined.get(part, (PRIOR_MEAN, PRIOR_VARIANCE))
        # A task half as alike says a quarter as much. Avoiding a part that costs x is worth x.
        doubt = max(record.variance, 1e-6) / max(candidate.similarity, 0.05) ** 2
        precision = 1 / variance + 1 / doubt
        joined[part] = ((mean / variance + record.item.polarity * candidate.draw / doubt) / precision, 1 / precision)
    return joined


def beliefs(
    outcomes: Iterable[tuple[str, str, float]],
    recalled: ExperienceRecalled | None,
    records: Mapping[str, Record],
) -> tuple[dict[str, Posterior], dict[str, list[str]]]:
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


def choose(strategies: Sequence[Strategy], believed: Mapping[str, Posterior], seed: int) -> Strategy:
    """Return the strategy with the best sum of seeded draws, one per part; ties by id."""
    draws: dict[str, float] = {}
    for part in sorted({part for strategy in strategies for part in strategy.parts}):
        mean, variance = believed.get(part, (PRIOR_MEAN, PRIOR_VARIANCE))
        draws[part] = mean + math.sqrt(variance) * normal(seed, part)
    return max(strategies, key=lambda s: (math.fsum(draws[part] for part in s.parts), s.id))


def parts_of(strategy: str) -> tuple[str, str, str]:
    """Return the parts of a strategy's id."""
    return Strategy(*strategy.split("/")).parts
