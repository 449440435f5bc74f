"""Delivered data sets: read from the log, compared with other files, written as files with a data card beside them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from synlearner.agent.cards import Card
from synlearner.agent.config import changed
from synlearner.agent.datacard import Compared, Dataset, data_card
from synlearner.agent.features import Matrix
from synlearner.agent.figures import figures
from synlearner.agent.licence import UNKNOWN, licence_of
from synlearner.agent.overlap import leaked, texts_of
from synlearner.agent.reading import read_rows
from synlearner.agent.vectors import recorded
from synlearner.errors import ConfigError, LogError
from synlearner.events.blobs import BlobStore
from synlearner.events.log import EventLog
from synlearner.events.types import (
    DatasetDelivered,
    HistoryForked,
    PlannedPrompt,
    PromptsPlanned,
    RunStarted,
    SampleGenerated,
    SampleScored,
    SetScored,
    StudentScored,
    TaskArrived,
)

FORMATS = ("jsonl", "parquet", "hf")


def delivered_rows(log: EventLog, name: str) -> Dataset:
    """Return the newest data set delivered for task *name*.

    Raises:
        ConfigError: If there is none; the message says how far the task is, or which tasks there are.
    """
    current = Dataset(name)
    found: Dataset | None = None
    scores: dict[int, SampleScored] = {}
    known: dict[str, bool] = {}
    for event in log.read():
        fact = event.fact
        if isinstance(fact, RunStarted):
            current = Dataset(name, run=event, settings=fact.settings)
        elif isinstance(fact, HistoryForked):
            current.settings = changed(current.settings, fact.changes)
        elif isinstance(fact, TaskArrived):
            known.setdefault(event.task, False)
            current, scores = Dataset(name, run=current.run, settings=current.settings, arrived=fact), {}
        elif event.task != name:
            continue
        elif isinstance(fact, SampleScored) and fact.accepted:
            scores[fact.sample] = fact
        elif isinstance(fact, SetScored):
            current.places |= {seq: (fact.embeddings, place) for place, seq in enumerate(fact.samples)}
        elif isinstance(fact, DatasetDelivered):
            known[name] = True
            current.delivered, current.head = fact, event.hash
            _fill(current, log, scores)
            found = current
        elif isinstance(fact, StudentScored) and fact.split == "test":
            current.students.append(fact)
    if found is not None:
        return found
    if name in known:
        raise ConfigError(
            f"no data set of task {name!r} yet: it is not finished, {len(scores)} samples are accepted so far; go on with "
            "the same `synlearner run` command, then export it"
        )
    tasks = ", ".join(f"{task} ({'delivered' if done else 'not finished'})" for task, done in known.items())
    raise ConfigError(f"no data set of task {name!r} in this home; tasks here: {tasks or 'none'}")


def _fill(dataset: Dataset, log: EventLog, scores: dict[int, SampleScored]) -> None:
    """Give a delivered data set its rows: those that were not redacted."""
    assert dataset.delivered is not None  # noqa: S101 - the caller has set it
    prompts = _prompts(log, [seq for seq in dataset.delivered.samples if seq in scores])
    dataset.seqs = [seq for seq in dataset.delivered.samples if seq in prompts]
    dataset.prompts = [prompts[seq] for seq in dataset.seqs]
    dataset.parts = [scores[seq].parts for seq in dataset.seqs]
    dataset.trimmed = [scores[seq].trimmed for seq in dataset.seqs]
    fields = list(Card.from_record(dataset.arrived.card).fields) if dataset.arrived else []
    dataset.rows = [
        {field: scores[seq].fields[field] for field in fields}
        | ({"label": scores[seq].label or prompts[seq].label} if prompts[seq].label else {})
        for seq in dataset.seqs
    ]


def _prompts(log: EventLog, seqs: list[int]) -> dict[int, PlannedPrompt]:
    """Return the prompt that each sample answered: a sample's cause is the plan of its round.

    Samples that were redacted, or whose plan was, are left out.
    """
    plans: dict[int, Any] = {}
    found = {}
    for seq in seqs:
        sample = log.get(seq)
        plan = sample.causes[0]
        if plan not in plans:
            plans[plan] = log.get(plan).fact
        if isinstance(sample.fact, SampleGenerated) and isinstance(plans[plan], PromptsPlanned):
            found[seq] = plans[plan].prompts[sample.fact.prompt]
    return found


def without_leaks(dataset: Dataset, files: Sequence[str | Path]) -> Dataset:
    """Return *dataset* without the rows that share their wording with a row of one of *files*; its card will say so.

    Args:
        dataset: What was delivered.
        files: JSONL with any fields. The rule is the one that the run left leaks out by.

    Raises:
        ConfigError: If a file cannot be read, or a row of it has no text to compare.
    """
    assert dataset.arrived is not None  # noqa: S101 - a delivered data set has arrived
    card = Card.from_record(dataset.arrived.card)
    gone: set[int] = set()
    compared = list(dataset.compared)
    for file in files:
        real, sha256 = read_rows(str(file), Path(), "--against")
        empty = next((number for number, row in enumerate(real, 1) if not any(map(str.strip, texts_of(card, row)))), 0)
        if empty:
            raise ConfigError(f"--against: {file} row {empty} has no text to compare with")
        leaks = leaked(card, dataset.rows, real, dataset.rule())
        compared.append(Compared(Path(file).name, len(real), sha256, len(dataset.rows), len(leaks)))
        gone |= leaks
    kept = [i for i in range(len(dataset.rows)) if i not in gone]
    return replace(
        dataset,
        rows=[dataset.rows[i] for i in kept],
        seqs=[dataset.seqs[i] for i in kept],
        prompts=[dataset.prompts[i] for i in kept],
        parts=[dataset.parts[i] for i in kept],
        trimmed=[dataset.trimmed[i] for i in kept],
        compared=compared,
        removed=dataset.removed + len(gone),
    )


# ---- files ---------------------------------------------------------------------------------------------------


def export_dataset(dataset: Dataset, form: str, out: Path, blobs: BlobStore | None = None) -> list[Path]:
    """Write *dataset* to *out* in *form* with a data card beside it; return the files.

    `jsonl` and `parquet` are files; `hf` is a folder that `datasets.load_dataset` and the Hub understand. With the
    home's *blobs* the card also tells how different the rows are from one another.

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
        card.write_text(_card(dataset, data, form, blobs), encoding="utf-8")
    except OSError as error:
        raise LogError(f"cannot write '{out}': {error.strerror or error}") from error
    return [data, card]


def _card(dataset: Dataset, data: Path, form: str, blobs: BlobStore | None) -> str:
    assert dataset.arrived is not None  # noqa: S101 - a delivered data set has arrived
    card = Card.from_record(dataset.arrived.card)
    found = figures(card, dataset.rows, dataset.parts, dataset.prompts, _vectors(dataset, blobs))
    licence = licence_of(dataset.model()) if dataset.model() else UNKNOWN
    name = f"data/{data.name}" if form == "hf" else data.name
    return data_card(dataset, name, figures=found, licence=licence, content=data.read_bytes())


def _vectors(dataset: Dataset, blobs: BlobStore | None) -> Matrix | None:
    """Return the recorded vectors of the rows; None where one of them is not at hand, since it was redacted."""
    used = {dataset.places[seq][0] for seq in dataset.seqs if seq in dataset.places}
    missing = any(seq not in dataset.places for seq in dataset.seqs)
    if blobs is None or missing or not dataset.seqs or not all(map(blobs.has, used)):
        return None
    return recorded(blobs, [dataset.places[seq] for seq in dataset.seqs])


def _write_jsonl(dataset: Dataset, out: Path) -> Path:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in dataset.rows)
    out.write_text("".join(lines), encoding="utf-8")
    return out


def _write_parquet(dataset: Dataset, out: Path) -> Path:
    import pyarrow as pa  # noqa: PLC0415 - half a second, and only this format needs it
    import pyarrow.parquet as pq  # noqa: PLC0415

    card = Card.from_record(dataset.arrived.card) if dataset.arrived else None
    names = [*card.fields, *(["label"] if card.labels else [])] if card else []  # columns stand without rows, too
    table = pa.table({name: pa.array([row[name] for row in dataset.rows], pa.string()) for name in names})
    pq.write_table(table, out)
    return out
