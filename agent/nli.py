"""A judge of fidelity by choice: a model of natural language inference, as Hugging Face keeps them. It learns nothing here.

Does a text entail the sentence that says what its label means? Zero-shot classification of Yin et al. 2019,
arXiv:1909.00161: softmax over the labels' entailment logits. For pairs whose labels are the model's own classes, the pair
itself is read. On the CPU in float32; safetensors alone, and no code from the model's folder is run.
"""

import hashlib
import inspect
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from synlearner.agent.build import limit_threads
from synlearner.agent.cards import Card, Row
from synlearner.agent.config import Settings
from synlearner.agent.features import Matrix
from synlearner.agent.judge import Scores, corrected
from synlearner.errors import ConfigError, ModelError
from synlearner.policies.fetch import find

if TYPE_CHECKING:
    from torch import Tensor

FILES = ("config.json", "model.safetensors", "tokenizer.json")

TOKENS = 256
"""Longer pairs are cut."""

BATCH = 32

WAY_OUT = "name a folder, or a hub name, of a sequence classifier in safetensors with an 'entailment' class"


class NliModel:
    """A classifier of pairs of texts: premise and hypothesis."""

    def __init__(self, name: str) -> None:
        """Load it.

        Raises:
            ModelError: If it is not there, is none, is pickled, or needs code of its own.
        """
        files = _files(name)
        hasher = hashlib.sha256()
        for file in files:
            hasher.update(hashlib.sha256(file.read_bytes()).digest())
        self.digest = f"sha256:{hasher.hexdigest()}"
        """Of configuration, weights and tokenizer."""
        self.name = name
        self.classes = _classes(name, files[0])
        """What it tells apart, in the order of its logits."""
        self._network, self._tokenizer = _load(name, files)
        self._has_types = "token_type_ids" in inspect.signature(self._network.forward).parameters

    def logits(self, pairs: Sequence[tuple[str, str]]) -> Scores:
        """Return one row of logits per (premise, hypothesis), shape `(N, classes)`. Pairs of like length share a batch."""
        import torch  # noqa: PLC0415 - only who asks for this judge pays for it

        read = self._tokenizer.encode_batch(list(pairs))
        order = sorted(range(len(pairs)), key=lambda i: (len(read[i].ids), i))
        found = np.zeros((len(pairs), len(self.classes)))
        with torch.inference_mode():
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                found[batch] = self._forward([read[i] for i in batch]).double().numpy()
        return found

    def _forward(self, texts: Sequence[Any]) -> "Tensor":
        import torch  # noqa: PLC0415

        longest = max(len(text.ids) for text in texts)

        def padded(rows: Iterable[list[int]], filler: int) -> "Tensor":
            return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])

        ids = padded((text.ids for text in texts), self._network.config.pad_token_id or 0)
        types = {"token_type_ids": padded((text.type_ids for text in texts), 0)} if self._has_types else {}
        mask = padded((text.attention_mask for text in texts), 0)
        logits: Tensor = self._network(input_ids=ids, attention_mask=mask, **types).logits
        return logits


class NliJudge:
    """Asks a model whether a sample is of its label."""

    def __init__(self, model: NliModel, card: Card, sentence: str) -> None:
        """Ask of the labels of *card*.

        Args:
            model: Whom to ask.
            card: With labels.
            sentence: What follows from a text of a label, with `{label}` or `{meaning}` in it.

        Raises:
            ConfigError: If the model tells nothing of these labels.
        """
        self._model, self._labels, self._fields = model, list(card.labels), list(card.fields)
        self._columns = columns(model.classes, card, model.name)
        named = ((label, meaning or label) for label, meaning in card.labels.items())
        self._sentences = [sentence.replace("{label}", label).replace("{meaning}", meaning) for label, meaning in named]
        self._pairs = card.kind == "pair_classification"
        self._told: tuple[list[Row], Scores] | None = None
        """The rows that were read last, and what it said of them."""

    def fidelity(self, vectors_N_D: Matrix, labels: Sequence[str], rows: Sequence[Row] = ()) -> Scores:
        """Return the chance-corrected probability of each row's label; *vectors_N_D* are not looked at."""
        if not rows:
            return np.zeros(0)
        if self._told is None or self._told[0] != list(rows):  # asked of one label after another, it reads them once
            self._told = (list(rows), softmax(self._logits(rows), axis=1))
        return corrected(self._told[1], labels, self._labels)

    def _logits(self, rows: Sequence[Row]) -> Scores:
        """Return one row per sample, one column per label."""
        if self._pairs:
            first, second = self._fields
            return self._model.logits([(row[first], row[second]) for row in rows])[:, self._columns]
        asked = [(row[self._fields[0]], sentence) for row in rows for sentence in self._sentences]
        return self._model.logits(asked)[:, self._columns[0]].reshape(len(rows), len(self._labels))


def columns(classes: Sequence[str], card: Card, name: str) -> list[int]:
    """Return the model's columns to read: those of the labels for pairs, else that of entailment.

    Raises:
        ConfigError: If it has none of that name.
    """
    known = {label.casefold(): place for place, label in enumerate(classes)}
    wanted = list(card.labels) if card.kind == "pair_classification" else ["entailment"]
    strange = next((label for label in wanted if label.casefold() not in known), None)
    if strange is not None:
        why = f"label {strange!r} of task {card.name!r}" if card.kind == "pair_classification" else "class 'entailment'"
        raise ConfigError(
            f"nli.model={name!r:.80} tells {', '.join(map(repr, classes)):.200} apart, and there is no {why} among them: {WAY_OUT}"
        )
    return [known[label.casefold()] for label in wanted]


def settle_nli(settings: Settings, cards: Iterable[Card]) -> tuple[Settings, NliModel | None]:
    """Return the settings with the digest of the model that they name, and the model; refuse what it cannot judge.

    Raises:
        ModelError: If the model cannot be read.
        ConfigError: If it is not the one whose digest is given, or tells nothing of a card's labels.
    """
    if not settings.nli.model:
        return settings, None
    limit_threads(settings.policy.threads)
    model = NliModel(settings.nli.model)
    if settings.nli.digest not in {"", model.digest}:
        raise ConfigError(
            f"nli.digest={settings.nli.digest!r:.80} is not that of {settings.nli.model!r:.80}, which is {model.digest}: bring "
            "the same model back, or set nli.digest= to take this one"
        )
    for card in cards:
        if card.labels:
            columns(model.classes, card, model.name)
    return settings.model_copy(update={"nli": settings.nli.model_copy(update={"digest": model.digest})}), model


def _files(name: str) -> list[Path]:
    """Return the files of a model, by `FILES`."""
    source = find(name)
    if isinstance(source, Path):
        found = [source / file for file in FILES]
        missing = next((file.name for file in found if not file.is_file()), "")
    else:
        from transformers.utils.hub import cached_file  # noqa: PLC0415 - seconds

        try:
            found = [Path(cached_file(name, file)) for file in FILES]  # type: ignore[arg-type]
        except (OSError, ValueError) as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ModelError(f"nli.model={name!r:.80} cannot be had: {reason:.200}; {WAY_OUT}") from error
        missing = ""
    if missing == "model.safetensors" and any(Path(source).glob("*.bin")):
        raise ModelError(f"nli.model={name!r:.80} has its weights pickled, which are never loaded: {WAY_OUT}")
    if missing:
        raise ModelError(f"nli.model={name!r:.80} has no {missing}: {WAY_OUT}")
    return found


def _classes(name: str, config: Path) -> list[str]:
    """Return the classes that the configuration names, in their order."""
    try:
        tree = json.loads(config.read_bytes())
        if "auto_map" in tree:
            raise ModelError(f"nli.model={name!r:.80} needs code of its own, which is never run: {WAY_OUT}")
        named = {int(place): str(label) for place, label in tree.get("id2label", {}).items()}
        return [named[place] for place in range(max(1, len(named)))]
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ModelError(
            f"nli.model={name!r:.80} has a config.json that says nothing of its classes: {WAY_OUT}"
        ) from error


def _load(name: str, files: Sequence[Path]) -> tuple[Any, Any]:
    """Return network and tokenizer."""
    from tokenizers import Tokenizer  # noqa: PLC0415
    from transformers import AutoModelForSequenceClassification  # noqa: PLC0415 - seconds
    from transformers.utils import logging  # noqa: PLC0415

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = Tokenizer.from_file(str(files[2]))
        network, report = AutoModelForSequenceClassification.from_pretrained(
            files[0].parent,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # what transformers raises over a strange file can be anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(f"nli.model={name!r:.80} cannot be read: {reason:.200}; {WAY_OUT}") from error
    if report["missing_keys"]:  # transformers has made them up, at random
        raise ModelError(f"nli.model={name!r:.80} has no weights for {min(report['missing_keys'])}: {WAY_OUT}")
    tokenizer.enable_truncation(TOKENS)
    tokenizer.no_padding()
    return network.float().eval(), tokenizer
