"""Data sets as files: what comes back from them, what their card says, and what other files they are compared with."""

import hashlib
import itertools
import json
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pieces import STORY
from runs import SHORT, StopAfter, Stopped, events_of, run, versatile, write_mixed_stream
from worlds import lines, write_stream

from synlearner.agent import Agent
from synlearner.agent.datasets import FORMATS, delivered_rows, export_dataset, without_leaks
from synlearner.agent.forking import fork_home
from synlearner.errors import ConfigError, LogError
from synlearner.events.home import Home
from synlearner.events.types import SampleScored
from synlearner.memory import HashEmbedder

LONGER = (*SHORT, "loop.fill_rounds=8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a data set of each kind of card."""
    folder = tmp_path_factory.mktemp("datasets")
    run(folder / "home", write_mixed_stream(folder), engine=versatile(), settings=LONGER)
    return folder / "home"


# ---- files ---------------------------------------------------------------------------------------------------

FIELDS = {"topics": ["text", "label"], "pairs": ["text", "text_b", "label"], "sums": ["question", "answer"]}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("task", FIELDS)
def test_a_data_set_comes_back_from_its_file(home: Path, tmp_path: Path, task: str, form: str) -> None:
    with Home.open(home) as found:
        dataset = delivered_rows(found.log, task)
    out = tmp_path / "deep" / "out"
    files = export_dataset(dataset, form, out)
    assert all(file.is_file() for file in files)
    if form == "jsonl":
        read = [json.loads(line) for line in lines(out)]
    else:
        read = pq.read_table(out if form == "parquet" else out / "data" / "train-00000-of-00001.parquet").to_pylist()
    assert read == dataset.rows
    assert list(read[0]) == FIELDS[task]
    assert len(read) == len(dataset.seqs) > 0


def test_the_rows_are_the_delivered_samples_with_the_labels_they_were_accepted_as(home: Path) -> None:
    events = {event.seq: event for event in events_of(home)}
    scored = {e.fact.sample: e.fact for e in events.values() if isinstance(e.fact, SampleScored)}
    with Home.open(home) as found:
        dataset = delivered_rows(found.log, "topics")
    for seq, row in zip(dataset.seqs, dataset.rows, strict=True):
        assert scored[seq].accepted
        assert row["text"] == scored[seq].fields["text"]
        plan = events[events[seq].causes[0]].fact
        asked = plan.prompts[events[seq].fact.prompt].label  # type: ignore[union-attr]
        assert row["label"] == (scored[seq].label or asked)
        assert scored[seq].label != asked
    assert any(scored[seq].label for seq in dataset.seqs), "the judge without a model takes some for others"


def test_the_data_card_tells_where_the_rows_come_from(home: Path, tmp_path: Path) -> None:
    with Home.open(home) as found:
        dataset = delivered_rows(found.log, "topics")
        data, file = export_dataset(dataset, "jsonl", tmp_path / "topics.jsonl", found.blobs)
    text = file.read_text(encoding="utf-8")
    assert file.name == "topics.jsonl.card.md"
    delivered = dataset.delivered
    assert delivered is not None
    rejected = sum(delivered.rejected.values())
    for line in (
        "# topics",
        "written by SynLearner",
        "- label `pets` (5 rows): about animals at home",
        f"requested {delivered.requested} = accepted {delivered.accepted} + rejected {rejected} + failed 0",
        f"accepted {delivered.accepted} = delivered 10 + left out {delivered.accepted - 10}",
        "- real data it learnt from: 8 seeds, and nothing else",
        "- licence of the base model: unknown: see the model's page",
        f"hash `{dataset.head}`",
        f"| `test` of the card, before the choice | 12 | {_sha(home.parent / 'test.jsonl')} | {delivered.accepted} accepted",
        "8 words in a row",
        "| embedding | untrained |",
        "| Vendi score (effective number of different rows) |",
        "| self-BLEU-4 |",
        f"sha256 of the data file: {_sha(data)}",
        "- base model: scripted",
        "synlearner run mixed.yaml --home new-home --seed 0 --set loop.fill_rounds=8",
    ):
        assert line in text, line


def _sha(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_data_card_without_test_data_says_so_and_reports_no_students(home: Path, tmp_path: Path) -> None:
    with Home.open(home) as found:
        _, file = export_dataset(delivered_rows(found.log, "sums"), "jsonl", tmp_path / "sums.jsonl")
    text = file.read_text(encoding="utf-8")
    assert "Students" not in text
    assert "The card names no test data, so the rows were compared with none." in text
    assert "Vendi" not in text, "the vectors were not at hand"


def test_the_command_in_the_card_makes_equal_rows(home: Path, tmp_path: Path) -> None:
    with Home.open(home) as found:
        dataset = delivered_rows(found.log, "pairs")
    _, file = export_dataset(dataset, "jsonl", tmp_path / "pairs.jsonl")
    line = next(x for x in file.read_text(encoding="utf-8").splitlines() if x.startswith("synlearner run"))
    words = shlex.split(line)
    assert words[:6] == ["synlearner", "run", "mixed.yaml", "--home", "new-home", "--seed"]
    changes = [value for flag, value in itertools.pairwise(words) if flag == "--set"]
    settings = (*changes, "policy.threads=2")
    run(tmp_path / "home", home.parent / "mixed.yaml", engine=versatile(), settings=settings, seed=int(words[6]))
    with Home.open(tmp_path / "home") as again:
        assert delivered_rows(again.log, "pairs").rows == dataset.rows


def test_the_hub_folder_is_loaded_by_the_library_it_is_for(home: Path, tmp_path: Path) -> None:
    hub = pytest.importorskip("datasets")
    hub.disable_progress_bars()
    for task, fields in FIELDS.items():
        with Home.open(home) as found:
            dataset = delivered_rows(found.log, task)
        export_dataset(dataset, "hf", tmp_path / task)
        loaded = hub.load_dataset(str(tmp_path / task), cache_dir=str(tmp_path / "cache"))
        assert set(loaded) == {"train"}
        assert loaded["train"].column_names == fields
        assert loaded["train"].to_list() == dataset.rows


# ---- compared with other files -------------------------------------------------------------------------------


def test_rows_that_stand_in_another_file_are_left_out_and_accounted_for(home: Path, tmp_path: Path) -> None:
    with Home.open(home) as found:
        whole = delivered_rows(found.log, "topics")
    texts = [row["text"] for row in whole.rows]
    other, clean = tmp_path / "benchmark.jsonl", tmp_path / "clean.jsonl"
    other.write_text("".join(json.dumps({"sentence": text.upper()}) + "\n" for text in texts[:2]), encoding="utf-8")
    clean.write_text('{"sentence": "Quite another thing."}\n', encoding="utf-8")
    kept = without_leaks(whole, [other, clean])
    assert kept.rows == whole.rows[2:]
    assert kept.seqs == whole.seqs[2:]
    assert (kept.removed, [c.removed for c in kept.compared]) == (2, [2, 0])
    assert len(whole.rows) == 10, "the delivery itself is what it was"
    _, card_file = export_dataset(kept, "jsonl", tmp_path / "kept.jsonl")
    text = card_file.read_text(encoding="utf-8")
    assert f"| `benchmark.jsonl`, at export | 2 | {_sha(other)} | 10 rows, 2 of them left out |" in text
    assert f"| `clean.jsonl`, at export | 1 | {_sha(clean)} | 10 rows, 0 of them left out |" in text
    assert "delivered, and left out of this export for a file it was compared with: 2" in text
    assert "redacted" not in text
    assert "for the files of the card, of which no row entered a prompt" in text


def test_nothing_is_claimed_of_a_file_that_the_run_never_saw(home: Path, tmp_path: Path) -> None:
    """It may be the seeds themselves, whose rows stood in prompts."""
    with Home.open(home) as found:
        whole = delivered_rows(found.log, "sums")
    other = tmp_path / "seeds.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in STORY["seeds"]), encoding="utf-8")
    _, page = export_dataset(without_leaks(whole, [other]), "jsonl", tmp_path / "kept.jsonl")
    text = page.read_text(encoding="utf-8")
    assert "| `seeds.jsonl`, at export | 3 |" in text
    assert "of which no row entered" not in text


def test_the_rule_of_a_fork_is_its_own_and_that_of_an_old_log_is_equality(home: Path, tmp_path: Path) -> None:
    with Home.open(home) as found:
        whole = delivered_rows(found.log, "topics")
        seq = next(e.seq for e in found.log.read() if e.kind == "dataset_delivered") - 1
    assert whole.rule().leak_words == 8
    fork_home(home, seq, tmp_path / "fork", ["delivery.leak_words=5"])
    with Agent.open(tmp_path / "fork", engine=versatile(), embedder=HashEmbedder()) as agent:
        agent.run(home.parent / "mixed.yaml")
        forked = delivered_rows(agent._home.log, "topics")
    assert forked.rule().leak_words == 5
    _, page = export_dataset(forked, "jsonl", tmp_path / "forked.jsonl")
    assert "shares 5 words in a row" in page.read_text(encoding="utf-8")
    whole.settings = {part: fields for part, fields in whole.settings.items() if part != "delivery"}
    _, page = export_dataset(whole, "jsonl", tmp_path / "old.jsonl")
    assert "8 words in a row" not in page.read_text(encoding="utf-8")


def test_a_set_of_which_nothing_is_left_is_still_written(home: Path, tmp_path: Path) -> None:
    with Home.open(home) as found:
        whole = delivered_rows(found.log, "topics")
    other = tmp_path / "all.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in whole.rows), encoding="utf-8")
    for form in FORMATS:
        files = export_dataset(without_leaks(whole, [other]), form, tmp_path / f"out-{form}")
        assert "0 synthetic rows" in files[1].read_text(encoding="utf-8")
    table = pq.read_table(tmp_path / "out-parquet")
    assert (table.num_rows, table.column_names) == (0, FIELDS["topics"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("", "has no rows"),
        ("[1]\n", "line 1 is not a JSON object"),
        ('{"text": "a"}\n{"label": "x", "n": 3}\n', "row 2 has no text to compare with"),
        ('{"text": " "}\n', "row 1 has no text to compare with"),
    ],
)
def test_a_file_that_cannot_be_compared_with_is_refused(
    home: Path, tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "other.jsonl"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with Home.open(home) as found, pytest.raises(ConfigError, match=f"--against: .*other.jsonl.*{message}"):
        without_leaks(delivered_rows(found.log, "topics"), [file])


@pytest.mark.parametrize("form", FORMATS)
def test_an_unfinished_task_is_not_exported_and_the_way_out_is_named(tmp_path: Path, form: str) -> None:
    """Stopped in its second round, exported, finished, exported."""
    stream, home = write_stream(tmp_path, "one", "two"), tmp_path / "home"
    stop = StopAfter(lambda state, _: state.task is not None and state.task.round.number == 3)
    with pytest.raises(Stopped):
        run(home, stream, watcher=stop)
    with Home.open(home) as found:
        with pytest.raises(
            ConfigError, match=r"no data set of task 'one' yet: it is not finished, \d+ samples are accepted"
        ):
            delivered_rows(found.log, "one")
        with pytest.raises(
            ConfigError, match=r"no data set of task 'two' in this home; tasks here: one \(not finished"
        ):
            delivered_rows(found.log, "two")
    run(home, stream)
    with Home.open(home) as found:
        files = export_dataset(delivered_rows(found.log, "one"), form, tmp_path / "out", found.blobs)
    assert all(file.stat().st_size for file in files)


def test_places_that_are_taken_and_forms_that_are_none_are_refused(home: Path, tmp_path: Path) -> None:
    with Home.open(home) as found:
        dataset = delivered_rows(found.log, "sums")
        with pytest.raises(ConfigError, match="no data set of task 'nothing' in this home; tasks here: topics"):
            delivered_rows(found.log, "nothing")
    (tmp_path / "file").write_text("x")
    for form, out, message in (
        ("csv", tmp_path / "x", "format 'csv' is none of jsonl, parquet, hf"),
        ("jsonl", tmp_path, "is a folder: --out names a file for format jsonl"),
        ("hf", tmp_path / "file", "is a file: --out names a folder for format hf"),
    ):
        with pytest.raises(ConfigError, match=message):
            export_dataset(dataset, form, out)
    with pytest.raises(LogError, match="cannot write"):
        export_dataset(dataset, "jsonl", tmp_path / "file" / "below")


def test_the_newest_data_set_of_a_name_is_the_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    run(home, write_stream(tmp_path / "a", "one"))
    run(home, write_stream(tmp_path / "b", "one", samples=3), seed=1)
    with Home.open(home) as found:
        assert len(delivered_rows(found.log, "one").rows) == 3
