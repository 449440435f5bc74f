"""What every `VectorIndex` promises."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from synlearner.memory.chroma import ChromaMirror
from synlearner.memory.embedders import HashEmbedder, Matrix
from synlearner.memory.index import ExactIndex, VectorIndex

DIMENSION = 32
WORDS = ["films", "music", "tax", "law", "birds", "trains", "bread", "chess", "rain", "stars"]
ROWS: Matrix = HashEmbedder(DIMENSION).embed(WORDS)

INDEXES: dict[str, Callable[[Path], VectorIndex]] = {
    "exact": lambda _: ExactIndex(DIMENSION),
    "chroma": lambda folder: ChromaMirror(folder / "mirror", "hash-32", DIMENSION),
}


@pytest.fixture(params=INDEXES)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    made = INDEXES[request.param](tmp_path)
    yield made
    if isinstance(made, ChromaMirror):
        made.close()


def test_an_empty_index_finds_nothing(index: VectorIndex) -> None:
    assert len(index) == 0
    assert index.search(ROWS[0], 3) == []


def test_a_vector_finds_itself_first_with_cosine_1(index: VectorIndex) -> None:
    index.add(WORDS, ROWS)
    assert len(index) == len(WORDS)
    for word, row in zip(WORDS, ROWS, strict=True):
        (best, cosine), *_ = index.search(row, 3)
        assert best == word
        assert cosine == pytest.approx(1.0, abs=1e-6)


def test_results_are_cosines_highest_first(index: VectorIndex) -> None:
    index.add(WORDS, ROWS)
    found = index.search(ROWS[0], len(WORDS))
    assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)
    for word, cosine in found:
        assert cosine == pytest.approx(float(ROWS[WORDS.index(word)] @ ROWS[0]), abs=1e-6)


def test_equal_vectors_are_ordered_by_id(index: VectorIndex) -> None:
    index.add(["c", "a", "b"], np.repeat(ROWS[:1], 3, axis=0))
    assert [id_ for id_, _ in index.search(ROWS[0], 3)] == ["a", "b", "c"]


def test_more_than_there_is_returns_all_and_0_returns_none(index: VectorIndex) -> None:
    index.add(WORDS, ROWS)
    assert len(index.search(ROWS[0], 50)) == len(WORDS)
    assert index.search(ROWS[0], 0) == []


def test_the_vector_of_an_id_never_changes(index: VectorIndex) -> None:
    index.add(["a"], ROWS[:1])
    index.add(["a"], ROWS[1:2])
    assert len(index) == 1
    assert index.search(ROWS[0], 1)[0][1] == pytest.approx(1.0, abs=1e-6)


def test_what_is_added_later_is_found_too(index: VectorIndex) -> None:
    for word, row in zip(WORDS, ROWS, strict=True):
        index.add([word], row[None])
        assert index.search(row, 1)[0][0] == word
    assert len(index) == len(WORDS)
