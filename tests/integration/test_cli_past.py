"""`--as-of SEQ` answers exactly as when SEQ was the head; forks, `log stats` and `log diff` on the command line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import Run, one_line

Home = Path


@pytest.fixture(scope="module")
def end(done: tuple[Path, Path]) -> int:
    from synlearner.events import Home as Opened  # noqa: PLC0415

    with Opened.open(done[0]) as home:
        return home.log.head().seq


def cut_off(run: Run, home: Home, seq: int, folder: Path) -> Home:
    """Make a home that ends at *seq*, as the one at *home* did then."""
    file, cut = folder / f"{seq}.jsonl", folder / f"home-{seq}"
    assert run("log", "export", file, "--home", home, "--as-of", seq).code == 0
    assert run("log", "import", file, "--home", cut).code == 0
    return cut


def answer(run: Run, home: Home, command: list[Any], *more: object) -> tuple[int, str, Any]:
    """What a command prints; of one that writes a file, what is in there."""
    ran = run(*command, "--home", home, *more)
    assert str(home) not in ran.out
    files = [Path(part) for part in command if isinstance(part, Path)]
    return ran.code, ran.out, [file.read_bytes() for file in files if file.exists()]


def test_every_command_that_reads_answers_as_it_did_then(
    run: Run, done: tuple[Path, Path], end: int, tmp_path: Path
) -> None:
    items = run("memory", "list", "--home", done[0], "--json", "--limit", 1000).data["results"]
    last_item = items[-1]["id"]
    commands: list[list[Any]] = [
        ["log", "digest", "--json"],
        ["log", "tail", "-n", 4, "--json"],
        ["log", "show", 7, "--json"],
        ["log", "export", tmp_path / "out.jsonl"],
        ["memory", "search", "a short remark", "--json", "-k", 3],
        ["memory", "list", "--json"],
        ["memory", "get", last_item, "--json"],
        ["memory", "history", last_item, "--json"],
        ["memory", "explain", last_item, "--json"],
        ["memory", "export", tmp_path / "items.jsonl"],
        ["dataset", "export", "--task", "topics", "--out", tmp_path / "rows.jsonl"],
    ]
    learnt = next(
        event["seq"]
        for event in run("log", "tail", "-n", end, "--home", done[0], "--json").data
        if event["kind"] == "experience_learned"
    )
    for seq in (learnt, end - 3):
        cut = cut_off(run, done[0], seq, tmp_path)
        for command in commands:
            assert answer(run, done[0], command, "--as-of", seq) == answer(run, cut, command), (seq, command)
        then = run("replay", "--home", done[0], "--as-of", seq, "--json").data
        assert run("replay", "--home", cut, "--json").data == then
        stats = [
            run("log", "stats", "--home", home, "--json", *more).data
            for home, more in ((done[0], ["--as-of", seq]), (cut, []))
        ]
        for found in stats:  # blobs are what is in the folder now
            del found["blobs"], found["blob_bytes"]
        assert stats[0] == stats[1]
        stats = [run("memory", "stats", "--home", home, "--json", "--as-of", seq).data for home in (done[0], cut)]
        assert stats[0] == stats[1]


def test_what_was_not_there_yet_is_refused_as_it_was_then(run: Run, done: tuple[Path, Path], end: int) -> None:
    last_item = run("memory", "list", "--home", done[0], "--json").data["results"][-1]["id"]
    one_line(run("memory", "get", last_item, "--home", done[0], "--as-of", 3), "no item")
    one_line(run("log", "show", 4, "--home", done[0], "--as-of", 3), "there is no event 4: this log holds 1 to 3")
    one_line(run("dataset", "export", "--task", "topics", "--out", "x", "--home", done[0], "--as-of", 5), "no data set")
    for command in (["log", "digest"], ["memory", "list"], ["log", "stats"]):
        for seq in (-1, end + 1):
            one_line(run(*command, "--home", done[0], "--as-of", seq), f"--as-of {seq} is no moment", f"1 to {end}")
    one_line(run("log", "tail", "--follow", "--as-of", 3, "--home", done[0]), "nothing comes after the past")
    assert run("log", "digest", "--home", done[0], "--as-of", 0, "--json").data == {"events": 0, "digest": "0" * 64}


def test_a_fork_answers_as_its_parent_did_and_goes_its_own_way(
    run: Run, done: tuple[Path, Path], end: int, tmp_path: Path
) -> None:
    home, child, copy = done[0], tmp_path / "child", tmp_path / "copy"
    forked = run("fork", "--home", home, "--at", end, "--into", child, "--json").data
    copied = run("fork", "--home", home, "--at", end, "--into", copy, "--copy", "--json").data
    assert (forked["events"], forked["digest"]) == (copied["events"], copied["digest"])
    assert not list((child / "blobs").iterdir())
    for fork in (child, copy):
        assert run("log", "verify", "--home", fork).code == 0
        assert run("replay", "--home", fork, "--verify", "--json").data["verified"] is True
        for command in (["memory", "search", "a short remark", "-k", 3, "--json"], ["memory", "list", "--json"]):
            assert run(*command, "--home", fork).data == run(*command, "--home", home).data
        for name, task in ((home, "parent"), (fork, fork.name)):
            out = tmp_path / f"{task}.jsonl"
            assert run("dataset", "export", "--task", "topics", "--home", name, "--out", out).code == 0
        assert (tmp_path / "parent.jsonl").read_bytes() == (tmp_path / f"{fork.name}.jsonl").read_bytes()
        assert run("memory", "add", "A lesson of its own", "--home", fork).code == 0
    stats = run("log", "stats", "--home", child, "--json").data
    assert (stats["events"], stats["shared"]) == (end + 2, end)
    assert run("log", "diff", child, copy, "--json").data["equal"] is True
    found = run("log", "diff", home, child, "--json")
    assert (found.code, found.data["common"], found.data["difference"]["cause"]) == (1, end, "extra")


def test_a_parent_that_is_gone_is_one_clear_line(run: Run, done: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(done[0], tmp_path / "parent")
    run("fork", "--home", tmp_path / "parent", "--at", 9, "--into", tmp_path / "child")
    (tmp_path / "parent").rename(tmp_path / "moved")
    for command in (["log", "digest"], ["log", "verify"], ["memory", "list"], ["replay"]):
        ran = run(*command, "--home", tmp_path / "child")
        one_line(ran, "begins in the home", "put it back, or write where it is now into", "parent.json")
        assert ran.code == 1


def test_two_histories_are_compared(run: Run, done: tuple[Path, Path], end: int, tmp_path: Path) -> None:
    shutil.copytree(done[0], tmp_path / "same")
    equal = run("log", "diff", done[0], tmp_path / "same")
    assert (equal.code, equal.out) == (0, f"equal: {end} events\n")
    run("fork", "--home", done[0], "--at", 5, "--into", tmp_path / "a", "--set", "loop.rounds=3")
    run("fork", "--home", done[0], "--at", 5, "--into", tmp_path / "b", "--set", "loop.rounds=4")
    found = run("log", "diff", tmp_path / "a", tmp_path / "b", "--json")
    assert found.code == 1
    assert found.data["difference"] == {
        "seq": 6, "kind": "history_forked", "cause": "payload", "path": "$.payload.changes.loop.rounds", "a": 3, "b": 4,
    }  # fmt: skip
    text = run("log", "diff", tmp_path / "a", tmp_path / "b")
    assert "event 6 (history_forked): payload, at $.payload.changes.loop.rounds\n  a 3\n  b 4\n" in text.out
    one_line(run("log", "diff", done[0], tmp_path / "none"), "no home at")


def test_a_history_is_exported_as_a_table(run: Run, done: tuple[Path, Path], end: int, tmp_path: Path) -> None:
    ran = run("log", "export", tmp_path / "all.parquet", "--home", done[0], "--json")
    assert (ran.code, ran.data["events"]) == (0, end)
    import pyarrow.parquet as pq  # noqa: PLC0415

    rows = pq.read_table(tmp_path / "all.parquet", columns=["kind", "payload"]).to_pylist()
    assert len(rows) == end
    assert json.loads(rows[-1]["payload"]).keys() == {"tasks", "delivered"}
    ran = run("log", "export", tmp_path / "past.parquet", "--home", done[0], "--as-of", 7, "--json")
    assert ran.data["events"] == pq.read_metadata(tmp_path / "past.parquet").num_rows == 7
