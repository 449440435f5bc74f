"""Figures of a finished data set for its card: none of them is rewarded or chosen by, so that they can show gaming. Pure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from synlearner.agent.attributes import options
from synlearner.agent.cards import Card, Row
from synlearner.agent.diversity import rke, vendi
from synlearner.agent.features import Matrix
from synlearner.agent.parsing import joined, normal
from synlearner.agent.planning import pair_coverage
from synlearner.agent.probe import has_second, told_by_second
from synlearner.agent.rescue import LIKELIEST
from synlearner.events.types import PlannedPrompt

BLEU_TEXTS = 64
"""Most texts that self-BLEU compares: its cost grows with their square."""

Grams = Counter[tuple[str, ...]]


def figures(
    card: Card,
    rows: Sequence[Row],
    parts: Sequence[Mapping[str, float]],
    prompts: Sequence[PlannedPrompt],
    vectors_N_D: Matrix | None,
) -> dict[str, float]:
    """Return what can be told of a data set, by name; what there is nothing to tell of is left out.

    Args:
        card: The task.
        rows: The data set.
        parts: Raw parts of each row's score.
        prompts: Which each row answered.
        vectors_N_D: Unit rows, or None where they are not at hand.
    """
    if not rows:
        return {}
    texts = [normal(joined(card, row)).split() for row in rows]
    fidelity = [part.get(LIKELIEST, part["fidelity"]) for part in parts if "fidelity" in part]
    found = {"label fidelity by the judge of the seeds, mean in [-1, 1]": _mean(fidelity)} if fidelity else {}
    found |= {
        "words of a row, mean": _mean([float(len(text)) for text in texts]),
        "distinct-1": distinct(texts, 1),
        "distinct-2": distinct(texts, 2),
        "distinct-3": distinct(texts, 3),
    }
    if len(texts) > 1:
        name = "self-BLEU-4" + (f", {BLEU_TEXTS} rows" if len(texts) > BLEU_TEXTS else "")
        found[name] = self_bleu(evenly(texts, BLEU_TEXTS))
    if vectors_N_D is not None:
        found["Vendi score (effective number of different rows)"] = vendi(vectors_N_D)
        found["RKE (the same of order 2)"] = rke(vectors_N_D)
        found |= _given_away(card, rows, vectors_N_D)
    return {name: round(value, 3) for name, value in (found | covered(card, prompts)).items()}


def _given_away(card: Card, rows: Sequence[Row], vectors_N_D: Matrix) -> dict[str, float]:
    """Return, of pairs, how often the second field alone tells the label."""
    if not has_second(card):
        return {}
    told = told_by_second(card, vectors_N_D, [row["label"] for row in rows])
    return {
        f"label told from {list(card.fields)[1]!r} alone, accuracy over five folds": told["second_field_accuracy"],
        "the same by always naming the commonest label": told["second_field_guess"],
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def distinct(texts: Sequence[Sequence[str]], words: int) -> float:
    """Return different n-grams of so many words per n-gram over all *texts*, in [0, 1] (Li et al. 2016)."""
    grams = [gram for text in texts for gram in _grams(text, words).elements()]
    return len(set(grams)) / len(grams) if grams else 0.0


def covered(card: Card, prompts: Sequence[PlannedPrompt]) -> dict[str, float]:
    """Return the shares of the card's attribute values, and of their pairs, that *prompts* have had."""
    had = possible = 0
    for label in card.labels or [""]:
        values = options(card.attributes, card.label_attributes.get(label, {}), label, card.labels)
        mine = [prompt.attributes for prompt in prompts if prompt.label == label]
        had += sum(value in {drawn.get(name) for drawn in mine} for name, all_ in values.items() for value in all_)
        possible += sum(map(len, values.values()))
    found = {"attribute values that stand behind a row, share": had / possible} if possible else {}
    pairs = pair_coverage(card, [(prompt.label, prompt.attributes) for prompt in prompts])
    return found | ({"pairs of attribute values, share": pairs["pair_coverage"]} if pairs else {})


def evenly(texts: Sequence[Sequence[str]], most: int) -> list[Sequence[str]]:
    """Return at most so many *texts*, from the first to the last in equal steps."""
    count = min(most, len(texts))
    return [texts[i * len(texts) // count] for i in range(count)]


# ---- self-BLEU -----------------------------------------------------------------------------------------------


def self_bleu(texts: Sequence[Sequence[str]], order: int = 4) -> float:
    """Return the mean BLEU of each text against all others, in [0, 1]: 1 is a set of copies (Zhu et al. 2018)."""
    counted = [[_grams(text, n) for n in range(1, order + 1)] for text in texts]
    found = []
    for i, text in enumerate(texts):
        others = [grams for j, grams in enumerate(counted) if j != i]
        lengths = [len(other) for j, other in enumerate(texts) if j != i]
        found.append(_bleu(counted[i], others, len(text), lengths))
    return _mean(found) if found else 0.0


def _bleu(mine: Sequence[Grams], others: Sequence[Sequence[Grams]], length: int, lengths: Sequence[int]) -> float:
    """Return sentence BLEU (Papineni et al. 2002), higher orders smoothed by one (Lin & Och 2004)."""
    logs = []
    for place, grams in enumerate(mine):
        if place and not grams:
            break  # shorter than this order
        clipped = sum(min(count, max(other[place][gram] for other in others)) for gram, count in grams.items())
        more = 1 if place else 0
        if not clipped + more:
            return 0.0
        logs.append(math.log((clipped + more) / (grams.total() + more)))
    closest = min(lengths, key=lambda other: (abs(other - length), other))
    brevity = min(0.0, 1 - closest / length)
    return math.exp(brevity + sum(logs) / len(logs))


def _grams(text: Sequence[str], words: int) -> Grams:
    return Counter(tuple(text[i : i + words]) for i in range(len(text) - words + 1))
