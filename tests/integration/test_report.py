"""The report page: self-contained, true to the log, and safe against what samples say."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from commands import Run, one_line

from synlearner.agent.datasets import delivered_rows
from synlearner.events import Home
from synlearner.events.types import SampleGenerated
from synlearner.report.history import History, Sample, read_history
from synlearner.report.page import render


class Page(HTMLParser):
    """What a browser would find: links to the outside, scripts' data, texts of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.data: list[list[dict[str, Any]]] = []
        self.cells: list[str] = []
        self.scripts = 0
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [value for key in ("src", "href") if (value := given.get(key))]
        self.scripts += tag == "script"
        if tag not in {"meta", "img", "input", "br"}:
            self._open.append((tag, given))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        tag, given = self._open[-1] if self._open else ("", {})
        if tag == "script" and given.get("class") == "data":
            self.data.append(json.loads(data))
        if tag in {"td", "a", "code"}:
            self.cells.append(data.strip())


def history_of(home: Path) -> History:
    with Home.open(home) as opened:
        return read_history(opened.log.read())


def test_the_page_tells_what_the_log_holds_and_needs_nothing_else(
    run: Run, done: tuple[Path, Path], tmp_path: Path
) -> None:
    home = done[0]
    out = tmp_path / "deep" / "report.html"
    ran = run("report", "--home", home, "--out", out, "--json")
    assert ran.code == 0
    assert ran.data["tasks"] == 2
    assert ran.data["digest"] == run("log", "digest", "--home", home, "--json").data["digest"]
    page = Page(out.read_text(encoding="utf-8"))
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert sum(address.startswith("data:image/svg+xml") for address in page.addresses) >= 4
    with Home.open(home) as opened:
        samples = sum(isinstance(event.fact, SampleGenerated) for event in opened.log.read())
        chosen = {name: delivered_rows(opened.log, name).seqs for name in ("topics", "again")}
    assert sum(map(len, page.data)) == samples
    for data, name in zip(page.data, ("topics", "again"), strict=True):
        assert sorted(sample["seq"] for sample in data if sample["fate"] == "delivered") == chosen[name]
        assert name in page.cells


def test_counts_add_up(done: tuple[Path, Path]) -> None:
    for task in history_of(done[0]).tasks:
        assert task.delivered
        assert sum(round_.requested for round_ in task.rounds) == task.delivered.requested
        assert sum(round_.accepted for round_ in task.rounds) == task.delivered.accepted
        assert {k: v for k, v in task.rejected.items() if k != "gate:engine"} == task.delivered.rejected
        assert set(task.believed) <= set(task.tried)


def test_equal_logs_give_equal_pages(done: tuple[Path, Path]) -> None:
    assert render(history_of(done[0]), 10) == render(history_of(done[0]), 10)


def test_what_a_sample_says_is_data(done: tuple[Path, Path]) -> None:
    history = history_of(done[0])
    before = Page(render(history, 50)).scripts
    evil = "</script><script>alert('x')</script><img src=http://evil.example onerror=alert(1)>"
    task = history.tasks[0]
    task.samples = {1: Sample(1, 1, evil, evil, evil, fate=evil)}
    task.name = evil
    page = Page(render(history, 50))
    assert page.scripts == before
    assert page.data[0][0]["text"] == evil
    assert all(address.startswith(("#", "data:")) for address in page.addresses)


def test_fewer_samples_are_shown_where_that_is_asked_for(done: tuple[Path, Path]) -> None:
    history = history_of(done[0])
    assert [len(data) for data in Page(render(history, 3)).data] == [3, 3]
    assert {sample["fate"] for sample in Page(render(history, 3)).data[0]} == {"delivered"}


@pytest.mark.parametrize("case", ["no task", "a folder", "a negative number", "no home"])
def test_what_cannot_be_reported_is_refused(run: Run, done: tuple[Path, Path], tmp_path: Path, case: str) -> None:
    home, out, samples = done[0], tmp_path / "r.html", 10
    if case == "no task":
        home = tmp_path / "notes"
        assert run("memory", "add", "A note.", "--home", home).code == 0
    if case == "a folder":
        out = tmp_path
    if case == "a negative number":
        samples = -1
    if case == "no home":
        home = tmp_path / "none"
    ran = run("report", "--home", home, "--out", out, "--samples", samples)
    assert ran.code == 1
    one_line(ran)
    assert not (tmp_path / "r.html").exists()
