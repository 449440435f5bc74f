"""Embedders and vectors, without the model."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from synlearner.errors import ConfigError, CorruptBlob, ModelError
from synlearner.memory.cache import VectorCache
from synlearner.memory.embedders import HashEmbedder, default_embedder, model_folder
from synlearner.memory.index import ExactIndex, check_vectors, exact_cosines, pack, unpack
from synlearner.memory.minilm import MiniLM, erf


def test_hashed_texts_are_unit_vectors_even_when_empty() -> None:
    rows = HashEmbedder(16).embed(["", " ", "a", "short reviews", "\u0000\n", "\U0001f600"])
    check_vectors(rows, 6, 16)


def test_hashed_texts_are_alike_when_they_are_spelt_alike() -> None:
    query, near, far = HashEmbedder().embed(["short movie reviews", "Short   movie review", "tax law in Peru"])
    assert query @ near > 0.8
    assert query @ far < 0.4


def test_hashed_vectors_never_change() -> None:
    digest = hashlib.sha256(HashEmbedder(8).embed(["golden", "text"]).tobytes()).hexdigest()
    assert digest[:16] == "9f45b50441efffa8"


def test_refuses_a_dimension_below_1() -> None:
    with pytest.raises(ConfigError, match="dimension 0 is below 1"):
        HashEmbedder(0)


def test_the_error_function_is_within_5e_7() -> None:
    special = pytest.importorskip("scipy.special")
    values = np.linspace(-6, 6, 20_001, dtype=np.float32)
    assert np.abs(erf(values) - special.erf(values.astype(np.float64))).max() < 5e-7


def test_a_home_made_with_hashes_is_opened_with_hashes() -> None:
    assert default_embedder("hash-32").fingerprint == "hash-32"


def test_a_model_that_is_not_fetched_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNLEARNER_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="all-MiniLM-L6-v2 is not fetched yet: run `synlearner fetch` once"):
        default_embedder()


def test_the_cache_folder_honours_both_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNLEARNER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert model_folder() == tmp_path / "synlearner" / "models" / "all-MiniLM-L6-v2"
    monkeypatch.setenv("SYNLEARNER_CACHE", str(tmp_path / "own"))
    assert model_folder() == tmp_path / "own" / "models" / "all-MiniLM-L6-v2"


def test_half_a_model_is_refused_by_the_name_of_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model.safetensors is missing"):
        MiniLM(tmp_path)


def test_a_vector_comes_back_from_its_blob() -> None:
    (vector,) = HashEmbedder(8).embed(["a"])
    assert np.array_equal(unpack(pack(vector), "d"), vector)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"not safetensors at all",
        pack(np.full(8, np.nan, np.float32)),
        pack(np.ones(8, np.float32)),
        pack(HashEmbedder(8).embed(["a"])[0])[:-4],
        pack(HashEmbedder(8).embed(["a"])[0])[:-3],
        pack(HashEmbedder(8).embed(["a"])[0]).replace(b"F32", b"I32"),
        (2**62).to_bytes(8, "little") + b"{}",
    ],
)
def test_a_blob_that_is_no_unit_vector_is_not_trusted(blob: bytes) -> None:
    with pytest.raises(CorruptBlob, match="blob abc is no unit vector"):
        unpack(blob, "abc")


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((1, 4)), "vectors are float64: an embedder returns a float32 array"),
        ([[1.0]], "vectors are list"),
        (np.zeros((2, 4), np.float32), r"shape \(2, 4\)"),
        (np.full((1, 4), np.nan, np.float32), "NaN or infinity"),
        (np.full((1, 4), 2, np.float32), "has the length 4: unit vectors have 1"),
    ],
)
def test_vectors_that_are_none_are_refused(vectors: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_vectors(vectors, 1, 4)


def test_cosines_do_not_depend_on_their_neighbours() -> None:
    rows = HashEmbedder(64).embed([f"text {number}" for number in range(1500)])
    together = exact_cosines(rows, rows[3])
    assert together == [exact_cosines(row[None], rows[3])[0] for row in rows]


def test_the_cache_returns_what_was_added_and_cuts_off_a_torn_row(tmp_path: Path) -> None:
    rows = HashEmbedder(8).embed(["a", "b", "c"])
    names = [hashlib.sha256(pack(row)).hexdigest() for row in rows]
    path = tmp_path / "rows"
    VectorCache(path, 8).append(names[:2], rows[:2])
    with path.open("ab") as file:
        file.write(b"half a row")
    cache = VectorCache(path, 8)
    assert cache.load()[0] == names[:2]
    cache.append(names[2:], rows[2:])
    assert cache.load()[0] == names
    assert np.array_equal(cache.load()[1], rows)


def test_the_cache_does_not_return_a_damaged_row(tmp_path: Path) -> None:
    rows = HashEmbedder(8).embed(["a", "b"])
    names = [hashlib.sha256(pack(row)).hexdigest() for row in rows]
    cache = VectorCache(tmp_path / "rows", 8)
    cache.append(names, rows)
    data = bytearray((tmp_path / "rows").read_bytes())
    data[40] ^= 1
    (tmp_path / "rows").write_bytes(data)
    assert cache.load()[0] == names[1:]


def test_a_missing_cache_is_empty(tmp_path: Path) -> None:
    digests, vectors = VectorCache(tmp_path / "none", 8).load()
    assert (digests, vectors.shape) == ([], (0, 8))


def test_the_index_finds_the_few_that_are_accepted_among_many() -> None:
    rows = HashEmbedder(32).embed([f"text {number}" for number in range(2000)])
    index = ExactIndex(32)
    index.add([f"{number:04}" for number in range(2000)], rows)
    wanted = {"0007", "1900", "1234"}
    found = index.search(rows[0], 10, np.array([f"{number:04}" in wanted for number in range(2000)]))
    assert {id_ for id_, _ in found} == wanted
    assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))


def test_the_index_orders_by_what_is_exact_where_fast_products_are_not() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal(384) + 1e-4 * rng.standard_normal((400, 384))).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = ExactIndex(384)
    index.add([f"{number:03}" for number in range(400)], rows)
    for query in rows[:40]:
        cosines = exact_cosines(rows, query)
        assert index.search(query, 1) == [(f"{int(np.argmax(cosines)):03}", max(cosines))]
