"""Task cards and streams: what a person writes, checked whole before anything runs.

A stream file is YAML with `stream`, `description` and `tasks`; a card says what kind of data is wanted. Every refusal
names the file, the task and the key.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from synlearner.agent.attributes import check_attributes
from synlearner.agent.config import first_problem
from synlearner.agent.reading import read_rows, read_yaml
from synlearner.errors import ConfigError

Row = dict[str, str]
"""One labelled example: the card's fields, and `label` where the card has labels."""

NAME = re.compile(r"\w[\w .-]{0,63}")
"""Names become file names: letters, digits, `_`, `-`, `.` and blanks."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldSpec(_Model):
    """One field of a sample."""

    description: str = ""
    words: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 60)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.words[0] > self.words[1]:
            raise ValueError(f"words {list(self.words)} run backwards: write [fewest, most]")
        return self


class Card(_Model):
    """One task of data synthesis. `seeds` are all the real data that the agent may learn from."""

    name: str
    kind: Literal["classification", "pair_classification", "generation"]
    description: str
    fields: dict[str, FieldSpec]
    labels: dict[str, str] = {}
    seeds: list[Row]
    attributes: dict[str, list[str]] = {}
    label_attributes: dict[str, dict[str, list[str]]] = {}
    conflicts: list[dict[str, str | list[str]]] = []
    """Values that never go together: `{attribute: value or values, …}`, where `label` is an attribute like any other."""
    samples: Annotated[int, Field(ge=1, le=1_000_000)] = 100

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError("a name is at most 64 letters, digits, '_', '-', '.' and blanks: it becomes a file name")
        return name

    @field_validator("labels", mode="before")
    @classmethod
    def _text_labels(cls, labels: Any) -> Any:
        if not isinstance(labels, dict):
            raise ValueError("labels map each name to its meaning")  # noqa: TRY004 - pydantic wants ValueError
        for label in labels:
            if not isinstance(label, str):
                raise ValueError(f"label {label!r} is not a text: put it in quotes")  # noqa: TRY004
            if not label.strip():
                raise ValueError("a label is empty")
        folded = [label.strip().casefold() for label in labels]
        twice = next((label for label in labels if folded.count(label.strip().casefold()) > 1), None)
        if twice is not None:
            raise ValueError(f"label {twice!r} stands twice")
        return {label: meaning or "" for label, meaning in labels.items()}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wanted = {"classification": 1, "pair_classification": 2}.get(self.kind)
        if not self.fields or (wanted and len(self.fields) != wanted):
            raise ValueError(f"fields: a {self.kind} has {wanted or 'at least 1'}, not {len(self.fields)}")
        if "label" in self.fields:
            raise ValueError("fields: 'label' is the name of the label itself")
        if self.kind == "generation" and self.labels:
            raise ValueError("labels: a generation has none")
        if self.kind != "generation" and len(self.labels) < 2:
            raise ValueError(f"labels: a {self.kind} has at least 2, not {len(self.labels)}")
        strangers = sorted(self.label_attributes.keys() - self.labels.keys())
        if strangers:
            raise ValueError(f"label_attributes: {strangers[0]!r} is none of the labels")
        check_attributes(self.labels, self.attributes, self.label_attributes, self.conflicts)
        for number, row in enumerate(self.seeds, 1):
            check_row(row, self.fields, self.labels, f"seeds row {number}")
        missing = [label for label in self.labels if all(row["label"] != label for row in self.seeds)]
        if missing:
            raise ValueError(f"seeds: no row has the label {missing[0]!r}")
        if not self.seeds:
            raise ValueError("seeds: there are none; give at least one example")
        return self

    def record(self) -> dict[str, Any]:
        """Return the card as the log keeps it. The log sorts keys, so the order of fields and labels stands beside."""
        order = {"fields": list(self.fields), "labels": list(self.labels)}
        return self.model_dump(mode="json", exclude=None if self.conflicts else {"conflicts"}) | {"order": order}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the card that `record` described."""
        plain = {key: value for key, value in record.items() if key != "order"}
        for key, names in record["order"].items():
            plain[key] = {name: plain[key][name] for name in names}
        return cls.model_validate(plain)


@dataclass(frozen=True, slots=True)
class DataRows:
    """Rows of a file that a card names."""

    rows: list[Row]
    sha256: str


@dataclass(frozen=True, slots=True)
class Task:
    """A card with the real data that is for reporting alone."""

    card: Card
    seeds_sha256: str
    test: DataRows | None = None
    real_train: DataRows | None = None

    def files(self) -> dict[str, DataRows]:
        """Return the reporting files by the key that named them."""
        named = {"test": self.test, "real_train": self.real_train}
        return {key: rows for key, rows in named.items() if rows}


@dataclass(frozen=True, slots=True)
class Stream:
    """Tasks in their order."""

    name: str
    description: str
    tasks: list[Task]

    def digest(self) -> str:
        """Return the SHA-256 of what the stream asks for: cards, rows and files, but no paths."""
        tasks = [{"card": t.card.record(), "files": {k: f.sha256 for k, f in t.files().items()}} for t in self.tasks]
        text = json.dumps({"stream": self.name, "tasks": tasks}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def load_stream(path: str | Path) -> Stream:
    """Read and check a stream file and all files that it names.

    Raises:
        ConfigError: Naming file, task and key. Nothing has run yet.
    """
    file = Path(path)
    tree = read_yaml(file)
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: a stream is a mapping with the keys stream, description and tasks")
    unknown = sorted(map(str, tree.keys() - {"stream", "description", "tasks"}))
    if unknown:
        raise ConfigError(f"{file}: unknown key {unknown[0]!r}; known: stream, description, tasks")
    cards = tree.get("tasks")
    if not isinstance(cards, list) or not cards:
        raise ConfigError(f"{file}: 'tasks' is a list of at least one card")
    tasks = [_load_task(card, number, file) for number, card in enumerate(cards, 1)]
    names = [task.card.name.casefold() for task in tasks]
    twice = next((t.card.name for t in tasks if names.count(t.card.name.casefold()) > 1), None)
    if twice is not None:
        raise ConfigError(f"{file}: task {twice!r} stands twice: names are unique in a stream")
    return Stream(str(tree.get("stream") or file.stem), str(tree.get("description") or ""), tasks)


def make_task(card: dict[str, Any], folder: Path, where: str) -> Task:
    """Check one card; paths in it are relative to *folder*, *where* begins each refusal."""
    known = {*Card.model_fields, "test", "real_train"}
    unknown = sorted(map(str, card.keys() - known))
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}")
    data = {
        key: DataRows(*read_rows(card[key], folder, f"{where}: {key}"))
        for key in ("seeds", "test", "real_train")
        if card.get(key) is not None
    }
    plain = {key: value for key, value in card.items() if key not in {"test", "real_train"} and value is not None}
    if "seeds" in data:
        plain["seeds"] = data["seeds"].rows
    try:
        checked = Card.model_validate(plain)
        checked.model_dump_json()
    except ValidationError as error:
        raise ConfigError(f"{where}: {_plain_problem(error)}") from error
    except ValueError as error:
        raise ConfigError(f"{where}: a text is not valid Unicode: {error}") from error
    for key in ("test", "real_train"):
        for number, row in enumerate(data[key].rows if key in data else [], 1):
            try:
                check_row(row, checked.fields, checked.labels, f"{key} row {number}")
            except ValueError as error:
                raise ConfigError(f"{where}: {error}") from error
    kept = [{k: row[k] for k in (*checked.fields, *(["label"] if checked.labels else []))} for row in checked.seeds]
    checked = checked.model_copy(update={"seeds": kept})
    return Task(checked, data["seeds"].sha256, data.get("test"), data.get("real_train"))


def check_row(row: Row, fields: dict[str, FieldSpec], labels: dict[str, str], where: str) -> None:
    """Raise ValueError unless *row* has every field as a text, and a known label where there are labels."""
    for name in fields:
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise ValueError(f"{where}: field {name!r} is missing or empty")
    if labels and row.get("label") not in list(labels):  # a list, since the value may be anything
        raise ValueError(f"{where}: label {row.get('label')!r} is none of {', '.join(map(repr, labels))}")


def _load_task(card: Any, number: int, file: Path) -> Task:
    if not isinstance(card, dict):
        raise ConfigError(f"{file}: task {number}: a card is a mapping")
    name = card.get("name", number)
    return make_task(card, file.parent, f"{file}: task {name!r}")


def _plain_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    if problem["type"] == "value_error":
        where = ".".join(str(part) for part in problem["loc"])
        text = str(problem["ctx"]["error"])
        return text if not where or text.startswith(where) else f"key {where!r}: {text}"
    if problem["type"] == "missing":
        return f"key {'.'.join(map(str, problem['loc']))!r} is missing"
    return f"key {first_problem(error)}"
