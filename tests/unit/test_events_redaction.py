"""Redaction: what is gone is gone from every byte, the chain still verifies, and nothing hides behind it."""

import sqlite3
from pathlib import Path

import msgspec
import pytest
from histories import change

from synlearner.errors import ConfigError, CorruptLog, LogError
from synlearner.events import (
    BlobStore,
    Draft,
    Event,
    ExperienceItem,
    ExperienceLearned,
    FeedbackGiven,
    Home,
    PayloadRedacted,
    Redacted,
    RunFinished,
    encode,
    export,
    fork,
    import_,
    payload_digest,
    verify,
)
from synlearner.events import redaction as redacting
from synlearner.events.redaction import redact

SECRET = "Jane's number is 0123 456 789"  # noqa: S105 - a text to look for
VECTOR = b"the vector of the secret"


def learned(number: int, vector: str, content: str = "Ask for short texts.") -> ExperienceLearned:
    item = ExperienceItem(
        id=f"x{number}",
        type="lesson",
        title="",
        when="",
        content=content,
        polarity=1,
        scope="",
        metadata={},
        evidence=[],
    )
    return ExperienceLearned(item=item, embedder="e", vector=vector, supersedes="x0" if number else "", parents=[])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Twenty batches; event 5 holds the secret and has a blob of its own, all others share one."""
    with Home.open(tmp_path / "home", create=True) as home:
        shared, own = home.blobs.put(b"of all others"), home.blobs.put(VECTOR)
        for number in range(20):
            fact = learned(number, own, SECRET + " é" * 3000) if number == 4 else learned(number, shared)
            home.log.append([Draft(fact=fact, id=f"id {number}")], expected_seq=number)
        (home.derived / "cache").mkdir()
        (home.derived / "cache" / "page").write_text(SECRET)
        (home.derived / "index").write_text(SECRET)
    return tmp_path / "home"


def holders(folder: Path, what: bytes) -> list[str]:
    return [file.name for file in sorted(folder.rglob("*")) if file.is_file() and what in file.read_bytes()]


def events_of(path: Path) -> list[Event]:
    with Home.open(path) as home:
        return list(home.log.read())


def test_the_payload_its_blob_and_all_copies_are_gone_and_the_chain_holds(path: Path, tmp_path: Path) -> None:
    before = events_of(path)
    assert holders(path, SECRET.encode()) == ["page", "index", "log.sqlite"]
    done = redact(path, [5], "she asked")
    assert holders(path, SECRET.encode()) == []
    assert holders(path, VECTOR) == []
    assert holders(path, b"of all others") != [], "a blob that others name stays"
    assert (done.seqs, done.head, len(done.blobs), done.echoes, done.forks) == ([5], 21, 1, {}, [])
    after = events_of(path)
    assert [event.hash for event in after[:20]] == [event.hash for event in before]
    taken = after[20].fact
    assert isinstance(taken, PayloadRedacted)
    digest = taken.digest
    digest = payload_digest(encode(before[4].fact))  # type: ignore[arg-type]
    assert after[4].fact == Redacted("experience_learned", digest)
    assert after[20].fact == PayloadRedacted(
        target=5, target_kind="experience_learned", digest=digest, reason="she asked", items=["x4", "x0"]
    )
    assert after[20].causes == (5,)
    assert verify(path).problems == []


def test_a_payload_that_is_still_in_the_wal_is_gone_from_there_too(tmp_path: Path) -> None:
    """A killed writer leaves its events in the WAL alone."""
    with Home.open(tmp_path / "writing", create=True) as home:
        home.log.append([Draft(fact=learned(0, "", SECRET), id="a")], expected_seq=0)
        (tmp_path / "home").mkdir()
        for name in ("log.sqlite", "log.sqlite-wal", "log.anchor"):
            (tmp_path / "home" / name).write_bytes((home.path / name).read_bytes())
    assert holders(tmp_path / "home", SECRET.encode()) == ["log.sqlite-wal"]
    redact(tmp_path / "home", [1], "asked")
    assert holders(tmp_path / "home", SECRET.encode()) == []


def test_no_free_page_keeps_what_was_moved_before(path: Path) -> None:
    """Pages that were split or freed without overwriting keep old bytes: only a new file is surely free of them."""
    connection = sqlite3.connect(path / "log.sqlite")
    connection.execute("PRAGMA secure_delete = OFF")
    connection.execute("CREATE TABLE moved AS SELECT payload FROM events WHERE seq = 5")
    connection.execute("DROP TABLE moved")
    connection.commit()
    connection.close()
    data = (path / "log.sqlite").read_bytes()
    assert data.count(SECRET.encode()) == 2
    redact(path, [5], "asked")
    assert holders(path, SECRET.encode()) == []


def test_an_export_holds_no_payload_and_comes_back_with_the_same_digest(path: Path, tmp_path: Path) -> None:
    redact(path, [5], "asked")
    with Home.open(path) as home:
        export(home.log, tmp_path / "all.jsonl", blobs=home.blobs)
        head = home.log.head()
    assert SECRET not in (tmp_path / "all.jsonl").read_text()
    line = msgspec.json.decode((tmp_path / "all.jsonl").read_bytes().splitlines()[4])
    assert (line["payload"], len(line["redacted"])) == (None, 64)
    with Home.open(tmp_path / "new", create=True) as new:
        import_(tmp_path / "all.jsonl", new)
        assert new.log.head() == head
    assert events_of(tmp_path / "new")[4].fact == events_of(path)[4].fact
    assert verify(tmp_path / "new").problems == []


def test_an_export_that_hides_a_payload_without_an_event_is_refused(path: Path, tmp_path: Path) -> None:
    with Home.open(path) as home:
        export(home.log, tmp_path / "all.jsonl", blobs=home.blobs)
        digest = next(home.log.rows(after=7)).payload_digest.hex()
    lines = (tmp_path / "all.jsonl").read_bytes().splitlines()
    hidden = msgspec.json.decode(lines[7]) | {"payload": None, "redacted": digest}
    lines[7] = msgspec.json.encode(hidden)
    with Home.open(tmp_path / "new", create=True) as new:
        with pytest.raises(CorruptLog, match="event 8 has no payload, and no event of this history says"):
            import_(lines, new, blobs=BlobStore(path / "blobs"))
        assert new.log.head().seq == 0


def test_a_payload_that_vanished_without_an_event_is_damage(path: Path) -> None:
    redact(path, [5], "asked")
    connection = sqlite3.connect(path / "log.sqlite")
    connection.execute("UPDATE events SET payload = x'' WHERE seq IN (8, 9)")
    connection.commit()
    connection.close()
    assert [(problem.seq, problem.what) for problem in verify(path).problems] == [
        (seq, f"event {seq} (experience_learned): its payload is not what was written") for seq in (8, 9)
    ]
    with Home.open(path) as home, pytest.raises(CorruptLog, match=r"event 8 .* payload is not what was written"):
        list(home.log.read())


@pytest.mark.parametrize("step", ["_named_by_none_else", "_erase", "_empty"])
def test_a_redaction_that_was_cut_off_is_reported_and_finished_by_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(redacting, step, stop)
        with pytest.raises(KeyboardInterrupt):
            redact(path, [5], "asked")
    if step == "_empty":
        redact(path, [6], "another one")
    else:
        problems = verify(path).problems
        assert (problems[-1].seq, problems[-1].kind) == (5, "experience_learned")
        assert "still has the payload that event 21 says was taken out" in problems[-1].what
        redact(path, [5], "asked again")
        assert len(events_of(path)) == 21, "it was decided once"
    assert holders(path, SECRET.encode()) == []
    assert verify(path).problems == []


def test_while_somebody_reads_the_home_it_says_so_and_can_be_run_again(path: Path) -> None:
    reader = sqlite3.connect(f"file:{path / 'log.sqlite'}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()
    redacting_soon = pytest.MonkeyPatch()
    redacting_soon.setattr("synlearner.events.database.WAIT", 0.1)
    with redacting_soon.context(), pytest.raises(LogError, match="somebody reads"):
        redact(path, [5], "asked")
    redacting_soon.undo()
    reader.close()
    redact(path, [5], "asked")
    assert holders(path, SECRET.encode()) == []
    assert verify(path).problems == []


def test_what_cannot_be_redacted_is_refused_before_anything_happens(path: Path) -> None:
    with Home.open(path, write=True) as home:
        home.log.append([Draft(fact=RunFinished(tasks=1, delivered=0), id="end")], expected_seq=20)
    for seqs, reason, what in (
        ([5], " ", "the reason is empty"),
        ([5, 21], "asked", "event 21 is a run_finished: without it the state of the home cannot be rebuilt"),
        ([5, 99], "asked", "there is no event 99"),
    ):
        with pytest.raises(ConfigError, match=what):
            redact(path, seqs, reason)
    assert holders(path, SECRET.encode()) != []
    redact(path, [5], "asked")
    assert redact(path, [5], "asked again").head == 22, "to say it twice changes nothing"
    with pytest.raises(ConfigError, match="event 22 is a payload_redacted"):
        redact(path, [22], "asked")
    with pytest.raises(ConfigError, match="a database keeps old versions"):
        redact("postgresql://me@nowhere/db", [5], "asked")


def test_damage_elsewhere_does_not_decide_what_is_deleted(path: Path, tmp_path: Path) -> None:
    """Event 7 names the blob of event 5, too; where its damaged payload no longer does, the blob would seem to be free."""
    with Home.open(path, write=True) as home:
        own = home.blobs.put(VECTOR)
        home.log.append([Draft(fact=learned(20, own), id="id 20")], expected_seq=20)
    fork(path, 21, tmp_path / "fork", {})
    with Home.open(tmp_path / "fork", write=True) as home:
        end = home.log.append([Draft(fact=learned(21, own), id="id 21")], expected_seq=22)[-1].seq
    for damaged, seq in ((tmp_path / "fork", end), (path, 21)):
        change(damaged, "UPDATE events SET payload = '{}' WHERE seq = ?", seq)
        with pytest.raises(CorruptLog, match=f"event {seq} .experience_learned.: its payload is not what was written"):
            redact(path, [5], "asked")
        with Home.open(path) as home:
            assert home.blobs.get(own) == VECTOR


def test_other_events_with_the_same_text_are_named(path: Path) -> None:
    with Home.open(path, write=True) as home:
        given = FeedbackGiven(target="item:x4", score=-1, text=f"Remove this: {SECRET}", source="me")
        home.log.append([Draft(fact=given, id="f")], expected_seq=20)
    assert redact(path, [21], "asked").echoes == {}, "the whole text stands nowhere else"
    with Home.open(path, write=True) as home:
        home.log.append([Draft(fact=learned(30, "", SECRET + " é" * 3000), id="g")], expected_seq=22)
    assert redact(path, [5], "asked").echoes == {23: "experience_learned"}


def test_a_fork_sees_what_its_parent_redacted_and_can_record_it(path: Path, tmp_path: Path) -> None:
    fork(path, 10, tmp_path / "fork", {})
    with pytest.raises(ConfigError, match=r"event 5 is not in .* redact it there first"):
        redact(tmp_path / "fork", [5], "asked")
    assert redact(path, [5], "asked").forks == [str((tmp_path / "fork").resolve())]
    assert isinstance(events_of(tmp_path / "fork")[4].fact, Redacted)
    assert verify(tmp_path / "fork").problems == []
    with Home.open(tmp_path / "fork") as home, pytest.raises(CorruptLog, match="`synlearner log redact 5` records"):
        export(home.log, tmp_path / "all.jsonl", blobs=home.blobs)
    redact(tmp_path / "fork", [5], "as in the parent")
    assert verify(tmp_path / "fork").problems == []
    with Home.open(tmp_path / "fork") as home:
        export(home.log, tmp_path / "all.jsonl", blobs=home.blobs)
        with Home.open(tmp_path / "new", create=True) as new:
            import_(tmp_path / "all.jsonl", new)
            assert new.log.head() == home.log.head()
    assert verify(tmp_path / "new").problems == []


def test_a_blob_that_a_fork_names_stays(path: Path, tmp_path: Path) -> None:
    fork(path, 10, tmp_path / "fork", {})
    with Home.open(tmp_path / "fork", write=True) as home:
        digest = home.log.get(5).fact.vector  # type: ignore[union-attr]
        home.log.append([Draft(fact=learned(40, digest), id="again")], expected_seq=11)
    assert redact(path, [5], "asked").blobs == []
    assert verify(tmp_path / "fork").problems == []


def test_a_batch_that_is_repeated_after_its_redaction_is_still_recognised(path: Path) -> None:
    draft = Draft(fact=events_of(path)[4].fact, id="id 4")  # type: ignore[arg-type]
    redact(path, [5], "asked")
    with Home.open(path, write=True) as home:
        (event,) = home.log.append([draft], expected_seq=4)
        assert (event.seq, type(event.fact)) == (5, Redacted)
        assert home.log.head().seq == 21
