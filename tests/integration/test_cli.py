"""The command line as outside programs use it: what it prints, with which exit code, and what it refuses."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import Run, one_line, quick_settings
from worlds import card, lines, write_stream


def test_a_run_prints_the_document_that_the_design_promises(run: Run, tmp_path: Path, tiny_folder: Path) -> None:
    stream = write_stream(tmp_path / "s", "topics", samples=4)
    ran = run("run", stream, "--home", tmp_path / "h", "--json", "--seed", 3, *quick_settings(tiny_folder))
    assert ran.code == 0
    assert set(ran.data) == {"run_id", "events", "digest", "tasks"}
    task = ran.data["tasks"][0]
    assert set(task) == {"name", "delivered", "student", "judges"}, "the promised ones, and what the judges said"
    assert set(task["student"]) == {"accuracy", "macro_f1", "interval", "reference", "curve"}
    assert set(task["student"]["reference"]) == {"seeds", "seeds_and_delivered", "untrained", "real"}
    assert "topics round 1: " in ran.err
    digest = run("log", "digest", "--home", tmp_path / "h", "--json").data
    assert digest == {"events": ran.data["events"], "digest": ran.data["digest"]}


def test_a_run_ends_in_a_table(run: Run, done: tuple[Path, Path], tiny_folder: Path) -> None:
    ran = run("run", done[1], "--home", done[0].parent / "h2", "--quiet", *quick_settings(tiny_folder))
    assert ran.code == 0
    assert "whole real train" in ran.out.splitlines()[0]
    assert ran.err == ""


def test_log_commands_read_what_a_run_wrote(run: Run, done: tuple[Path, Path], tmp_path: Path) -> None:
    home = done[0]
    events = run("log", "digest", "--home", home, "--json").data["events"]
    assert run("log", "verify", "--home", home).code == 0
    assert len(run("log", "tail", "-n", 5, "--home", home).out.splitlines()) == 5
    assert run("log", "show", events, "--home", home, "--json").data["kind"] == "run_finished"
    assert run("log", "export", tmp_path / "all.jsonl", "--home", home).code == 0
    copied = run("log", "import", tmp_path / "all.jsonl", "--home", tmp_path / "copy", "--json").data
    assert copied == run("log", "digest", "--home", home, "--json").data
    assert run("log", "verify", "--home", tmp_path / "copy").code == 0


def test_replay_gives_the_same_digests_after_derived_is_gone(run: Run, done: tuple[Path, Path]) -> None:
    first = run("replay", "--home", done[0], "--json").data
    subprocess.run(["rm", "-rf", str(done[0] / "derived")], check=True)  # noqa: S607
    again = run("replay", "--home", done[0], "--json").data
    assert set(first) >= {"memory_digest", "policy_digest", "events", "verified", "first_difference"}
    assert again == first
    assert list((done[0] / "derived").rglob("chroma.sqlite3"))


def test_replay_verify_performs_everything_again(run: Run, done: tuple[Path, Path]) -> None:
    ran = run("replay", "--home", done[0], "--verify", "--json")
    assert ran.code == 0
    assert (ran.data["verified"], ran.data["first_difference"], ran.data["unchecked"]) == (True, None, [])
    regenerated = run("replay", "--home", done[0], "--verify", "--regenerate", "--json")
    assert regenerated.data["verified"] is True
    assert regenerated.data["checked"] > ran.data["checked"]


def test_a_fork_goes_on_with_other_settings(run: Run, done: tuple[Path, Path], tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert run("fork", "--home", done[0], "--at", 30, "--into", new, "--set", "loop.rounds=1").code == 0
    shared = [run("log", "show", 30, "--home", home, "--json").data["hash"] for home in (done[0], new)]
    assert shared[0] == shared[1]
    ran = run("run", done[1], "--home", new, "--json", "--quiet")
    assert ran.code == 0
    assert [task["name"] for task in ran.data["tasks"]] == ["topics", "again"]


def test_memory_commands_find_what_a_run_taught(run: Run, done: tuple[Path, Path], tmp_path: Path) -> None:
    home = done[0]
    found = run("memory", "search", "short remarks", "-k", 2, "--home", home, "--explain", "--json").data["results"]
    assert found
    assert all({"id", "memory", "score", "metadata"} <= set(item) and 0 <= item["score"] <= 1 for item in found)
    item = found[0]["id"]
    assert run("memory", "get", item, "--home", home, "--json").data["id"] == item
    for command in ("explain", "history"):
        assert run("memory", command, item, "--home", home).code == 0
    assert run("memory", "list", "--home", home, "--filter", '{"type": "case"}', "--json").data["results"]
    assert run("memory", "stats", "--home", home, "--json").code == 0
    copy = tmp_path / "notes"
    assert run("memory", "add", "Numbered lists work.", "--home", copy).code == 0
    added = run("memory", "list", "--home", copy, "--json").data["results"][0]["id"]
    assert run("memory", "feedback", added, "--home", copy, "1").code == 0


@pytest.mark.parametrize("form", ["jsonl", "parquet", "hf"])
def test_a_data_set_is_exported_with_its_card(run: Run, done: tuple[Path, Path], tmp_path: Path, form: str) -> None:
    out = tmp_path / f"out.{form}"
    ran = run("dataset", "export", "--home", done[0], "--task", "again", "--format", form, "--out", out, "--json")
    data, card_file = map(Path, ran.data["files"])
    rows = [json.loads(line) for line in lines(data)] if form == "jsonl" else pq.read_table(data).to_pylist()
    assert len(rows) == ran.data["rows"]
    assert all(set(row) == {"text", "label"} for row in rows)
    assert "requested" in card_file.read_text()


def test_an_export_is_compared_with_other_files(run: Run, done: tuple[Path, Path], tmp_path: Path) -> None:
    whole, kept, other = tmp_path / "whole.jsonl", tmp_path / "kept.jsonl", tmp_path / "other.jsonl"
    export = ("dataset", "export", "--home", done[0], "--task", "again", "--out")
    assert run(*export, whole).code == 0
    other.write_text(lines(whole)[0] + "\n")
    ran = run(*export, kept, "--against", other, "--json")
    rows = lines(whole)
    assert ran.data["removed"] >= 1
    assert ran.data["rows"] == len(rows) - ran.data["removed"] == len(lines(kept))
    assert f"other.jsonl: {ran.data['removed']} of {len(rows)} rows share their wording" in run(*export, kept, "--against", other).out  # fmt: skip
    one_line(run(*export, kept, "--against", tmp_path / "nowhere.jsonl"), "--against", "nowhere.jsonl", "no such file")


def test_every_command_explains_itself(run: Run) -> None:
    for command in ("run", "demo", "fetch", "replay", "fork", "log tail", "memory search", "dataset export"):
        ran = run(*command.split(), "--help")
        assert ran.code == 0
        assert "example: synlearner" in " ".join(ran.out.split())


def test_a_wrong_command_line_is_a_usage_error(run: Run) -> None:
    for arguments in ([], ["nonsense"], ["run"], ["log", "show", "x", "--home", "h"], ["fork", "--home", "h"]):
        assert run(*arguments).code == 2


BAD_STREAMS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"lables": {}}, "lables"),
    "missing file": ({"seeds": "nowhere.jsonl"}, "nowhere.jsonl"),
    "empty label": ({"labels": {"pets": "", " ": ""}}, "empty"),
    "label without a seed": ({"labels": {"pets": "", "weather": "", "food": ""}}, "food"),
    "path characters in the name": ({"name": "../x"}, "name"),
    "no samples": ({"samples": 0}, "samples"),
}


@pytest.mark.parametrize("case", BAD_STREAMS)
def test_a_bad_stream_is_refused_before_anything_runs(run: Run, tmp_path: Path, case: str) -> None:
    change, word = BAD_STREAMS[case]
    file = tmp_path / "bad.yaml"
    file.write_text(json.dumps({"stream": "bad", "tasks": [card() | change]}))
    ran = run("run", file, "--home", tmp_path / "h")
    assert ran.code == 1
    one_line(ran, "bad.yaml", word)
    assert not (tmp_path / "h").exists()


def test_bad_arguments_are_refused_in_one_line(run: Run, done: tuple[Path, Path], tmp_path: Path) -> None:
    home, stream = done
    notes = tmp_path / "notes.txt"
    notes.write_text("not a home")
    for arguments, word in [
        (["run", tmp_path / "none.yaml", "--home", tmp_path / "h"], "none.yaml"),
        (["run", stream, "--home", tmp_path / "h", "--set", "loop.rounds=many"], "rounds"),
        (["run", stream, "--home", tmp_path / "h", "--set", "loop.runds=1"], "loop.runds"),
        (["run", stream, "--home", notes], "notes.txt"),
        (["log", "tail", "--home", tmp_path / "none"], "no home"),
        (["log", "show", "99999", "--home", home], "99999"),
        (["replay", "--home", home, "--until", "99999"], "99999"),
        (["replay", "--home", home, "--regenerate"], "--verify"),
        (["fork", "--home", home, "--at", "99999", "--into", tmp_path / "x"], "99999"),
        (["fork", "--home", home, "--at", "5", "--into", home], "empty"),
        (["fork", "--home", home, "--at", "30", "--into", tmp_path / "x", "--set", "policy.rank=2"], "policy.rank"),
        (["memory", "search", "x", "--home", home, "--filter", "{"], "JSON"),
        (["memory", "get", "xyz", "--home", home], "xyz"),
        (["dataset", "export", "--home", home, "--task", "nope", "--out", tmp_path / "o"], "nope"),
        (["log", "import", notes, "--home", tmp_path / "i"], "line 1"),
    ]:
        ran = run(*map(str, arguments))
        assert ran.code == 1, arguments
        one_line(ran, word)
