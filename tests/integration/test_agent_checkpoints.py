"""Opening catches up from a checkpoint, and is the same as starting over: in every digest, and in what comes next."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from histories import change
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from runs import SHORT, StopAfter, Stopped, events_of, run, run_in_pieces, versatile, write_mixed_stream

from synlearner.agent import Agent
from synlearner.agent.decide import decide
from synlearner.agent.rebuilding import rebuild
from synlearner.agent.snapshot import RUN
from synlearner.agent.state import RunState, apply
from synlearner.errors import CorruptLog
from synlearner.events import Event, Home, fork
from synlearner.events import checkpoints as module
from synlearner.events.checkpoints import Checkpoint, together
from synlearner.events.past import PastHome
from synlearner.memory import HashEmbedder, Memory, MemoryState, fold
from synlearner.memory.snapshot import MEMORY

SMALL = (*SHORT, "loop.rounds=1", "students.families=[tfidf]")


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent")
    run(folder / "home", write_mixed_stream(folder), engine=versatile(), settings=SMALL)
    return folder / "home"


@pytest.fixture(scope="module")
def events(parent: Path) -> list[Event]:
    return events_of(parent)


@pytest.fixture
def home(parent: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(parent, tmp_path / "home"))


def digests(path: Path) -> tuple[str, str]:
    """Of memory and policy, as opening finds them."""
    with Home.open(path) as home:
        return Memory(home).digest(), Checkpoint(home, RUN).state().policy_digest()


def checkpoint_of(home: Path, name: str) -> Path:
    return home / "derived" / "checkpoints" / name


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_run_that_was_kept_anywhere_goes_on_as_if_nothing_had_been(events: list[Event], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(events)))
    state = RunState()
    for event in events[:cut]:
        state = apply(state, event)
    kept = RUN.load(RUN.dump(state))
    assert kept == state
    assert decide(kept) == decide(state)
    for event in events[cut:]:
        kept, state = apply(kept, event), apply(state, event)
    assert kept == state


def test_every_attribute_of_the_memory_is_kept(events: list[Event]) -> None:
    """A new attribute that is not kept would be lost with the first checkpoint."""
    state = fold(events)
    assert state.records
    before = vars(state) | {"dirty": set()}
    assert vars(MEMORY.load(MEMORY.dump(state))) | {"dirty": set()} == before


def test_a_run_leaves_checkpoints_and_opening_reads_on_from_there(home: Path, events: list[Event]) -> None:
    expected = fold(events).digest(), fold_run_of(events).policy_digest()
    assert digests(home) == expected
    # Who opens it does not even look at what the checkpoint has seen.
    change(home, "UPDATE events SET task = 'x' WHERE seq = 3")
    assert digests(home) == expected
    shutil.rmtree(home / "derived")
    with pytest.raises(CorruptLog, match="event 3"):
        digests(home)


def fold_run_of(events: list[Event]) -> RunState:
    state = RunState()
    for event in events:
        state = apply(state, event)
    return state


@pytest.mark.parametrize("at", [{}, {"run": 7}, {"memory": 30}, {"run": 30, "memory": 7}], ids=str)
def test_several_are_brought_up_to_date_in_one_reading(
    home: Path, events: list[Event], at: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever each of them stands: no event is missed or taken in twice."""
    shutil.rmtree(home / "derived")
    for projection, until in ((RUN, at.get("run")), (MEMORY, at.get("memory"))):
        if until:
            with Home.open(home, write=True) as opened:
                checkpoint: Any = Checkpoint(opened, projection)
                checkpoint.keep(checkpoint.state(until=until), every=1)
    with Home.open(home, write=True) as opened:
        read, looked = opened.log.read, list[dict[str, Any]]()

        def reading(**where: Any) -> Any:
            looked.append(where)
            return read(**where)

        monkeypatch.setattr(opened.log, "read", reading)
        state, memory = together([Checkpoint(opened, RUN), Checkpoint(opened, MEMORY)])
    first = min(at.get("run", 0), at.get("memory", 0))
    assert [where for where in looked if where.get("after") == first] == [{"after": first, "until": None}]
    assert (memory.digest(), state) == (fold(events).digest(), fold_run_of(events))


@pytest.mark.parametrize("name", ["memory", "run"])
def test_a_damaged_checkpoint_is_passed_over(home: Path, name: str) -> None:
    expected = digests(home)
    file = checkpoint_of(home, name)
    data = file.read_bytes()
    places = [*range(0, len(data), max(1, len(data) // 40)), len(data) - 1]
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        assert digests(home) == expected, place
        file.write_bytes(data[:place])
        assert digests(home) == expected, place


def spoiled(home: Path) -> None:
    """Make the checkpoints lie, as nothing but a hash can tell."""
    for projection in (MEMORY, RUN):
        with Home.open(home, write=True) as found:
            checkpoint: Checkpoint[Any] = Checkpoint(found, projection)
            state = projection.load(projection.dump(checkpoint.state()))
            if isinstance(state, MemoryState):
                state.records.clear()
            else:
                state = replace(state, updates=99)
            checkpoint.keep(state, every=0)


def test_only_its_own_history_trusts_a_checkpoint(home: Path, tmp_path: Path, events: list[Event]) -> None:
    expected = digests(home)
    spoiled(home)
    assert digests(home) != expected, "or the test below shows nothing"
    # Another history, which goes on differently after the same events.
    for other, at in (("longer", len(events)), ("shorter", len(events) - 2)):
        fork(home, at, tmp_path / other, {"k": 1})
        truth = digests(tmp_path / other)
        (tmp_path / other / "derived").rmdir()
        shutil.copytree(home / "derived", tmp_path / other / "derived")
        if other == "shorter":
            assert digests(tmp_path / other) == truth
        else:
            assert digests(tmp_path / other) != truth, "its event is in this chain too"


def test_other_code_makes_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = digests(home)
    spoiled(home)
    assert digests(home) != expected
    monkeypatch.setattr(module, "code_digest", lambda _: "of tomorrow")
    assert digests(home) == expected
    with Home.open(home, write=True) as found:
        Memory(found).close()
    assert b"of tomorrow" in checkpoint_of(home, "memory").read_bytes()


def test_the_code_is_all_that_a_fold_can_reach(tmp_path: Path) -> None:
    room = tmp_path / "room"
    (room / "inner").mkdir(parents=True)
    (room / "a.py").write_text("x = 1")
    (room / "inner" / "b.py").write_text("y = 1")
    seen = {module.code_digest((room,))}
    for file, text in (("a.py", "x = 2"), ("inner/b.py", "y = 2"), ("c.py", "")):
        (room / file).write_text(text)
        module.code_digest.cache_clear()
        seen.add(module.code_digest((room,)))
    assert len(seen) == 4
    assert module.code_digest((tmp_path / "none",)) == ""


def test_without_source_nothing_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = digests(home)
    shutil.rmtree(home / "derived")
    monkeypatch.setattr(module, "code_digest", lambda _: "")
    with Home.open(home, write=True) as found:
        Memory(found).close()
    assert not checkpoint_of(home, "memory").exists()
    assert digests(home) == expected


def test_a_reader_writes_nothing(home: Path) -> None:
    shutil.rmtree(home / "derived")
    digests(home)
    assert not (home / "derived").exists()


def test_the_past_keeps_nothing_and_takes_no_later_checkpoint(home: Path, events: list[Event]) -> None:
    with Home.open(home, write=True) as found:
        past = PastHome(found)
        for event in events[:7]:
            past.advance(event)
        shutil.copytree(found.derived, home / "before")
        memory = Checkpoint(past, MEMORY)
        assert memory.state().digest() == fold(events[:7]).digest()
        memory.keep(fold(events[:7]), every=0)
        assert checkpoint_of(home, "memory").read_bytes() == (home / "before" / "checkpoints" / "memory").read_bytes()


def test_a_state_of_earlier_is_caught_up_from_a_checkpoint_before_it(home: Path, events: list[Event]) -> None:
    with Home.open(home, write=True) as found:
        checkpoint = Checkpoint(found, MEMORY)
        shutil.rmtree(found.derived)
        checkpoint.keep(fold(events[:20]), every=0)
        for until in (19, 20, 21, len(events)):
            assert Checkpoint(found, MEMORY).state(until=until).digest() == fold(events[:until]).digest()


def test_a_disk_that_is_full_stops_nobody(home: Path) -> None:
    expected = digests(home)
    shutil.rmtree(home / "derived")
    (home / "derived").mkdir()
    (home / "derived" / "checkpoints").write_text("in the way")
    with Home.open(home, write=True) as found, Memory(found, mirror=False) as memory:
        assert memory.digest() == expected[0]


def test_a_long_run_keeps_checkpoints_on_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed after days is opened as quickly as one that came to its end."""
    defaults: Any = Checkpoint.keep.__kwdefaults__
    monkeypatch.setitem(defaults, "every", 10)
    there: list[list[str]] = []

    def stop(state: RunState, _: object) -> bool:
        there.append(sorted(path.name for path in (tmp_path / "home/derived/checkpoints").glob("[!.]*")))
        return state.seq > 60

    with pytest.raises(Stopped):
        run(
            tmp_path / "home", write_mixed_stream(tmp_path), engine=versatile(), settings=SMALL,
            watcher=StopAfter(stop),
        )  # fmt: skip
    assert there[-1] == ["memory", "run"]


def test_a_run_that_is_stopped_and_resumed_ends_as_one_that_was_not(tmp_path: Path, parent: Path) -> None:
    """Through checkpoints at every stop, and once with all that is derived deleted between any two."""
    whole = events_of(parent)[-1].hash
    for name, forget in (("kept", False), ("deleted", True)):
        stream = write_mixed_stream(tmp_path / name)

        def go_on(home: Path = tmp_path / name / "home", stream: Path = stream, forget: bool = forget) -> Any:
            if forget:
                shutil.rmtree(home / "derived", ignore_errors=True)
            return run(home, stream, engine=versatile(), settings=SMALL, watcher=StopAfter(lambda s, _: s.seq % 3 == 0))

        report, times = run_in_pieces(tmp_path / name / "home", go_on)
        assert times > 3
        assert report.digest == whole


def test_rebuilding_does_not_believe_a_checkpoint(home: Path) -> None:
    expected = digests(home)
    spoiled(home)
    with Home.open(home, write=True) as found:
        built = rebuild(found)
    assert (built.memory_digest, built.policy_digest) == expected
    assert digests(home) == expected


def test_feedback_and_search_work_on_a_home_that_was_opened_from_a_checkpoint(home: Path) -> None:
    with Agent.open(home, embedder=HashEmbedder()) as agent:
        item = agent.memory.get_all()["results"][0]["id"]
        before = agent.memory.get(item)["utility"]
        agent.memory.feedback(item, 1.0)
    with Agent.open(home, embedder=HashEmbedder()) as agent:
        assert agent.memory.get(item)["utility"] > before
        found = agent.memory.search("anything", k=4)
    shutil.rmtree(home / "derived")
    with Agent.open(home, embedder=HashEmbedder()) as agent:
        assert agent.memory.search("anything", k=4) == found
