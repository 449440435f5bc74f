"""Which items share words with a query: BM25 over the words of titles, occasions and contents.

    idf(w)   = ln(1 + (N - n_w + .5) / (n_w + .5))
    bm25     = sum over the query's distinct words of  idf(w) f (K1 + 1) / (f + K1 (1 - B + B l / mean l))
    share    = bm25 / sum over them of  idf(w) (K1 + 1)          in [0, 1), rounded to 9 digits

N, n_w and the mean length are of all items that were ever learnt, as they are worded now. Source: Robertson and
Zaragoza, "The Probabilistic Relevance Framework" (2009), with the idf of Lucene.
"""

import math
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import chain, count
from typing import Any

import numpy as np
from numpy.typing import NDArray

K1 = 1.2
B = 0.75
POSTINGS = 50_000
"""Most (word, item) pairs that a query looks at, the rarest words first: the common ones say little."""

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Return the words of *text*, case folded."""
    return _WORD.findall(text.casefold())


class LexicalIndex:
    """An inverted index over numbered documents. A document may be replaced; none is ever taken out."""

    def __init__(self) -> None:
        self._base = _Base([])
        self._postings: dict[str, tuple[array[int], array[int]]] = {}
        """Of the words whose documents changed since `fill`."""
        self._texts: list[str] = []
        self._lengths = array("l")
        self._total = 0
        self._frozen: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self._scales: NDArray[np.floating[Any]] = np.empty(0)
        self._changed = True

    def fill(self, texts: Sequence[str]) -> None:
        """Set the texts of documents 0, 1, 2 … of an empty index: the same as `put` for each, and much quicker."""
        self._base = _Base(texts)
        self._texts = list(texts)
        self._lengths = array("l", self._base.lengths.tolist())
        self._total = int(self._base.lengths.sum())
        self._changed = True

    def put(self, number: int, text: str) -> None:
        """Set the text of document *number*: the next free one, or one that is there."""
        if number < len(self._texts):
            if text == self._texts[number]:
                return
            for word in set(words(self._texts[number])):
                places, counts = self._changing(word)
                at = places.index(number)
                del places[at], counts[at]
            self._total -= self._lengths[number]
        else:
            self._texts.append("")
            self._lengths.append(0)
        terms = Counter(words(text))
        self._texts[number], self._lengths[number] = text, sum(terms.values())
        self._total += self._lengths[number]
        self._changed = True
        for word, times in terms.items():
            places, counts = self._changing(word)
            places.append(number)
            counts.append(times)

    def shares(self, query: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the documents that share a word with *query*, ascending, and their shares in [0, 1)."""
        size = len(self._texts)
        having = {word: self._having(word) for word in words(query)}
        distinct = sorted(word for word, documents in having.items() if documents is not None)
        idf = {word: math.log(1 + (size - (n := having[word] or 0) + 0.5) / (n + 0.5)) for word in distinct}
        missing = having.keys() - set(distinct)
        most = math.fsum([*idf.values(), len(missing) * math.log(1 + (size + 0.5) / 0.5)])
        kept: list[str] = []
        left = POSTINGS
        for word in sorted(distinct, key=lambda word: (-idf[word], word)):
            left -= having[word] or 0
            if kept and left < 0:
                break
            kept.append(word)
        if not kept or not most:
            return np.empty(0, np.int64), np.empty(0, np.float64)
        scores = np.zeros(size)
        scales = self._ready_scales()
        for word in sorted(kept):
            places, counts = self._posting(word)
            scores[places] += idf[word] * (K1 + 1) * counts / (counts + scales[places])
        found = np.flatnonzero(scores > 0)  # much quicker among truths than among numbers
        return found, np.round(scores[found] / (most * (K1 + 1)), 9)

    def __len__(self) -> int:
        return len(self._texts)

    def _ready_scales(self) -> NDArray[np.floating[Any]]:
        """Return K1 (1 - B + B l / mean l) of each document."""
        if self._changed:
            mean = self._total / len(self._lengths) or 1.0  # of texts without a word nobody asks
            self._scales = K1 * (1 - B + B * np.array(self._lengths, np.int64) / mean)
            self._changed = False
        return self._scales

    def _having(self, word: str) -> int | None:
        """Return how many documents have a *word*; None if none ever had it."""
        changed = self._postings.get(word)
        return self._base.having(word) if changed is None else len(changed[0])

    def _changing(self, word: str) -> "tuple[array[int], array[int]]":
        """Return the documents that have a *word*, and how often, to be changed."""
        self._frozen.pop(word, None)
        found = self._postings.get(word)
        if found is None:
            places, counts = self._base.posting(word)
            found = self._postings[word] = (array("l", places.tolist()), array("l", counts.tolist()))
        return found

    def _posting(self, word: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if word not in self._postings:
            return self._base.posting(word)
        if word not in self._frozen:
            places, counts = self._postings[word]
            self._frozen[word] = (np.array(places, np.int64), np.array(counts, np.int64))
        return self._frozen[word]


class _Base:
    """The postings of many texts at once, word after word in three arrays: a sort instead of a million lists."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._numbers: dict[str, int] = defaultdict(count().__next__)
        number = self._numbers.__getitem__
        split = [words(text) for text in texts]
        self.lengths: NDArray[np.int64] = np.fromiter(map(len, split), np.int64, len(split))
        total = int(self.lengths.sum())
        each = np.fromiter(map(number, chain.from_iterable(split)), np.int64, total)
        self._numbers.default_factory = None
        documents = np.repeat(np.arange(len(split)), self.lengths)
        pairs = each * max(1, len(split)) + documents
        pairs.sort()
        firsts = np.flatnonzero(np.diff(pairs, prepend=-1))
        self._counts = np.diff(firsts, append=total)
        pairs = pairs[firsts]
        self._places = pairs % max(1, len(split))
        self._starts = np.searchsorted(pairs, np.arange(len(self._numbers) + 1) * max(1, len(split)))

    def having(self, word: str) -> int | None:
        """Return how many texts have a *word*; None if none has."""
        number = self._numbers.get(word)
        return None if number is None else int(self._starts[number + 1] - self._starts[number])

    def posting(self, word: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the texts that have a *word*, ascending, and how often."""
        number = self._numbers.get(word)
        part = slice(0, 0) if number is None else slice(int(self._starts[number]), int(self._starts[number + 1]))
        return self._places[part], self._counts[part]
