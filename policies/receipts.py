"""Policy receipts: digests of who writes and how, for the event that goes before a round's samples."""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from synlearner.events.types import Decoding

if TYPE_CHECKING:
    from synlearner.policies.model import PolicyModel

SAMPLER = "grammar, temperature, min-p, top-k, top-p; inverse distribution; Philox"
"""How `synlearner.policies.sampler` draws: change it when that changes."""


def tokenizer_digest(model: "PolicyModel") -> str:
    """Return SHA-256, in hex, of all that turns text into ids: vocabulary, merges, template, end and padding tokens."""
    tokenizer = model.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    text = repr((rules, tokenizer.chat_template, sorted(model.end_tokens), model.pad_token))
    return hashlib.sha256(text.encode()).hexdigest()


def sampler_digest(decodings: Sequence[Decoding]) -> str:
    """Return SHA-256, in hex, of how samples are drawn, grammars left out."""
    settings = [{k: v for k, v in msgspec.to_builtins(d).items() if k != "grammar"} for d in decodings]
    return hashlib.sha256(json.dumps([SAMPLER, settings], sort_keys=True).encode()).hexdigest()


def grammar_digest(decoding: Decoding) -> str:
    """Return SHA-256, in hex, of the grammar that samples follow; empty for none."""
    return hashlib.sha256(decoding.grammar.encode()).hexdigest() if decoding.grammar else ""
