"""The examples of docs/QUERIES.md, run as they stand there."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from commands import Run

DOC = (Path(__file__).parents[2] / "docs" / "QUERIES.md").read_text(encoding="utf-8")


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)


@pytest.fixture
def table(run: Run, done: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert run("log", "export", tmp_path / "all.parquet", "--home", done[0]).code == 0
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("place", range(len(examples("sql"))))
def test_every_sql_example_answers(table: Path, place: int) -> None:
    with duckdb.connect() as database:
        rows = database.execute(examples("sql")[place]).fetchall()
    assert rows
    assert all(None not in row for row in rows)


def test_sql_and_the_log_agree(table: Path, run: Run, done: tuple[Path, Path]) -> None:
    stats = run("log", "stats", "--home", done[0], "--json").data
    with duckdb.connect() as database:
        rows = database.execute(examples("sql")[0]).fetchall()
    of_log: dict[str, tuple[int, int]] = {}
    for name, share in stats["kinds"].items():
        events, size = of_log.get(name.split()[0], (0, 0))
        of_log[name.split()[0]] = events + share["events"], size + share["bytes"]
    assert {kind: (events, size) for kind, events, size in rows} == of_log
    with closing(sqlite3.connect(f"{(done[0] / 'log.sqlite').as_uri()}?mode=ro", uri=True)) as database:
        query = re.findall(r'sqlite3 .*"(SELECT .*)"', DOC)[0]
        assert dict(database.execute(query).fetchall()) == {kind: events for kind, (events, _) in of_log.items()}


def test_every_python_example_runs(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for example in examples("python"):
        exec(compile(example, "docs/QUERIES.md", "exec"), {})  # noqa: S102 - our own document
    assert "topics" in capsys.readouterr().out
