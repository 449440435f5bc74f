"""Loss and gradient of a step against TRL's, on the same model, tokens and advantages."""

import importlib.util
import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import adapter, load
from torch import Tensor

from synlearner.events.types import Decoding
from synlearner.policies.learner import StepSettings, Trained, TrainedGroup, accumulate, add_reference
from synlearner.policies.losses import Loss, Objective
from synlearner.policies.microbatches import micro_batches
from synlearner.policies.model import PolicyModel

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("trl") is None, reason="trl is missing: parity with TRL is NOT checked; `make setup`"
    ),
    pytest.mark.filterwarnings("ignore"),  # theirs
]

LONGEST = 11
LOSSES: tuple[Loss, ...] = ("grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo")
KL = {"no KL": (0.0, False), "k3": (0.04, False), "k3 by the ratio": (0.04, True)}
FAR = {"near": (0.02, 1.0), "far and cool": (0.5, 0.7)}
"""How much the recorded log-probabilities differ from the policy's, in nats, and the temperature."""


class Bench:
    """Both sides, each with models of its own from the same folder, and the same adapters."""

    def __init__(self, tiny_folder: Path, folder: Path) -> None:
        self.ours = load(tiny_folder)
        self.adapter = adapter(self.ours, scale=0.2, seed=1)
        self.reference = adapter(self.ours, scale=0.2, seed=2)
        self._folder, self._tiny_folder = folder, tiny_folder
        self._theirs: dict[float, tuple[Any, PolicyModel]] = {}

    def theirs(self, temperature: float) -> tuple[Any, PolicyModel]:
        """TRL's trainer and its model: the temperature is patched into it, so that another one needs another model."""
        from trl_peer import make_trainer  # noqa: PLC0415 - imports trl

        if temperature not in self._theirs:
            model = load(self._tiny_folder)
            trainer = make_trainer(model, self._folder, group=7, longest=LONGEST, temperature=temperature)
            self._theirs[temperature] = trainer, model
        return self._theirs[temperature]


@pytest.fixture(scope="module")
def bench(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tiny_folder, tmp_path_factory.mktemp("trl"))


def ragged(bench: Bench, distance: float, temperature: float) -> list[TrainedGroup]:
    """Return two groups with prompts and samples of all lengths, one of a single token; advantages of both signs."""
    rng = random.Random(5)  # noqa: S311 - seeded test data
    decoding = Decoding(temperature=temperature, min_p=0.0, max_new_tokens=LONGEST)
    groups = []
    for text, lengths in (("Write a remark.", (1, 4, LONGEST, 6)), ("Write about rain, and the wind.", (2, 9, 5))):
        samples = [Trained([rng.randrange(5, 300) for _ in range(n)], [], rng.uniform(-2, 2)) for n in lengths]
        group = TrainedGroup(text, "1.", decoding, samples)
        scored = scores(bench, group, bench.adapter)
        samples = [
            Trained(s.token_ids, [v + rng.uniform(-distance, distance) for v in values], s.advantage)
            for s, values in zip(samples, scored, strict=True)
        ]
        groups.append(TrainedGroup(text, "1.", decoding, samples))
    return groups


def scores(bench: Bench, group: TrainedGroup, blob: bytes) -> list[list[float]]:
    """Return the log-probabilities of every sample's tokens under an adapter, in the order of the samples."""
    parts = [
        p
        for s in group.samples
        for p in micro_batches(bench.ours, TrainedGroup(group.text, group.prefix, group.decoding, [s]), 512)
    ]
    add_reference(bench.ours, [parts], blob)
    return [part.reference_T.tolist() for part in parts if part.reference_T is not None]


def our_side(bench: Bench, groups: list[TrainedGroup], settings: StepSettings) -> tuple[float, dict[str, Tensor]]:
    model = bench.ours
    parts = [micro_batches(model, group, settings.micro_batch) for group in groups]
    if settings.objective.kl:
        add_reference(model, parts, bench.reference)
    model.load_adapter(bench.adapter)
    model.network.zero_grad(set_to_none=True)
    found = accumulate(model, [part for group in parts for part in group], settings, lambda _: None)
    return found.loss, {name: p.grad.clone() for name, p in model.parameters().items() if p.grad is not None}


@pytest.mark.parametrize(
    ("loss", "kl", "far"), list(product(LOSSES, KL, FAR)), ids=lambda value: value if isinstance(value, str) else ""
)
def test_loss_and_gradient_are_those_of_trl(bench: Bench, loss: Loss, kl: str, far: str) -> None:
    from trl_peer import batch_of, loss_and_gradient  # noqa: PLC0415 - imports trl

    distance, temperature = FAR[far]
    weight, by_ratio = KL[kl]
    clips = {"gspo": (0.03, 0.04), "cispo": (0.2, 0.1)}.get(loss, (0.2, 0.28))
    objective = Objective(loss, *clips, kl=weight, kl_ratio=by_ratio)
    settings = StepSettings("grpo", 1e-4, objective)
    groups = ragged(bench, distance, temperature)
    if loss == "bnpo":
        groups = groups[:1]  # it depends on the micro-batches, and TRL has both groups in one
    references = [row for group in groups for row in scores(bench, group, bench.reference)]
    mine, our_gradient = our_side(bench, groups, settings)
    trainer, model = bench.theirs(temperature)
    model.load_adapter(bench.adapter)
    theirs, their_gradient = loss_and_gradient(trainer, model, batch_of(bench.ours, groups, references), settings)
    assert abs(mine - theirs) <= 1e-6
    assert our_gradient.keys() == their_gradient.keys()
    ours_D, theirs_D = (torch.cat([g[name].flatten() for name in sorted(g)]) for g in (our_gradient, their_gradient))
    assert float((ours_D - theirs_D).norm() / theirs_D.norm()) <= 1e-5
    assert float(theirs_D.norm()) > 1e-4, "there is something to compare"
