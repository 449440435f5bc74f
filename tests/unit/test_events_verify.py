import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from synlearner.errors import ConfigError, CorruptLog, LogError
from synlearner.events import (
    EMPTY,
    Draft,
    ExperienceRetired,
    Home,
    RunFinished,
    SetScored,
    chain,
    payload_digest,
    verify,
)
from synlearner.events.rows import Row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A home of eight events; the fifth names a blob."""
    with Home.open(tmp_path / "home", create=True) as home:
        blob = home.blobs.put(b"a matrix")
        facts = [ExperienceRetired(item=f"item {number}", reason="old") for number in range(8)]
        drafts = [Draft(fact=fact, id=f"id {number}", task="task") for number, fact in enumerate(facts)]
        scored = SetScored(round=0, samples=[], embeddings=blob, diversity={}, gains=[])
        drafts[4] = Draft(fact=scored, id="id 4")
        home.log.append(drafts, expected_seq=0)
    return tmp_path / "home"


def found(path: Path) -> list[tuple[int | None, str, str]]:
    return [(problem.seq, problem.file, problem.what) for problem in verify(path).problems]


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path / "log.sqlite")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_home_that_is_as_it_was_written_has_no_problems(path: Path) -> None:
    report = verify(str(path))
    with Home.open(path) as home:
        assert (report.events, report.digest, report.blobs, report.problems) == (8, home.log.head().hash, 1, [])
    with pytest.raises(AttributeError, match="immutable"):
        report.events = 9  # type: ignore[misc]


@pytest.mark.parametrize("anchored", [True, False])
def test_an_empty_home_has_no_problems(tmp_path: Path, anchored: bool) -> None:
    Home.open(tmp_path, create=True).close()
    if not anchored:
        (tmp_path / "log.anchor").unlink()
    report = verify(tmp_path)
    assert (report.events, report.digest, report.blobs, report.problems) == (0, "0" * 64, 0, [])


def test_without_a_home_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no home at"):
        verify(tmp_path)


PAYLOAD = "event 3 (experience_retired): its payload is not what was written"
ENVELOPE = "event 3 (experience_retired): its envelope is not what was written"


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        ("payload = CAST(replace(payload, 'old', 'new') AS BLOB)", PAYLOAD),
        ("payload = 'text'", PAYLOAD),
        ("payload = x''", PAYLOAD),
        ("id = 'other'", ENVELOPE),
        ("task = 'other'", ENVELOPE),
        ("run_id = 'other'", ENVELOPE),
        ("version = 2", ENVELOPE),
        ("version = 'one'", ENVELOPE),
        ("kind = 'run_finished'", "event 3 (run_finished): its envelope is not what was written"),
        ("causes = '[1]'", ENVELOPE),
        ("causes = 'rubbish'", ENVELOPE),
        ("hash = zeroblob(32)", ENVELOPE),
        ("hash = 'text'", ENVELOPE),
        ("payload_digest = zeroblob(32)", ENVELOPE),
        ("observed = 'rubbish'", "event 3 (experience_retired): its observed is not what was written"),
    ],
)
def test_each_change_is_named_once_and_the_reader_stops_there(path: Path, damage: str, what: str) -> None:
    execute(path, f"UPDATE events SET {damage} WHERE seq = 3")  # noqa: S608  # the statements stand above
    assert found(path) == [(3, "log.sqlite", what)]
    with Home.open(path) as home:
        reading = home.log.read()
        assert [next(reading).seq, next(reading).seq] == [1, 2]
        with pytest.raises(CorruptLog) as refused:
            next(reading)
        assert str(refused.value).startswith(what)
        with pytest.raises(CorruptLog):
            home.log.get(3)


def test_a_row_without_a_hash_that_no_hash_can_be_computed_of_does_not_count_as_equal(path: Path) -> None:
    execute(path, "UPDATE events SET hash = x'', causes = 'rubbish' WHERE seq = 3")
    assert (3, "log.sqlite", ENVELOPE) in found(path)


def test_a_payload_that_no_program_of_ours_wrote_is_a_problem_although_the_chain_is_whole(tmp_path: Path) -> None:
    payload = b'{"tasks": 1, "delivered": 1}'
    digest = payload_digest(payload)
    hash_ = chain(
        EMPTY.hash,
        seq=1,
        id="a",
        kind="run_finished",
        version=1,
        run_id="",
        task="",
        causes=(),
        payload_digest=digest,
    )
    row = Row(1, "a", "run_finished", 1, "", "", "[]", payload, bytes.fromhex(digest), "{}", bytes.fromhex(hash_))
    with Home.open(tmp_path, create=True) as home:
        home.log.adopt([row])
    assert found(tmp_path) == [(1, "log.sqlite", "its payload is not canonical JSON: no SynLearner wrote it")]


def test_swapped_events_are_out_of_order(path: Path) -> None:
    execute(
        path,
        "UPDATE events SET seq = 99 WHERE seq = 3",
        "UPDATE events SET seq = 3 WHERE seq = 6",
        "UPDATE events SET seq = 6 WHERE seq = 99",
    )
    assert (3, "log.sqlite", "event 3 (experience_retired) is out of order: what belongs there stands at 6") in found(
        path
    )
    assert (6, "log.sqlite", "event 6 (experience_retired) is out of order: what belongs there stands at 3") in found(
        path
    )
    with (
        Home.open(path) as home,
        pytest.raises(CorruptLog, match=r"event 3 .* out of order: what belongs there stands at 6"),
    ):
        list(home.log.read())


def test_a_removed_event_is_missing_and_the_others_are_still_checked(path: Path) -> None:
    execute(path, "DELETE FROM events WHERE seq IN (3, 4)", "UPDATE events SET task = 'x' WHERE seq = 7")
    assert found(path) == [
        (3, "log.sqlite", "events 3 to 4 are missing"),
        (7, "log.sqlite", "event 7 (experience_retired): its envelope is not what was written"),
    ]
    with Home.open(path) as home:
        with pytest.raises(CorruptLog, match="events 3 to 4 are missing"):
            list(home.log.read())
        with pytest.raises(CorruptLog, match="event 4 is missing"):
            list(home.log.read(after=4))


def test_a_lost_tail_is_found_by_the_anchor_alone(path: Path) -> None:
    execute(path, "DELETE FROM events WHERE seq > 5")
    assert found(path) == [
        (6, "log.sqlite", "events 6 to 8 are missing: acknowledged, says the anchor, but the log ends at 5")
    ]
    (path / "log.anchor").unlink()
    assert found(path) == [(None, "log.anchor", "missing or damaged: whether events are missing at the end is unknown")]


def test_a_history_that_was_replaced_is_found_by_the_anchor(path: Path, tmp_path: Path) -> None:
    with Home.open(tmp_path / "other", create=True) as other:
        drafts = [Draft(fact=RunFinished(tasks=number, delivered=0), id=str(number)) for number in range(9)]
        other.log.append(drafts, expected_seq=0)
    (tmp_path / "other" / "log.sqlite").rename(path / "log.sqlite")
    assert found(path) == [(8, "log.anchor", "event 8 is not the one that was acknowledged")]


def test_a_deleted_log_is_a_problem_too(path: Path) -> None:
    (path / "log.sqlite").unlink()
    ((seq, file, what),) = found(path)
    assert (seq, file) == (None, "log.sqlite")
    assert "is missing, its anchor names 8 events" in what


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda blob: blob.unlink(), "is missing"),
        (lambda blob: blob.write_bytes(b"a matrlx"), "is changed"),
        (lambda blob: (blob.unlink(), blob.mkdir()), "cannot be read"),
    ],
)
def test_a_blob_that_is_gone_or_changed_is_named_with_its_event(
    path: Path, damage: Callable[[Path], None], what: str
) -> None:
    with Home.open(path) as home:
        (digest,) = home.blobs.digests()
        damage(home.blobs.path(digest))
    (problem,) = verify(path).problems
    with pytest.raises(AttributeError, match="immutable"):
        problem.seq = 6  # type: ignore[misc]
    assert (problem.seq, problem.kind, problem.file) == (5, "set_scored", f"blobs/{digest[:2]}/{digest}")
    assert problem.what.startswith(f"blob {digest} {what}")


def test_a_name_that_is_no_digest_is_a_problem_and_never_a_path(path: Path) -> None:
    with Home.open(path, write=True) as home:
        scored = SetScored(round=0, samples=[], embeddings="../../secret", diversity={}, gains=[])
        home.log.append([Draft(fact=scored, id="evil")], expected_seq=8)
    ((seq, file, what),) = found(path)
    assert (seq, file) == (9, "log.sqlite")
    assert what.startswith("'../../secret' is not a blob")


def test_an_id_that_stands_twice_is_found(path: Path) -> None:
    data = (path / "log.sqlite").read_bytes()
    assert data.count(b"id 3") == 1
    (path / "log.sqlite").write_bytes(data.replace(b"id 3", b"id 1"))
    assert "event 4: the table of ids does not fit its id" in [what for _, _, what in found(path)]


def test_a_damaged_file_is_reported_and_what_can_be_read_is_still_checked(tmp_path: Path) -> None:
    with Home.open(tmp_path, create=True) as home:
        drafts = [Draft(fact=ExperienceRetired(item="x" * 500, reason=""), id=str(number)) for number in range(600)]
        home.log.append(drafts, expected_seq=0)
    data = bytearray((tmp_path / "log.sqlite").read_bytes())
    page = data.index(b'"item":"xxx', 40_000) // 8192
    data[page * 8192 : page * 8192 + 8] = b"\xff" * 8
    (tmp_path / "log.sqlite").write_bytes(data)
    report = verify(tmp_path)
    assert 580 < report.events < 600
    assert any("is damaged" in problem.what for problem in report.problems)
    assert any("missing" in problem.what for problem in report.problems)


def test_a_file_that_is_no_database_is_reported(path: Path) -> None:
    (path / "log.sqlite").write_bytes(b"zeros and ones" * 1000)
    ((seq, file, what),) = found(path)
    assert (seq, file) == (None, "log.sqlite")
    assert "is not a log of SynLearner" in what


def test_a_newer_format_is_not_damage(path: Path) -> None:
    execute(path, "PRAGMA user_version = 3")
    with pytest.raises(LogError, match="a newer SynLearner wrote it"):
        verify(path)


def test_a_thousand_problems_are_listed_and_the_rest_is_summed_up(tmp_path: Path) -> None:
    with Home.open(tmp_path, create=True) as home:
        drafts = [Draft(fact=RunFinished(tasks=number, delivered=0), id=str(number)) for number in range(1100)]
        home.log.append(drafts, expected_seq=0)
    execute(tmp_path, "UPDATE events SET task = 'x'")
    problems = verify(tmp_path).problems
    assert len(problems) == 1001
    assert problems[-1].what == "more than 1000 problems: the others are not listed"
