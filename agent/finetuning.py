"""A student that is a small transformer: a BERT-like encoder with a linear head, all of it fine-tuned. Deterministic.

On the CPU, whatever the policy runs on: equal sets and seeds give equal weights inside one numeric fingerprint.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synlearner.agent.cards import Card, Row
from synlearner.agent.encoder import Encoder
from synlearner.errors import ModelError
from synlearner.policies.fetch import find

if TYPE_CHECKING:
    from torch import Tensor

ENCODER = "all-MiniLM-L6-v2"
"""What `minilm` means."""

RATE = 2e-4
"""Peak learning rate of AdamW, reached after a tenth of the steps; it falls to 0 in a straight line. Chosen, as `SEEN`, on
rows of real train sets: docs/method.md."""

BATCH = 16
"""Rows of a step."""

SEEN = 1024
"""Rows that are seen at least, counted again in every epoch, but none more than `MOST_EPOCHS` times."""

FEWEST_EPOCHS, MOST_EPOCHS = 2, 20

TOKENS = 128
"""Longer texts are cut."""


def encoder_folder(name: str) -> Path:
    """Return the folder of an encoder: `minilm`, or a folder that `save_pretrained` wrote.

    Raises:
        ModelError: If it is not there, or lacks a file. Nothing is fetched.
    """
    folder = Path(find(ENCODER if name == "minilm" else name))
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        if not (folder / file).is_file():
            raise ModelError(
                f"students.encoder={name!r:.80} has no {file}: name minilm, or a folder with a BERT-like encoder"
            )
    return folder


def fine_tuned(
    card: Card,
    train: Sequence[Row],
    labels: Sequence[str],
    scored: Sequence[Row],
    *,
    encoder: str,
    seed: int,
    balanced: bool = True,
) -> np.ndarray:
    """Fine-tune an encoder on *train* and return the labels that it gives to *scored*, shape `(scored,)`.

    Args:
        card: Says which fields are read: one, or two as a pair.
        train: At least one row.
        labels: Theirs, of at least two kinds.
        scored: Rows to label.
        encoder: See `encoder_folder`.
        seed: Of the head's first weights, dropout, and the order of rows.
        balanced: Whether labels weigh the same in the loss, however many rows they have.
    """
    import torch  # noqa: PLC0415 - only who asks for this student pays for it

    from synlearner.policies.determinism import deterministic  # noqa: PLC0415 - loads torch

    folder = encoder_folder(encoder)
    classes = sorted(set(labels))
    aims_B = torch.tensor([classes.index(label) for label in labels])
    with torch.random.fork_rng(devices=[]), deterministic(torch.device("cpu")):
        torch.manual_seed(seed % 2**63)
        student = _Student(folder, len(classes))
        counts_C = torch.bincount(aims_B, minlength=len(classes))
        weights_C = len(labels) / (len(classes) * counts_C) if balanced else None
        _train(student, student.read(card, train), aims_B, weights_C)
        found = student.predict(student.read(card, scored))
    return np.array([classes[place] for place in found.tolist()])


def epochs(rows: int) -> int:
    """Return how often each of so many rows is seen."""
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, math.ceil(SEEN / rows)))


def _train(student: "_Student", texts: Sequence[Any], aims_B: "Tensor", weights_C: "Tensor | None") -> None:
    import torch  # noqa: PLC0415

    whole = epochs(len(texts))
    steps = whole * math.ceil(len(texts) / BATCH)
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=0.01)
    warm = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )
    student.train(training=True)
    for _ in range(whole):
        order = torch.randperm(len(texts)).tolist()
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            logits_B_C = student.logits([texts[i] for i in batch])
            loss = torch.nn.functional.cross_entropy(logits_B_C, aims_B[batch], weights_C)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            schedule.step()


class _Student:
    """An encoder, the mean of its token vectors, and a linear head."""

    def __init__(self, folder: Path, classes: int) -> None:
        import torch  # noqa: PLC0415

        self._encoder = Encoder(folder, TOKENS)
        self._head = torch.nn.Linear(self._encoder.network.config.hidden_size, classes)

    def parameters(self) -> "list[Tensor]":
        """Return all weights that learn."""
        return [*self._encoder.network.parameters(), *self._head.parameters()]

    def train(self, *, training: bool) -> None:
        """Switch dropout on or off."""
        self._encoder.network.train(training)

    def read(self, card: Card, rows: Sequence[Row]) -> list[Any]:
        """Return the token ids of rows: of their one field, or of both of a pair."""
        fields = list(card.fields)
        return self._encoder.read(
            [tuple(row[field] for field in fields) if len(fields) == 2 else row[fields[0]] for row in rows]
        )

    def logits(self, texts: Sequence[Any]) -> "Tensor":
        """Return one row of logits per text, shape `(B, C)`."""
        logits: Tensor = self._head(self._encoder.means(texts))
        return logits

    def predict(self, texts: Sequence[Any]) -> "Tensor":
        """Return the place of the likeliest class of each text, shape `(N,)`. Texts of like length share a batch."""
        import torch  # noqa: PLC0415

        self.train(training=False)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i].ids))
        found = torch.zeros(len(texts), dtype=torch.long)
        with torch.inference_mode():
            for start in range(0, len(order), 4 * BATCH):
                batch = order[start : start + 4 * BATCH]
                found[batch] = self.logits([texts[i] for i in batch]).argmax(1)
        return found
