"""Old shapes lifted to newer ones: pure, total, and kept for ever. `codec.decode` applies them on reading."""

from collections.abc import Callable
from typing import Any

Payload = dict[str, Any]

GAINS = ("distilled:", "import:")
"""Families whose outcomes of version 1 were posteriors taken over from elsewhere."""

NO_TERMS: Payload = {
    "lexical": 0.0, "dense_rank": 0, "lexical_rank": 0, "relevance": 0.0, "deviation": 0.0, "overlap": 0.0,
    "tokens": 0, "propensity": 0.0, "reason": "",
}  # fmt: skip


def _recalled_1(old: Payload) -> Payload:
    """Version 1 recorded neither what was asked for, nor the settings: such a recall cannot be recomputed."""
    candidates = [{**NO_TERMS, "relevance": each["similarity"], **each} for each in old["candidates"]]
    added = {"scope": "", "filters": {}, "k": len(old["chosen"]), "settings": {}, "control": 0.0}
    return {**old, **added, "candidates": candidates}


def _planned_1(old: Payload) -> Payload:
    """Version 1 knew no cuts but min-p, and no grammar."""
    none = {"top_k": 0, "top_p": 1.0, "grammar": ""}
    return {**old, "prompts": [{**each, "decoding": {**none, **each["decoding"]}} for each in old["prompts"]]}


def _learned_1(old: Payload) -> Payload:
    return {**old, "parents": []}


def _credited_1(old: Payload) -> Payload:
    """Version 1 named the used items by their credits; what was taken over counts as one observation of the gain."""
    taken_over = old["family"].startswith(GAINS)
    noise = old["credits"][0]["variance"] if taken_over and old["credits"] else 0.0
    credits_ = [{**each, "depth": 0} for each in old["credits"]]
    return {**old, "noise": noise, "arm": "", "used": [each["item"] for each in credits_], "credits": credits_}


def _served_1(old: Payload) -> Payload:
    return {**old, "dtype": ""}


def _scored_1(old: Payload) -> Payload:
    """Version 1 accepted what was asked for alone."""
    return {**old, "label": "", "trimmed": False}


UPCASTERS: dict[tuple[str, int], Callable[[Payload], Payload]] = {
    ("experience_recalled", 1): _recalled_1,
    ("prompts_planned", 1): _planned_1,
    ("experience_learned", 1): _learned_1,
    ("experience_credited", 1): _credited_1,
    ("policy_served", 1): _served_1,
    ("sample_scored", 1): _scored_1,
}
"""(kind, stored version) to the function that lifts a payload one version up. Total: it never raises."""
