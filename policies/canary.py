"""The canary: an engine writes a few probe tokens, the trainer scores them with weights that it has loaded by itself.

That "the engine never served the trained adapter" is the field's commonest silent failure (reference, section 0.5). Two
things make this probe see it. The engine serves the adapter with a known perturbation in every layer, and then
the adapter: so an engine that ignores, halves, doubles, rescales or delays an adapter is off by far more than rounding, even
while the adapter itself is still almost nothing. And both times it reads the same prompt, so that a prefix cache that
outlived its weights shows. The trainer scores what was written first under both, which tells how much the perturbation
shows. An engine that multiplies in bfloat16 is compared twice: in float32, where small mistakes show, and as it writes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import safetensors.torch
import torch

from synlearner.errors import EngineError
from synlearner.events.types import Decoding
from synlearner.policies.engine import Engine, Request, Sample
from synlearner.policies.half import MIXED
from synlearner.policies.learner import token_logprobs
from synlearner.policies.logprobs import Support
from synlearner.policies.model import PolicyModel
from synlearner.policies.packing import pack
from synlearner.policies.served import check_base, check_served, tensors_digest
from synlearner.policies.transformers_engine import TransformersEngine

PROBE = Request(
    "List three animals.", "1. cat\n2.", "", Decoding(temperature=0.7, min_p=0.0, max_new_tokens=4), tuple(range(8))
)
"""Not at temperature 1: an engine that forgets to divide by it shows."""

TOLERANCE = {torch.float32: 2e-4, torch.float64: 2e-4, torch.bfloat16: 0.15, torch.float16: 0.03}
"""Nats, mean over the probe tokens. Rounding makes 4e-6 in float32 and 0.05 in bfloat16 (docs/NUMERICS.md)."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Most that engine and trainer may differ by."""

    tolerance: float
    """Nats, mean over the probe tokens."""
    share: float = 0.25
    """Of what noise changes."""
    grows: bool = False
    """Whether the share alone counts under noise: rounding grows with it."""


MIXED_BOUND = Bound(0.1, 0.1, grows=True)
"""Where products are in bfloat16 for the engine alone: rounding makes 0.03, and 0.3 under noise that shows by 12. Such an
engine is compared in float32, too."""

PERTURBED, SERVED = "a perturbed adapter", "the policy to be served"

SCALES = tuple(0.05 * 2 ** (step / 2) for step in range(11))
"""Standard deviations of the noise on every LoRA tensor: the first one that shows well is taken. Twice as much noise may
show thirty times as well, and then rounding in bfloat16 grows with it: so the steps are small."""

SHOWS = 5e-4
"""Nats, mean over the probe tokens: noise that changes less than this does not show."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What a canary found, in nats."""

    gap: float
    """Mean difference between engine and trainer, per probe token."""
    moved: float
    """Mean change by the perturbation: what a mistake would look like."""
    exact: float | None = None
    """Where products are in bfloat16: the gap of the same engine without."""


def check_engine(model: PolicyModel, engine: Engine, adapter: bytes | None) -> Probed:
    """Let *engine* serve *adapter* (None: the untrained policy) and prove that it does. Afterwards it still serves it.

    Raises:
        EngineError: If engine and trainer disagree, or what serves is not what was loaded. It says what differs, and
            by how much.
    """
    bound, exact = Bound(TOLERANCE.get(model.network.dtype, 0.15)), None
    if isinstance(engine, TransformersEngine) and engine.dtype == MIXED:
        with engine.exactly():
            exact = _compared(model, engine, adapter, bound).gap
        bound = MIXED_BOUND
    probed = replace(_compared(model, engine, adapter, bound), exact=exact)
    check_base(model)
    engine.load(adapter)  # the trainer may have used the same weights in between
    return probed


def _compared(model: PolicyModel, engine: Engine, adapter: bytes | None, bound: Bound) -> Probed:
    """Compare engine and trainer on *adapter*, and on the least noise that shows well, or at least half as well as any.

    Raises:
        EngineError: If they differ by more than *bound*.
    """
    found: list[tuple[float, dict[str, float]]] = []
    for perturbed in perturbations(model, adapter):
        noise = _written(engine, perturbed)
        noise_scores = _scores(model, perturbed, noise)
        own = _written(engine, adapter)
        both_scores = _scores(model, adapter, noise + own)
        gaps = {
            PERTURBED: _distance(noise_scores, _logprobs(noise)),
            SERVED: _distance(both_scores[len(noise_scores) :], _logprobs(own)),
        }
        found.append((_distance(noise_scores, both_scores[: len(noise_scores)]), gaps))
        if found[-1][0] >= 5 * bound.tolerance:
            break
    else:  # beyond some noise more of it changes nothing, and hides how much of it there is
        most = max(moved for moved, _ in found)
        found = [next(each for each in found if each[0] >= most / 2)]
    moved, gaps = found[-1]
    if moved <= SHOWS:
        raise EngineError(f"noise of {SCALES[-1]} on the adapter changes nothing: its layers have no part in the model")
    for what, gap in gaps.items():
        tolerance = moved * bound.share  # where noise shows little, so does rounding
        if what == SERVED or not bound.grows:
            tolerance = min(bound.tolerance, tolerance)
        if not gap <= tolerance:
            raise EngineError(
                f"the {engine.name} engine and the trainer differ by {gap:.3g} nats a token on {what} (at most "
                f"{tolerance:.2g} is rounding): it serves other weights, at another temperature or from a stale cache; "
                "nothing is learnt from its samples"
            )
    return Probed(max(gaps.values()), moved)


def perturbations(model: PolicyModel, adapter: bytes | None) -> Iterator[bytes]:
    """Yield *adapter* with more and more noise in every layer, always the same for the same adapter."""
    model.load_adapter(adapter)
    tensors = {name: p.detach().cpu().clone() for name, p in model.parameters().items()}
    generator = torch.Generator().manual_seed(int(tensors_digest(tensors)[:15], 16))
    noise = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in tensors.items()}
    for scale in SCALES:
        yield safetensors.torch.save(
            {name: tensor + (scale * noise[name]).to(tensor.dtype) for name, tensor in tensors.items()}
        )


def _written(engine: Engine, adapter: bytes | None) -> list[Sample]:
    engine.load(adapter)
    (group,) = engine.generate([PROBE])
    for sample in group:
        if sample.finish == "error" or not sample.logprobs:
            raise EngineError(
                f"the {engine.name} engine wrote no log-probabilities for a probe ({sample.text[:80]!r}): weights "
                "that are learnt here need an engine that reports them"
            )
    return group


@torch.no_grad()
def _scores(model: PolicyModel, adapter: bytes | None, samples: Sequence[Sample]) -> list[float]:
    """Return the trainer's log-probability of every token behind the probe, with weights that it loads by itself."""
    model.load_adapter(adapter)
    prompt = model.prompt_tokens(PROBE.text, PROBE.prefix)
    packed = pack(prompt, [sample.token_ids for sample in samples], model.device)
    scores: list[float] = token_logprobs(model, packed, Support(PROBE.decoding.temperature, 0.0))[0].tolist()
    check_served(model, adapter)
    return scores


def _logprobs(samples: Sequence[Sample]) -> list[float]:
    return [value for sample in samples for value in sample.logprobs]


def _distance(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(abs(a - b) for a, b in zip(left, right, strict=True)) / len(left)
