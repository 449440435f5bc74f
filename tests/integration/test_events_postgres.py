"""A home in PostgreSQL: opened by URL, copied there and back, refused in one line, and never showing its password."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import Run

from synlearner.errors import ConfigError, CorruptBlob, CorruptLog, HomeLocked, LogError
from synlearner.events import Draft, Home, RunFinished, SetScored, fork, verify
from synlearner.events.addresses import parse_address, shown
from synlearner.events.copying import copy
from synlearner.events.postgres import PostgresLog
from synlearner.events.redaction import redact
from synlearner.events.server import connect
from synlearner.memory import HashEmbedder, Memory

psycopg = pytest.importorskip("psycopg")


def draft(number: int) -> Draft:
    return Draft(fact=RunFinished(tasks=number, delivered=0), id=f"id {number}")


def drafts(first: int, last: int) -> list[Draft]:
    return [draft(number) for number in range(first, last + 1)]


def execute(url: str, sql: str) -> list[Any]:
    with connect(parse_address(url)) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def filled(home_url: str) -> str:
    with Home.open(home_url, create=True) as home:
        home.log.append(drafts(1, 3), expected_seq=0)
        blob = home.blobs.put(b"vectors")
        scored = SetScored(round=0, samples=[], embeddings=blob, diversity={}, gains=[])
        home.log.append([Draft(fact=scored, id="with a blob")], expected_seq=3)
    return home_url


def test_a_home_by_url_is_one_writer_and_any_number_of_readers(home_url: str) -> None:
    with pytest.raises(ConfigError, match="no home at 'postgresql://"):
        Home.open(home_url)
    with Home.open(home_url, create=True) as writer, Home.open(home_url) as reader:
        writer.log.append(drafts(1, 2), expected_seq=0)
        assert [event.seq for event in reader.log.read()] == [1, 2]
        with pytest.raises(HomeLocked, match=r"is being written by synlearner, process \d+ on .* \(since 20"):
            Home.open(home_url, write=True)
        with pytest.raises(LogError, match="open for reading"):
            reader.log.append(drafts(3, 3), expected_seq=2)
        assert writer.derived.is_dir()
    with Home.open(home_url, write=True) as again:
        assert again.log.append(drafts(3, 3), expected_seq=2)[0].seq == 3


def test_a_writer_whose_connection_was_cut_goes_on_unless_another_took_over(home_url: str) -> None:
    with Home.open(home_url, create=True) as home:
        home.log.append(drafts(1, 2), expected_seq=0)
        cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"
        execute(home_url, cut)
        with pytest.raises(LogError, match="run the same command again"):
            home.log.append(drafts(3, 4), expected_seq=2)
        assert [event.seq for event in home.log.append(drafts(3, 4), expected_seq=2)] == [3, 4]
        execute(home_url, cut)
        with Home.open(home_url, write=True) as heir:
            with pytest.raises(HomeLocked, match="is being written by"):
                home.log.append(drafts(5, 5), expected_seq=4)
            heir.log.append(drafts(5, 5), expected_seq=4)
        for _ in range(2):
            with pytest.raises(LogError):
                home.log.append(drafts(6, 6), expected_seq=5)
    with Home.open(home_url) as home:
        assert home.log.head().seq == 5


def test_a_history_goes_to_the_server_and_back_with_its_blobs(filled: str, home_url: str, tmp_path: Path) -> None:
    with Home.open(filled) as home:
        head = home.log.head()
    assert copy(filled, tmp_path / "folder") == head
    there = home_url + "_b"
    assert copy(tmp_path / "folder", there) == head
    assert copy(there, home_url + "_c") == head
    for place in (tmp_path / "folder", there, home_url + "_c"):
        report = verify(place)
        assert (report.events, report.blobs, report.digest, report.problems) == (4, 1, head.hash, [])
    with pytest.raises(ConfigError, match="holds 4 events: take a history over into a new home"):
        copy(tmp_path / "folder", there)
    with Home.open(tmp_path / "empty", create=True):
        pass
    with pytest.raises(ConfigError, match="holds no events"):
        copy(tmp_path / "empty", tmp_path / "other")


def test_damage_is_found_and_named(filled: str) -> None:
    execute(filled, "UPDATE blobs SET data = 'other'")
    execute(filled, "UPDATE events SET payload = replace(payload::text, '\\x7b', '\\x5b')::bytea WHERE seq = 2")
    problems = [(problem.seq, problem.file) for problem in verify(filled).problems]
    assert problems[0] == (2, "events")
    assert [seq for seq, _ in problems[1:]] == [4]
    with Home.open(filled) as home:
        with pytest.raises(CorruptLog, match=r"event 2 \(run_finished\): its payload is not what was written"):
            list(home.log.read())
        (blob,) = home.blobs.digests()
        with pytest.raises(CorruptBlob, match="is changed"):
            home.blobs.get(blob)
        with pytest.raises(CorruptBlob, match="is missing"):
            home.blobs.get("0" * 64)
    with Home.open(filled, write=True) as home:
        assert home.blobs.put(b"vectors") == blob
        assert home.blobs.get(blob) == b"vectors"
        home.blobs.remove(blob)
        assert not home.blobs.has(blob)


def test_a_lost_tail_is_found_on_the_machine_that_saw_it_acknowledged(filled: str) -> None:
    execute(filled, "DELETE FROM events WHERE seq = 4")
    with pytest.raises(CorruptLog, match=r"the last 1 acknowledged events are missing: it ends at 3"):
        Home.open(filled)
    assert [problem.seq for problem in verify(filled).problems] == [4]


def test_forks_into_a_folder_and_into_a_database_are_equal(filled: str, home_url: str, tmp_path: Path) -> None:
    heads = {fork(filled, 3, into, {"a": 1}) for into in (tmp_path / "fork", home_url + "_fork")}
    heads |= {fork(tmp_path / "fork", 3, home_url + "_again", {"a": 1})}
    assert len({head.hash for head in heads}) == 1
    assert verify(home_url + "_fork").problems == []


def test_a_password_is_never_shown(home_url: str, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    wrong = home_url.replace("a%20secret%20of%20the%20tests", "hunter2%20wrong")
    if wrong == home_url:
        pytest.skip("the given server has another password")
    refused = run("log", "digest", "--home", wrong)
    assert (refused.code, refused.out) == (1, "")
    assert "password authentication failed" in refused.err
    assert refused.err.count("\n") == 1
    monkeypatch.setenv("PGPASSWORD", "hunter2 wrong")
    without = home_url.replace(":a%20secret%20of%20the%20tests", "")
    from_environment = run("log", "digest", "--home", without)
    assert from_environment.code == 1
    monkeypatch.setenv("PGPASSWORD", "a secret of the tests")
    with Home.open(without, create=True) as home:
        home.log.append(drafts(1, 3), expected_seq=0)
    told = run("log", "verify", "--home", home_url), run("log", "copy", without, home_url + "_2")
    assert [ran.code for ran in told] == [0, 0]
    for ran in (refused, from_environment, *told):
        assert "hunter2" not in ran.out + ran.err
        assert "secret" not in ran.out + ran.err


def test_an_unreachable_server_is_one_line(run: Run, tmp_path: Path) -> None:
    ran = run("log", "digest", "--home", f"postgresql://me:hunter2@/postgres?host={tmp_path}")
    assert ran.code == 1
    assert ran.err.startswith("synlearner: 'postgresql://me@/postgres?host=")
    assert "No such file or directory" in ran.err
    assert "hunter2" not in ran.err


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://me:hunter2@host/db?schema=Robert'); DROP", "schema"),
        ("postgresql://me:hunter2@host/db?schema=pg_catalog", "schema"),
        ("postgresql://me:hunter2@host", "names no database"),
        ("postgresql://me:hunter2@host:port/db", "none that PostgreSQL knows"),
        ("postgresql://me:hunter2@host/db?schema", "none that PostgreSQL knows"),
    ],
)
def test_a_url_that_is_none_is_refused_without_repeating_it(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as refused:
        Home.open(url)
    assert "hunter2" not in str(refused.value)


def test_a_password_may_stand_in_the_query_too() -> None:
    address = parse_address("postgresql://me@host:1/db?password=hunter2&sslmode=require&schema=s")
    assert (address.password, address.schema) == ("hunter2", "s")
    assert str(address) == "postgresql://me@host:1/db?sslmode=require&schema=s"
    assert "hunter2" not in repr(address) + shown("postgresql://me:hunter2@host/db")
    assert address.scrub("no: hunter2\n  no") == "no: *** no"


def test_other_peoples_tables_and_newer_formats_are_refused(home_url: str, filled: str) -> None:
    execute(filled, "UPDATE home SET format = 2")
    with pytest.raises(LogError, match="has format 2, this program knows up to 1: a newer SynLearner wrote it"):
        Home.open(filled)
    execute(filled, "UPDATE home SET format = 1; ALTER TABLE events DROP COLUMN observed")
    with pytest.raises(CorruptLog, match="its tables are not those that were made"):
        Home.open(filled)
    foreign = home_url + "_foreign"
    schema = parse_address(foreign).schema
    execute(home_url, f"CREATE SCHEMA {schema}; CREATE TABLE {schema}.events (seq bigint)")
    for create in (False, True):
        with pytest.raises(ConfigError, match="holds tables of another program"):
            Home.open(foreign, create=create)


def test_what_postgresql_cannot_hold_is_refused(home_url: str) -> None:
    log = PostgresLog(parse_address(home_url), anchor=None, write=True, create=True)
    with pytest.raises(ConfigError, match=r"U\+0000"):
        log.append([Draft(fact=RunFinished(tasks=0, delivered=0), id="a\0b")], expected_seq=0)
    assert log.head().seq == 0
    log.close()


def test_the_memory_works_on_a_url(home_url: str, run: Run, tmp_path: Path) -> None:
    with Memory.open(home_url, embedder=HashEmbedder(64)) as memory:
        memory.add("Short prompts work")
        assert [item["memory"] for item in memory.search("short prompts")["results"]] == ["Short prompts work"]
    assert run("log", "verify", "--home", home_url).code == 0
    exported = run("log", "export", tmp_path / "all.jsonl", "--home", home_url)
    assert exported.code == 0, exported.err
    assert run("log", "import", tmp_path / "all.jsonl", "--home", tmp_path / "home").code == 0
    digests = {run("log", "digest", "--home", home).out for home in (home_url, tmp_path / "home")}
    assert len(digests) == 1
    with Memory.open(tmp_path / "home", embedder=HashEmbedder(64), write=False) as memory:
        assert [item["memory"] for item in memory.search("short prompts")["results"]] == ["Short prompts work"]


def test_what_needs_a_folder_says_so(filled: str) -> None:
    with pytest.raises(ConfigError, match=r"bring the home into a folder \(`log copy`\)"):
        redact(filled, [2], "test")
    with Home.open(filled) as home:
        assert home.log.head().seq == 4


def test_nobody_imports_the_driver_who_has_no_home_there() -> None:
    code = "import sys, synlearner.events, synlearner.cli; sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
