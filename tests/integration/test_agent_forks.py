"""Forks and rebuilds: a history goes on from any event, and what is derived can be deleted."""

import shutil
from pathlib import Path

import pytest
from runs import SHORT, events_of, facts_of, run, versatile, write_mixed_stream
from worlds import scripted, write_stream

from synlearner.agent import Agent
from synlearner.agent.datasets import delivered_rows
from synlearner.agent.decide import decide
from synlearner.agent.forking import fork_home
from synlearner.agent.loop import fold_run
from synlearner.agent.rebuilding import rebuild
from synlearner.agent.verifying import verify_run
from synlearner.errors import ConfigError
from synlearner.events.home import Home
from synlearner.events.types import HistoryForked, PromptsPlanned, StudentScored, TaskFinished
from synlearner.memory import HashEmbedder

SMALL = (*SHORT, "loop.rounds=1", "loop.prompts=1", "students.families=[tfidf]")


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stream(tmp_path_factory.mktemp("stream"), "one", "two", samples=6)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, stream: Path) -> Path:
    home = tmp_path_factory.mktemp("parent") / "home"
    run(home, stream, settings=SMALL)
    return home


def rows_of(home: Path, task: str) -> list[dict[str, str]]:
    with Home.open(home) as found:
        return delivered_rows(found.log, task).rows


def go_on(home: Path, stream: Path) -> None:
    """Finish what was forked, with its own settings and seed, and check that it holds together."""
    with Agent.open(home, engine=scripted(), embedder=HashEmbedder()) as agent:
        report = agent.run(stream)
    assert [task.name for task in report.tasks] == ["one", "two"]
    for totals in facts_of(home, TaskFinished):
        assert totals.requested == totals.accepted + totals.rejected + totals.failed
    with Home.open(home, write=True) as found:
        verified = verify_run(found, engine=scripted(), embedder=HashEmbedder())
    assert verified.first_difference is None
    assert verified.unchecked == []


every = pytest.mark.parametrize("step", [pytest.param(7, marks=pytest.mark.slow), 53])
"""At every seventh event (half a minute), or here and there."""


def places(parent: Path, step: int) -> range:
    return range(1, len(events_of(parent)), step)


@every
def test_a_fork_anywhere_comes_to_the_same_data_sets(parent: Path, stream: Path, tmp_path: Path, step: int) -> None:
    """Within a batch or between two: what was cut in half is done again, and nothing is doubled."""
    wanted = {task: rows_of(parent, task) for task in ("one", "two")}
    for at in places(parent, step):
        home = tmp_path / f"fork {at}"
        fork_home(parent, at, home, [])
        go_on(home, stream)
        assert {task: rows_of(home, task) for task in wanted} == wanted, at
        assert events_of(home)[:at] == events_of(parent)[:at]


@every
def test_a_fork_with_changes_goes_on_with_them(parent: Path, stream: Path, tmp_path: Path, step: int) -> None:
    changes = ["loop.group=2", "reward.min_fidelity=-0.5", "memory.k=0", "loop.student_every=0"]
    for at in places(parent, step):
        home = tmp_path / f"fork {at}"
        fork_home(parent, at, home, changes)
        go_on(home, stream)
        forked = next(event for event in events_of(home) if isinstance(event.fact, HistoryForked))
        assert forked.fact.changes == {  # type: ignore[union-attr]
            "loop.group": 2, "reward.min_fidelity": -0.5, "memory.k": 0, "loop.student_every": 0,
        }  # fmt: skip
        later = [e.fact for e in events_of(home)[at + 1 :] if isinstance(e.fact, PromptsPlanned)]
        assert {p.samples for fact in later if fact.purpose != "reference" for p in fact.prompts} <= {2}
        assert all(event.kind != "experience_recalled" for event in events_of(home)[at + 1 :])


def test_a_fork_of_a_finished_run_takes_another_stream(parent: Path, tmp_path: Path) -> None:
    home = tmp_path / "fork"
    fork_home(parent, len(events_of(parent)), home, [])
    report = run(home, write_stream(tmp_path, "three"), settings=SMALL)
    assert [task.name for task in report.tasks] == ["three"]


def test_a_fork_can_be_forked(parent: Path, stream: Path, tmp_path: Path) -> None:
    fork_home(parent, 20, tmp_path / "a", ["loop.oversample=1.0"])
    fork_home(tmp_path / "a", 21, tmp_path / "b", ["loop.group=2"])
    with Home.open(tmp_path / "b") as home:
        settings = fold_run(home.log).settings
    assert (settings["loop"]["oversample"], settings["loop"]["group"]) == (1.0, 2)
    go_on(tmp_path / "b", stream)


REFUSED = {
    "an event that is none": (0, [], "--at 0 is no event of"),
    "an event after the end": (10**6, [], "--at 1000000 is no event of"),
    "a change of nothing": (-1, ["loop.rounds=2"], "no run is under way that --set could change"),
    "a change of what the weights depend on": (20, ["policy.rank=4"], r"--set policy\.rank cannot change within a run"),
    "a setting that is none": (20, ["loop.round=4"], r"--set 'loop\.round' is no setting"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_fork_that_cannot_be_is_refused_and_leaves_nothing(parent: Path, tmp_path: Path, case: str) -> None:
    at, changes, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message):
        fork_home(parent, at if at >= 0 else len(events_of(parent)), tmp_path / "fork", changes)
    assert list(tmp_path.iterdir()) == []


def test_the_number_of_threads_may_change_in_a_fork(parent: Path, tmp_path: Path) -> None:
    fork_home(parent, 20, tmp_path / "fork", ["policy.threads=1"])


# ---- rebuilding ----------------------------------------------------------------------------------------------


@pytest.fixture
def home(parent: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(parent, tmp_path / "home"))


def test_what_is_derived_can_be_deleted_and_comes_back_the_same(home: Path) -> None:
    with Home.open(home, write=True) as found:
        first = rebuild(found)
    shutil.rmtree(home / "derived")
    with Home.open(home, write=True) as found:
        assert rebuild(found) == first
    assert first.events == len(events_of(home))
    assert any((home / "derived").iterdir())


def test_a_rebuilt_memory_gives_the_same_answers(home: Path) -> None:
    def answers() -> list[tuple[str, float]]:
        with Agent.open(home, embedder=HashEmbedder()) as agent:
            found = agent.memory.search("a short remark about weather", k=8)["results"]
        return [(item["id"], item["score"]) for item in found]

    before = answers()
    assert before
    shutil.rmtree(home / "derived")
    assert answers() == before
    (home / "derived" / "memory").mkdir(parents=True, exist_ok=True)
    for file in (home / "derived").rglob("*"):
        if file.is_file():
            file.write_bytes(b"garbage")
    with Home.open(home, write=True) as found:
        rebuild(found)
    assert answers() == before


def test_strange_things_in_the_folder_of_derived_things_are_cleared_away(home: Path) -> None:
    (home / "derived" / "note").write_text("x")
    (home / "derived" / "folder").mkdir()
    (home / "derived" / "link").symlink_to(home / "blobs")
    with Home.open(home, write=True) as found:
        rebuild(found)
    assert not any((home / "derived" / name).exists() for name in ("note", "folder", "link"))
    assert any((home / "blobs").iterdir()), "a link is removed, and not what it leads to"


def test_digests_can_be_had_of_any_moment(home: Path) -> None:
    end = len(events_of(home))
    with Home.open(home, write=True) as found:
        whole = rebuild(found)
        seen = [rebuild(found, until=seq) for seq in (0, 1, end - 1)]
        assert [one.events for one in seen] == [0, 1, end - 1]
        assert seen[0].memory_digest != whole.memory_digest
        assert rebuild(found, until=end) == whole
        for until in (-1, end + 1):
            with pytest.raises(
                ConfigError, match=f"--until {until} is no event of this home: its log holds 1 to {end}"
            ):
                rebuild(found, until=until)


def test_the_digest_of_a_copy_is_that_of_the_original(tmp_path: Path) -> None:
    stream = write_mixed_stream(tmp_path)
    digests = []
    for name in ("a", "b"):
        run(tmp_path / name, stream, engine=versatile(), settings=SMALL)
        with Home.open(tmp_path / name, write=True) as found:
            digests.append(rebuild(found))
    assert digests[0] == digests[1]


def test_a_fork_within_an_evaluation_evaluates_again(parent: Path, stream: Path, tmp_path: Path) -> None:
    """One of its five figures was there: all five are in the report."""
    seq = next(e.seq for e in events_of(parent) if isinstance(e.fact, StudentScored) and e.fact.split == "test")
    fork_home(parent, seq, tmp_path / "fork", [])
    go_on(tmp_path / "fork", stream)
    tested = [f for f in facts_of(tmp_path / "fork", StudentScored) if f.split == "test"]
    sources = ["delivered", "seeds", "seeds_and_delivered", "untrained", "real"]
    assert [fact.source for fact in tested if fact.source != "curve"] == ["delivered", *sources * 2]


def test_deciding_after_a_fork_within_a_batch_does_the_batch_again(parent: Path, tmp_path: Path) -> None:
    """The cut leaves some samples of a round: they are written anew, and counted once."""
    seq = next(e.seq for e in events_of(parent) if e.kind == "sample_generated") + 1
    fork_home(parent, seq, tmp_path / "fork", [])
    with Home.open(tmp_path / "fork") as found:
        state = fold_run(found.log)
    assert state.task is not None
    assert state.task.round.samples == ()
    assert type(decide(state)).__name__ == "Generate"
