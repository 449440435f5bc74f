"""The mirror may be deleted, damaged, stale or broken at any time: answers stay, and it heals."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from synlearner.memory import HashEmbedder, Memory, library
from synlearner.memory.chroma import ChromaMirror, MirrorBroken

QUERIES = ["lesson about films", "lesson 7 about rain", "bread and chess", "trains"]


WORDS = ["films", "rain", "bread", "chess", "trains", "law"]


def text(number: int) -> str:
    return f"lesson {number} about {WORDS[number % 6]}, {WORDS[number // 6 % 6]} and {WORDS[number // 36 % 6]}"


@pytest.fixture(scope="module")
def full_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("memory") / "home"
    fill(home, range(150))
    return home


def fill(home: Path, numbers: range) -> None:
    lines = home.parent / "lines"
    lines.write_text("\n".join(json.dumps({"content": text(number)}) for number in numbers))
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        memory.import_(lines)


@pytest.fixture
def home(full_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(library, "MIRROR_FROM", 100)
    monkeypatch.setattr(library, "MIRROR_TAIL", 10)
    return Path(shutil.copytree(full_home, tmp_path / "home"))


def answers(memory: Memory) -> list[Any]:
    return [memory.search(query, k=5) for query in QUERIES]


def condition(memory: Memory) -> str:
    return str(memory.stats()["mirror"]["condition"])


def proposals(memory: Memory, query: str, k: int = 150) -> set[str]:
    mirror = memory._library._mirror("")
    return {digest for digest, _ in mirror._chroma.search(HashEmbedder().embed([query])[0], k)}


@pytest.fixture(scope="module")
def expected(full_home: Path) -> list[Any]:
    with Memory.open(full_home, embedder=HashEmbedder(), mirror=False) as memory:
        return answers(memory)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the searches that a mirror answered."""
    calls: list[int] = []
    search = ChromaMirror.search

    def counted(self: ChromaMirror, vector: Any, k: int) -> Any:
        found = search(self, vector, k)
        calls.append(len(found))
        return found

    monkeypatch.setattr(ChromaMirror, "search", counted)
    return calls


def test_a_healthy_mirror_proposes_and_the_answers_are_the_exact_ones(
    home: Path, expected: list[Any], spy: list[int]
) -> None:
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        assert condition(memory) == "healthy"
        assert answers(memory) == expected
    assert len(spy) == len(QUERIES)
    assert min(spy) >= 100


def test_a_reader_never_opens_the_mirror(home: Path, expected: list[Any], spy: list[int]) -> None:
    with Memory.open(home, embedder=HashEmbedder(), write=False) as memory:
        assert condition(memory) == "healthy"
        assert answers(memory) == expected
    assert spy == []


def delete_all(folder: Path) -> None:
    shutil.rmtree(folder)


def delete_generation(folder: Path) -> None:
    shutil.rmtree(next(folder.glob("g*")))


def truncate_files(folder: Path) -> None:
    for path in folder.glob("g*/*/*.bin"):
        path.write_bytes(path.read_bytes()[:-7])


def flip_bits(folder: Path) -> None:
    for path in folder.glob("g*/*/*.bin"):
        path.write_bytes(bytes(byte ^ 255 for byte in path.read_bytes()))


def break_database(folder: Path) -> None:
    path = next(folder.glob("g*/chroma.sqlite3"))
    path.write_bytes(b"\0" * path.stat().st_size)


def remove_database(folder: Path) -> None:
    next(folder.glob("g*/chroma.sqlite3")).unlink()


def break_status(folder: Path) -> None:
    (folder / "mirror.json").write_text('{"folder": "../../..", "generation": 1')


def kill_while_writing(folder: Path) -> None:
    status = json.loads((folder / "mirror.json").read_text())
    (folder / "mirror.json").write_text(json.dumps(status | {"clean": False}))


def put_another_history_there(folder: Path) -> None:
    other = folder.parents[3] / "other"
    fill(other, range(500, 650))
    shutil.rmtree(folder)
    shutil.copytree(other / "derived" / "memory" / "mirror", folder)


@pytest.mark.parametrize(
    "damage",
    [
        delete_all, delete_generation, truncate_files, flip_bits, break_database, remove_database, break_status,
        kill_while_writing, put_another_history_there,
    ],
)  # fmt: skip
def test_a_damaged_mirror_changes_no_answer_and_is_healed(
    home: Path, expected: list[Any], damage: Callable[[Path], None]
) -> None:
    damage(home / "derived" / "memory" / "mirror")
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        assert answers(memory) == expected
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        assert condition(memory) == "healthy"
        assert memory.stats()["mirror"]["watermark"] == 150
        assert answers(memory) == expected
        assert len(memory.state.owners.keys() & proposals(memory, "trains")) == 150


def test_a_database_that_somebody_holds_is_not_waited_for(home: Path, expected: list[Any]) -> None:
    database = next((home / "derived" / "memory" / "mirror").glob("g*/chroma.sqlite3"))
    with closing(sqlite3.connect(database, isolation_level=None)) as held:
        held.execute("BEGIN EXCLUSIVE")
        with Memory.open(home, embedder=HashEmbedder()) as memory:
            assert answers(memory) == expected
            assert "locked" in memory.stats()["mirror"]["last_problem"]


INTRUDER = """
import sys, chromadb, numpy
client = chromadb.PersistentClient(sys.argv[1], settings=chromadb.config.Settings(anonymized_telemetry=False))
(collection,) = client.list_collections()
collection.add(ids=[f"{n:064}" for n in range(100)], embeddings=numpy.eye(100, 64, dtype=numpy.float32) + .001)
"""


def test_rows_of_a_second_process_are_in_no_answer(home: Path, expected: list[Any]) -> None:
    folder = next((home / "derived" / "memory" / "mirror").glob("g*"))
    subprocess.run([sys.executable, "-c", INTRUDER, str(folder)], check=True)
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        assert answers(memory) == expected
        # Whether it has written its index by then, or only its log, is ChromaDB's matter.
        seen = ("are not what was written", "it holds 250 vectors, its status says 150")
        assert any(what in memory.stats()["mirror"]["last_problem"] for what in seen)


def test_damage_under_an_open_mirror_changes_no_answer(home: Path, expected: list[Any]) -> None:
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        assert answers(memory) == expected
        delete_all(home / "derived")
        assert answers(memory) == expected
        memory.add(text(150))
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        assert answers(memory)[0] is not None
        assert memory.rebuild_mirror()["condition"] == "healthy"


def test_new_items_are_found_before_the_mirror_has_them(home: Path) -> None:
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        new = memory.add("an entirely different sentence")["results"][0]["id"]
        assert condition(memory) == "behind"
        assert memory.search("an entirely different sentence", k=1)["results"][0]["id"] == new
        memory.flush()
        assert condition(memory) == "healthy"
        assert memory.search("an entirely different sentence", k=1)["results"][0]["id"] == new
        memory.delete(new)
        assert new not in [result["id"] for result in memory.search("an entirely different sentence")["results"]]


def test_a_filter_that_the_proposals_do_not_satisfy_is_answered_by_the_scan(home: Path) -> None:
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        near = proposals(memory, "law", k=library.MIRROR_ASK)
        wanted = next(record.item.id for record in memory.state.active() if record.vector not in near)
        found = memory.search("law", k=3, filters={"id": wanted})["results"]
        assert [result["id"] for result in found] == [wanted]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (delete_generation, "are not what was written"),
        (truncate_files, "are not what was written"),
        (flip_bits, "are not what was written"),
        (kill_while_writing, "was not finished"),
    ],
)
def test_files_that_are_not_as_they_were_left_are_never_opened(
    home: Path, damage: Callable[[Path], None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "derived" / "memory" / "mirror"
    damage(folder)
    monkeypatch.setattr(ChromaMirror, "_connect", lambda *_: pytest.fail("it was opened"))
    mirror = ChromaMirror(folder, "hash-64.1", 64)
    row = HashEmbedder().embed(["a"])
    for use in (lambda: mirror.search(row[0], 1), lambda: mirror.add(["a"], row), lambda: len(mirror)):
        with pytest.raises(MirrorBroken, match=message):
            use()


def test_a_collection_of_another_size_than_its_status_says_is_not_believed(home: Path) -> None:
    folder = home / "derived" / "memory" / "mirror"
    remove_database(folder)
    with pytest.raises(MirrorBroken, match="it holds 0 vectors, its status says 150"):
        ChromaMirror(folder, "hash-64.1", 64).search(HashEmbedder().embed(["a"])[0], 1)


def test_a_large_memory_is_mirrored_a_page_at_a_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delete_all(home / "derived" / "memory" / "mirror")
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        marks = []
        for _ in range(3):
            memory._library.flush(limit=60)
            marks.append(memory.stats()["mirror"]["watermark"])
        assert marks == [60, 120, 150]


def test_without_chromadb_the_scan_answers_and_says_why(
    home: Path, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any) -> None:
        raise MirrorBroken("ImportError: no chromadb")

    monkeypatch.setattr(ChromaMirror, "_connect", missing)
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        assert answers(memory) == expected
        memory.add(text(151))
        memory.flush()
        assert memory.search(text(151), k=1)["results"][0]["memory"] == text(151)
        assert memory.stats()["mirror"]["last_problem"] == "ImportError: no chromadb"


def test_a_rebuild_embeds_nothing_and_starts_a_fresh_generation(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        monkeypatch.setattr(HashEmbedder, "embed", None)
        assert memory.rebuild_mirror() == {
            "condition": "healthy", "watermark": 150, "canary": 1.0, "generation": 2
        }  # fmt: skip
    assert len(list((home / "derived" / "memory" / "mirror").glob("g*"))) == 1


def test_a_damaged_cache_changes_no_answer(home: Path, expected: list[Any]) -> None:
    (path,) = (home / "derived" / "memory").glob("*.rows")
    path.write_bytes(bytes(byte ^ (place % 97 == 0) for place, byte in enumerate(path.read_bytes())))
    with Memory.open(home, embedder=HashEmbedder(), write=False) as memory:
        assert answers(memory) == expected
