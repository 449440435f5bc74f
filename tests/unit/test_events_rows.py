"""Stored events by themselves: their chain, what an append returns, payloads that were taken out."""

from typing import Any

import pytest
from histories import draft, memory

from synlearner.errors import ConfigError, CorruptLog
from synlearner.events import (
    EMPTY,
    Draft,
    PayloadRedacted,
    Redacted,
    encode,
    payload_digest,
)
from synlearner.events.checks import open_rows
from synlearner.events.log import read_with_rows
from synlearner.events.rows import Row, prepare
from synlearner.events.tombstones import open_tombstone, redactions

# ---- rows and the chain over them --------------------------------------------------------------------------------


def opened(rows: list[Row], last: int) -> list[int]:
    events = open_rows(rows, EMPTY.hash, after=0, last=last, everything=lambda: rows, where="here")
    return [event.seq for event in events]


def test_rows_that_end_too_early_or_come_out_of_order_are_named() -> None:
    one, two, three = memory(3).rows()
    assert opened([one, two, three], 3) == [1, 2, 3]
    with pytest.raises(CorruptLog, match="events 2 to 3 are missing, in 'here'"):
        opened([one], 3)
    with pytest.raises(CorruptLog, match=r"event 3 is out of order: 1 \(run_finished\) stands in its place"):
        opened([one, two, one], 3)


def test_what_was_appended_is_a_sequence_like_a_list() -> None:
    log = memory(0)
    appended = log.append([draft(1), draft(2)], expected_seq=0)
    assert len(appended) == 2
    assert appended[-1].seq == 2
    assert [event.seq for event in appended[:1]] == [1]
    assert repr(appended) == repr(list(log.read()))
    assert appended == list(log.read()) != appended[:1]


def test_observed_that_is_no_json_is_refused_by_its_name() -> None:
    for value, what in ((object(), "object"), ({1: 2}, "key 1 at"), (float("nan"), "nan at"), ((1,), "does not come")):
        with pytest.raises(ConfigError, match=rf"observed of run_finished: .*{what}"):
            prepare([draft(1, observed={"at": value})])


# ---- events whose payload was taken out --------------------------------------------------------------------------


def tombstone(**changes: Any) -> Row:
    (row,) = memory(1).rows()
    return row._replace(payload=b"", **changes)


def test_a_payload_that_was_taken_out_leaves_an_event_only_where_all_else_is_as_it_was() -> None:
    event = open_tombstone(tombstone(), EMPTY.hash, 1)
    assert event is not None
    assert event.fact == Redacted("run_finished", payload_digest(encode(draft(1).fact)))
    assert (event.seq, event.id, list(event.observed)) == (1, "id 1", ["time"])
    for changes in (
        {"id": "x"}, {"hash": b"x" * 32}, {"hash": "text"}, {"causes": "["}, {"observed": "no json"}, {"observed": 1},
        {"payload_digest": b"short"}, {"payload_digest": 1}, {"seq": 2},
    ):  # fmt: skip
        assert open_tombstone(tombstone(**changes), EMPTY.hash, 1) is None
    assert open_tombstone(next(memory(1).rows()), EMPTY.hash, 1) is None
    assert open_tombstone(tombstone(), "1" * 64, 1) is None


def test_a_redaction_that_is_damaged_says_nothing() -> None:
    log = memory(1)
    redacted = PayloadRedacted(target=1, target_kind="run_finished", digest="d", reason="", items=[])
    log.append([Draft(fact=redacted, id="r")], expected_seq=1)
    first, row = log.rows()
    assert redactions([first, row]) == {1: "d"}
    digest = bytes.fromhex(payload_digest(b"{}"))
    for changes in ({"payload": b"{}"}, {"payload": b"{}", "payload_digest": digest}, {"payload": 1}, {"kind": "x"}):
        assert redactions([row._replace(**changes)]) == {}
    of_another_kind = row._replace(payload=first.payload, payload_digest=first.payload_digest)
    assert redactions([of_another_kind]) == {}


def test_a_cause_is_a_seq_that_json_can_hold() -> None:
    for causes in ((1, 2**53 + 1), (0, 1), (-1,)):
        with pytest.raises(ConfigError, match="a cause is a seq, from 1 on"):
            prepare([draft(1, causes=causes)])
    assert prepare([draft(1, causes=(1, 2**53))])[0].causes == "[1,9007199254740992]"


def test_nothing_is_read_before_the_first_event() -> None:
    log = memory(3)
    for until in (0, -1):
        assert list(log.read(until=until)) == []
    assert [event.seq for event in log.read(after=2)] == [3]
    assert list(log.read(after=3)) == list(log.read(after=9)) == []


def test_rows_that_are_read_beside_their_events_do_not_hide_a_lost_tail() -> None:
    log = memory(2)
    assert [(row.seq, event.seq) for row, event in read_with_rows(log, 2)] == [(1, 1), (2, 2)]
    with pytest.raises(CorruptLog, match="event 3 is missing"):
        list(read_with_rows(log, 3))
