"""MiniLM in numpy against the same weights in torch. Skipped where the model is not fetched."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synlearner.memory.embedders import model_folder
from synlearner.memory.minilm import MiniLM

TEXTS = [
    "A short review.",
    "",
    "x",
    "The quick brown fox jumps over the lazy dog. " * 4,
    "Ünïcödé, 中文, emoji \U0001f600 and\ttabs\n",
    "long " * 600,
    *(f"text number {number} about synthesising data for task {number % 7}" for number in range(40)),
]


@pytest.fixture(scope="module")
def folder() -> Path:
    if not model_folder().is_dir():
        pytest.skip("all-MiniLM-L6-v2 is not fetched: run `synlearner fetch`")
    return model_folder()


@pytest.fixture(scope="module")
def model(folder: Path) -> MiniLM:
    return MiniLM(folder)


def test_every_text_becomes_a_unit_vector(model: MiniLM) -> None:
    rows = model.embed(TEXTS)
    assert rows.shape == (len(TEXTS), 384)
    assert rows.dtype == np.float32
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-6
    assert model.embed([]).shape == (0, 384)
    assert model.fingerprint.startswith("minilm-")
    assert len(model.fingerprint) == 7 + 16


def test_the_order_of_the_texts_is_kept(model: MiniLM) -> None:
    rows = model.embed(TEXTS)
    assert np.abs(model.embed(TEXTS[::-1])[::-1] - rows).max() < 1e-6
    assert all(np.abs(model.embed([text])[0] - row).max() < 1e-6 for text, row in zip(TEXTS, rows, strict=True))


def test_meaning_decides_likeness(model: MiniLM) -> None:
    film, movie, tax = model.embed(["a review of a film", "somebody's opinion on a movie", "income tax in Peru"])
    assert film @ movie > 0.6
    assert film @ tax < 0.2


def test_it_agrees_with_torch(model: MiniLM, folder: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    bert = transformers.AutoModel.from_pretrained(folder).eval()
    batch = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        hidden = bert(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)).numpy()
    assert np.abs(pooled - model.embed(TEXTS)).max() < 1e-5


def test_the_same_texts_give_the_same_bits_in_every_process(model: MiniLM, folder: Path) -> None:
    code = (
        "import hashlib, pathlib, sys; from synlearner.memory.minilm import MiniLM; texts = sys.argv[2:]\n"
        "print(hashlib.sha256(MiniLM(pathlib.Path(sys.argv[1])).embed(texts).tobytes()).hexdigest())"
    )
    texts = TEXTS[6:30]
    command = [sys.executable, "-c", code, str(folder), *texts]
    outputs = {subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)}
    assert outputs == {hashlib.sha256(model.embed(texts).tobytes()).hexdigest()}


def test_words_are_looked_up_one_by_one(model: MiniLM) -> None:
    rows = model.embed_words(["the dog bites the man", "the man bites the dog", "", "a cat", "income tax"])
    assert rows.dtype == np.float32
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-6
    assert np.abs(rows[0] - rows[1]).max() < 1e-6, "their order is not known"
    assert rows[2].argmax() == 0
    assert rows[0] @ rows[3] > rows[0] @ rows[4]
    assert np.array_equal(model.embed_words(["a cat"])[0], rows[3]), "a row depends on its own text alone"
