"""Bringing a constrained sample to its end within its most tokens, so that it is valid JSON by construction.

A grammar alone lets a model write on inside a string until the sample is cut off. Here a *path* is known at any place:
tokens, found with the grammar's own matcher, that lead from there to the end. As long as more tokens are left than any
path may be long after one more token, nothing changes. Then only plain characters and the path's next token may come,
and where every token left is needed, the path's alone: a string that still needs characters gets them one by one from
the model, any other is closed.

For schemas of `synlearner.policies.schema.object_schema` the end is certain. A path counts one token for each character
that a string still needs, so no plain token makes it longer; `PENDING` and `Vocabulary.overhang` together bound what any
other token adds. Of other schemas, whose parts may be left out or repeated, a sample is closed where a path still fits.
What is allowed depends on grammar, tokens so far and most tokens alone: the trainer replays it.
"""

from functools import cached_property

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray
from torch import Tensor

PENDING = 4
"""Most tokens that end a character begun: the digits behind `\\u`; the rest of a character in UTF-8 is three."""

FILLER = b"a"
"""What stands on a path for a character that a string still needs."""

LONGEST = 8192
"""Tokens that are tried to find a path."""


def holds(mask_W: NDArray[np.uint32] | Tensor, token: int) -> bool:
    """Tell whether a bit mask has *token*: bit `i` of word `w` is token `32 w + i`, and what lies outside is not held."""
    return 0 <= token < 32 * len(mask_W) and bool(mask_W[token >> 5] >> (token & 31) & 1)


class Vocabulary:
    """The tokens of a tokenizer as bytes."""

    def __init__(self, tokenizer: LLTokenizer) -> None:
        special = tokenizer.is_special_token
        size = tokenizer.vocab_size
        self._bytes = [b"" if special(token) else tokenizer.decode_bytes([token]) for token in range(size)]
        self._token = {text: token for token, text in reversed(list(enumerate(self._bytes))) if text}
        self._length = np.array([len(text) or LONGEST for text in self._bytes])
        self._closers = [self._token[text] for text in (b'"', FILLER, b"}", b"]") if text in self._token]
        self.filler = self._token.get(FILLER, -1)
        self.words = (size + 31) // 32

    @cached_property
    def plain(self) -> Tensor:
        """Bit mask `(W,)` of the tokens that are whole characters, and in JSON stand for themselves."""
        bits = np.zeros(32 * self.words, dtype=bool)
        bits[: len(self._bytes)] = [_is_plain(text) for text in self._bytes]
        return torch.from_numpy(np.packbits(bits, bitorder="little").view(np.int32))

    def alone(self, token: int) -> Tensor:
        """Return the bit mask `(W,)` of one token."""
        bits = np.zeros(32 * self.words, dtype=bool)
        bits[token] = True
        return torch.from_numpy(np.packbits(bits, bitorder="little").view(np.int32))

    def path(self, matcher: LLMatcher, most: int) -> list[int]:
        """Return tokens that lead *matcher*, which goes along, to its end; the first *most* of them if there are more."""
        path: list[int] = []
        mask_W = np.zeros(self.words, dtype=np.uint32)
        while not matcher.is_stopped() and len(path) < most:
            matcher.unsafe_compute_mask_ptr(mask_W.ctypes.data, mask_W.nbytes)
            path.append(self._towards_end(matcher.compute_ff_bytes(), mask_W))
            matcher.consume_token(path[-1])
        return path

    def overhang(self, matcher: LLMatcher, path: list[int]) -> int:
        """Return by how much a path may be longer from within a token of *path* than from before it.

        A token that the model draws may end there, and what a grammar forces is spelt anew from there on.
        """
        most = 0
        for place, token in enumerate(path):
            text = self._bytes[token]
            pieces = [self._token.get(text[i : i + 1], -1) for i in range(len(text) - 1)]
            for size in range(1, len(text)):
                inside = matcher.deep_copy()
                if -1 not in pieces[:size] and inside.consume_tokens(path[:place] + pieces[:size]):
                    most = max(most, len(self.path(inside, LONGEST)) - (len(path) - place))
        return most

    def _towards_end(self, forced: bytes, mask_W: NDArray[np.uint32]) -> int:
        """Return the allowed token that goes furthest along what is *forced*; or closes something; or is shortest."""
        for size in range(len(forced), 0, -1):
            token = self._token.get(forced[:size], -1)
            if holds(mask_W, token):
                return token
        for token in self._closers:
            if holds(mask_W, token):
                return token
        allowed_N = np.flatnonzero(np.unpackbits(mask_W.view(np.uint8), bitorder="little"))
        return int(allowed_N[self._length[allowed_N].argmin()])


def _is_plain(text: bytes) -> bool:
    try:
        return bool(text) and text.decode().isprintable() and not set(text) & set(b'"\\')
    except UnicodeDecodeError:
        return False


class Ending:
    """How samples of one grammar end: made once for it."""

    def __init__(self, vocabulary: Vocabulary, begin: LLMatcher) -> None:
        path = vocabulary.path(begin.deep_copy(), LONGEST)
        self.vocabulary = vocabulary
        self.least = len(path)
        """Tokens that a sample needs to be sure of its end; `LONGEST` if no end was found."""
        self.slack = PENDING + (vocabulary.overhang(begin, path) if len(path) < LONGEST else 0)
        """By how many tokens the path may be longer at any later place."""


class Closing:
    """What is left of one sample."""

    def __init__(self, ending: Ending, left: int) -> None:
        self._ending = ending
        self._bound = ending.least + ending.slack
        self.left = left
        """Tokens that may still come."""
        self.is_cut = False
        """Whether it had no token to spare at a place where its grammar alone would have left a choice."""

    def narrowed(self, matcher: LLMatcher, mask_W: Tensor) -> Tensor:
        """Return the part of *mask_W* `(W,)` after which the sample can still be ended, *matcher* being at its place."""
        if self.left > self._bound or matcher.is_stopped():
            return mask_W
        words = self._ending.vocabulary
        path = words.path(matcher.deep_copy(), self.left + 1)
        self._bound = len(path) + self._ending.slack
        if self.left > self._bound or len(path) > self.left:  # the latter never, with a schema of the card's
            return mask_W
        next_W = words.alone(path[0])
        can_spare = self.left > len(path)
        in_string = holds(mask_W, words.filler)
        if in_string and (can_spare or path[0] == words.filler):
            return mask_W & words.plain | next_W
        self.is_cut |= not can_spare and not torch.equal(mask_W, next_W)
        return next_W
