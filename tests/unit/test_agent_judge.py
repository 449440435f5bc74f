"""The judges: what the seeds alone say of a sample."""

from pathlib import Path

import numpy as np
import pytest
from pieces import PAIR, STORY, checked, unit_rows, vectors_of
from worlds import card, rows

from synlearner.agent.features import embed_rows, pack_matrix, student_features, unpack_matrix
from synlearner.agent.judge import SeedsJudge, TopicJudge, make_judge
from synlearner.agent.vectors import Vectors
from synlearner.events.blobs import BlobStore
from synlearner.memory import HashEmbedder

TOPICS = checked(card(seeds=rows(8)))
JUDGE = SeedsJudge(TOPICS, vectors_of(TOPICS, TOPICS.seeds))


def test_a_seed_is_judged_to_be_of_its_own_label() -> None:
    labels = [row["label"] for row in TOPICS.seeds]
    own = JUDGE.fidelity(vectors_of(TOPICS, TOPICS.seeds), labels)
    assert own.min() > 0
    assert own.max() <= 1
    probability = JUDGE._model.predict_proba(vectors_of(TOPICS, TOPICS.seeds)).max(axis=1)
    assert own == pytest.approx(2 * probability - 1), "certain is 1, even odds are 0"


def test_with_two_labels_the_other_one_is_the_exact_opposite() -> None:
    """Fidelity is (p - 1/2) / (1/2), and the two probabilities sum to 1."""
    vectors = vectors_of(TOPICS, rows(4, 40))
    labels = [row["label"] for row in rows(4, 40)]
    others = ["weather" if label == "pets" else "pets" for label in labels]
    assert JUDGE.fidelity(vectors, others) == pytest.approx(-JUDGE.fidelity(vectors, labels))


def test_chance_is_zero_for_any_number_of_labels() -> None:
    """The mean over all labels of (p - 1/n) / (1 - 1/n) is 0: nobody gains by naming no label at all."""
    of = checked(card(labels={"a": "", "b": "", "c": ""}, seeds=[{"text": f"{n} {n} x", "label": n} for n in "abc"]))
    judge = SeedsJudge(of, vectors_of(of, of.seeds))
    vectors = np.repeat(vectors_of(of, [{"text": "nothing of the kind"}]), 3, axis=0)
    scores = judge.fidelity(vectors, ["a", "b", "c"])
    assert scores.sum() == pytest.approx(0, abs=1e-6)
    assert scores.min() >= -0.5


def test_the_judge_never_sees_the_words_of_the_label() -> None:
    """7.2.14: the label reward was an echo of the prompt. Here other names of the labels give the same scores."""
    names = {"pets": "first", "weather": "second"}
    seeds = [row | {"label": names[row["label"]]} for row in TOPICS.seeds]
    renamed = checked(card(labels={"first": "", "second": ""}, seeds=seeds))
    judge = SeedsJudge(renamed, vectors_of(renamed, renamed.seeds))
    vectors = vectors_of(TOPICS, rows(3, 60))
    asked = [row["label"] for row in rows(3, 60)]
    assert judge.fidelity(vectors, [names[label] for label in asked]) == pytest.approx(JUDGE.fidelity(vectors, asked))


def test_meanings_have_the_share_that_they_are_given() -> None:
    """Two labels on two axes; a sample on the first label's axis, seeds that say nothing: softmax(1 / .1, 0) = 1 - 4.5e-5."""
    axes = np.eye(2, dtype=np.float32)
    even = np.full((4, 2), np.sqrt(0.5), dtype=np.float32)
    of = checked(card(seeds=rows(2)))
    asked = ["pets", "weather"]
    alone = SeedsJudge(of, even).fidelity(axes[[0, 0]], asked)
    assert alone == pytest.approx([0, 0], abs=1e-3)
    whole = SeedsJudge(of, even, axes, 1.0).fidelity(axes[[0, 0]], asked)
    assert whole == pytest.approx([1 - 2 * 4.54e-5, -1 + 2 * 4.54e-5], abs=1e-6)
    half = SeedsJudge(of, even, axes, 0.5).fidelity(axes[[0, 0]], asked)
    assert half == pytest.approx((alone + whole) / 2)


def test_a_meaning_that_is_near_to_every_seed_is_near_to_no_sample() -> None:
    """Only what is nearer than the seeds usually are speaks for a label."""
    of = checked(card(seeds=rows(2)))
    same = np.tile(np.array([[1, 0]], dtype=np.float32), (4, 1))
    judge = SeedsJudge(of, same, np.eye(2, dtype=np.float32), 1.0)
    assert judge.fidelity(same[:2], ["pets", "weather"]) == pytest.approx([0, 0])


def test_meanings_are_asked_only_where_every_label_has_one(tmp_path: Path) -> None:
    vectors = Vectors(BlobStore(tmp_path), HashEmbedder())
    found = vectors.of_meanings(TOPICS)
    assert found is not None
    assert found.shape == (2, HashEmbedder().dimension)
    assert vectors.of_meanings(checked(card(labels={"pets": "", "weather": "about the sky"}))) is None
    assert vectors.of_meanings(checked(PAIR)) is None
    assert vectors.of_meanings(checked(STORY)) is None


def test_the_same_seeds_make_the_same_judge() -> None:
    vectors, labels = vectors_of(TOPICS, rows(5, 30)), [row["label"] for row in rows(5, 30)]
    again = SeedsJudge(TOPICS, vectors_of(TOPICS, TOPICS.seeds))
    assert np.array_equal(again.fidelity(vectors, labels), JUDGE.fidelity(vectors, labels))


def test_without_labels_a_sample_is_judged_by_its_nearest_seed() -> None:
    """Hand-worked: seeds at 60 degrees have cosine .5 to each other; .25 is half as close, .9 is as close as any."""
    seeds = np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]], dtype=np.float32)
    samples = np.array([[0.25, -np.sqrt(1 - 0.25**2)], [0.9, -np.sqrt(1 - 0.81)], [-1.0, 0.0]], dtype=np.float32)
    assert TopicJudge(seeds).fidelity(samples, ["", "", ""]) == pytest.approx([0.5, 1.0, 0.0], abs=1e-6)


def test_a_single_seed_is_compared_with_itself() -> None:
    seed = np.array([[1.0, 0.0]], dtype=np.float32)
    half = np.array([[0.5, np.sqrt(0.75)]], dtype=np.float32)
    assert TopicJudge(seed).fidelity(half, [""]) == pytest.approx([0.5], abs=1e-6)


def test_no_samples_have_no_scores() -> None:
    assert JUDGE.fidelity(np.zeros((0, 64), dtype=np.float32), []).shape == (0,)
    assert TopicJudge(unit_rows(2, 8)).fidelity(np.zeros((0, 8), dtype=np.float32), []).shape == (0,)


def test_the_kind_of_card_decides_the_judge() -> None:
    for tree, kind in ((card(), SeedsJudge), (PAIR, SeedsJudge), (STORY, TopicJudge)):
        of = checked(tree)
        assert isinstance(make_judge(of, vectors_of(of, of.seeds)), kind)


# ---- what judges and students see ----------------------------------------------------------------------------


def test_the_cosine_of_rows_is_the_mean_of_the_cosines_of_their_fields() -> None:
    embedder = HashEmbedder(32)
    of = checked(PAIR)
    vectors = embed_rows(embedder, of, of.seeds)
    assert vectors.shape == (4, 64)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-6)
    fields = [embedder.embed([row[field] for row in of.seeds]) for field in ("text", "text_b")]
    assert vectors @ vectors.T == pytest.approx((fields[0] @ fields[0].T + fields[1] @ fields[1].T) / 2, abs=1e-6)


def test_a_pair_is_seen_as_both_their_difference_and_their_product() -> None:
    """Hand-worked: fields (1, 0) and (0, 1), side by side and divided by sqrt 2."""
    row = np.array([[1.0, 0.0, 0.0, 1.0]], dtype=np.float32) / np.float32(np.sqrt(2))
    seen = student_features(row, checked(PAIR))
    assert seen == pytest.approx(np.array([[1, 0, 0, 1, 1, 1, 0, 0]]), abs=1e-6)
    assert student_features(row, TOPICS) is row


def test_no_rows_have_the_shape_of_no_rows() -> None:
    assert embed_rows(HashEmbedder(8), checked(PAIR), []).shape == (0, 16)


def test_a_matrix_comes_back_from_its_blob_bit_for_bit() -> None:
    matrix = unit_rows(5, 7)
    assert np.array_equal(unpack_matrix(pack_matrix(matrix)), matrix)
    assert pack_matrix(matrix) == pack_matrix(np.asfortranarray(matrix))
