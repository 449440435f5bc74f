"""A home, a file or a note from a stranger: whatever it holds is taken or refused in one line, and starts nothing.

A stranger can chain as well as we can, so half of the rows and lines here have the hash that belongs to them.
"""

import json
import shutil
import sqlite3
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from histories import small_home
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import facts, json_values, texts
from synlearner.errors import ConfigError, SynLearnerError
from synlearner.events import EMPTY, Draft, Home, RunFinished, chain, encode, export, fork, import_, verify
from synlearner.events import jsonl as lines
from synlearner.events.collect import collect
from synlearner.events.copying import copy
from synlearner.events.diff import diff
from synlearner.events.past import as_of
from synlearner.events.repair import repair
from synlearner.events.stats import statistics

some = settings(max_examples=12, deadline=None)

STARTED = {
    "import", "exec", "compile", "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn",
    "pickle.find_class", "marshal.loads", "ctypes.dlopen", "socket.connect", "sqlite3.load_extension",
}  # fmt: skip
"""Audit events that no data may cause."""
_seen: list[str] | None = None


def _listen(event: str, arguments: Any) -> None:
    if _seen is not None and event in STARTED:
        _seen.append(f"{event} {arguments!r:.200}")


@contextmanager
def nothing_starts() -> Iterator[None]:
    global _seen  # noqa: PLW0603  # an audit hook cannot be taken away again
    _seen = []
    try:
        yield
        assert _seen == []
    finally:
        _seen = None


def deep(levels: int) -> bytes:
    return b'{"a":' + b"[" * levels + b"]" * levels + b"}"


json_texts = json_values.map(lambda value: json.dumps(value).encode())
payloads = st.one_of(
    facts.map(encode), st.dictionaries(texts, json_values).map(lambda value: json.dumps(value).encode()), json_texts,
    st.binary(), st.sampled_from([deep(50), deep(1500), b"", b"null", b'{"tasks":1e400,"delivered":99999999999999999999}']),
)  # fmt: skip
kinds = st.sampled_from(["run_finished", "set_scored", "payload_redacted", "run_started", "history_forked"]) | texts
cells = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), texts, st.binary(), json_texts.map(bytes.decode)
)


@st.composite
def chained(draw: Any, seq: int, previous: str) -> dict[str, Any]:
    """An event that follows from *previous*, with content that no SynLearner wrote."""
    payload, causes = draw(payloads), draw(st.lists(st.integers(-5, 2**53), max_size=2))
    fact = draw(st.none() | facts)
    kind, version = (fact.kind, fact.version) if fact else (draw(kinds), draw(st.integers(-1, 4)))
    envelope = {"id": draw(texts), "kind": kind, "version": version, "run_id": draw(texts), "task": draw(texts)}
    digest = sha256(payload).hexdigest()
    hash_ = chain(previous, seq=seq, **envelope, causes=causes, payload_digest=digest)
    observed = draw(st.sampled_from([b"{}", b"[]", deep(1500)]) | json_texts)
    return {"seq": seq, **envelope, "causes": causes, "payload": payload, "observed": observed, "hash": hash_}


@st.composite
def histories(draw: Any, seq: int = 0, previous: str = EMPTY.hash) -> list[dict[str, Any]]:
    found = []
    for _ in range(draw(st.integers(1, 3))):
        seq += 1
        found.append(draw(chained(seq, previous)))
        previous = found[-1]["hash"]
    return found


def row(event: dict[str, Any]) -> list[Any]:
    digest, hash_ = sha256(event["payload"]).digest(), bytes.fromhex(event["hash"])
    texts_ = [event["id"], event["kind"], event["version"], event["run_id"], event["task"]]
    observed = event["observed"].decode()
    return [event["seq"], *texts_, json.dumps(event["causes"]), event["payload"], digest, observed, hash_]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good home, on which everything has been done once: what is loaded late is loaded now."""
    sys.addaudithook(_listen)
    place = tmp_path_factory.mktemp("strangers")
    home = small_home(place / "home")
    use(home, place / "use", home)
    return home


def use(home: Path, place: Path, good: Path) -> int:
    """Do everything with the home that can be done; return how much of that was refused."""
    place.mkdir()

    def read(opened: Home) -> None:
        list(opened.log.read())

    uses: list[Callable[[Home], object]] = [
        read,
        lambda opened: [list(opened.log.rows()), opened.log.find(["1", "x"]), opened.log.problems()],
        lambda opened: opened.log.get(opened.log.head().seq),
        statistics,
        lambda opened: list(as_of(opened, max(opened.log.head().seq - 1, 0)).log.read()),
        lambda opened: diff_with(opened, good),
        lambda opened: export(opened.log, place / "file.jsonl", blobs=opened.blobs),
    ]
    closed: list[Callable[[], object]] = [
        lambda: verify(home),
        lambda: repair(home),
        lambda: collect(home),
        lambda: fork(home, 6, place / "fork", {}),
        lambda: copy(home, place / "copy"),
        lambda: append(home),
        lambda: repair(home, dry=False),
        lambda: append(home),
    ]
    refused = 0
    for each in uses:
        refused += is_refused(lambda each=each: with_open(home, each))  # type: ignore[misc]
    for one in closed:
        refused += is_refused(one)
    return refused


def with_open(home: Path, use: Callable[[Home], object]) -> None:
    with Home.open(home) as opened:
        use(opened)


def diff_with(opened: Home, good: Path) -> None:
    with Home.open(good) as other:
        diff(opened.log, other.log)


def append(home: Path) -> None:
    with Home.open(home, write=True) as opened:
        seq = opened.log.head().seq
        opened.log.append([Draft(fact=RunFinished(tasks=seq, delivered=0), id=f"new {seq}")], expected_seq=seq)


def is_refused(use: Callable[[], object]) -> bool:
    message = "-"
    try:
        use()
    except SynLearnerError as error:
        message = str(error)
    assert len(message.splitlines()) == 1, message
    return message != "-"


@contextmanager
def strange_copy(home: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(home, Path(folder) / "home")
        yield Path(folder) / "home"


@some
@given(data=st.data(), anchored=st.booleans())
def test_rows_of_any_kind_are_read_or_refused(home: Path, data: st.DataObject, anchored: bool) -> None:
    with Home.open(home) as opened:
        last = opened.log.get(opened.log.head().seq - 1)  # so that `diff` has an event to compare with
    follows = data.draw(histories(last.seq, last.hash))
    rows = data.draw(
        st.just([row(event) for event in follows]) | st.lists(st.lists(cells, min_size=11, max_size=11), max_size=3)
    )
    with strange_copy(home) as strange, nothing_starts():
        if not anchored:
            (strange / "log.anchor").unlink()
        with closing(sqlite3.connect(strange / "log.sqlite", isolation_level=None)) as database:
            for each in rows:
                try:
                    database.execute("INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", each)
                except sqlite3.IntegrityError:  # a seq that is no integer
                    continue
        use(strange, strange.parent / "use", home)


@some
@given(data=st.data())
def test_cells_of_any_kind_are_read_or_refused(home: Path, data: st.DataObject) -> None:
    """Text that is not UTF-8 too: SQLite does not mind."""
    column = data.draw(st.sampled_from(["id", "kind", "version", "run_id", "task", "causes", "payload", "payload_digest", "observed", "hash"]))  # fmt: skip
    cast = data.draw(st.sampled_from(["?", "CAST(? AS TEXT)", "CAST(? AS BLOB)"]))
    values = data.draw(cells), data.draw(st.integers(1, 6))
    with strange_copy(home) as strange, nothing_starts():
        with closing(sqlite3.connect(strange / "log.sqlite", isolation_level=None)) as database:
            database.execute(f"UPDATE events SET {column} = {cast} WHERE seq = ?", values)  # noqa: S608
        use(strange, strange.parent / "use", home)


@some
@given(name=st.sampled_from(["log.sqlite", "log.sqlite-wal", "log.anchor", "parent.json"]), data=st.data())
def test_files_of_any_bytes_are_read_or_refused(home: Path, name: str, data: st.DataObject) -> None:
    note = st.fixed_dictionaries({"home": st.just("../other") | texts, "seq": st.integers(-1, 9), "hash": texts})
    content = data.draw(st.binary() | json_texts | note.map(lambda value: json.dumps(value).encode()))
    kept = data.draw(st.integers(0, 200))
    with strange_copy(home) as strange, nothing_starts():
        before = (home / name).read_bytes() if (home / name).exists() else b""
        (strange / name).write_bytes(before[:kept] + content)
        use(strange, strange.parent / "use", home)


@some
@given(data=st.data())
def test_lines_of_any_kind_are_taken_or_refused_whole(home: Path, data: st.DataObject) -> None:
    keys = ["seq", "id", "kind", "version", "run_id", "task", "causes", "payload", "observed", "hash", "redacted"]
    objects = st.dictionaries(st.sampled_from(keys) | texts, json_values).map(lambda value: json.dumps(value).encode())
    chains = histories().map(lambda found: [line(each) for each in found])
    strange = data.draw(st.lists(st.binary() | json_texts | objects, max_size=3) | chains)
    with tempfile.TemporaryDirectory() as folder, nothing_starts(), Home.open(Path(folder) / "new", create=True) as new:
        blobs = new.blobs
        if is_refused(lambda: import_(strange, new, blobs=blobs)):
            assert new.log.head() == EMPTY
        else:
            list(new.log.read())
            assert [each for each in verify(new.path).problems if "blob" not in each.what] == []


def line(event: dict[str, Any]) -> bytes:
    plain = {key: value for key, value in event.items() if key not in ("payload", "observed")}
    text = json.dumps(plain).encode()
    payload: bytes = event["payload"] or b"null"
    observed: bytes = event["observed"]
    return text[:-1] + b', "payload": ' + payload + b', "observed": ' + observed + b"}"


def test_a_line_that_does_not_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    with (tmp_path / "file.jsonl").open("wb") as file:
        file.truncate(1 << 30)
    with Home.open(tmp_path / "home", create=True) as home:
        tracemalloc.start()
        try:
            with pytest.raises(ConfigError, match="line 1 has more than 67,108,864 bytes"):
                import_(tmp_path / "file.jsonl", home)
            assert tracemalloc.get_traced_memory()[1] < 3 * lines.LONGEST
        finally:
            tracemalloc.stop()
