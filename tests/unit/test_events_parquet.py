"""The table that DuckDB and pandas read: whole, typed, and the same as the log."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from histories import change, small_home

from synlearner.errors import ConfigError, CorruptLog, LogError
from synlearner.events import Draft, Home, MemoryLog, RunFinished, fork
from synlearner.events import parquet as module
from synlearner.events.parquet import export_parquet


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return small_home(tmp_path / "source")


def test_the_table_holds_what_the_log_holds(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP", 4)
    file = tmp_path / "all.parquet"
    with Home.open(source) as home:
        assert export_parquet(home.log, file) == 6
        rows, events = list(home.log.rows()), list(home.log.read())
    table = pq.read_table(file)
    assert pq.ParquetFile(file).num_row_groups == 2
    for got, row, event in zip(table.to_pylist(), rows, events, strict=True):
        assert (got["seq"], got["id"], got["kind"], got["version"]) == (row.seq, row.id, row.kind, row.version)
        assert (got["run_id"], got["task"], tuple(got["causes"])) == (row.run_id, row.task, event.causes)
        assert got["payload"].encode() == row.payload
        assert (got["payload_digest"], got["hash"]) == (row.payload_digest.hex(), event.hash)
        assert json.loads(got["observed"]) == event.observed
        assert got["time"].isoformat(timespec="milliseconds") == event.observed["time"].replace("Z", "+00:00")
    assert table.schema.metadata[b"synlearner.digest"].decode() == events[-1].hash


def test_a_fork_and_an_empty_history_are_tables_too(source: Path, tmp_path: Path) -> None:
    fork(source, 3, tmp_path / "fork", {})
    with Home.open(tmp_path / "fork") as home:
        assert export_parquet(home.log, tmp_path / "fork.parquet") == 4
    assert pq.read_table(tmp_path / "fork.parquet").column("seq").to_pylist() == [1, 2, 3, 4]
    assert export_parquet(MemoryLog(), tmp_path / "empty.parquet") == 0
    assert pq.read_table(tmp_path / "empty.parquet").num_rows == 0


@pytest.mark.parametrize("time", ["yesterday", 7, None, "0001-01-01T00:00:00+14:00"])
def test_a_time_of_another_shape_is_no_time(tmp_path: Path, time: object) -> None:
    log = MemoryLog()
    fact = RunFinished(tasks=1, delivered=1)
    log.append([Draft(fact=fact, id="a", observed={"time": time})], expected_seq=0)
    export_parquet(log, tmp_path / "t.parquet")
    assert pq.read_table(tmp_path / "t.parquet").column("time").to_pylist() == [None]


def test_a_damaged_history_leaves_the_file_as_it_was(source: Path, tmp_path: Path) -> None:
    file = tmp_path / "all.parquet"
    file.write_text("before")
    change(source, "UPDATE events SET task = 'x' WHERE seq = 5")
    with Home.open(source) as home, pytest.raises(CorruptLog):
        export_parquet(home.log, file)
    assert file.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"source", "all.parquet"}


def test_a_place_that_cannot_be_is_refused(source: Path, tmp_path: Path) -> None:
    with Home.open(source) as home:
        with pytest.raises(ConfigError, match="is a folder: name a file"):
            export_parquet(home.log, tmp_path)
        with pytest.raises(LogError, match="cannot be written"):
            export_parquet(home.log, tmp_path / "none" / "all.parquet")
