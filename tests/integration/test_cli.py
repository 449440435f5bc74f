"""The command line as outside programs use it: what it prints, with which exit code, and what it refuses."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from worlds import card, write_stream

from synlearner.cli import main

SETTINGS = [
    "loop.rounds=2", "loop.prompts=3", "loop.group=4", "loop.fill_rounds=1", "students.bootstrap=100",
    "reward.min_fidelity=-1", "reward.min_quality=0",
]  # fmt: skip
"""Quick, and such that gibberish is accepted: what is tested is the command line."""


class Ran:
    """What a command printed and returned."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process."""

    def perform(*arguments: object) -> Ran:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return perform


def settings(model: Path) -> list[str]:
    return [part for value in [f"policy.model={model}", *SETTINGS] for part in ("--set", value)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> tuple[Path, Path]:
    """A home with a finished run, and the stream's file."""
    folder = tmp_path_factory.mktemp("done")
    stream = write_stream(folder / "s", "topics", "again", samples=6)
    assert main(["run", str(stream), "--home", str(folder / "h"), "--json", "--quiet", *settings(tiny_folder)]) == 0
    return folder / "h", stream


def one_line(ran: Ran, *words: str) -> None:
    """The refusal is one clear line on stderr, and nothing is on stdout."""
    assert ran.out == ""
    assert ran.err.count("\n") == 1, ran.err
    assert ran.err.startswith("synlearner: ")
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err


def test_a_run_prints_the_document_that_the_design_promises(run: Run, tmp_path: Path, tiny_folder: Path) -> None:
    stream = write_stream(tmp_path / "s", "topics", samples=4)
    ran = run("run", stream, "--home", tmp_path / "h", "--json", "--seed", 3, *settings(tiny_folder))
    assert ran.code == 0
    assert set(ran.data) == {"run_id", "events", "digest", "tasks"}
    task = ran.data["tasks"][0]
    assert set(task) == {"name", "delivered", "student"}
    assert set(task["student"]) == {"accuracy", "macro_f1", "interval", "reference"}
    assert set(task["student"]["reference"]) == {"seeds", "untrained", "real"}
    assert "topics round 1: " in ran.err
    digest = run("log", "digest", "--home", tmp_path / "h", "--json").data
    assert digest == {"events": ran.data["events"], "digest": ran.data["digest"]}


def test_a_run_ends_in_a_table(run: Run, done: tuple[Path, Path], tiny_folder: Path) -> None:
    ran = run("run", done[1], "--home", done[0].parent / "h2", "--quiet", *settings(tiny_folder))
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
    rows = (
        [json.loads(line) for line in data.read_text().splitlines()]
        if form == "jsonl"
        else pq.read_table(data).to_pylist()
    )
    assert len(rows) == ran.data["rows"]
    assert all(set(row) == {"text", "label"} for row in rows)
    assert "requested" in card_file.read_text()


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
        ran = run(*arguments)
        assert ran.code == 1, arguments
        one_line(ran, word)


def test_a_model_folder_that_is_none_is_refused_and_nothing_has_run(
    run: Run, done: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    for model in (tmp_path / "model", tmp_path / "nowhere"):
        ran = run("run", done[1], "--home", tmp_path / "h", "--quiet", "--set", f"policy.model={model}")
        assert ran.code == 1
        one_line(ran, model.name)
        assert run("log", "digest", "--home", tmp_path / "h", "--json").data["events"] == 0


def test_an_unfinished_run_is_not_gone_on_with_as_another(
    run: Run, done: tuple[Path, Path], tmp_path: Path, tiny_folder: Path
) -> None:
    home = tmp_path / "h"
    # A fork is lenient by design; a plain unfinished run is made by importing a cut log.
    run("log", "export", tmp_path / "all.jsonl", "--home", done[0])
    lines = (tmp_path / "all.jsonl").read_text().splitlines(keepends=True)
    kinds = [json.loads(line)["kind"] for line in lines]
    (tmp_path / "cut.jsonl").write_text("".join(lines[: kinds.index("policy_updated") + 1]))
    (tmp_path / "all.jsonl.blobs").rename(tmp_path / "cut.jsonl.blobs")
    assert run("log", "import", tmp_path / "cut.jsonl", "--home", home).code == 0
    before = run("log", "digest", "--home", home, "--json").data
    other = write_stream(tmp_path / "other", "topics", samples=9)
    for arguments, word in [
        ([other, *settings(tiny_folder)], "stream"),
        ([done[1]], "loop.rounds"),
        ([done[1], "--seed", 5, *settings(tiny_folder)], "--seed"),
    ]:
        ran = run("run", *arguments, "--home", home, "--quiet")
        assert ran.code == 1
        one_line(ran, word, "unfinished")
    assert run("log", "digest", "--home", home, "--json").data == before
    resumed = run("run", done[1], "--home", home, "--quiet", "--json", *settings(tiny_folder))
    assert resumed.data["digest"] == run("log", "digest", "--home", done[0], "--json").data["digest"]


def test_a_changed_log_or_blob_cannot_be_trusted(run: Run, done: tuple[Path, Path], tmp_path: Path) -> None:
    for victim in ("log.sqlite", "blobs"):
        home = tmp_path / victim
        subprocess.run(["cp", "-r", str(done[0]), str(home)], check=True)  # noqa: S607
        file = (
            next(path for path in (home / victim).rglob("*") if path.is_file()) if victim == "blobs" else home / victim
        )
        data = bytearray(file.read_bytes())
        place = data.find(b'"remark') if victim == "log.sqlite" else len(data) - 1
        place = place if place >= 0 else len(data) // 2
        data[place] ^= 1
        file.chmod(0o644)
        file.write_bytes(data)
        ran = run("log", "verify", "--home", home)
        assert ran.code == 3, ran.out
        assert "Traceback" not in ran.err


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "synlearner", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_for_events(home: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (home / "log.sqlite").exists():
            seen = subprocess.run(
                [sys.executable, "-m", "synlearner", "log", "digest", "--home", str(home), "--json"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if seen.returncode == 0 and json.loads(seen.stdout)["events"] >= count:
                return
        time.sleep(0.1)
    raise TimeoutError(f"{home} has not come to {count} events")


def test_ctrl_c_leaves_one_line_and_a_run_that_goes_on(
    run: Run, done: tuple[Path, Path], tmp_path: Path, tiny_folder: Path
) -> None:
    home = tmp_path / "h"
    process = start("run", done[1], "--home", home, *settings(tiny_folder))
    wait_for_events(home, 10)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    assert "Traceback" not in err
    if process.returncode == 130:
        assert out == ""
        assert err.splitlines()[-1].startswith("synlearner: interrupted")
    resumed = run("run", done[1], "--home", home, "--json", "--quiet", *settings(tiny_folder))
    assert resumed.data["digest"] == run("log", "digest", "--home", done[0], "--json").data["digest"]


def test_a_second_writer_is_told_so(run: Run, done: tuple[Path, Path], tmp_path: Path, tiny_folder: Path) -> None:
    home = tmp_path / "h"
    process = start("run", done[1], "--home", home, *settings(tiny_folder))
    try:
        wait_for_events(home, 2)
        ran = run("run", done[1], "--home", home, "--quiet", *settings(tiny_folder))
        if process.poll() is None:
            assert ran.code == 1
            one_line(ran, str(process.pid))
    finally:
        process.kill()
        process.communicate()


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    run: Run, done: tuple[Path, Path], tmp_path: Path, tiny_folder: Path
) -> None:
    home = tmp_path / "h"

    def limit() -> None:
        # No file may grow beyond this: writes fail as they do on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))

    process = start("run", done[1], "--home", home, "--quiet", *settings(tiny_folder), preexec_fn=limit, env=os.environ)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert err.count("\n") == 1, err
    assert run("log", "verify", "--home", home).code == 0
    resumed = run("run", done[1], "--home", home, "--json", "--quiet", *settings(tiny_folder))
    assert resumed.data["digest"] == run("log", "digest", "--home", done[0], "--json").data["digest"]


def test_a_log_that_was_cut_within_a_batch_is_gone_on_with_from_a_fork(
    run: Run, done: tuple[Path, Path], tmp_path: Path, tiny_folder: Path
) -> None:
    run("log", "export", tmp_path / "all.jsonl", "--home", done[0])
    lines = (tmp_path / "all.jsonl").read_text().splitlines(keepends=True)
    within = [json.loads(line)["kind"] for line in lines].index("sample_generated") + 2
    (tmp_path / "all.jsonl").write_text("".join(lines[:within]))
    run("log", "import", tmp_path / "all.jsonl", "--home", tmp_path / "h")
    one_line(run("run", done[1], "--home", tmp_path / "h", "--quiet", *settings(tiny_folder)), "within a batch")
    assert run("fork", "--home", tmp_path / "h", "--at", within, "--into", tmp_path / "new").code == 0
    assert run("run", done[1], "--home", tmp_path / "new", "--quiet").code == 0
