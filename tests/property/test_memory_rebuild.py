"""Random histories of a home: however the state came about, digest and ranked answers are the same.

`REBUILD_HISTORIES=1000` runs as many as the figure in docs/LOG.md says (minutes); the default is a few.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pieces import unit_rows

from synlearner.events.types import TaskFinished
from synlearner.memory import HashEmbedder, Memory, fold, new_item
from synlearner.memory import index as memory_index

HISTORIES = int(os.environ.get("REBUILD_HISTORIES", "12"))
WORDS = ["films", "rain", "bread", "chess", "trains", "law", "slang", "short", "not", "never"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
STEPS = st.one_of(
    st.tuples(st.just("add"), TEXTS, st.sampled_from(["", "s"]), st.sampled_from([1, -1])),
    st.tuples(st.just("update"), TEXTS, st.integers(0, 9), st.just(0)),
    st.tuples(st.sampled_from(["delete", "merge", "split"]), TEXTS, st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("feedback"), TEXTS, st.integers(0, 9), st.floats(-1, 1)),
    st.tuples(st.just("round"), TEXTS, st.integers(0, 2**53), st.floats(0, 1)),
    st.tuples(st.sampled_from(["tend", "task", "reembed"]), TEXTS, st.just(0), st.just(0)),
)
QUERIES = [f"{WORDS[number % 10]} {WORDS[number // 10 % 10]} {WORDS[number // 7 % 10]}" for number in range(40)]


def perform(memory: Memory, step: tuple[Any, ...]) -> None:
    """Do one thing that may happen to a memory."""
    verb, text, first, second = step
    active = [record.item.id for record in memory.state.active()]
    match verb:
        case "add":
            memory.add(text, scope=first, polarity=second)
        case "round":
            fact = memory.recall(text, k=3, seed=first, round=1, control=0.1)
            memory._append([(fact, ())])
            memory._append([(memory.credited(second, f"task:{text[:2]}", fact.chosen, arm="memory"), ())])
            learned = memory.learned(new_item(f"lesson of {text}"), parents=fact.chosen)
            memory._append([(learned, ())])
        case "tend":
            memory.tend()
        case "task":
            done = TaskFinished(requested=0, accepted=0, rejected=0, failed=0, delivered=0, tokens=0)
            memory._append([(done, ())] * 1)
        case "reembed":
            if memory.state.records:
                memory.reembed(HashEmbedder(16 if memory.state.embedder == "hash-24" else 24))
        case _ if not active:
            return
        case "update":
            if memory.state.records.get(new := _id_of(memory, active[first % len(active)], text)) is None or not new:
                memory.update(active[first % len(active)], text)
        case "delete":
            memory.delete(active[first % len(active)])
        case "merge":
            if active[first % len(active)] != active[second % len(active)]:
                memory.merge(active[first % len(active)], active[second % len(active)])
        case "split":
            merged = sorted(record.item.id for record in memory.state.records.values() if record.merged_into)
            if merged:
                memory.split(merged[first % len(merged)])
        case "feedback":
            memory.feedback(active[first % len(active)], second)


def _id_of(memory: Memory, item: str, text: str) -> str:
    old = memory.state.record(item).item
    return new_item(text, type=old.type, polarity=old.polarity, scope=old.scope).id


def answers(home: Path, **options: Any) -> tuple[str, list[Any]]:
    """Return the digest, and the ordered results with every term, of all queries."""
    with Memory.open(home, write=False, mirror=False, **options) as memory:
        asked = [memory.search(query, k=5, scope="*", explain=True) for query in QUERIES]
        assert memory.digest() == fold(memory._home.log.read()).digest()
        return memory.digest(), asked


@settings(max_examples=HISTORIES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, min_size=3, max_size=14), st.integers(0, 13))
def test_every_way_to_a_state_gives_the_same_answers(steps: list[tuple[Any, ...]], cut: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with Memory.open(home, embedder=HashEmbedder(16), mirror=False) as memory:
            for step in steps[:cut]:
                perform(memory, step)
            embedder = memory.state.embedder
        expected: tuple[str, list[Any]]
        with Memory.open(home, embedder=None if embedder else HashEmbedder(16), mirror=False) as memory:
            for step in steps[cut:]:  # a snapshot and its tail
                perform(memory, step)
            asked = [memory.search(query, k=5, scope="*", explain=True) for query in QUERIES]
            expected = memory.digest(), asked
        assert answers(home) == expected
        shutil.rmtree(home / "derived")
        for threads in (1, 2):
            with threadpoolctl.threadpool_limits(threads):
                assert answers(home) == expected
        _check_recalls(home)


def _check_recalls(home: Path) -> None:
    """Every recorded recall follows from the state before it."""
    with Memory.open(home, write=False, mirror=False) as memory:
        for event in memory._home.log.read():
            if event.kind == "experience_recalled" and memory.state.generation == 1:
                before = fold(memory._home.log.read(until=event.seq - 1))
                assert memory.check_recall(event.fact, before)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [300, 100_000])
def test_answers_do_not_depend_on_when_vectors_came_in(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With codes (limit 300) and without: in one piece, in batches, with one thread and two."""
    monkeypatch.setattr(memory_index, "SCAN_MOST", limit)
    rows, queries = unit_rows(2000, 96, 1), unit_rows(50, 96, 2)
    ids = [f"{place:04}" for place in range(2000)]

    def built(add: Callable[[memory_index.ExactIndex], None], threads: int) -> list[Any]:
        index = memory_index.ExactIndex(96)
        with threadpoolctl.threadpool_limits(threads):
            add(index)
            return [index.search(query, 10) for query in queries]

    def in_batches(index: memory_index.ExactIndex) -> None:
        for start in range(0, 2000, 77):
            index.add(ids[start : start + 77], rows[start : start + 77])
            index.search(queries[0], 3)

    whole = built(lambda index: index.add(ids, rows), 1)
    assert built(in_batches, 2) == whole
    order = np.random.default_rng(3).permutation(2000)
    assert built(lambda index: index.add([ids[place] for place in order], rows[order]), 2) == whole
