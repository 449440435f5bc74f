"""The student that is fine-tuned: it learns, reads pairs, is the same again, and leaves torch as it was."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from pieces import PAIR, checked, vectors_of
from worlds import card, rows

from synlearner.agent import Agent, finetuning
from synlearner.agent.cards import Card, Row
from synlearner.agent.finetuning import BATCH, MOST_EPOCHS, SEEN, encoder_folder, epochs, fine_tuned
from synlearner.agent.students import LabelledSet, score_student
from synlearner.errors import ModelError
from synlearner.memory import HashEmbedder

TOPICS = checked(card())
OF_PAIRS = checked(PAIR)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    texts = [row["text"] for row in rows(80)] + [row[field] for row in PAIR["seeds"] for field in ("text", "text_b")]
    return str(tiny.encoder(tmp_path_factory.mktemp("encoder"), texts))


@pytest.fixture(autouse=True)
def _larger_steps(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Random weights are further from any use than those of a real encoder."""
    if "encoder" in request.fixturenames:
        monkeypatch.setattr(finetuning, "RATE", 5e-3)


def taught(of: Card, train: list[Row], scored: list[Row], encoder: str, seed: int = 0) -> list[str]:
    found = fine_tuned(of, train, [row["label"] for row in train], scored, encoder=encoder, seed=seed)
    return [str(label) for label in found]


def test_it_learns_what_its_words_say(encoder: str) -> None:
    scored = rows(16, 40)
    found = taught(TOPICS, rows(16), scored, encoder)
    assert np.mean([label == row["label"] for label, row in zip(found, scored, strict=True)]) >= 0.9


def test_labels_weigh_the_same_however_many_rows_they_have(encoder: str) -> None:
    """16 rows of one label and 2 of the other: the rare one is found more often."""
    many = [row for row in rows(16) if row["label"] == "pets"] + [row for row in rows(2) if row["label"] != "pets"]
    scored = [row for row in rows(16, 40) if row["label"] != "pets"]
    labels = [row["label"] for row in many]

    def found(*, balanced: bool) -> int:
        told = fine_tuned(TOPICS, many, labels, scored, encoder=encoder, seed=0, balanced=balanced)
        return sum(label != "pets" for label in told)

    assert found(balanced=True) > found(balanced=False)


def test_it_reads_both_texts_of_a_pair(encoder: str) -> None:
    """One premise under two labels: whoever reads the first text alone gets half of them right."""
    ends = {"entailment": "Animals are outside.", "contradiction": "The park has no visitors."}
    pairs = [
        {"text": seed["text"], "text_b": end, "label": label} for seed in OF_PAIRS.seeds for label, end in ends.items()
    ]
    assert taught(OF_PAIRS, pairs, pairs, encoder) == [row["label"] for row in pairs]


def test_the_same_seed_gives_the_same_answers_and_torch_is_left_as_it_was(encoder: str) -> None:
    asked = [{"text": f"unheard words number {i}"} for i in range(30)] + rows(15, 100)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = taught(TOPICS, rows(3), asked, encoder)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(6)
    assert taught(TOPICS, rows(3), asked, encoder) == first


def test_the_order_of_what_is_scored_is_kept(encoder: str) -> None:
    scored = rows(12, 5)
    forward = taught(TOPICS, rows(6), scored, encoder)
    assert taught(TOPICS, rows(6), scored[::-1], encoder) == forward[::-1]


def test_small_sets_are_seen_more_often() -> None:
    assert [epochs(n) for n in (1, 50, 100, 512, 1024, 5000)] == [MOST_EPOCHS, MOST_EPOCHS, 11, 2, 2, 2]
    assert all(epochs(n) * n >= min(SEEN, MOST_EPOCHS * n) for n in range(1, 3000, 7))
    assert BATCH > 1


def test_it_is_a_student_like_others(encoder: str) -> None:
    def labelled(found: list[Row]) -> LabelledSet:
        return LabelledSet(found, [row["label"] for row in found], vectors_of(TOPICS, found))

    one = [row for row in rows(4) if row["label"] == "pets"]
    figures = score_student(
        "transformer", TOPICS, labelled(one), labelled(rows(4)), bootstrap=100, seed=2**70, encoder=encoder
    )
    assert figures.accuracy == 0.5, "a set of one label teaches to always say it"
    figures = score_student(
        "transformer", TOPICS, labelled(rows(8)), labelled(rows(8)), bootstrap=100, seed=2**70, encoder=encoder
    )
    assert figures.accuracy == 1.0


def test_an_encoder_that_is_not_there_is_refused_before_anything_runs(tmp_path: Path, encoder: str) -> None:
    assert encoder_folder(encoder) == Path(encoder)
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text("{}")
    changes = ["students.families=[transformer]", f"students.encoder={bare}"]
    with Agent.open(tmp_path / "home", embedder=HashEmbedder()) as agent:
        with pytest.raises(ModelError, match=r"students\.encoder=.* has no model\.safetensors"):
            agent.synthesize(card(), 4, settings=changes)
        assert agent._home.log.head().seq == 0
    with pytest.raises(ModelError, match="does not exist"):
        encoder_folder(str(tmp_path / "nowhere"))


@pytest.mark.slow
def test_the_real_encoder_is_a_better_student_than_its_frozen_vectors_on_few_rows(shared: Path) -> None:
    """50 questions of each of 6 kinds, scored on 300 others of the train part: .88 against .76 when it was chosen."""
    import json  # noqa: PLC0415

    from synlearner.agent.features import embed_rows  # noqa: PLC0415
    from synlearner.memory import default_embedder  # noqa: PLC0415

    lines = (shared / "data" / "trec6" / "train.jsonl").read_text(encoding="utf-8").strip().split("\n")
    found: list[Row] = [{key: row[key] for key in ("text", "label")} for row in map(json.loads, lines)]
    labels = sorted({row["label"] for row in found})
    of = checked(
        card(labels=dict.fromkeys(labels, ""), seeds=[next(r for r in found if r["label"] == x) for x in labels])
    )
    train = [row for x in labels for row in [r for r in found if r["label"] == x][:50]]
    rest = [row for row in found if row not in train][::4][:300]
    embedder = default_embedder("")

    def labelled(part: list[Row]) -> LabelledSet:
        return LabelledSet(part, [row["label"] for row in part], embed_rows(embedder, of, part))

    tuned, frozen = (
        score_student(family, of, labelled(train), labelled(rest), bootstrap=100, seed=0).accuracy
        for family in ("transformer", "embedding")
    )
    assert tuned > frozen + 0.05
