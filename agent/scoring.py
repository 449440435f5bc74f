"""Feedback on one round: gates, then every part of the score, then the set, then totals. Pure given the embedder."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import Struct

from synlearner.agent.cards import Card, Row
from synlearner.agent.config import RewardSettings
from synlearner.agent.diversity import distinct_2, leave_one_out_gains, rke, rke_gains, vendi
from synlearner.agent.features import Matrix, embed_rows
from synlearner.agent.gating import gated, read_sample
from synlearner.agent.judge import Judge
from synlearner.agent.likelihood import Likelihood
from synlearner.agent.parsing import joined, normal
from synlearner.agent.probe import SecondFieldProbe
from synlearner.agent.rescue import LIKELIEST, likeliest
from synlearner.agent.rewards import Parts, attribute_share, gain_share, quality, totals, worth
from synlearner.agent.surprise import Surprise
from synlearner.agent.user_reward import Reward, RewardedSample
from synlearner.events.types import PlannedPrompt, SampleGenerated, SampleScored
from synlearner.memory import Embedder

Utility = Callable[[Matrix, Sequence[str], Sequence[Sequence[int]]], Sequence[float]]
"""From unit rows, labels, and the places of the seeds that each prompt showed: `synlearner.agent.utility`."""

POOL = 64
"""Newest accepted samples of a label that a new one is compared with."""


class PoolSample(Struct, frozen=True):
    """An accepted sample of this task."""

    seq: int
    label: str
    strategy: str
    row: Row
    worth: float
    matrix: str
    """Blob with its vector …"""
    place: int
    """… in this row."""


@dataclass(frozen=True, slots=True)
class RoundScores:
    """Feedback on a round."""

    scored: list[SampleScored]
    valid: list[int]
    """Seqs of the samples that passed the gates, in the order of `vectors`, `gains`."""
    vectors: Matrix
    gains: list[float]
    diversity: dict[str, float]


def score_round(
    card: Card,
    prompts: Sequence[PlannedPrompt],
    samples: Sequence[tuple[int, SampleGenerated]],
    pool: Sequence[PoolSample],
    pool_vectors: Matrix,
    *,
    judge: Judge,
    embedder: Embedder,
    settings: RewardSettings,
    reward: Reward | None = None,
    probe: SecondFieldProbe | None = None,
    surprise: Surprise | None = None,
    likelihood: Likelihood | None = None,
    utility: Utility | None = None,
    rescue: bool = False,
) -> RoundScores:
    """Score the samples of a round, each `(seq, fact)` in the order in which they were generated.

    Args:
        card: The task.
        prompts: What was asked.
        samples: What came back.
        pool: Accepted samples of earlier rounds.
        pool_vectors: Their rows, in the order of *pool*.
        judge: Of label fidelity.
        embedder: Of texts.
        settings: Of rewards.
        reward: The user's own, if there is one.
        probe: Of pairs' second fields, where it has a say.
        surprise: Of texts, where it has a say in their quality and can be known.
        likelihood: Of texts behind each label, where it has a say in their fidelity and can be known.
        utility: Of samples to a student, where it has a say.
        rescue: Whether samples that are not what was asked for may be accepted (`synlearner.agent.rescue`).

    Raises:
        RewardFailure: If the user's own reward gives no values.
    """
    rows, reasons, trimmed = gated(card, prompts, samples, [sample.row for sample in pool], rescue=rescue)
    valid = [i for i, reason in enumerate(reasons) if not reason]
    labels = [prompts[samples[i][1].prompt].label for i in valid]
    vectors = embed_rows(embedder, card, [rows[i] for i in valid])
    seqs, read = [samples[i][0] for i in valid], [rows[i] for i in valid]
    fidelity = judge.fidelity(vectors, labels, read)
    said = likelihood.fidelity(seqs, card, read, labels) if likelihood is not None else []
    if said:
        fidelity = (1 - settings.likelihood) * fidelity + settings.likelihood * np.array(said)
    others = _others(card, judge, vectors, labels, read, rescue=rescue)
    taken = [other[0] if other else label for other, label in zip(others, labels, strict=True)]
    qualities, told = _qualities(card, seqs, read, surprise)
    worths = np.array(
        [worth(other[1] if other else f, q) for other, f, q in zip(others, fidelity, qualities, strict=True)]
    )
    gains = _gains(leave_one_out_gains, vectors, taken, worths, pool, pool_vectors)
    parts: list[Parts | None] = [None] * len(samples)
    for i, fid, qual, gain in zip(valid, fidelity, qualities, gains, strict=True):
        found: Parts = {"fidelity": round(float(fid), 6), "quality": round(qual, 6), "gain": round(gain_share(gain), 6)}
        share = attribute_share(prompts[samples[i][1].prompt].attributes, card, rows[i])
        parts[i] = found if share is None else found | {"attributes": round(share, 6)}
    if settings.rke:
        added = _gains(rke_gains, vectors, taken, worths, pool, pool_vectors)
        for i, value in zip(valid, added, strict=True):
            parts[i] = (parts[i] or {}) | {"rke": round(value, 6)}
    if probe is not None:
        for i, value in zip(valid, probe.relation(vectors, labels), strict=True):
            parts[i] = (parts[i] or {}) | {"relation": round(float(value), 6)}
    useful: Sequence[float] = []
    if utility is not None:
        useful = utility(vectors, labels, [prompts[samples[i][1].prompt].exemplars for i in valid])
    accepted_as = [""] * len(samples)
    for i, other in zip(valid, others, strict=True):
        if other:
            accepted_as[i] = other[0]
            parts[i] = (parts[i] or {}) | {LIKELIEST: round(other[1], 6)}
    for name, values in (("likelihood", said), ("surprise", told), ("utility", useful)):
        for i, value in zip(valid, values, strict=bool(values)):
            parts[i] = (parts[i] or {}) | {name: value}
    if reward is not None and valid:
        shown = [_shown(card, prompts, samples[i], rows[i]) for i in valid]
        for i, value in zip(valid, reward(shown), strict=True):
            parts[i] = (parts[i] or {}) | {"user": round(value, 6)}
    # What ran out of room is paid as what is gated: the policy is to end in time.
    paid = [None if cut else part for part, cut in zip(parts, trimmed, strict=True)]
    total = _group_totals(samples, paid, settings)
    scored = [
        _fact(seq, rows[i], reasons[i], parts[i], total[i], settings, accepted_as[i], trimmed=trimmed[i])
        for i, (seq, _) in enumerate(samples)
    ]
    texts = [normal(joined(card, rows[i])) for i in valid]
    diversity = {"vendi": vendi(vectors), "rke": rke(vectors), "distinct_2": distinct_2(texts)}
    if surprise is not None:
        diversity |= {"surprise_low": surprise.band(card).low, "surprise_high": surprise.band(card).high}
    return RoundScores(
        scored,
        seqs,
        vectors,
        [round(float(gain), 6) for gain in gains],
        {name: round(value, 6) for name, value in diversity.items()},
    )


def _shown(
    card: Card, prompts: Sequence[PlannedPrompt], sample: tuple[int, SampleGenerated], row: Row
) -> RewardedSample:
    """Return what the user's own reward sees of a sample: copies, so that it cannot change what is recorded."""
    prompt = prompts[sample[1].prompt]
    return RewardedSample(sample[0], card.name, dict(row), prompt.label, dict(prompt.attributes))


def read_reference(
    card: Card,
    prompts: Sequence[PlannedPrompt],
    samples: Sequence[tuple[int, SampleGenerated]],
) -> list[SampleScored]:
    """Return the samples of the untrained policy, read but not judged: all that has the card's fields can be used."""
    rows = [read_sample(card, sample, prompts[sample.prompt]) for _, sample in samples]
    reasons = ["reference" if row else "gate:format" for row in rows]
    return [
        SampleScored(sample=seq, accepted=False, reason=reason, fields=row, parts={}, total=0.0)
        for (seq, _), row, reason in zip(samples, rows, reasons, strict=True)
    ]


def judge_reference(
    card: Card,
    prompts: Sequence[PlannedPrompt],
    samples: Sequence[tuple[int, SampleGenerated]],
    earlier: Sequence[PoolSample],
    judge: Judge,
    embed: Callable[[Sequence[Row]], Matrix],
    settings: RewardSettings,
    *,
    rescue: bool = False,
) -> tuple[list[SampleScored], Matrix]:
    """Return the samples of the untrained policy, judged by gates, fidelity and quality; and unit rows of those with fields.

    They are paid nothing, since nobody learns from them. Those of *earlier* rounds must not be said again.
    """
    rows, reasons, trimmed = gated(card, prompts, samples, [sample.row for sample in earlier], rescue=rescue)
    read = [i for i, row in enumerate(rows) if row]
    vectors = embed([rows[i] for i in read])
    valid = [place for place, i in enumerate(read) if not reasons[i]]
    labels = [prompts[samples[read[place]][1].prompt].label for place in valid]
    fidelity = judge.fidelity(vectors[valid], labels, [rows[read[place]] for place in valid])
    others = _others(card, judge, vectors[valid], labels, [rows[read[place]] for place in valid], rescue=rescue)
    parts: list[Parts | None] = [None] * len(samples)
    accepted_as = [""] * len(samples)
    for place, value, other in zip(valid, fidelity, others, strict=True):
        formed = quality(card, rows[read[place]])
        part: Parts = {"fidelity": round(float(value), 6), "quality": round(formed, 6)}
        if other:
            accepted_as[read[place]] = other[0]
            part = part | {LIKELIEST: round(other[1], 6)}
        parts[read[place]] = part
    scored = [
        _fact(seq, rows[i], reasons[i], parts[i], 0.0, settings, accepted_as[i], trimmed=trimmed[i])
        for i, (seq, _) in enumerate(samples)
    ]
    return scored, vectors


def _others(
    card: Card, judge: Judge, vectors: Matrix, labels: Sequence[str], rows: Sequence[Row], *, rescue: bool
) -> list[tuple[str, float] | None]:
    """Return, for each sample that the judge takes for another label's, that label and its fidelity to it."""
    if not rescue:
        return [None] * len(rows)
    found = likeliest(judge, card, vectors, labels, rows)
    return [other if other[0] != label else None for other, label in zip(found, labels, strict=True)]


def _qualities(
    card: Card, seqs: Sequence[int], rows: Sequence[Row], surprise: Surprise | None
) -> tuple[list[float], list[float]]:
    """Return how well *rows* are formed, and how surprising they are; the latter is empty where nobody tells."""
    formed = [quality(card, row) for row in rows]
    if surprise is None:
        return formed, []
    told, band = surprise.of(seqs, card, rows), surprise.band(card)
    return [share * band.share(value) for share, value in zip(formed, told, strict=True)], told


def _gains(
    rule: Callable[[Matrix, np.ndarray], np.ndarray],
    vectors: Matrix,
    labels: Sequence[str],
    worths: np.ndarray,
    pool: Sequence[PoolSample],
    pool_vectors: Matrix,
) -> list[float]:
    """Return what each new sample adds by *rule* to its label's set: the new ones and the newest of the pool."""
    gains = np.zeros(len(labels))
    for label in sorted(set(labels)):
        mine = [i for i, other in enumerate(labels) if other == label]
        old = [i for i, sample in enumerate(pool) if sample.label == label][-POOL:]
        together = np.concatenate([vectors[mine], pool_vectors[old]]) if old else vectors[mine]
        weights = np.concatenate([worths[mine], [pool[i].worth for i in old]])
        gains[mine] = rule(together, weights)[: len(mine)]
    return [float(gain) for gain in gains]


def _group_totals(
    samples: Sequence[tuple[int, SampleGenerated]],
    parts: Sequence[Parts | None],
    settings: RewardSettings,
) -> list[float]:
    total = [0.0] * len(samples)
    for prompt in sorted({sample.prompt for _, sample in samples}):
        group = [i for i, (_, sample) in enumerate(samples) if sample.prompt == prompt]
        values = totals([parts[i] for i in group], settings)
        scored = [(i, value, part) for i, value in zip(group, values, strict=True) if (part := parts[i]) is not None]
        refused = {i for i, _, part in scored if LIKELIEST in part or _refusal(part, settings)}
        least = min((value for i, value, _ in scored if i not in refused), default=math.inf)
        for i, value in zip(group, values, strict=True):
            # What is refused, or accepted as something else, never ranks above what is accepted, whatever its merits.
            total[i] = round(min(value, least) if i in refused else value, 6)
    return total


def _refusal(parts: Parts, settings: RewardSettings) -> str:
    """Return the part that is too low to accept a sample, or an empty text."""
    if parts["quality"] < settings.min_quality:
        return "quality"
    return "fidelity" if parts.get(LIKELIEST, parts["fidelity"]) < settings.min_fidelity else ""


def _fact(
    seq: int,
    row: Row,
    reason: str,
    parts: Parts | None,
    total: float,
    settings: RewardSettings,
    label: str,
    *,
    trimmed: bool,
) -> SampleScored:
    reason = reason if parts is None else _refusal(parts, settings)
    return SampleScored(
        sample=seq,
        accepted=not reason,
        reason=reason,
        fields=row,
        parts=parts or {},
        total=total,
        label="" if reason else label,
        trimmed=trimmed,
    )
