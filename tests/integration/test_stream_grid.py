"""Grids from end to end with an engine that follows a script: cells are homes, and folders never mix two grids."""

import json
import shutil
from pathlib import Path

import pytest
from grids import ran, small_grid
from runs import StopAfter, Stopped, events_of

from benchmarks.stream.__main__ import main
from benchmarks.stream.cells import Tools, run_cell
from benchmarks.stream.curves import kept_curves
from benchmarks.stream.grid import MANIFEST, Cell, kept_grid
from benchmarks.stream.reading import TaskResult, read_cell
from benchmarks.stream.report import write_report
from benchmarks.stream.running import CELLS, missing
from synlearner.errors import ConfigError
from synlearner.events.types import (
    DatasetDelivered,
    HistoryForked,
    PolicyUpdated,
    PromptsPlanned,
    RunStarted,
    SampleGenerated,
    SampleScored,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished grid of three arms, two seeds and a transfer matrix."""
    folder = tmp_path_factory.mktemp("grid")
    ran(small_grid(folder, "plain", "full", "isolated", seeds=2, probe=4), folder / "out")
    return folder


def test_every_cell_is_an_ordinary_home_with_the_arms_settings(whole: Path) -> None:
    grid = small_grid(whole, "plain", "full", "isolated", seeds=2, probe=4)
    assert missing(whole / "out", grid, [read_cell(whole / "out" / CELLS, grid, cell) for cell in grid.cells]) == []
    home = whole / "out" / CELLS / "small.full.o0.s1" / "home"
    started = [event.fact for event in events_of(home) if isinstance(event.fact, RunStarted)]
    assert [fact.tasks for fact in started] == [["one"], ["two"]]
    assert {fact.seed for fact in started} == {1}
    assert all(fact.settings["loop"]["tokens"] == 300 for fact in started)
    assert started[0].settings["memory"]["k"] == 4


def test_plain_asks_with_the_bare_instruction_alone(whole: Path) -> None:
    home = whole / "out" / CELLS / "small.plain.o0.s0" / "home"
    plans = [event.fact for event in events_of(home) if isinstance(event.fact, PromptsPlanned)]
    assert {prompt.strategy for plan in plans for prompt in plan.prompts} == {"plain/none/open"}
    assert {plan.purpose for plan in plans} == {"reference", "fill"}
    assert not [event for event in events_of(home) if isinstance(event.fact, PolicyUpdated)]


def test_what_was_delivered_and_counted_is_what_the_cell_reports(whole: Path) -> None:
    """Samples of the untrained policy are among both."""
    grid = small_grid(whole, "plain", "full", "isolated", seeds=2, probe=4)
    cell = Cell("small", "full", 0, 1)
    events = events_of(whole / "out" / CELLS / cell.name / "home")
    plans = {event.seq: event.fact.purpose for event in events if isinstance(event.fact, PromptsPlanned)}
    written = {event.seq: plans[event.causes[0]] for event in events if isinstance(event.fact, SampleGenerated)}
    facts = [event.fact for event in events if isinstance(event.fact, DatasetDelivered)]
    assert "reference" in {written[seq] for fact in facts for seq in fact.samples}
    found = read_cell(whole / "out" / CELLS, grid, cell).tasks
    assert [(task.delivered, task.requested, task.accepted) for task in found] == [
        (len(fact.samples), fact.requested, fact.accepted) for fact in facts
    ]


def test_isolated_has_a_home_for_every_task(whole: Path) -> None:
    folder = whole / "out" / CELLS / "small.isolated.o0.s0"
    assert sorted(path.name for path in folder.glob("home*")) == ["home.one", "home.two"]


def test_probes_are_forks_after_each_task_and_of_the_untouched_agent(whole: Path) -> None:
    folder = whole / "out" / CELLS / "small.full.o0.s0" / "probes"
    assert sorted(path.name for path in folder.iterdir()) == ["0.one", "0.two", "1.one", "1.two", "2.one", "2.two"]
    forked = [event.fact for event in events_of(folder / "1.two") if isinstance(event.fact, HistoryForked)]
    home = folder.parent / "home"
    ends = [event.seq for event in events_of(home) if event.kind == "run_finished"]
    assert [fact.parent_seq for fact in forked] == [ends[0]]
    assert not [event for event in events_of(folder / "0.two") if isinstance(event.fact, HistoryForked)]
    assert not (whole / "out" / CELLS / "small.isolated.o0.s0" / "probes").exists()


def test_the_report_says_what_the_logs_say(whole: Path) -> None:
    grid = small_grid(whole, "plain", "full", "isolated", seeds=2, probe=4)
    data = write_report(whole / "out", grid)
    assert data["missing"] == []
    assert [row["arm"] for row in data["arms"]] == ["plain", "full", "isolated"]
    assert {row["tasks"] for row in data["arms"]} == {4}
    contrast = next(r for r in data["comparisons"] if (r["second"], r["family"]) == ("plain", "embedding"))
    later = [t for t in data["results"] if t["place"] == 2]
    by = {(t["arm"], t["seed"]): t["accuracy_embedding_delivered"] for t in later}
    assert contrast["difference"] == pytest.approx(sum(by["full", s] - by["plain", s] for s in (0, 1)) / 2)
    assert contrast["low"] <= contrast["difference"] <= contrast["high"]
    assert len(data["transfer"]) == 4
    forward = next(r for r in data["transfer_means"] if (r["measure"], r["family"]) == ("forward", "embedding"))
    matrices = [row for row in data["transfer"] if row["family"] == "embedding"]
    assert forward["mean"] == pytest.approx(sum(row["forward"] for row in matrices) / 2)
    assert {row["reached"] for row in data["goals"]} <= {"yes", "no"}
    assert data["hours"] == pytest.approx(sum(t["seconds"] for t in data["results"]) / 3600)
    page = (whole / "out" / "report" / "report.html").read_text()
    assert "data:image/png" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    kept = json.loads((whole / "out" / "report" / "report.json").read_text())
    assert kept["digests"]["small.plain.o0.s0"] == data["digests"]["small.plain.o0.s0"]
    names = {path.name for path in (whole / "out" / "report").iterdir()}
    assert {
        "goals.csv",
        "arms.csv",
        "comparisons.csv",
        "results.csv",
        "forest_embedding.png",
        "curves_tfidf.png",
    } <= names


def test_tokens_are_those_of_the_log_and_stay_within_a_round_of_the_cap(whole: Path) -> None:
    grid = small_grid(whole, "plain", "full", "isolated", seeds=2, probe=4)
    for cell in grid.cells:
        for task in read_cell(whole / "out" / CELLS, grid, cell).tasks:
            assert 0 < task.tokens < 300 + 64 * 14
            counted = (task.tokens, task.tokens_untrained, task.tokens_accepted)
            assert counted == written(whole / "out" / CELLS / cell.name, task)
            assert 0 < task.tokens_accepted <= task.tokens


def written(cell: Path, task: TaskResult) -> tuple[int, int, int]:
    """Return the tokens of a task that count against the cap, those of the untrained policy, and those of accepted samples.

    `plain` has no floors, and delivers nothing of the untrained policy.
    """
    home = cell / (f"home.{task.task}" if task.arm == "isolated" else "home")
    events = {event.seq: event for event in events_of(home) if event.task == task.task}
    tokens = {True: 0, False: 0}
    accepted = {
        event.fact.sample for event in events.values() if isinstance(event.fact, SampleScored) and event.fact.accepted
    }
    kept = 0
    for event in events.values():
        if isinstance(event.fact, SampleGenerated):
            plan = events[event.causes[0]].fact
            assert isinstance(plan, PromptsPlanned)
            is_reference = plan.purpose == "reference"
            tokens[is_reference] += len(event.fact.token_ids)
            if event.seq in accepted and not (is_reference and task.arm == "plain"):
                kept += len(event.fact.token_ids)
    return tokens[False] + (0 if task.arm == "plain" else tokens[True]), tokens[True], kept


def test_a_grid_that_is_done_runs_nothing_and_grows_by_seeds(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "s", tmp_path / "s")
    ran(small_grid(tmp_path, "plain"), tmp_path / "out")
    home = tmp_path / "out" / CELLS / "small.plain.o0.s0" / "home"
    before = events_of(home)
    told = ran(small_grid(tmp_path, "plain", seeds=2), tmp_path / "out")
    assert told.startswith("2 cells, 1 of them done")
    assert "s0 one" not in told
    assert events_of(home) == before


def test_a_grid_of_other_defaults_is_still_read_and_no_longer_run(whole: Path, tmp_path: Path) -> None:
    """A later version of the product has other defaults; what was run stays what it was."""
    out = tmp_path / "out"
    shutil.copytree(whole / "out", out)
    manifest = json.loads((out / MANIFEST).read_text())
    manifest["arms"]["plain"]["policy"]["micro_batch"] = 7
    (out / MANIFEST).write_text(json.dumps(manifest))
    assert kept_grid(out, reading=True).cells == kept_grid(whole / "out").cells
    with pytest.raises(ConfigError, match=r"policy\.micro_batch of arm 'plain' was 7"):
        kept_grid(out)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_cell_that_comes_out_otherwise_is_an_exit_code(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    """The cell of the other seed stands for one that came out otherwise."""
    again = whole / "out" / CELLS / f"small.plain.o0.s{seed}"
    monkeypatch.setattr(
        "benchmarks.stream.__main__.run_cell",
        lambda into, *_: shutil.copytree(again, into / "small.plain.o0.s0"),
    )
    code = main(["repeat", "small.plain.o0.s0", "--out", str(whole / "out"), "--into", str(tmp_path / "into")])
    assert (code, json.loads(capsys.readouterr().out)["equal"]) == (seed, not seed)


def test_a_cell_that_is_stopped_anywhere_ends_as_one_that_was_not(tmp_path: Path, whole: Path) -> None:
    from worlds import scripted  # noqa: PLC0415

    from synlearner.memory import HashEmbedder  # noqa: PLC0415

    grid = small_grid(whole, "plain", "full", "isolated", seeds=2, probe=4)
    tools = Tools(scripted(), HashEmbedder())
    for arm in ("full", "isolated"):
        cell, times = Cell("small", arm, 0, 0), 0
        while True:
            try:
                run_cell(tmp_path, grid, cell, lambda _: StopAfter(), tools)
                break
            except Stopped:
                times += 1
        assert times > 10
        assert read_cell(tmp_path, grid, cell).digests == read_cell(whole / "out" / CELLS, grid, cell).digests


def test_a_cell_with_a_strange_home_is_refused(tmp_path: Path, whole: Path) -> None:
    grid = small_grid(whole, "plain", "full", "isolated", seeds=2, probe=4)
    shutil.copytree(whole / "out" / CELLS / "small.isolated.o0.s0" / "home.two", tmp_path / "small.full.o0.s0" / "home")
    with pytest.raises(ConfigError, match="remove the home"):
        run_cell(tmp_path, grid, Cell("small", "full", 0, 0), lambda _: StopAfter(), Tools())


def test_a_missing_cell_is_reported(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "out", tmp_path / "out", symlinks=True)
    shutil.rmtree(tmp_path / "out" / CELLS / "small.plain.o0.s1")
    (tmp_path / "out" / CELLS / "small.isolated.o0.s0" / "curves.json").unlink()
    grid = small_grid(whole, "plain", "full", "isolated", seeds=2, probe=4)
    data = write_report(tmp_path / "out", grid)
    assert data["missing"] == ["small.isolated.o0.s0: no curves", "small.plain.o0.s1: 0 of 2 tasks"]
    assert "2 of 6 cells are not whole" in (tmp_path / "out" / "report" / "report.html").read_text()


def test_curves_of_another_history_are_not_taken(whole: Path, tmp_path: Path) -> None:
    grid = small_grid(whole, "plain", "full", "isolated", seeds=2, probe=4)
    cell = Cell("small", "isolated", 0, 0)
    shutil.copytree(whole / "out" / CELLS / cell.name, tmp_path / cell.name)
    kept = kept_curves(tmp_path, grid, cell)
    assert kept is not None
    curve = kept["one"]["embedding"]
    assert list(curve.samples) == sorted(curve.samples)
    assert list(curve.tokens) == sorted(curve.tokens)
    file = tmp_path / cell.name / "curves.json"
    file.write_text(file.read_text().replace(read_cell(tmp_path, grid, cell).digests["home.one"], "0" * 64))
    assert kept_curves(tmp_path, grid, cell) is None
