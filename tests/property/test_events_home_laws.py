"""Append, read, crash, reopen, fork, copy, look back: whatever a home goes through, it agrees with a plain list.

Every home of the machine has its own list. A crash takes the files as they lie on disk while the writer is alive, which
is all that a killed process leaves; the writer itself is abandoned.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from strategies import batches
from synlearner.errors import AppendConflict, ConfigError, HomeLocked
from synlearner.events import EMPTY, BlobStore, Draft, Event, Head, HistoryForked, Home, fork, references, verify
from synlearner.events.copying import copy
from synlearner.events.diff import diff
from synlearner.events.past import as_of
from synlearner.events.stats import statistics


def plain(batch: list[Draft]) -> list[Draft]:
    """Leave out what names blobs, which would have to be there, and what says that something was taken out."""
    return [draft for draft in batch if not references(draft.fact) and draft.fact.kind != "payload_redacted"]


written = batches().map(plain).filter(bool)


class OpenHome:
    """A home that is open for writing, and the list that it must agree with."""

    def __init__(self, path: Path, model: list[Event], batches: list[list[Draft]]) -> None:
        self.path = path
        self.model = model
        self.batches = batches
        self.home = Home.open(path, create=True)

    @property
    def head(self) -> Head:
        return Head(self.model[-1].seq, self.model[-1].hash) if self.model else EMPTY


class Homes(RuleBasedStateMachine):
    homes: Bundle[OpenHome] = Bundle("homes")

    @initialize(target=homes)
    def begin(self) -> OpenHome:
        self.folder = tempfile.TemporaryDirectory()
        self.alive: list[OpenHome] = []
        self.abandoned: list[Home] = []
        self.names = 0
        return self.opened(self.place(), [], [])

    def place(self) -> Path:
        self.names += 1
        return Path(self.folder.name) / f"home-{self.names}"

    def opened(self, path: Path, model: list[Event], known: list[list[Draft]]) -> OpenHome:
        self.alive.append(OpenHome(path, model, known))
        return self.alive[-1]

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            for each in self.alive:
                each.home.close()
                report = verify(each.path)
                assert (report.problems, report.events, report.digest) == ([], each.head.seq, each.head.hash)
            for home in self.abandoned:
                home.close()
            self.folder.cleanup()

    @rule(at=homes, batch=written)
    def append(self, at: OpenHome, batch: list[Draft]) -> None:
        known = {event.id for event in at.model}
        new = [draft for draft in batch if draft.id not in known]
        events = at.home.log.append(new, expected_seq=at.head.seq)
        assert [(event.id, event.fact, event.run_id, event.causes) for event in events] == [
            (draft.id, draft.fact, draft.run_id, draft.causes) for draft in new
        ]
        at.model += events
        at.batches += [new] if new else []

    @rule(at=homes, batch=written, off=st.sampled_from([-2, -1, 1, 7]))
    def append_behind_a_wrong_head(self, at: OpenHome, batch: list[Draft], off: int) -> None:
        known = {event.id for event in at.model}
        with pytest.raises(AppendConflict):
            at.home.log.append([draft for draft in batch if draft.id not in known], expected_seq=at.head.seq + off)

    @rule(at=homes, data=st.data())
    def repeat_a_batch(self, at: OpenHome, data: st.DataObject) -> None:
        """Also one that a parent holds: the shared part of a fork is its own history."""
        if at.batches:
            batch = data.draw(st.sampled_from(at.batches))
            first = next(event.seq for event in at.model if event.id == batch[0].id)
            expected = at.model[first - 1 : first - 1 + len(batch)]
            assert at.home.log.append(batch, expected_seq=at.head.seq) == expected

    @rule(at=homes, data=st.data())
    def read(self, at: OpenHome, data: st.DataObject) -> None:
        after = data.draw(st.integers(0, at.head.seq + 1))
        until = data.draw(st.none() | st.integers(0, at.head.seq + 1))
        assert list(at.home.log.read(after=after, until=until)) == at.model[after:until]
        assert [row.seq for row in at.home.log.rows(after=after, until=until)] == [e.seq for e in at.model[after:until]]

    @rule(at=homes)
    def reopen(self, at: OpenHome) -> None:
        with pytest.raises(HomeLocked):
            Home.open(at.path, write=True)
        at.home.close()
        at.home = Home.open(at.path, write=True)

    @rule(target=homes, at=consumes(homes))
    def crash(self, at: OpenHome) -> OpenHome:
        """What lies on disk goes on, in the same place, so that forks still find it; the writer never comes back."""
        left = at.path.with_name(f"{at.path.name}-left")
        shutil.copytree(at.path, left, ignore=shutil.ignore_patterns("*-shm"))
        self.alive.remove(at)
        self.abandoned.append(at.home)
        at.path.rename(self.place())
        left.rename(at.path)
        return self.opened(at.path, at.model, at.batches)

    @rule(target=homes, at=homes, data=st.data(), whole=st.booleans())
    def fork_home(self, at: OpenHome, data: st.DataObject, whole: bool) -> Any:
        path = self.place()
        if not at.model:
            with pytest.raises(ConfigError):
                fork(at.path, 1, path, {})
            return multiple()
        seq = data.draw(st.integers(1, at.head.seq))
        head = fork(at.path, seq, path, {"name": path.name}, copy=whole)
        shared = at.model[:seq]
        ids = {event.id for event in shared}
        made = self.opened(path, [*shared], [batch for batch in at.batches if ids.issuperset(d.id for d in batch)])
        forked = made.home.log.get(head.seq)
        assert forked.fact == HistoryForked(parent_seq=seq, parent_hash=shared[-1].hash, changes={"name": path.name})
        made.model.append(forked)
        assert diff(made.home.log, at.home.log).common >= seq
        return made

    @rule(target=homes, at=homes)
    def copy_home(self, at: OpenHome) -> Any:
        if not at.model:
            return multiple()
        path = self.place()
        assert copy(at.path, path) == at.head
        return self.opened(path, [*at.model], [*at.batches])

    @rule(at=homes, data=st.data())
    def look_back(self, at: OpenHome, data: st.DataObject) -> None:
        seq = data.draw(st.integers(0, at.head.seq))
        past = as_of(at.home, seq)
        assert list(past.log.read()) == at.model[:seq]
        assert statistics(past).events == seq

    @rule(at=homes, data=st.binary(max_size=8))
    def put_a_blob(self, at: OpenHome, data: bytes) -> None:
        digest = at.home.blobs.put(data)
        assert at.home.blobs.get(digest) == data
        assert BlobStore(at.path / "blobs").has(digest)

    @invariant()
    def every_home_agrees_with_its_list(self) -> None:
        for each in getattr(self, "alive", []):
            assert each.home.log.head() == each.head
            assert list(each.home.log.read()) == each.model
            with Home.open(each.path) as reader:
                assert reader.log.head() == each.head


TestHomes = Homes.TestCase
TestHomes.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
