"""The encoder that learns from the seeds: its batches and loss by hand, what it leaves alone, and whether it learns."""

import math
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from pieces import PAIR, checked
from worlds import card, rows

from synlearner.agent.cards import Card, load_stream
from synlearner.agent.config import parse_settings
from synlearner.agent.features import embed_rows, meaning_rows
from synlearner.agent.judge import SeedsJudge
from synlearner.agent.judge_settings import TuningSettings
from synlearner.agent.tuning import TEMPERATURE, TunedJudge, batches, contrast, tuned, tuned_judge
from synlearner.memory import Embedder, HashEmbedder
from synlearner.memory.embedders import model_folder
from synlearner.memory.minilm import MiniLM

FAST = TuningSettings(steps=60, rate=5e-3, batch=8)
"""Random weights are further from any use than those of a real encoder."""

TOPICS = checked(card() | {"seeds": rows(16)})


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> MiniLM:
    texts = [row["text"] for row in rows(80)] + [f"{label}: {text}" for label, text in TOPICS.labels.items()]
    return MiniLM(tiny.encoder(tmp_path_factory.mktemp("encoder"), texts))


def right(judge: SeedsJudge | TunedJudge, of: Card, asked: list[dict[str, str]], embedder: MiniLM) -> float:
    """Return how often *judge* finds a row's own label the likeliest."""
    vectors, names = embed_rows(embedder, of, asked), list(of.labels)
    told = [judge.fidelity(vectors, [name] * len(asked), asked) for name in names]
    return float(np.mean([names[i] == row["label"] for i, row in zip(np.argmax(told, axis=0), asked, strict=True)]))


# ---- batches and loss ----------------------------------------------------------------------------------------


def test_a_batch_has_all_labels_where_they_fit_and_as_many_rows_of_each() -> None:
    labels = ["a", "b", "c"] * 8
    found = list(batches(labels, 9, 5))
    assert len(found) == 5
    for batch in found:
        assert sorted(labels[i] for i in batch) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
        assert len(set(batch)) == 9
    assert len({tuple(batch) for batch in found}) > 1
    assert found == list(batches(labels, 9, 5))


def test_many_labels_take_turns_by_twos() -> None:
    labels = [f"label {i}" for i in range(40) for _ in range(3)]
    found = list(batches(labels, 16, 20))
    assert {len(batch) for batch in found} == {16}
    assert len({labels[i] for batch in found for i in batch}) > 30


def test_a_label_with_one_row_has_nobody_to_be_near() -> None:
    assert all(batch in ([0, 1], [1, 0]) for batch in batches(["a", "a", "b"], 8, 3))
    assert list(batches(["a", "b"], 8, 3)) == []


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40), st.integers(4, 20))
def test_every_row_of_a_batch_has_another_of_its_label(labels: list[str], size: int) -> None:
    for batch in batches(labels, size, 3):
        drawn = [labels[i] for i in batch]
        assert len(batch) <= size
        assert all(drawn.count(label) >= 2 for label in drawn)


def test_the_loss_by_hand() -> None:
    """a = (1, 0), b = (0, 1), both twice: each row's one companion has cosine 1, the two others 0."""
    rows_B_D = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    near, far = math.exp(1 / TEMPERATURE), 1.0
    assert contrast(rows_B_D, ["a", "a", "b", "b"]).item() == pytest.approx(
        -math.log(near / (near + 2 * far)), abs=1e-6
    )
    assert contrast(rows_B_D, ["a", "b", "a", "b"]).item() == pytest.approx(-math.log(far / (near + 2 * far)), abs=1e-5)


def test_a_row_without_another_of_its_label_counts_only_among_the_others() -> None:
    rows_B_D = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    near = math.exp(1 / TEMPERATURE)
    assert contrast(rows_B_D, ["a", "a", "c"]).item() == pytest.approx(-math.log(near / (near + 1)), abs=1e-6)


# ---- the encoder ---------------------------------------------------------------------------------------------


def apart(embedder: Embedder) -> float:
    """Return how much nearer seeds are to those of their own label than to the other's, in mean cosine."""
    cosines = (found := embed_rows(embedder, TOPICS, TOPICS.seeds)) @ found.T
    labels = np.array([row["label"] for row in TOPICS.seeds])
    same, itself = labels[:, None] == labels, np.eye(len(labels), dtype=bool)
    return float(cosines[same & ~itself].mean() - cosines[~same].mean())


def test_it_brings_rows_of_a_label_together_and_those_of_others_apart(encoder: MiniLM) -> None:
    assert abs(apart(encoder)) < 0.1
    assert apart(tuned(encoder, TOPICS, FAST, 1)) > 0.3


def test_the_same_seeds_give_the_same_bits_and_the_encoder_is_left_as_it_was(encoder: MiniLM) -> None:
    texts = [row["text"] for row in rows(12, 70)]
    before, drawn = encoder.embed(texts), torch.get_rng_state()
    first, second = (tuned(encoder, TOPICS, FAST, 1) for _ in range(2))
    assert np.array_equal(first.embed(texts), second.embed(texts))
    assert not np.allclose(first.embed(texts), before)
    assert np.array_equal(encoder.embed(texts), before)
    assert first.fingerprint != encoder.fingerprint
    assert torch.equal(torch.get_rng_state(), drawn)


def test_no_step_changes_nothing(encoder: MiniLM) -> None:
    """Torch has the same weights as numpy: what was learnt is all that differs."""
    texts = [row["text"] for row in rows(12, 70)]
    found = tuned(encoder, TOPICS, TuningSettings(steps=0), 1)
    assert np.array_equal(found.embed(texts), encoder.embed(texts))


def test_rows_that_are_asked_again_are_read_once(encoder: MiniLM) -> None:
    class Counting(MiniLM):
        calls = 0

        def embed(self, texts: object) -> np.ndarray:
            self.calls += 1
            return super().embed(texts)  # type: ignore[arg-type]

    counting = Counting(encoder.folder)
    judge = TunedJudge(counting, TOPICS, 0.5)
    before, asked = counting.calls, rows(5, 90)
    for name in TOPICS.labels:
        judge.fidelity(np.zeros((5, 1), np.float32), [name] * 5, asked)
    assert counting.calls == before + 1
    assert judge.fidelity(np.zeros((0, 1), np.float32), [], []).shape == (0,)


def test_pairs_and_embedders_without_weights_are_left_as_they_are(encoder: MiniLM) -> None:
    short = parse_settings(["tuning.steps=1", "policy.threads=1"])
    assert isinstance(tuned_judge(encoder, TOPICS, short), TunedJudge)
    assert tuned_judge(encoder, checked(PAIR), short) is None
    assert tuned_judge(HashEmbedder(), TOPICS, short) is None
    assert tuned_judge(encoder, TOPICS, parse_settings([])) is None


@pytest.mark.slow
def test_on_real_questions_it_knows_more_than_the_encoder_as_it_is(shared: Path) -> None:
    """Eight seeds a label of TREC: 0.63 before, 0.78 after (docs/LOG.md)."""
    if not model_folder().is_dir():
        pytest.skip("all-MiniLM-L6-v2 is not fetched: run `synlearner fetch`")
    task = load_stream(shared / "streams" / "public8.yaml").tasks[0]
    assert task.test is not None
    of, test = task.card, task.test.rows
    embedder = MiniLM(model_folder())
    meanings = embed_rows(embedder, of, meaning_rows(of))
    before = right(SeedsJudge(of, embed_rows(embedder, of, of.seeds), meanings, 0.5), of, test, embedder)
    after = right(TunedJudge(tuned(embedder, of, TuningSettings(steps=20), 1), of, 0.5), of, test, embedder)
    assert after > before + 0.08
