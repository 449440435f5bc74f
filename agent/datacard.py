"""The data card beside every exported data set: what is in it, how it was made and judged, how to prove it. Pure."""

from dataclasses import dataclass, field

from synlearner.agent.cards import Card, Row
from synlearner.events.types import DatasetDelivered, Event, RunStarted, StudentScored, TaskArrived


@dataclass(slots=True)
class Dataset:
    """A delivered data set and where it comes from."""

    name: str
    rows: list[Row] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    run: Event | None = None
    arrived: TaskArrived | None = None
    delivered: DatasetDelivered | None = None
    students: list[StudentScored] = field(default_factory=list)
    head: str = ""
    """Hash of the event that delivered it."""


def data_card(dataset: Dataset, file: str) -> str:
    """Return the data card: what is in it, how it was made and judged, and how to make it again."""
    arrived, delivered, run = dataset.arrived, dataset.delivered, dataset.run
    assert arrived and delivered and run and isinstance(run.fact, RunStarted)  # noqa: S101,PT018 - a delivery has them
    card = Card.from_record(arrived.card)
    redacted = len(delivered.samples) - len(dataset.rows)
    counts = {label: sum(row.get("label") == label for row in dataset.rows) for label in card.labels}
    lines = [
        "---",
        "tags: [synthetic]",
        f"size: {len(dataset.rows)}",
        "---",
        f"# {dataset.name}",
        "",
        f"{card.description} {len(dataset.rows)} synthetic rows in `{file}`, written by SynLearner.",
        "",
        "## Content",
        "",
        *(f"- field `{name}`: {spec.description or name}" for name, spec in card.fields.items()),
        *(f"- label `{label}` ({count} rows): {card.labels[label]}" for label, count in counts.items()),
        "",
        "## How it was made",
        "",
        f"- base model: `{run.fact.settings['policy']['model']}` ({run.fact.base_model})",
        f"- stream `{run.fact.stream}` ({run.fact.stream_digest}), seed {run.fact.seed}, run `{run.run_id}`",
        f"- real data it learnt from: {len(card.seeds)} seeds, and nothing else",
        f"- event that delivered it: hash `{dataset.head}`; `synlearner replay --verify` proves it from the log",
        "",
        "## What became of every sample",
        "",
        (
            f"requested {delivered.requested} = accepted {delivered.accepted} + "
            f"rejected {sum(delivered.rejected.values())} + failed {delivered.failed}"
        ),
        "",
        *(f"- rejected, {reason}: {count}" for reason, count in delivered.rejected.items()),
        *(f"- accepted but left out, {reason}: {count}" for reason, count in delivered.left_out.items() if count),
        *([f"- delivered, and redacted since: {redacted}"] if redacted else []),
        "",
        *_decontamination(arrived, delivered),
        *_students(dataset.students),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _decontamination(arrived: TaskArrived, delivered: DatasetDelivered) -> list[str]:
    files = {name: data for name, data in arrived.files.items() if name != "seeds"}
    if not files:
        return []
    removed = delivered.left_out.get("test", 0)
    named = "; ".join(f"`{name}` ({data.rows} rows, sha256 {data.sha256})" for name, data in files.items())
    return [
        "## Decontamination",
        "",
        (
            f"Checked against {named}: {removed} accepted samples had the normalised text of a row there and were left "
            "out. None of these rows entered a prompt, a reward or a score."
        ),
        "",
    ]


def _students(students: list[StudentScored]) -> list[str]:
    if not students:
        return []
    rows = [
        f"| {s.family} | {s.source} | {s.trained_on} | {s.accuracy:.3f} [{s.interval[0]:.3f}, {s.interval[1]:.3f}] | {s.macro_f1:.3f} |"
        for s in students
    ]
    head = [
        "## Students, scored on the test data",
        "",
        "| student | trained on | rows | accuracy, 95 % | macro F1 |",
        "|---|---|---|---|---|",
    ]
    return [*head, *rows, ""]
