"""An encoder that has learnt what tells a task's labels apart, for the judge of its samples. Deterministic.

A classifier of eight seeds a label, on vectors as they are, knows little. Tuned on the same seeds by contrast (SetFit: Tunstall
et al. 2022, arXiv:2209.11055; the loss over all pairs of a batch: Khosla et al. 2020, arXiv:2004.11362) the encoder brings
rows of a label together, and a new classifier knows more. What a label means is one more row of it. Students, memory and
diversity keep the vectors as they are. On the CPU, whatever the policy runs on.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from synlearner.agent.build import limit_threads
from synlearner.agent.cards import Card, Row
from synlearner.agent.config import Settings
from synlearner.agent.encoder import Encoder
from synlearner.agent.features import Matrix, embed_rows, meaning_rows
from synlearner.agent.judge import Scores, make_judge
from synlearner.agent.judge_settings import TuningSettings
from synlearner.memory import Embedder

if TYPE_CHECKING:
    from torch import Tensor

TEMPERATURE = 0.1
"""Of the softmax over cosines."""

TOKENS = 64
"""Longer texts are cut when the encoder learns, not when it reads: most of the time goes there."""

WARM = 4
"""Steps until the learning rate is at its peak; it falls to 0 in a straight line."""


@runtime_checkable
class Tunable(Protocol):
    """An embedder of which there can be one with other weights."""

    folder: Path

    def with_weights(self, weights: Mapping[str, Matrix]) -> Embedder:
        """Return the same encoder with these weights, by the names in `model.safetensors`."""


class TunedJudge:
    """As `SeedsJudge`, on the vectors of an encoder that knows the task."""

    def __init__(self, embedder: Embedder, card: Card, share: float) -> None:
        """Learn from the card's seeds.

        Args:
            embedder: Of `tuned`.
            card: With labels.
            share: Of the labels' meanings, as in `SeedsJudge`.
        """
        self._embedder, self._card = embedder, card
        meant = meaning_rows(card) if share else []
        meanings_C_D = embed_rows(embedder, card, meant) if meant else None
        self._judge = make_judge(card, embed_rows(embedder, card, card.seeds), meanings_C_D, share)
        self._read: tuple[list[Row], Matrix] | None = None
        """The rows that were read last, and their vectors."""

    def fidelity(self, vectors_N_D: Matrix, labels: Sequence[str], rows: Sequence[Row] = ()) -> Scores:
        """Return the chance-corrected probability of each row's label; *vectors_N_D* are not looked at."""
        if self._read is None or self._read[0] != list(rows):  # asked of one label after another, it reads them once
            self._read = (list(rows), embed_rows(self._embedder, self._card, rows))
        return self._judge.fidelity(self._read[1], labels)


def tuned_judge(embedder: Embedder, card: Card, settings: Settings) -> TunedJudge | None:
    """Return the judge of *card* with an encoder that has learnt from its seeds; None where it cannot, or is not to.

    It cannot where the embedder has no weights to move, and not for pairs, whose labels are no matter of either text.
    """
    if not (settings.tuning.steps and isinstance(embedder, Tunable) and card.kind == "classification"):
        return None
    return TunedJudge(tuned(embedder, card, settings.tuning, settings.policy.threads), card, settings.reward.meaning)


def tuned(embedder: Tunable, card: Card, settings: TuningSettings, threads: int) -> Embedder:
    """Return *embedder* with weights that have learnt from the seeds of *card*.

    The same seeds give the same weights, inside one numeric fingerprint.

    Args:
        embedder: Whose weights to begin with; they stay what they are.
        card: With labels and seeds.
        settings: How long and how fast it learns.
        threads: That compute; part of the fingerprint.
    """
    import torch  # noqa: PLC0415 - only who judges pays for it

    from synlearner.policies.determinism import deterministic  # noqa: PLC0415 - loads torch

    limit_threads(threads)
    meant = meaning_rows(card)
    labels = [*(row["label"] for row in card.seeds), *(card.labels if meant else ())]
    with deterministic(torch.device("cpu")):
        learner = _Learner(embedder.folder, card, [*card.seeds, *meant])
        _train(learner, labels, settings)
        return embedder.with_weights(learner.weights())


def batches(labels: Sequence[str], size: int, steps: int) -> Iterator[list[int]]:
    """Yield the places of each step's rows: as many labels as fit with two rows or more, as many rows of each.

    Labels and rows are drawn by a generator that always begins the same. A label with a single row is never drawn.
    """
    rng = np.random.Generator(np.random.Philox(key=0))
    places = {name: [i for i, label in enumerate(labels) if label == name] for name in sorted(set(labels))}
    names = [name for name, mine in places.items() if len(mine) > 1]
    each = max(2, size // max(1, len(names)))
    for _ in range(steps if names else 0):
        drawn = rng.permutation(len(names))[: max(1, size // each)]
        yield [places[names[i]][j] for i in drawn for j in rng.permutation(len(places[names[i]]))[:each].tolist()]


def contrast(rows_B_D: "Tensor", labels: Sequence[str]) -> "Tensor":
    """Return the supervised contrastive loss of unit rows, a scalar: the mean over rows that have others of their label.

    Of each, the mean over those others of `-log softmax` over all other rows' cosines (Khosla et al. 2020, equation 2).
    """
    import torch  # noqa: PLC0415

    itself = torch.eye(len(labels), dtype=torch.bool)
    cosines = (rows_B_D @ rows_B_D.T / TEMPERATURE).masked_fill(itself, -torch.inf)
    same = torch.tensor([[a == b for b in labels] for a in labels]) & ~itself
    shares = torch.log_softmax(cosines, dim=1).masked_fill(~same, 0.0)
    others = same.sum(1)
    loss: Tensor = -(shares.sum(1)[others > 0] / others[others > 0]).mean()
    return loss


def _train(learner: "_Learner", labels: Sequence[str], settings: TuningSettings) -> None:
    import torch  # noqa: PLC0415

    optimizer = torch.optim.AdamW(learner.parameters(), lr=settings.rate, weight_decay=0.01)
    for step, batch in enumerate(batches(labels, settings.batch, settings.steps)):
        for group in optimizer.param_groups:
            group["lr"] = settings.rate * min(1.0, (step + 1) / WARM) * (1 - step / settings.steps)
        loss = contrast(learner.rows(batch), [labels[i] for i in batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


class _Learner:
    """The encoder, and the texts that it learns from. Without dropout: there is no chance in it."""

    def __init__(self, folder: Path, card: Card, rows: Sequence[Row]) -> None:
        self._encoder = Encoder(folder, TOKENS)
        self._texts = [self._encoder.read([row[field] for field in card.fields]) for row in rows]

    def parameters(self) -> "list[Tensor]":
        """Return the weights that learn: all layers, and not the table of words."""
        return list(self._encoder.network.encoder.parameters())

    def weights(self) -> dict[str, Matrix]:
        """Return all weights by name."""
        return {name: value.detach().numpy() for name, value in self._encoder.network.state_dict().items()}

    def rows(self, places: Sequence[int]) -> "Tensor":
        """Return unit rows of the texts at *places*, as `embed_rows` does: shape `(B, fields x dimension)`."""
        import torch  # noqa: PLC0415

        texts = [text for place in places for text in self._texts[place]]
        unit_N_D = torch.nn.functional.normalize(self._encoder.means(texts), dim=-1)
        joined: Tensor = unit_N_D.reshape(len(places), -1) / (len(texts) / len(places)) ** 0.5
        return joined
