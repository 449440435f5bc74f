"""Pieces for unit tests: one card of each kind, and facts with everything filled in that a test does not care about."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from worlds import card, rows

from synlearner.agent.cards import Card, Row, make_task
from synlearner.agent.features import Matrix, embed_rows
from synlearner.agent.scoring import PoolSample
from synlearner.agent.state import TaskState
from synlearner.events.types import Decoding, PlannedPrompt, SampleGenerated, SampleScored
from synlearner.memory import HashEmbedder

EMBEDDER = HashEmbedder(256)

PAIR: dict[str, Any] = {
    "name": "pairs",
    "kind": "pair_classification",
    "description": "A premise and a hypothesis about it.",
    "fields": {
        "text": {"description": "the premise: one sentence", "words": [3, 12]},
        "text_b": {"description": "the hypothesis about the premise", "words": [2, 10]},
    },
    "labels": {"entailment": "it follows", "contradiction": "it cannot be"},
    "seeds": [
        {"text": "A man plays the guitar.", "text_b": "Somebody makes music.", "label": "entailment"},
        {"text": "Two dogs run over a field.", "text_b": "Animals are outside.", "label": "entailment"},
        {"text": "A woman reads in the park.", "text_b": "The park has no visitors.", "label": "contradiction"},
        {"text": "The shop closed at noon.", "text_b": "Customers came in the evening.", "label": "contradiction"},
    ],
    "samples": 8,
}
"""A pair of sentences."""

STORY: dict[str, Any] = {
    "name": "sums",
    "kind": "generation",
    "description": "A word problem with its solution.",
    "fields": {
        "question": {"description": "a word problem", "words": [6, 30]},
        "answer": {"description": "a worked solution", "words": [3, 30]},
    },
    "seeds": [
        {"question": "Ann has 3 apples and buys 4 more. How many has she?", "answer": "3 + 4 = 7 apples.\n#### 7"},
        {"question": "A bus holds 20 people and 5 get off. How many stay?", "answer": "20 - 5 = 15 people.\n#### 15"},
        {"question": "Tom runs 2 miles on each of 6 days. How far is that?", "answer": "2 * 6 = 12 miles.\n#### 12"},
    ],
    "samples": 6,
}
"""No labels, two fields, one of them of several lines."""

KINDS: dict[str, dict[str, Any]] = {
    "classification": card(seeds=rows(8)),
    "pair_classification": PAIR,
    "generation": STORY,
}


def checked(tree: Mapping[str, Any], **changes: Any) -> Card:
    """Return a card as it is after its checks."""
    return make_task({**tree, **changes}, Path(), "test").card


def vectors_of(of: Card, rows: Sequence[Row]) -> Matrix:
    """Return unit rows by the embedder that needs no model."""
    return embed_rows(EMBEDDER, of, rows)


def planned(label: str = "pets", *, samples: int = 4, **changes: Any) -> PlannedPrompt:
    """Return a prompt."""
    values: dict[str, Any] = {
        "strategy": "numbered/none/open", "label": label, "attributes": {}, "exemplars": [0], "experience": [],
        "text": "write", "prefix": "", "stop": "\n", "samples": samples, "seed": 7,
        "decoding": Decoding(temperature=1.0, min_p=0.05, max_new_tokens=40),
    }  # fmt: skip
    return PlannedPrompt(**(values | changes))


def written(text: str, *, prompt: int = 0, index: int = 0, finish: str = "stop") -> SampleGenerated:
    """Return a sample, with one token per word."""
    return SampleGenerated(
        round=1, prompt=prompt, index=index, text=text, token_ids=list(range(len(text.split()))), logprobs=[],
        finish=finish, policy="", engine="scripted",
    )  # fmt: skip


def judged(seq: int, total: float = 0.0, *, accepted: bool = True, reason: str = "", gain: float = 0.0) -> SampleScored:
    """Return feedback on a sample."""
    parts = {} if reason.startswith("gate:") else {"fidelity": 0.5, "quality": 1.0, "gain": gain}
    return SampleScored(
        sample=seq, accepted=accepted and not reason, reason=reason, fields={"text": f"number {seq}"}, parts=parts,
        total=total,
    )  # fmt: skip


def pooled(seq: int, label: str = "pets", *, text: str = "", worth: float = 0.5, strategy: str = "") -> PoolSample:
    """Return an accepted sample of a card with one field."""
    row = {"text": text or f"number {seq} of a kind"}
    return PoolSample(seq, label, strategy or "numbered/none/open", row, worth, "0" * 64, 0)


def task_of(of: Card, **changes: Any) -> TaskState:
    """Return a task at its beginning."""
    values: dict[str, Any] = {"index": 0, "seq": 2, "card": of, "files": {}, "start_adapter": ""}
    return TaskState(**(values | changes))


def unit_rows(count: int, dimension: int, seed: int = 0) -> Matrix:
    """Return random unit rows."""
    rows = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)
