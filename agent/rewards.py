"""From raw parts to what the policy learns from. Pure: numbers in, numbers out.

A part is standardised within its group before it is weighted, with a floor under the deviation, so that noise is not
blown up; nothing is bucketed. A gated sample gets less than the worst of its group, whatever its other merits.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from synlearner.agent.cards import Card, Row
from synlearner.agent.config import RewardSettings
from synlearner.agent.diversity import TOP_GAIN
from synlearner.agent.parsing import distinct_share, normal, words_fit

Parts = dict[str, float]

RAW = frozenset({"likeliest", "likelihood", "surprise"})
"""Parts that are recorded as they are, and paid for in another part or not at all."""

GATED = 1.0
"""How far below the worst sample of its group a gated one is."""


def quality(card: Card, row: Row) -> float:
    """Return in [0, 1] how well a text is formed: inside its length window, and without repetition."""
    shares = [words_fit(text, card.fields[field].words) * distinct_share(text) for field, text in row.items()]
    return sum(shares) / len(shares)


def attribute_share(attributes: Mapping[str, str], card: Card, row: Row) -> float | None:
    """Return the share of checkable attributes that a sample honours, in [0, 1]; None if none can be checked."""
    text = " ".join(row[field] for field in card.fields)
    checks = []
    if "keyword" in attributes:
        checks.append(float(f" {normal(attributes['keyword'])} " in f" {normal(text)} "))
    if attributes.get("length", "").isdecimal() and int(attributes["length"]):  # a card's own may be a word
        wanted = int(attributes["length"])
        checks.append(max(0.0, 1 - abs(len(text.split()) - wanted) / wanted))
    return sum(checks) / len(checks) if checks else None


def worth(fidelity: float, quality_: float) -> float:
    """Return the weight of a sample in a set, in [0, 1]: nothing against its label or badly formed is worth much."""
    return max(0.0, fidelity) * quality_


def totals(parts_G: Sequence[Parts | None], settings: RewardSettings) -> list[float]:
    """Return each sample's total within one group; None stands for a gated sample.

    Args:
        parts_G: Raw parts by name; all samples that have parts have the same ones.
        settings: Weights and the floor under the deviation.

    Returns:
        Weighted sums of standardised parts, shape `(G,)`, dimensionless; they sum to 0 over the samples with parts.
    """
    valid = [parts for parts in parts_G if parts is not None]
    sums = np.zeros(len(valid))
    for name in sorted(valid[0].keys() - RAW) if valid else []:
        values = np.array([parts[name] for parts in valid])
        spread = max(float(values.std()), settings.floor)
        sums += getattr(settings, name) * (values - values.mean()) / spread
    worst = float(sums.min()) if valid else 0.0
    found = iter(sums.tolist())
    return [worst - GATED if parts is None else next(found) for parts in parts_G]


def outcome(parts_G: Sequence[Parts | None]) -> float:
    """Return in [0, 1] what a group was good for: the mean share of the top gain, nothing for rejected samples."""
    return sum(parts["gain"] for parts in parts_G if parts is not None) / len(parts_G)


def outcome_utility(parts_G: Sequence[Parts | None]) -> float | None:
    """Return what a group's accepted samples are worth to a student, per sample asked for; None where nobody told."""
    found = [parts.get("utility") for parts in parts_G if parts is not None]
    known = [value for value in found if value is not None]
    return sum(known) / len(parts_G) if len(known) == len(found) else None


def gain_share(gain: float) -> float:
    """Return a leave-one-out gain in nats as a share of the largest possible one, in [0, 1]."""
    return gain / TOP_GAIN
