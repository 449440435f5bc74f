"""What engines draw from, grammars included, is what the trainer replays: one suite over the engines with weights."""

import json
from dataclasses import replace
from typing import Any

import jsonschema
import msgspec
import pytest
import torch
from tiny import adapter, ask, logits_of

from synlearner.errors import ConfigError
from synlearner.policies.engine import Engine, Request
from synlearner.policies.grammar import allowed_masks
from synlearner.policies.learner import token_logprobs
from synlearner.policies.logprobs import Support
from synlearner.policies.model import PolicyModel
from synlearner.policies.packing import pack
from synlearner.policies.sampler import Cuts, candidates
from synlearner.policies.schema import object_schema
from synlearner.policies.transformers_engine import TransformersEngine

SCHEMA = object_schema({"text": (1, 6), "text_b": (1, 3)})


def constrained(seeds: tuple[int, ...], **changes: Any) -> Request:
    plain = ask(seeds=seeds, min_p=0.05, tokens=160)
    return replace(plain, decoding=msgspec.structs.replace(plain.decoding, **{"grammar": SCHEMA} | changes))


@pytest.mark.parametrize("kind", ["transformers", "openai", "vllm"])
def test_constrained_samples_follow_the_schema_and_the_trainer_replays_them(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Within 1e-4 nats a token; without the mask it would be whole nats."""
    base: PolicyModel = request.getfixturevalue("wide" if kind == "vllm" else "model")
    writer: Engine = (
        TransformersEngine(base)
        if kind == "transformers"
        else request.getfixturevalue({"openai": "served"}.get(kind, kind))
    )
    trained = adapter(base, scale=0.05)
    writer.load(trained)
    asked = constrained(tuple(range(6)), temperature=0.9)
    (group,) = writer.generate([asked])
    base.load_adapter(trained)
    for sample in group:
        assert sample.finish == "stop"
        jsonschema.validate(json.loads(sample.text), json.loads(SCHEMA))
        allowed = allowed_masks(base, asked.decoding, sample.token_ids)
        packed = pack(base.prompt_tokens(asked.text, asked.prefix), [sample.token_ids], base.device)
        with torch.no_grad():
            kept_T, _ = token_logprobs(base, packed, Support(0.9, 0.05, allowed))
            unmasked_T, _ = token_logprobs(base, packed, Support(0.9, 0.05))
        assert kept_T.tolist() == pytest.approx(sample.logprobs, abs=1e-4)
        assert (unmasked_T.sum() - kept_T.sum()).item() < -5


@pytest.mark.parametrize("kind", ["openai", "vllm"])
def test_engines_that_cannot_end_a_sample_in_time_say_so(kind: str, request: pytest.FixtureRequest) -> None:
    """Else the trainer would replay masks that nobody drew with."""
    writer: Engine = request.getfixturevalue({"openai": "served"}.get(kind, kind))
    with pytest.raises(ConfigError, match=f"the {kind} engine cannot end samples within their most tokens"):
        writer.generate([constrained((1,), grammar=object_schema({"text": (1, 6)}, closing=True))])


@pytest.mark.parametrize("cut", [{"top_k": 3}, {"top_p": 0.3}, {"top_k": 40, "top_p": 0.5, "min_p": 0.2}])
@pytest.mark.parametrize("kind", ["transformers", "vllm"])
def test_every_cut_is_over_the_kept_set(kind: str, cut: dict[str, Any], request: pytest.FixtureRequest) -> None:
    base: PolicyModel = request.getfixturevalue("wide" if kind == "vllm" else "model")
    writer: Engine = TransformersEngine(base) if kind == "transformers" else request.getfixturevalue(kind)
    writer.load(None)
    base.load_adapter(None)
    plain = ask(seeds=tuple(range(8)), tokens=10)
    decoding_ = msgspec.structs.replace(plain.decoding, **cut)
    (group,) = writer.generate([replace(plain, decoding=decoding_)])
    prompt = base.prompt_tokens(plain.text, plain.prefix)
    for sample in group:
        logits_T_V = logits_of(base, [*prompt, *sample.token_ids])[len(prompt) - 1 : -1]
        logprobs_T_K, ids_T_K = candidates(logits_T_V, Cuts.of([decoding_] * len(sample.token_ids)))
        found = [
            max(value for kept, value in zip(ids, values, strict=True) if kept == token)
            for ids, values, token in zip(ids_T_K.tolist(), logprobs_T_K.tolist(), sample.token_ids, strict=True)
        ]
        assert found == pytest.approx(sample.logprobs, abs=1e-4)
