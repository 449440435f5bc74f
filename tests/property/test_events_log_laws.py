import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from strategies import batches, facts, quick
from synlearner.errors import AppendConflict
from synlearner.events import EMPTY, Draft, Event, Home, MemoryLog, RunFinished, SqliteLog, export, import_, verify
from synlearner.events.blobs import references
from synlearner.events.types import Head, PayloadRedacted


class AppendOnly(RuleBasedStateMachine):
    """A home, driven at random, must agree with a plain list."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "home"
        self.model: list[Event] = []
        self.batches: list[list[Draft]] = []
        self.home = Home.open(self.path, create=True)

    def teardown(self) -> None:
        if hasattr(self, "home"):
            self.home.close()
            self.folder.cleanup()

    @property
    def ids(self) -> set[str]:
        return {event.id for event in self.model}

    @rule(batch=batches())
    def append(self, batch: list[Draft]) -> None:
        new = [draft for draft in batch if draft.id not in self.ids]
        events = self.home.log.append(new, expected_seq=len(self.model))
        assert [(event.seq, event.id, event.fact) for event in events] == [
            (seq, draft.id, draft.fact) for seq, draft in enumerate(new, start=len(self.model) + 1)
        ]
        self.model += events
        self.batches += [new] if new else []

    @rule(batch=batches(), wrong=st.integers(-2, 40))
    def append_behind_a_stale_head(self, batch: list[Draft], wrong: int) -> None:
        new = [draft for draft in batch if draft.id not in self.ids]
        if wrong != len(self.model) and new:
            with pytest.raises(AppendConflict):
                self.home.log.append(new, expected_seq=wrong)

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), expected_seq=st.integers(-2, 40))
    def repeat_an_earlier_batch(self, data: st.DataObject, expected_seq: int) -> None:
        batch = data.draw(st.sampled_from(self.batches))
        first = next(event.seq for event in self.model if event.id == batch[0].id)
        expected = self.model[first - 1 : first - 1 + len(batch)]
        assert self.home.log.append(batch, expected_seq=expected_seq) == expected

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), fact=facts)
    def append_a_batch_that_is_partly_there(self, data: st.DataObject, fact: Any) -> None:
        known = data.draw(st.sampled_from(self.batches))
        fresh = Draft(fact=fact, id=f"fresh {len(self.model)}")
        if fresh.id not in self.ids:
            batch = data.draw(st.permutations([*known, fresh]))
            with pytest.raises(AppendConflict):
                self.home.log.append(batch, expected_seq=len(self.model))

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def append_another_payload_under_a_known_id(self, data: st.DataObject) -> None:
        known = data.draw(st.sampled_from(self.model))
        other = RunFinished(tasks=-7, delivered=-7)
        if known.fact != other:
            with pytest.raises(AppendConflict):
                self.home.log.append([Draft(fact=other, id=known.id)], expected_seq=len(self.model))

    @rule()
    def reopen(self) -> None:
        self.home.close()
        self.home = Home.open(self.path, write=True)

    @rule(data=st.data())
    def read_a_part(self, data: st.DataObject) -> None:
        after = data.draw(st.integers(0, len(self.model) + 1))
        until = data.draw(st.none() | st.integers(0, len(self.model) + 1))
        assert list(self.home.log.read(after=after, until=until)) == self.model[after:until]

    @invariant()
    def reads_back_what_was_written(self) -> None:
        if hasattr(self, "home"):
            assert list(self.home.log.read()) == self.model
            last = Head(self.model[-1].seq, self.model[-1].hash) if self.model else EMPTY
            assert self.home.log.head() == last

    @invariant()
    def a_reader_beside_it_sees_the_same(self) -> None:
        if hasattr(self, "home"):
            with Home.open(self.path) as reader:
                assert reader.log.head() == self.home.log.head()


TestAppendOnly = AppendOnly.TestCase
TestAppendOnly.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


@quick
@given(batches(max_size=6))
def test_both_logs_give_equal_hashes_to_equal_drafts(batch: list[Draft]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        on_disk = SqliteLog(Path(folder) / "log.sqlite", anchor=None, write=True)
        in_memory = MemoryLog()
        hashes = [[event.hash for event in log.append(batch, expected_seq=0)] for log in (on_disk, in_memory)]
        assert hashes[0] == hashes[1]
        on_disk.close()


@quick
@given(batches(max_size=6))
def test_an_export_that_is_imported_is_the_same_history(batch: list[Draft]) -> None:
    # Blob fields hold random text here: blobs have tests of their own.
    log = MemoryLog()
    events = log.append([draft for draft in batch if not _stands_for_more(draft)], expected_seq=0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "history.jsonl"
        assert export(log, file) == len(events)
        with Home.open(Path(folder) / "home", create=True) as home:
            assert import_(file, home) == len(events)
            assert list(home.log.read()) == events
        report = verify(Path(folder) / "home")
        assert (report.problems, report.digest) == ([], log.head().hash)


def _stands_for_more(draft: Draft) -> bool:
    """Tell whether a fact names blobs or another event: both would have to be there."""
    return bool(references(draft.fact)) or isinstance(draft.fact, PayloadRedacted)
