"""Samples that follow a JSON Schema by construction: what a grammar allows, token by token, through llguidance.

The same schema text drives every engine: ours masks logits with it, vLLM takes it as it is, and so do servers that
know `response_format`. Fields come in the schema's order, with the separators of `json.dumps`.

The trainer replays the masks (`allowed_masks`): log-probabilities are renormalised over what was allowed. Where a
grammar allows one token the sampler had no choice, and there is nothing to learn. Unmasked, log-ratios of sampler and
trainer would be off by the mass of all that was forbidden, 11 to 22 nats a sample (reference, section 0.2).

A grammar whose schema says that it `closes` is also brought to its end in time (`synlearner.policies.closing`).
"""

import json
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from torch import Tensor

from synlearner.errors import ConfigError
from synlearner.events.types import Decoding
from synlearner.policies.closing import LONGEST, Closing, Ending, Vocabulary, holds
from synlearner.policies.model import PolicyModel
from synlearner.policies.schema import closes


@lru_cache(maxsize=64)
def compiled(grammar: str) -> str:
    """Return *grammar* as llguidance takes it.

    Raises:
        ConfigError: If it is no JSON Schema that can be followed.
    """
    try:
        json.loads(grammar)
        text: str = LLMatcher.grammar_from_json_schema(grammar)
        problem: str = LLMatcher.validate_grammar(text, None)
    except ValueError as error:
        problem = str(error)
    if problem:
        reason = problem.strip().splitlines()[0]
        raise ConfigError(f"the grammar {grammar[:60]!r} is no JSON Schema that can be followed: {reason}")
    return text


class Grammars:
    """Compiles grammars for one tokenizer. Making it takes about half a second, a matcher about a millisecond."""

    def __init__(self, tokenizer: Any, ends: frozenset[int]) -> None:
        self._tokenizer: LLTokenizer = from_tokenizer(tokenizer, eos_token=sorted(ends))
        self.words = (self._tokenizer.vocab_size + 31) // 32
        """32-bit words of a mask. Bit `i` of word `w` is token `32 w + i`."""
        self._endings: dict[str, Ending] = {}

    def matcher(self, decoding: Decoding) -> "Matcher":
        """Return a matcher at the beginning of a sample that is drawn like this.

        Raises:
            ConfigError: If the grammar cannot be followed, or closes and has no room to.
        """
        begin = LLMatcher(self._tokenizer, compiled(decoding.grammar), log_level=0)
        return Matcher(begin, self.words, self._closing(decoding, begin) if closes(decoding.grammar) else None)

    def allowed(self, decoding: Decoding, token_ids: Sequence[int]) -> Tensor:
        """Return what was allowed at each place of a sample, int32 bit masks `(T, W)`.

        Raises:
            ConfigError: If the sample does not follow the grammar.
        """
        matcher = self.matcher(decoding)
        rows = []
        for place, token in enumerate(token_ids):
            mask_W = matcher.mask()
            rows.append(mask_W)
            if not holds(mask_W, token) or not matcher.take(token):
                raise ConfigError(f"token {token} at place {place} is not allowed by the grammar of its prompt")
        return torch.stack(rows) if rows else torch.zeros(0, self.words, dtype=torch.int32)

    def text(self, token_ids: Sequence[int]) -> bytes:
        """Return what tokens stand for: text that may begin or end within a character."""
        return bytes(self._tokenizer.decode_bytes(list(token_ids)))

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self._tokenizer)

    def _closing(self, decoding: Decoding, begin: LLMatcher) -> Closing:
        ending = self._endings.get(decoding.grammar)
        if ending is None:
            ending = self._endings[decoding.grammar] = Ending(self._vocabulary, begin)
        if ending.least > decoding.max_new_tokens:
            more = f"{LONGEST} or more" if ending.least == LONGEST else str(ending.least)
            raise ConfigError(
                f"max_new_tokens={decoding.max_new_tokens} has no room for the shortest sample of its grammar, which "
                f"takes {more} tokens: raise it, or lower the least lengths of the fields"
            )
        return Closing(ending, decoding.max_new_tokens)


class Matcher:
    """How far one sample has followed its grammar."""

    def __init__(self, matcher: LLMatcher, words: int, closing: Closing | None) -> None:
        self._matcher = matcher
        self._words = words
        self._closing = closing

    def mask(self) -> Tensor:
        """Return what may come next, int32 `(W,)`; the end tokens alone once the sample is complete."""
        mask_W = torch.zeros(self._words, dtype=torch.int32)
        self._matcher.unsafe_compute_mask_ptr(mask_W.data_ptr(), mask_W.numel() * mask_W.element_size())
        return mask_W if self._closing is None else self._closing.narrowed(self._matcher, mask_W)

    def take(self, token: int) -> bool:
        """Go on by *token*; return whether it was allowed."""
        if self._closing is not None:
            self._closing.left -= 1
        return bool(self._matcher.consume_token(token)) and not self._matcher.is_error()

    @property
    def is_complete(self) -> bool:
        """Whether nothing but the end can follow."""
        return bool(self._matcher.is_stopped())

    @property
    def is_cut(self) -> bool:
        """Whether it was ended because it had no more tokens."""
        return self._closing is not None and self._closing.is_cut


_of_models: WeakKeyDictionary[PolicyModel, Grammars] = WeakKeyDictionary()


def grammars_of(model: PolicyModel) -> Grammars:
    """Return the grammars for the tokenizer of *model*, made once."""
    if model not in _of_models:
        _of_models[model] = Grammars(model.tokenizer, model.end_tokens)
    return _of_models[model]


def allowed_masks(model: PolicyModel, decoding: Decoding, token_ids: Sequence[int]) -> Tensor | None:
    """Return what the trainer needs for a recorded sample: bit masks `(T, W)`, or None without a grammar.

    `microbatches.Trained.allowed_T_W` takes it as it is, `logprobs.unpacked` makes booleans of it.
    """
    return grammars_of(model).allowed(decoding, token_ids) if decoding.grammar else None
