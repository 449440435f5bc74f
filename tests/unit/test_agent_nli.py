"""The judge that is a model of natural language inference: asked as its authors ask it, and refused before anything runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from pieces import PAIR, checked, unit_rows
from scipy.special import softmax
from worlds import card, rows

from synlearner.agent import Agent
from synlearner.agent.cards import Card, Row
from synlearner.agent.nli import NliJudge, NliModel, columns
from synlearner.errors import ConfigError, ModelError, SynLearnerError
from synlearner.memory import HashEmbedder

TOPICS = checked(card())
OF_PAIRS = checked(PAIR)
SENTENCE = "This example is {label}: {meaning}."
CLASSES = ["contradiction", "entailment", "neutral"]


def sentences(of: Card) -> list[str]:
    return [f"This example is {label}: {meaning}." for label, meaning in of.labels.items()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [row["text"] for row in rows(80)] + [row[field] for row in PAIR["seeds"] for field in ("text", "text_b")]
    return tiny.encoder(tmp_path_factory.mktemp("nli"), [*texts, *sentences(TOPICS)], CLASSES)


def fidelity(model: NliModel, of: Card, asked: list[Row], labels: list[str]) -> np.ndarray:
    return NliJudge(model, of, SENTENCE).fidelity(unit_rows(len(asked), 4), labels, asked)


def alone(folder: Path, pair: tuple[str, str]) -> np.ndarray:
    """Return the logits of one pair as transformers alone computes them, without any padding."""
    from tokenizers import Tokenizer  # noqa: PLC0415
    from transformers import BertForSequenceClassification  # noqa: PLC0415

    network: Any = BertForSequenceClassification.from_pretrained(folder)
    network.eval()
    read = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(*pair)
    with torch.inference_mode():
        found = network(input_ids=torch.tensor([read.ids]), token_type_ids=torch.tensor([read.type_ids])).logits
    return np.asarray(found[0].double().numpy())


def test_fidelity_is_the_softmax_of_entailment_over_the_labels(folder: Path) -> None:
    """Two labels: p of the first is softmax of both entailment logits, fidelity 2 p - 1. Texts of many lengths share a batch."""
    asked = [{"text": "rain"}, {"text": "my sister talked about rain all evening and the dog"}, *rows(2)]
    found = fidelity(NliModel(str(folder)), TOPICS, asked, ["pets"] * len(asked))
    assert found.std() > 0.05, "else all of them would be right"
    assert fidelity(NliModel(str(folder)), TOPICS, asked, ["weather"] * len(asked)) == pytest.approx(-found)
    for row, value in zip(asked, found, strict=True):
        told = [alone(folder, (row["text"], sentence))[1] for sentence in sentences(TOPICS)]
        assert value == pytest.approx(2 * softmax(told)[0] - 1, abs=1e-5)


def test_a_pair_of_the_models_own_classes_is_read_as_it_is(folder: Path) -> None:
    """Labels `entailment` and `contradiction` are two of its three classes: the third has no say."""
    found = fidelity(NliModel(str(folder)), OF_PAIRS, OF_PAIRS.seeds, ["entailment"] * 4)
    assert found.std() > 0.001
    for row, value in zip(OF_PAIRS.seeds, found, strict=True):
        logits = alone(folder, (row["text"], row["text_b"]))
        assert value == pytest.approx(2 * softmax(logits[[1, 0]])[0] - 1, abs=1e-5)


def test_which_columns_are_read() -> None:
    assert columns(["LABEL_A", "Entailment"], TOPICS, "m") == [1]
    assert columns(["Contradiction", "NEUTRAL", "Entailment"], OF_PAIRS, "m") == [2, 0]


def test_no_samples_have_no_scores(folder: Path) -> None:
    assert fidelity(NliModel(str(folder)), TOPICS, [], []).shape == (0,)


def test_the_digest_is_of_all_that_it_is_made_of(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert NliModel(str(copy)).digest == NliModel(str(folder)).digest
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    assert NliModel(str(copy)).digest != NliModel(str(folder)).digest


# ---- refused before anything runs ----------------------------------------------------------------------------


def without(folder: Path, name: str) -> None:
    (folder / name).unlink()


def pickled(folder: Path) -> None:
    without(folder, "model.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def with_config(**changes: Any) -> Any:
    def change(folder: Path) -> None:
        tree = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(tree | changes))

    return change


def headless(folder: Path) -> None:
    shutil.rmtree(folder)
    tiny.encoder(folder, ["a"])
    with_config(id2label={"0": "entailment", "1": "neutral"})(folder)


REFUSED: dict[str, tuple[Any, str]] = {
    "no such folder": (shutil.rmtree, r"model' does not exist: pass a folder"),
    "no model in it": (lambda folder: without(folder, "config.json"), r"is a folder without config\.json"),
    "no weights": (lambda folder: without(folder, "model.safetensors"), r"nli\.model=.* has no model\.safetensors"),
    "no tokenizer": (lambda folder: without(folder, "tokenizer.json"), r"nli\.model=.* has no tokenizer\.json"),
    "pickled weights": (pickled, r"nli\.model=.* has its weights pickled, which are never loaded"),
    "code of its own": (
        with_config(auto_map={"AutoModel": "evil.Model"}),
        r"needs code of its own, which is never run",
    ),
    "no config": (lambda folder: (folder / "config.json").write_text("[]"), r"says nothing of its classes"),
    "classes without names": (
        with_config(id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}),
        r"tells 'LABEL_0', 'LABEL_1', 'LABEL_2' apart, and there is no class 'entailment' among them",
    ),
    "an encoder alone": (headless, r"nli\.model=.* has no weights for classifier\.bias"),
    "weights that are none": (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), r"cannot be read: "),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_judge_is_refused_on_one_line_before_anything_runs(what: str, folder: Path, tmp_path: Path) -> None:
    spoil, message = REFUSED[what]
    model = shutil.copytree(folder, tmp_path / "model")
    spoil(model)
    with Agent.open(tmp_path / "home", embedder=HashEmbedder()) as agent:
        with pytest.raises(SynLearnerError, match=message) as error:
            agent.synthesize(card(), 4, settings=[f"nli.model={model}"])
        assert agent._home.log.head().seq == 0
    assert "\n" not in str(error.value)
    assert isinstance(error.value, ModelError | ConfigError)


def test_labels_of_pairs_that_it_does_not_tell_apart_are_refused(folder: Path) -> None:
    same = checked(PAIR | {"labels": {"same": "", "other": ""}, "seeds": [row | {"label": x} for x, row in zip(["same", "other"], PAIR["seeds"], strict=False)]})  # fmt: skip
    with pytest.raises(ConfigError, match=r"there is no label 'same' of task 'pairs' among them: name a folder"):
        columns(CLASSES, same, "m")


def test_another_model_than_the_one_that_was_recorded_is_refused(folder: Path, tmp_path: Path) -> None:
    with (
        Agent.open(tmp_path / "home", embedder=HashEmbedder()) as agent,
        pytest.raises(ConfigError, match=r"nli\.digest='sha256:0' is not that of .*: bring the same model back"),
    ):
        agent.synthesize(card(), 4, settings=[f"nli.model={folder}", "nli.digest=sha256:0"])


@pytest.mark.parametrize("sentence", ["", "about pets", "{other}"])
def test_a_sentence_that_says_nothing_of_the_label_is_refused(sentence: str, tmp_path: Path) -> None:
    with (
        Agent.open(tmp_path / "home", embedder=HashEmbedder()) as agent,
        pytest.raises(ConfigError, match=r"nli\.sentence="),
    ):
        agent.synthesize(card(), 4, settings=[f"nli.sentence={json.dumps(sentence)}"])
