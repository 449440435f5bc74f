import json
from pathlib import Path
from typing import Any

import pytest

from synlearner.errors import ConfigError, CorruptBlob, CorruptLog, SynLearnerError
from synlearner.events import (
    EMPTY,
    Draft,
    ExperienceRetired,
    Home,
    MemoryLog,
    RunFinished,
    SetScored,
    chain,
    export,
    import_,
    jsonl,
    payload_digest,
    verify,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An exported history of four events; the third names a blob."""
    with Home.open(tmp_path / "source", create=True) as home:
        blob = home.blobs.put(b"a matrix")
        scored = SetScored(round=0, samples=[], embeddings=blob, diversity={}, gains=[])
        drafts = [
            Draft(fact=ExperienceRetired(item=f"ä {number}", reason="\u2028"), id=f"{number}") for number in range(4)
        ]
        drafts[2] = Draft(fact=scored, id="2", causes=(1, 2), observed={"ms": 1.5})
        home.log.append(drafts, expected_seq=0)
        assert export(home.log, tmp_path / "history.jsonl", blobs=home.blobs) == 4
    return tmp_path / "history.jsonl"


@pytest.fixture
def home(tmp_path: Path) -> Any:
    with Home.open(tmp_path / "target", create=True) as home:
        yield home


def lines_of(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").strip().split("\n")


def test_a_line_has_the_whole_envelope_and_the_payload(file: Path) -> None:
    event = json.loads(lines_of(file)[2])
    assert list(event) == ["seq", "id", "kind", "version", "run_id", "task", "causes", "payload", "observed", "hash"]
    assert (event["seq"], event["kind"], event["causes"], event["observed"]["ms"]) == (3, "set_scored", [1, 2], 1.5)
    assert event["payload"]["samples"] == []


def test_what_was_exported_comes_back_as_the_same_home(file: Path, home: Home, tmp_path: Path) -> None:
    assert import_(file, home) == 4
    with Home.open(tmp_path / "source") as source:
        assert list(home.log.read()) == list(source.log.read())
        assert list(home.log.rows()) == list(source.log.rows())
    assert verify(home.path) == verify(tmp_path / "source")


def test_lines_that_a_tool_has_spaced_and_sorted_are_the_same_history(file: Path, home: Home) -> None:
    lines = [json.dumps(json.loads(line), sort_keys=True, indent=1).replace("\n", " ") for line in lines_of(file)]
    file.write_text("\n".join(["", *lines, "", ""]))
    assert import_(file, home) == 4


def test_lines_can_come_from_anywhere_with_their_blobs(file: Path, home: Home, tmp_path: Path) -> None:
    with pytest.raises(CorruptBlob, match=r"line 3 names blob .*, but no blobs were given"):
        import_(lines_of(file), home)
    with Home.open(tmp_path / "source") as source:
        assert import_(iter(lines_of(file)), home, blobs=source.blobs) == 4


def changed(line: str, **fields: Any) -> str:
    return json.dumps(json.loads(line) | fields)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda lines: [lines[0], lines[1][:-2], *lines[2:]], ConfigError, "line 2 is not an event"),
        (lambda lines: [*lines, "[]"], ConfigError, "line 5 is not an event"),
        (lambda lines: [changed(lines[0], payload=None), *lines[1:]], CorruptLog, r"line 1: event 1 .* is not what"),
        (lambda lines: [changed(lines[0], more=1), *lines[1:]], ConfigError, "line 1 is not an event"),
        (lambda lines: [changed(lines[0], hash="xyz"), *lines[1:]], ConfigError, "line 1 is not an event"),
        (
            lambda lines: [*lines[:3], changed(lines[3], id="x")],
            CorruptLog,
            r"line 4: event 4 \(experience_retired\) is not what",
        ),
        (
            lambda lines: [changed(lines[0], payload={}), *lines[1:]],
            CorruptLog,
            r"line 1: event 1 \(experience_retired\) is not",
        ),
        (lambda lines: [lines[0], *lines[2:]], CorruptLog, "line 2: event 2 is missing"),
        (lambda lines: lines[1:], CorruptLog, "line 1: event 1 is missing"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], CorruptLog, "line 3: event 2 stands in the place of 3"),
    ],
)
def test_a_line_that_is_not_what_was_exported_is_named_and_nothing_is_written(
    file: Path, home: Home, damage: Any, error: type[SynLearnerError], message: str
) -> None:
    file.write_text("\n".join(damage(lines_of(file))) + "\n")
    with pytest.raises(error, match=message):
        import_(file, home)
    assert home.log.head() == EMPTY
    assert list(home.blobs.digests()) == []


@pytest.mark.parametrize("damage", [lambda blob: blob.unlink(), lambda blob: blob.write_bytes(b"x")])
def test_a_blob_that_is_not_what_was_exported_stops_the_import_before_anything_is_written(
    file: Path, home: Home, damage: Any
) -> None:
    (blob,) = [path for path in Path(f"{file}.blobs").rglob("*") if path.is_file()]
    damage(blob)
    with pytest.raises(CorruptBlob, match=blob.name):
        import_(file, home)
    assert home.log.head() == EMPTY
    assert list(home.blobs.digests()) == []


def test_imports_into_an_empty_home_alone(file: Path, home: Home) -> None:
    home.log.append([Draft(fact=RunFinished(tasks=0, delivered=0), id="a")], expected_seq=0)
    with pytest.raises(ConfigError, match="holds 1 events: import into a new home"):
        import_(file, home)
    with Home.open(home.path) as reader, pytest.raises(ConfigError, match="is open for reading"):
        import_(file, reader)


def test_a_history_with_an_id_that_stands_twice_is_refused(home: Home) -> None:
    """The chain of such a file is whole: another program made it so."""
    lines, previous = [], EMPTY.hash
    digest = payload_digest(b'{"delivered":0,"tasks":0}')
    for seq in (1, 2):
        envelope: dict[str, Any] = {
            "seq": seq,
            "id": "a",
            "kind": "run_finished",
            "version": 1,
            "run_id": "",
            "task": "",
        }
        previous = chain(previous, **envelope, causes=[], payload_digest=digest)
        payload = {"delivered": 0, "tasks": 0}
        lines.append(json.dumps(envelope | {"causes": [], "payload": payload, "observed": {}, "hash": previous}))
    with pytest.raises(CorruptLog, match="an id stands twice in the history"):
        import_(lines, home)
    assert home.log.head() == EMPTY
    assert import_(lines[:1], home) == 1


def test_a_line_without_end_is_refused_by_its_number(file: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = max(map(len, file.read_bytes().splitlines(keepends=True)))
    monkeypatch.setattr(jsonl, "LONGEST", longest - 1)
    with pytest.raises(ConfigError, match=r"line \d has more than .* bytes: pass a file that was exported"):
        import_(file, home)
    assert home.log.head() == EMPTY
    monkeypatch.setattr(jsonl, "LONGEST", longest)
    assert import_(file, home) == 4


def test_a_file_that_is_not_there_is_named(home: Home, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'.*none.jsonl' cannot be read: No such file"):
        import_(tmp_path / "none.jsonl", home)


def test_an_export_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    log = MemoryLog()
    scored = SetScored(round=0, samples=[], embeddings="a" * 64, diversity={}, gains=[])
    log.append([Draft(fact=scored, id="a")], expected_seq=0)
    (tmp_path / "file").write_text("before")
    with pytest.raises(ConfigError, match=r"names? blob a{64}, but no blobs were given"):
        export(log, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_a_history_without_events_is_a_file_without_lines(home: Home, tmp_path: Path) -> None:
    assert export(MemoryLog(), tmp_path / "none.jsonl") == 0
    assert (tmp_path / "none.jsonl").read_bytes() == b""
    assert import_(tmp_path / "none.jsonl", home) == 0
