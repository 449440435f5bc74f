"""Codes: what they estimate, that it never depends on how it is computed, and that little is missed."""

import numpy as np
import pytest
from pieces import unit_rows

from synlearner.memory import ExactIndex, codes, index
from synlearner.memory.codes import Codes


def test_an_estimate_is_the_cosine_within_its_standard_error() -> None:
    rows, query = unit_rows(4000, 384, 1), unit_rows(1, 384, 2)[0]
    known = Codes(384)
    known.add(rows)
    errors = known.estimates(query) - rows @ query
    assert abs(errors.mean()) < 0.003
    assert 0.9 * known.deviation < errors.std() < 1.1 * known.deviation


def test_like_vectors_are_estimated_more_closely() -> None:
    rows = unit_rows(500, 384, 1)
    near = rows * 0.8 + unit_rows(500, 384, 3) * 0.6
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    known = Codes(384)
    known.add(near.astype(np.float32))
    errors = [float(known.estimates(row)[place] - near[place] @ row) for place, row in enumerate(rows[:100])]
    assert np.std(errors) < 0.75 * known.deviation


@pytest.mark.parametrize("dimension", [8, 64, 100, 384])
def test_estimates_do_not_depend_on_batches_chunks_or_threads(dimension: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, query = unit_rows(700, dimension, 4), unit_rows(1, dimension, 5)[0]
    whole = Codes(dimension)
    whole.add(rows)
    expected = whole.estimates(query).tobytes()
    monkeypatch.setattr(codes, "CHUNK", 37)
    monkeypatch.setattr(codes, "ROTATED", 11)
    monkeypatch.setattr(codes, "THREADED", 1)
    parts = Codes(dimension)
    for start in range(0, 700, 123):
        parts.add(rows[start : start + 123])
    assert parts.estimates(query).tobytes() == expected


@pytest.mark.parametrize("kind", ["isotropic", "clustered"])
def test_of_the_ten_nearest_hardly_any_is_missed(kind: str) -> None:
    rows = unit_rows(20_000, 128, 6)
    if kind == "clustered":
        rows = rows + np.repeat(unit_rows(50, 128, 7), 400, axis=0)
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    found = ExactIndex(128)
    found.add([f"{place:05}" for place in range(len(rows))], rows)
    share = 0
    for query in unit_rows(100, 128, 8):
        quick = found.search(query, 10)
        exact = dict(found.search(query, 10, exact=True))
        share += sum(exact.get(name) == cosine for name, cosine in quick)
    assert share / 1000 >= 0.99


def test_a_mask_is_honoured_with_codes_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, query = unit_rows(3000, 64, 9), unit_rows(1, 64, 10)[0]
    found = ExactIndex(64)
    found.add([f"{place:04}" for place in range(3000)], rows)
    for share in (2, 3, 100):
        mask = np.arange(3000) % share == 0
        expected = found.search(query, 10, mask, exact=True)
        assert all(int(name) % share == 0 for name, _ in expected)
        with monkeypatch.context() as patch:
            patch.setattr(index, "SCAN_MOST", 10)
            patch.setattr(index, "DOUBT", 6.0)
            patch.setattr(index, "FIRST", 20)
            assert found.search(query, 10, mask) == expected
