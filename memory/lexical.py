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
from collections import Counter

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
        self._postings: dict[str, tuple[array[int], array[int]]] = {}
        self._terms: list[Counter[str]] = []
        self._lengths = array("l")
        self._total = 0
        self._frozen: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        self._lengths_now: NDArray[np.int64] = np.empty(0, np.int64)
        self._changed = True

    def put(self, number: int, text: str) -> None:
        """Set the text of document *number*: the next free one, or one that is there."""
        terms = Counter(words(text))
        length = sum(terms.values())
        if number < len(self._terms):
            if terms == self._terms[number]:
                return
            for word in self._terms[number]:
                places, counts = self._postings[word]
                at = places.index(number)
                del places[at], counts[at]
                self._frozen.pop(word, None)
            self._total -= self._lengths[number]
            self._terms[number], self._lengths[number] = terms, length
        else:
            self._terms.append(terms)
            self._lengths.append(length)
        self._total += length
        self._changed = True
        for word, count in terms.items():
            posting = self._postings.get(word)
            if posting is None:
                posting = self._postings[word] = (array("l"), array("l"))
            posting[0].append(number)
            posting[1].append(count)
        for word in self._frozen.keys() & terms.keys():
            del self._frozen[word]

    def shares(self, query: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the documents that share a word with *query*, ascending, and their shares in [0, 1)."""
        count = len(self._terms)
        distinct = sorted({word for word in words(query) if word in self._postings})
        idf = {word: math.log(1 + (count - len(self._postings[word][0]) + 0.5) / (len(self._postings[word][0]) + 0.5))
               for word in distinct}  # fmt: skip
        missing = set(words(query)) - set(distinct)
        most = math.fsum([*idf.values(), len(missing) * math.log(1 + (count + 0.5) / 0.5)])
        kept: list[str] = []
        left = POSTINGS
        for word in sorted(distinct, key=lambda word: (-idf[word], word)):
            left -= len(self._postings[word][0])
            if kept and left < 0:
                break
            kept.append(word)
        if not kept or not most:
            return np.empty(0, np.int64), np.empty(0, np.float64)
        scores = np.zeros(count)
        mean = self._total / count
        lengths = self._all_lengths()
        for word in sorted(kept):
            places, counts = self._posting(word)
            scale = K1 * (1 - B + B * lengths[places] / mean)
            scores[places] += idf[word] * (K1 + 1) * counts / (counts + scale)
        found = np.flatnonzero(scores)
        return found, np.round(scores[found] / (most * (K1 + 1)), 9)

    def __len__(self) -> int:
        return len(self._terms)

    def _all_lengths(self) -> NDArray[np.int64]:
        if self._changed:
            self._lengths_now = np.array(self._lengths, np.int64)
            self._changed = False
        return self._lengths_now

    def _posting(self, word: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if word not in self._frozen:
            places, counts = self._postings[word]
            self._frozen[word] = (np.array(places, np.int64), np.array(counts, np.int64))
        return self._frozen[word]
