"""The data card beside every exported data set: what is in it, how it was made and judged, how to prove it. Pure."""

import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synlearner.agent.cards import Card, Row
from synlearner.agent.config import DeliverySettings, Settings, differences
from synlearner.agent.delivery import shortfall
from synlearner.events.types import (
    DatasetDelivered,
    Event,
    PlannedPrompt,
    RunStarted,
    StudentScored,
    TaskArrived,
)

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""Size categories of the Hugging Face Hub."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A file that the rows were compared with at export."""

    name: str
    rows: int
    sha256: str
    compared: int
    removed: int


@dataclass(slots=True)
class Dataset:
    """A delivered data set and where it comes from."""

    name: str
    rows: list[Row] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    prompts: list[PlannedPrompt] = field(default_factory=list)
    trimmed: list[bool] = field(default_factory=list)
    """Of each row, whether it was cut at its last whole sentence."""
    """Which each row answered."""
    parts: list[dict[str, float]] = field(default_factory=list)
    """Raw parts of each row's score."""
    places: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Sample to the blob of its vector, and the row there."""
    run: Event | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """In force when it was delivered."""
    arrived: TaskArrived | None = None
    delivered: DatasetDelivered | None = None
    students: list[StudentScored] = field(default_factory=list)
    head: str = ""
    """Hash of the event that delivered it."""
    compared: list[Compared] = field(default_factory=list)
    removed: int = 0
    """Rows that were delivered and are not here, since they share their wording with a file of `compared`."""

    def rule(self) -> DeliverySettings:
        """Return by which rule leaks were left out."""
        return DeliverySettings.model_validate(self.settings.get("delivery", {}))

    def model(self) -> str:
        """Return the name or folder of the base model, where its weights were here; else nothing is known of it."""
        started = self.run.fact if self.run else None
        if not isinstance(started, RunStarted) or not started.base_model.startswith("sha256:"):
            return ""
        policy, server = self.settings["policy"], self.settings.get("server", {})
        return str(server.get("weights", "") if policy.get("engine") == "openai" else policy["model"])


def data_card(dataset: Dataset, file: str, *, figures: Mapping[str, float], licence: str, content: bytes) -> str:
    """Return the data card.

    Args:
        dataset: What was exported.
        file: Name of the file with its rows, from the card's folder.
        figures: What can be told of the rows, by name.
        licence: Of the base model.
        content: Of the file.
    """
    arrived, delivered, run = dataset.arrived, dataset.delivered, dataset.run
    assert arrived and delivered and run and isinstance(run.fact, RunStarted)  # noqa: S101,PT018 - a delivery has them
    card = Card.from_record(arrived.card)
    return (
        "\n".join(
            [
                *_front(dataset, card, file),
                f"# {dataset.name}",
                "",
                f"{card.description} {len(dataset.rows)} synthetic rows in `{file}`, written by SynLearner.",
                "",
                *_content(dataset, card),
                *_origin(dataset, run, run.fact, card, licence),
                *_account(dataset, delivered, card),
                *_figures(figures),
                *_decontamination(dataset, arrived, delivered),
                *_students(dataset.students),
                *_again(dataset, run, run.fact, hashlib.sha256(content).hexdigest()),
            ]
        ).rstrip()
        + "\n"
    )


def _front(dataset: Dataset, card: Card, file: str) -> list[str]:
    """Return the block that the Hub and `datasets` read."""
    count = len(dataset.rows)
    size = next((name for most, name in SIZES if count < most), "n>1M")
    kind = "text-generation" if card.kind == "generation" else "text-classification"
    return [
        "---",
        "tags: [synthetic]",
        f"task_categories: [{kind}]",
        f'size_categories: ["{size}"]',
        f"configs: [{{config_name: default, data_files: [{{split: train, path: {json.dumps(file)}}}]}}]",
        "---",
    ]


def _content(dataset: Dataset, card: Card) -> list[str]:
    counts = Counter(row.get("label", "") for row in dataset.rows)
    return [
        "## Content",
        "",
        *(f"- field `{name}`: {spec.description or name}" for name, spec in card.fields.items()),
        *(f"- label `{label}` ({counts[label]} rows): {meaning}" for label, meaning in card.labels.items()),
        "",
    ]


def _origin(dataset: Dataset, run: Event, started: RunStarted, card: Card, licence: str) -> list[str]:
    frames = Counter(prompt.strategy.split("/", maxsplit=1)[0] for prompt in dataset.prompts)
    shown = {place for prompt in dataset.prompts for place in prompt.exemplars}
    ways = ", ".join(f"{name} {count}" for name, count in sorted(frames.items(), key=lambda f: (-f[1], f[0])))
    return [
        "## How it was made",
        "",
        f"- base model: {f'`{dataset.model()}` ({started.base_model})' if dataset.model() else started.base_model}",
        f"- licence of the base model: {licence}",
        f"- stream `{started.stream}` ({started.stream_digest}), seed {started.seed}, run `{run.run_id}`",
        f"- real data it learnt from: {len(card.seeds)} seeds, and nothing else; prompts of these rows show {len(shown)}",
        *([f"- rows by the frame of their prompt: {ways}"] if ways else []),
        *_rescued(dataset),
        f"- event that delivered it: hash `{dataset.head}`; `synlearner replay --verify` proves it from the log",
        "",
    ]


def _rescued(dataset: Dataset) -> list[str]:
    """Return a line on rows that are not what their prompt asked for, where there are any."""
    pairs = zip(dataset.rows, dataset.prompts, strict=True)
    relabelled = sum(row.get("label", "") != prompt.label for row, prompt in pairs)
    if not relabelled and not any(dataset.trimmed):
        return []
    return [
        (
            f"- rows that are not what was asked for: {relabelled} have the label that the judge finds likeliest, "
            f"{sum(dataset.trimmed)} end with their last whole sentence"
        )
    ]


def _account(dataset: Dataset, delivered: DatasetDelivered, card: Card) -> list[str]:
    whole = len(dataset.rows) == len(delivered.samples)
    lacking = shortfall(card, [row.get("label", "") for row in dataset.rows]) if whole else ""
    redacted = len(delivered.samples) - len(dataset.rows) - dataset.removed
    left_out = {reason: count for reason, count in delivered.left_out.items() if count}
    return [
        "## What became of every sample",
        "",
        (
            f"requested {delivered.requested} = accepted {delivered.accepted} + "
            f"rejected {sum(delivered.rejected.values())} + failed {delivered.failed}"
        ),
        "",
        f"accepted {delivered.accepted} = delivered {len(delivered.samples)} + left out {sum(left_out.values())}",
        "",
        *([f"- {lacking}"] if lacking else []),
        *(f"- rejected, {reason}: {count}" for reason, count in delivered.rejected.items()),
        *(f"- accepted but left out, {reason}: {count}" for reason, count in left_out.items()),
        *(
            [f"- delivered, and left out of this export for a file it was compared with: {dataset.removed}"]
            if dataset.removed
            else []
        ),
        *([f"- delivered, and redacted since: {redacted}"] if redacted else []),
        "",
    ]


def _figures(figures: Mapping[str, float]) -> list[str]:
    if not figures:
        return []
    rows = [f"| {name} | {value:.3f} |" for name, value in figures.items()]
    note = "Computed from the rows above at export; compare them only between sets of equal size."
    return ["## Figures", "", "| what | value |", "|---|---|", *rows, "", note, ""]


def _decontamination(dataset: Dataset, arrived: TaskArrived, delivered: DatasetDelivered) -> list[str]:
    """Return what was compared with what, by which rule, and what came of it."""
    files = {name: data for name, data in arrived.files.items() if name != "seeds"}
    lines = ["## Decontamination", ""]
    if not files and not dataset.compared:
        way_out = "`synlearner dataset export --against FILE.jsonl` compares them with any file."
        return [*lines, f"The card names no test data, so the rows were compared with none. {way_out}", ""]
    table = [
        *(
            f"| `{name}` of the card, before the choice | {data.rows} | {data.sha256} | {delivered.accepted} accepted samples |"
            for name, data in files.items()
        ),
        *(
            f"| `{c.name}`, at export | {c.rows} | {c.sha256} | {c.compared} rows, {c.removed} of them left out |"
            for c in dataset.compared
        ),
    ]
    removed = (
        f" {delivered.left_out.get('test', 0)} accepted samples were left out for the files of the card, of which no row "
        "entered a prompt, a reward or a sample's score."
        if files
        else ""
    )
    return [
        *lines,
        f"{_rule(dataset)}{removed}",
        "",
        "| compared with | rows | sha256 | what was compared |",
        "|---|---|---|---|",
        *table,
        "",
    ]


def _rule(dataset: Dataset) -> str:
    rule = dataset.rule()
    equal = "a sample is left out if its normalised text (letters and digits, lower case) is that of a row there"
    alike = (
        f"if one of its fields shares {rule.leak_words} words in a row with one, or if the Jaccard index of their character "
        f"5-grams is at least {rule.leak_wording:g}."
    )
    if "delivery" in dataset.settings:
        return f"Rule: {equal}, {alike}"
    # A log from before there was more than one rule.
    return f"Rule: {equal}." + (f" At export also {alike}" if dataset.compared else "")


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


def _again(dataset: Dataset, run: Event, started: RunStarted, sha256: str) -> list[str]:
    """Return how to prove the set, and how to make it again."""
    source = str(run.observed.get("source") or "")
    told = {
        key: new
        for key, (_, new) in differences(Settings().model_dump(mode="json"), dataset.settings).items()
        # A log from before a setting lacks it. Where a server stands is nobody else's business.
        if key.partition(".")[2] in dataset.settings.get(key.partition(".")[0], {})
        and not key.startswith(("server.", "policy.base_url"))
    }
    words = ["synlearner", "run", Path(source).name or "STREAM.yaml", "--home", "new-home", "--seed", str(started.seed)]
    words += [part for key, value in told.items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return [
        "## Making it again",
        "",
        "```",
        "synlearner replay --home HOME --verify    # performs every action of its log again and compares",
        shlex.join(words),
        "```",
        "",
        (
            "The second makes equal rows in a new home from the same stream (a built-in one is named without `.yaml`), base "
            "model and numeric fingerprint (torch build, CPU capability, threads). Where the home had earlier runs, or is a "
            "fork, its experience has a part in the rows, and its log alone replays them."
        ),
        "",
        f"sha256 of the data file: {sha256}",
    ]
