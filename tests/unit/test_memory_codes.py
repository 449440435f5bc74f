"""Codes: that the bounds hold whatever the vectors are like, and that nobody among the nearest is ever missed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pieces import unit_rows

from synlearner.memory import ExactIndex, codes, index
from synlearner.memory.codes import Codes, Matrix
from synlearner.memory.index import exact_cosines, floor_of


def test_a_code_by_hand() -> None:
    """(.6, .8) has the scale .8 / 127; 95.25 becomes 95, and .25 x .8 / 127 = .0015748 is lost; 127 stays."""
    known = Codes(2)
    known.add(np.array([[0.6, 0.8]], np.float32))
    least, most = known.bounds(np.array([0.0, 1.0], np.float32))
    # The query is (0, 127) / 127: nothing is lost of it. Its product with the code is .8.
    assert (least[0] + most[0]) / 2 == pytest.approx(0.8, abs=1e-6)
    assert (most[0] - least[0]) / 2 == pytest.approx(1.01 * 0.0015748 + 1e-5, abs=1e-6)


def shaped(kind: str, count: int, dimension: int, seed: int) -> Matrix:
    """Return unit rows that look all ways, lie along few axes, or lie close together."""
    rows = unit_rows(count, dimension, seed)
    if kind == "peaked":
        rows = rows**5
    if kind == "close":
        rows = rows * 0.01 + unit_rows(1, dimension, 77)
    unit: Matrix = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["isotropic", "peaked", "close"]),
    st.sampled_from([1, 3, 64, 384, 1100]),
    st.integers(0, 2**20),
    st.sampled_from([0.9995, 1.0, 1.0005]),
)
def test_no_cosine_lies_outside_its_bounds(kind: str, dimension: int, seed: int, length: float) -> None:
    rows = shaped(kind, 200, dimension, seed) * np.float32(length)
    query = shaped(kind, 1, dimension, seed + 1)[0]
    known = Codes(dimension)
    known.add(rows)
    least, most = known.bounds(query)
    true = np.array(exact_cosines(rows, query))
    assert (least <= true).all()
    assert (true <= most).all()
    assert float((most - least).max()) < 0.2


@pytest.mark.parametrize("dimension", [8, 100, 384])
def test_bounds_do_not_depend_on_batches_or_chunks(dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, query = unit_rows(700, dimension, 4), unit_rows(1, dimension, 5)[0]
    whole = Codes(dimension)
    whole.add(rows)
    expected = [bound.tobytes() for bound in whole.bounds(query)]
    monkeypatch.setattr(codes, "CHUNK", 11)
    parts = Codes(dimension)
    for start in range(0, 700, 123):
        parts.add(rows[start : start + 123])
    assert [bound.tobytes() for bound in parts.bounds(query)] == expected


def truth(rows: Matrix, query: Matrix, k: int, mask: NDArray[np.bool_]) -> list[tuple[str, float]]:
    """Return the nearest by comparing everything in float64."""
    cosines = exact_cosines(rows, query)
    ranked = sorted((-cosines[place], f"{place:05}") for place in np.flatnonzero(mask).tolist())
    return [(name, -negative) for negative, name in ranked[:k]]


@pytest.mark.parametrize("kind", ["isotropic", "peaked", "close"])
def test_nobody_is_missed_through_any_filter(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few and many pass, more than 2 x k x GROUP and fewer; and equal vectors are told apart by their ids."""
    monkeypatch.setattr(index, "SCAN_MOST", 10)
    rows = shaped(kind, 3000, 96, 6)
    rows[1000:1040] = rows[0]
    found = ExactIndex(96)
    found.add([f"{place:05}" for place in range(3000)], rows)
    for query in [*unit_rows(3, 96, 8), rows[0]]:
        for share in (1, 2, 50, 290):
            mask = np.arange(3000) % share == 0
            for k in (1, 10, 256):
                assert found.search(query, k, None if share == 1 else mask) == truth(rows, query, k, mask)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=400), st.integers(1, 12))
def test_a_floor_is_reached_by_as_many_as_asked_for(values: list[int], k: int) -> None:
    known = np.array(values, np.float32)
    if k <= len(values):
        floor = floor_of(known, k)
        assert np.count_nonzero(known >= floor) >= k
        assert floor <= sorted(values)[-k]
