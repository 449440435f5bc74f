"""Delivered data sets: read from the log, written as files with a data card beside them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synlearner.agent.cards import Card, Row
from synlearner.agent.datacard import Dataset, data_card
from synlearner.errors import ConfigError, LogError
from synlearner.events.log import EventLog
from synlearner.events.types import (
    DatasetDelivered,
    Event,
    PromptsPlanned,
    RunStarted,
    SampleGenerated,
    SampleScored,
    StudentScored,
    TaskArrived,
)

FORMATS = ("jsonl", "parquet", "hf")


def delivered_rows(log: EventLog, name: str) -> Dataset:
    """Return the newest data set delivered for task *name*.

    Raises:
        ConfigError: If there is none; the message says which tasks there are.
    """
    current = Dataset(name)
    found: Dataset | None = None
    scores: dict[int, SampleScored] = {}
    known: dict[str, bool] = {}
    run: Event | None = None
    for event in log.read():
        fact = event.fact
        if isinstance(fact, RunStarted):
            run = event
        elif isinstance(fact, TaskArrived):
            known.setdefault(event.task, False)
            current, scores = Dataset(event.task, run=run, arrived=fact), {}
        elif event.task != name:
            continue
        elif isinstance(fact, SampleScored) and fact.accepted:
            scores[fact.sample] = fact
        elif isinstance(fact, DatasetDelivered):
            known[name] = True
            labels = _labels(log, [seq for seq in fact.samples if seq in scores])
            current.delivered, current.head = fact, event.hash
            current.seqs = [seq for seq in fact.samples if seq in labels]
            fields = list(Card.from_record(current.arrived.card).fields) if current.arrived else []
            rows = ({field: scores[seq].fields[field] for field in fields} for seq in current.seqs)
            current.rows = [_row(row, labels[seq]) for seq, row in zip(current.seqs, rows, strict=True)]
            found = current
        elif isinstance(fact, StudentScored) and fact.split == "test":
            current.students.append(fact)
    if found is None:
        tasks = ", ".join(f"{task} ({'delivered' if done else 'not finished'})" for task, done in known.items())
        raise ConfigError(f"no data set of task {name!r} in this home; tasks here: {tasks or 'none'}")
    return found


def _labels(log: EventLog, seqs: list[int]) -> dict[int, str]:
    """Return the label that each sample was asked for: a sample's cause is the plan of its round.

    Samples that were redacted, or whose plan was, are left out.
    """
    plans: dict[int, Any] = {}
    labels = {}
    for seq in seqs:
        sample = log.get(seq)
        plan = sample.causes[0]
        if plan not in plans:
            plans[plan] = log.get(plan).fact
        if isinstance(sample.fact, SampleGenerated) and isinstance(plans[plan], PromptsPlanned):
            labels[seq] = plans[plan].prompts[sample.fact.prompt].label
    return labels


def _row(fields: Row, label: str) -> Row:
    return fields | ({"label": label} if label else {})


# ---- files ---------------------------------------------------------------------------------------------------


def export_dataset(dataset: Dataset, form: str, out: Path) -> list[Path]:
    """Write *dataset* to *out* in *form* with a data card beside it; return the files.

    `jsonl` and `parquet` are files; `hf` is a folder that `datasets.load_dataset` and the Hub understand.

    Raises:
        ConfigError: If the form is unknown or the place is taken by something else.
        LogError: If the files cannot be written.
    """
    writers: dict[str, Callable[[Dataset, Path], Path]] = {"jsonl": _write_jsonl, "parquet": _write_parquet}
    if form not in FORMATS:
        raise ConfigError(f"format {form!r} is none of {', '.join(FORMATS)}")
    if form != "hf" and out.is_dir():
        raise ConfigError(f"'{out}' is a folder: --out names a file for format {form}")
    if form == "hf" and out.exists() and not out.is_dir():
        raise ConfigError(f"'{out}' is a file: --out names a folder for format hf")
    try:
        if form == "hf":
            (out / "data").mkdir(parents=True, exist_ok=True)
            data, card = _write_parquet(dataset, out / "data" / "train-00000-of-00001.parquet"), out / "README.md"
        else:
            out.parent.mkdir(parents=True, exist_ok=True)
            data, card = writers[form](dataset, out), out.with_name(f"{out.name}.card.md")
        card.write_text(data_card(dataset, data.name), encoding="utf-8")
    except OSError as error:
        raise LogError(f"cannot write '{out}': {error.strerror or error}") from error
    return [data, card]


def _write_jsonl(dataset: Dataset, out: Path) -> Path:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in dataset.rows)
    out.write_text("".join(lines), encoding="utf-8")
    return out


def _write_parquet(dataset: Dataset, out: Path) -> Path:
    import pyarrow as pa  # noqa: PLC0415 - half a second, and only this format needs it
    import pyarrow.parquet as pq  # noqa: PLC0415

    names = list(dataset.rows[0]) if dataset.rows else []
    table = pa.table({name: pa.array([row[name] for row in dataset.rows], pa.string()) for name in names})
    pq.write_table(table, out)
    return out
