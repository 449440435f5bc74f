"""Grids as they are written and kept; comparisons of results made by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grids import small_grid
from hypothesis import given
from hypothesis import strategies as st
from worlds import card, write_stream

from benchmarks.stream.arms import ARMS
from benchmarks.stream.comparing import Results, comparisons, difference, pairs
from benchmarks.stream.curves import in_turn
from benchmarks.stream.grid import Cell, Grid, make_grid, permutations, read_grid
from benchmarks.stream.reading import CellResult, Seen, TaskResult
from benchmarks.stream.remembering import LONG, Remembering
from synlearner.agent.scoring import PoolSample
from synlearner.agent.strategies import library
from synlearner.agent.tuning import Tunable
from synlearner.errors import ConfigError
from synlearner.events.types import Event, SampleScored
from synlearner.memory import HashEmbedder


@given(st.integers(3, 8), st.integers(1, 5))
def test_orders_are_different_and_more_only_add(count: int, wanted: int) -> None:
    orders = permutations(count, wanted)
    assert orders[0] == list(range(count))
    assert len({tuple(order) for order in orders}) == wanted
    assert permutations(count, wanted + 1)[:wanted] == orders


def test_cells_come_seed_by_seed_and_arms_may_have_fewer_orders(tmp_path: Path) -> None:
    grid = small_grid(tmp_path, arms={"full": None, "plain": {"orders": 1}}, orders=2, seeds=2)
    assert [cell.name for cell in grid.cells] == [
        "small.full.o0.s0", "small.plain.o0.s0", "small.full.o1.s0",
        "small.full.o0.s1", "small.plain.o0.s1", "small.full.o1.s1",
    ]  # fmt: skip
    assert len({cell.root_seed for cell in grid.cells}) == 4
    assert [task.card.name for task in grid.tasks(grid.cells[2])] == ["two", "one"]


def test_every_arm_is_valid_settings_under_the_same_cap(tmp_path: Path) -> None:
    grid = small_grid(tmp_path, *ARMS, tokens=777)
    assert {settings.loop.tokens for settings in grid.settings.values()} == {777}
    assert {settings.loop.fill_rounds for settings in grid.settings.values()} == {1000}
    assert {settings.policy.model for settings in grid.settings.values()} == {"SmolLM2-135M-Instruct"}
    still = [name for name, settings in grid.settings.items() if settings.stream.adapter == "none"]
    assert still == [name for name, arm in ARMS.items() if not arm.carries and not arm.fresh] + ["memory"]


@pytest.mark.parametrize("name", ["plain", "few_shot", "self_instruct", "progen", "best_of_n"])
def test_fixed_arms_have_one_way_to_ask(tmp_path: Path, name: str) -> None:
    grid = small_grid(tmp_path, name)
    of = grid.streams["small"].tasks[0].card
    assert len(library(of, grid.settings[name].dai)) == 1


def test_an_arm_of_ones_own_is_a_change_of_another(tmp_path: Path) -> None:
    grid = small_grid(tmp_path, arms={"full": {}, "cold": {"base": "full", "settings": ["dai.decodings=[calm]"]}})
    assert grid.settings["cold"].dai.decodings == ("calm",)
    assert grid.arms["cold"] is ARMS["full"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"arms": ["fool"]}, "arm 'fool' is none of plain, few_shot"),
        ({"arms": {"my arm": {"base": "full"}}}, "arm 'my arm': a name is letters"),
        ({"arms": {"full": {"sets": []}}}, "arms.full.sets"),
        ({"orders": 3}, "2 tasks have no 3 orders"),
        ({"tokens": 0}, "tokens=0"),
        ({"seeds": 0}, "seeds=0"),
        ({"settings": ["loop.round=3"]}, "'loop.round' is no setting"),
        ({"color": 1}, "color"),
    ],
)
def test_wrong_grids_are_refused(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        small_grid(tmp_path, **changes)


def test_tasks_without_test_data_are_refused(tmp_path: Path) -> None:
    write_stream(tmp_path / "s", "one")
    file = tmp_path / "s" / "stream.yaml"
    file.write_text(str({"stream": "small", "tasks": [card()]}), encoding="utf-8")
    with pytest.raises(ConfigError, match="task 'topics' has no labels or no test data"):
        small_grid(tmp_path)


def test_a_file_and_options_complete_each_other_and_never_disagree(tmp_path: Path) -> None:
    file = tmp_path / "g.yaml"
    file.write_text("{arms: [plain], tokens: 100, orders: 1}", encoding="utf-8")
    grid = read_grid(file, {"streams": ["demo"], "seeds": 2})
    assert (len(grid.cells), list(grid.streams)) == (2, ["demo"])
    with pytest.raises(ConfigError, match="says 'tokens' already"):
        read_grid(file, {"streams": ["demo"], "tokens": 5})


# ---- comparisons ---------------------------------------------------------------------------------------------


def result(cell: Cell, place: int, task: str, accuracy: float, *, delivered: int = 8) -> TaskResult:
    return TaskResult(
        stream=cell.stream, arm=cell.arm, order=cell.order, seed=cell.seed, place=place, task=task, delivered=delivered,
        requested=10, accepted=9, failed=0, tokens=100, tokens_untrained=50, tokens_accepted=60,
        accuracy={"embedding": {"delivered": accuracy, "seeds": 0.5}}, macro_f1={}, fidelity=0.5, vendi=4.0,
        vendi_untrained=5.0, compared=8, distinct_2=0.9, seconds=1.0, run_id="r",
    )  # fmt: skip


def results_of(grid: Grid, accuracy: dict[tuple[str, int, int, str], float]) -> Results:
    """Return results with these accuracies by (arm, order, seed, task)."""
    cells = {}
    for cell in grid.cells:
        names = [task.card.name for task in grid.tasks(cell)]
        tasks = [
            result(cell, place, name, accuracy[cell.arm, cell.order, cell.seed, name])
            for place, name in enumerate(names, 1)
            if (cell.arm, cell.order, cell.seed, name) in accuracy
        ]
        cells[cell] = CellResult(cell, tasks, len(names), {}, [], [])
    return Results(grid, cells, {})


def test_only_tasks_with_experience_behind_them_are_compared(tmp_path: Path) -> None:
    grid = small_grid(tmp_path, "full", "frozen", seeds=2)
    values = {("full", 0, s, t): 0.6 + 0.1 * s for s in (0, 1) for t in ("one", "two")}
    values |= {("frozen", 0, s, "one"): 0.9 for s in (0, 1)} | {("frozen", 0, s, "two"): 0.5 for s in (0, 1)}
    results = results_of(grid, values)
    (row,) = comparisons(results)
    assert (row["first"], row["second"], row["pairs"], row["runs"]) == ("full", "frozen", 2, 2)
    assert row["difference"] == pytest.approx((0.1 + 0.2) / 2)
    assert row["low"] <= row["difference"] <= row["high"]


def test_one_run_has_a_difference_but_no_interval(tmp_path: Path) -> None:
    grid = small_grid(tmp_path, "full", "frozen")
    results = results_of(
        grid, {(arm, 0, 0, t): a for arm, a in (("full", 0.7), ("frozen", 0.6)) for t in ("one", "two")}
    )
    (row,) = comparisons(results)
    assert row["difference"] == pytest.approx(0.1)
    assert math.isnan(row["low"])
    assert row["runs"] == 0


def test_an_arm_that_depends_on_no_order_stands_for_all_and_counts_once_a_seed(tmp_path: Path) -> None:
    grid = small_grid(tmp_path, arms={"full": {}, "plain": {"orders": 1}}, orders=2, seeds=2)
    values = {("full", o, s, t): 0.7 for o in (0, 1) for s in (0, 1) for t in ("one", "two")}
    values |= {("plain", 0, s, t): 0.6 for s in (0, 1) for t in ("one", "two")}
    results = results_of(grid, values)
    found = pairs(results, "full", "plain", from_place=2)
    assert sorted((p.run[1:], p.first.task, p.borrowed) for p in found) == [
        ((0, 0), "two", False), ((0, 1), "two", False), ((1, 0), "one", True), ((1, 1), "one", True),
    ]  # fmt: skip
    interval = difference(results, "full", "plain", "embedding")
    assert interval is not None
    assert (interval.runs, interval.tasks) == (2, 2)
    assert interval.mean == pytest.approx(0.1)


def test_an_arm_that_carries_is_never_borrowed(tmp_path: Path) -> None:
    grid = small_grid(tmp_path, arms={"full": {}, "memory": {"orders": 1}}, orders=2)
    values = {("full", o, 0, t): 0.7 for o in (0, 1) for t in ("one", "two")}
    values |= {("memory", 0, 0, t): 0.6 for t in ("one", "two")}
    assert {p.run[1] for p in pairs(results_of(grid, values), "full", "memory")} == {0}


def test_nothing_delivered_counts_as_nothing_right(tmp_path: Path) -> None:
    grid = small_grid(tmp_path, "full", "frozen")
    results = results_of(grid, {(arm, 0, 0, t): 0.6 for arm in ("full", "frozen") for t in ("one", "two")})
    cell = next(cell for cell in grid.cells if cell.arm == "frozen")
    tasks = results.cells[cell].tasks
    tasks[1] = replace(tasks[1], delivered=0, accuracy={"embedding": {"seeds": 0.5}})
    (row,) = comparisons(results)
    assert row["difference"] == pytest.approx(0.6)


@pytest.mark.parametrize(("label", "fidelity"), [("", -0.4), ("weather", 0.6)])
def test_the_fidelity_of_a_sample_is_that_to_the_label_it_has(label: str, fidelity: float) -> None:
    fact = SampleScored(4, True, "", {"text": "rain"}, {"fidelity": -0.4, "likeliest": 0.6}, 0.0, label)
    event = Event(
        seq=9, id="9", kind=fact.kind, version=2, run_id="r", task="t", causes=(4,), fact=fact, observed={"seconds": 2},
        hash="",
    )  # fmt: skip
    seen = Seen()
    seen.take(event)
    assert (seen.fidelity, seen.seconds) == ({4: fidelity}, 2.0)


def test_labels_come_in_turn() -> None:
    pool = [PoolSample(seq, label, "", {}, 0.5, "", 0) for seq, label in enumerate("aaabba", 1)]
    assert [(s.label, s.seq) for s in in_turn(pool)] == [("a", 1), ("b", 4), ("a", 2), ("b", 5), ("a", 3), ("a", 6)]


def test_make_grid_takes_paths_relative_to_its_folder(tmp_path: Path) -> None:
    write_stream(tmp_path / "s", "one")
    grid = make_grid({"streams": ["s/stream.yaml"], "arms": ["plain"], "tokens": 9}, tmp_path, "g")
    assert grid.file.streams == (str((tmp_path / "s" / "stream.yaml").resolve()),)


def test_a_remembered_call_gives_the_same_bits_and_is_not_made_again() -> None:
    class Counting(HashEmbedder):
        calls = 0

        def embed(self, texts: Sequence[str]) -> Any:
            self.calls += 1
            return super().embed(texts)

    inner, plain = Counting(8), HashEmbedder(8)
    remembering = Remembering(inner)
    long, short = [f"row {i}" for i in range(LONG)], ["row 1"]
    for _ in range(2):
        for texts in (long, long[::-1], short):
            found = remembering.embed(texts)
            assert np.array_equal(found, plain.embed(texts))
            found[:] = 0  # whoever gets it may change it
    assert inner.calls == 4, "two long calls once, a short one each time"
    assert np.array_equal(remembering.embed_words(short), plain.embed_words(short))
    assert (remembering.dimension, remembering.fingerprint) == (8, "hash-8")


def test_what_remembers_is_tuned_as_what_it_remembers_for() -> None:
    class Weighty(HashEmbedder):
        folder = Path("weights")

        def with_weights(self, _: Any) -> HashEmbedder:
            return self

    assert isinstance(Remembering(Weighty()), Tunable)
    assert not isinstance(Remembering(HashEmbedder()), Tunable)
