"""Two histories compared: the first event in which they differ, and in what. Few comparisons: the hashes are chained.

Equal hashes at a seq mean equal events up to there, so the first difference is found by bisection: 20 comparisons for
a million events. What is outside the hash (`observed`) is not compared.
"""

from typing import Any

import msgspec

from synlearner.errors import CorruptLog
from synlearner.events.log import StoredLog
from synlearner.events.rows import Row

ABSENT = "(absent)"
"""In the place of a value that one side does not have."""


class Difference(msgspec.Struct, frozen=True):
    """Where and how two histories, `a` and `b`, part."""

    seq: int
    """The first event that is not the same."""
    kind: str
    """Of that event, in `a` where it has one."""
    cause: str
    """`missing`: b lacks an event that a has (it ends before, or goes on with a's next one); `extra`: the reverse;
    `order`: two neighbours changed places; `kind`: another thing happened; `payload`, `envelope`: the same thing with
    another value; `numeric`: with another number, as another machine computes it; `redacted`: one side lacks the
    payload."""
    path: str
    """Of the first value that differs, as a JSON path in the event: `$.payload.loss`."""
    a: Any
    b: Any


class Comparison(msgspec.Struct, frozen=True):
    """What comparing two histories found."""

    equal: bool
    events: tuple[int, int]
    """Of each."""
    common: int
    """Events that both begin with."""
    comparisons: int
    """Pairs of hashes that were looked at."""
    difference: Difference | None


def diff(a: StoredLog, b: StoredLog) -> Comparison:
    """Compare two histories.

    Raises:
        CorruptLog: If an event where they part is not what was written.

    """
    ends = a.head().seq, b.head().seq
    low, high, comparisons = 0, min(ends) + 1, 0
    # All up to `low` is equal, `high` is not (or is beyond one of them).
    if min(ends):
        comparisons += 1
        low = min(ends) if _hash(a, min(ends)) == _hash(b, min(ends)) else 0
        high = min(ends) if low == 0 else high
    while high - low > 1:
        middle = (low + high) // 2
        comparisons += 1
        if _hash(a, middle) == _hash(b, middle):
            low = middle
        else:
            high = middle
    if low == ends[0] == ends[1]:
        return Comparison(True, ends, low, comparisons, None)
    return Comparison(False, ends, low, comparisons, _difference(a, b, low + 1, ends))


def _hash(log: StoredLog, seq: int) -> bytes:
    return _row(log, seq).hash


def _row(log: StoredLog, seq: int) -> Row:
    row = next(iter(log.rows(after=seq - 1, until=seq)), None)
    if row is None or row.seq != seq:
        raise CorruptLog(f"event {seq} is missing: `synlearner log verify` lists all damage")
    return row


def _difference(a: StoredLog, b: StoredLog, seq: int, ends: tuple[int, int]) -> Difference:
    if seq > ends[1]:
        here = _event(a, seq)
        return Difference(seq, here["kind"], "missing", "$", here, ABSENT)
    if seq > ends[0]:
        here = _event(b, seq)
        return Difference(seq, here["kind"], "extra", "$", ABSENT, here)
    here, there = _event(a, seq), _event(b, seq)
    moved = _moved(a, b, seq, ends)
    if moved:
        return Difference(seq, here["kind"], moved, "$", here, there)
    path, one, other = _first(here, there, "$") or ("$", here, there)
    return Difference(seq, here["kind"], _cause(path, one, other, here, there), path, one, other)


def _event(log: StoredLog, seq: int) -> dict[str, Any]:
    """Return an event, checked, as JSON with its payload as it is stored."""
    event, row = log.get(seq), _row(log, seq)
    return {
        "kind": row.kind,
        "version": row.version,
        "run_id": row.run_id,
        "task": row.task,
        "payload": msgspec.json.decode(row.payload) if row.payload else None,
        "causes": list(event.causes),
        "id": row.id,
    }


def _moved(a: StoredLog, b: StoredLog, seq: int, ends: tuple[int, int]) -> str:
    """Tell whether an event was left out, put in, or changed places with the next one."""

    def content(log: StoredLog, at: int, end: int) -> tuple[Any, ...] | None:
        # Seqs, causes and ids move along with what stands before, so they say nothing.
        row = _row(log, at) if at <= end else None
        return (row.kind, row.version, row.run_id, row.task, row.payload_digest) if row else None

    mine, my_next = content(a, seq, ends[0]), content(a, seq + 1, ends[0])
    yours, your_next = content(b, seq, ends[1]), content(b, seq + 1, ends[1])
    if mine == yours:
        return ""
    if mine == your_next and yours == my_next:
        return "order"
    if yours == my_next:
        return "missing"
    return "extra" if mine == your_next else ""


def _cause(path: str, one: Any, other: Any, here: dict[str, Any], there: dict[str, Any]) -> str:
    if path == "$.kind":
        return "kind"
    if not path.startswith("$.payload"):
        return "envelope"
    if here["payload"] is None or there["payload"] is None:
        return "redacted"
    return "numeric" if isinstance(one, float) and isinstance(other, float) else "payload"


def _first(one: Any, other: Any, path: str) -> tuple[str, Any, Any] | None:
    """Return (path, one value, the other) of the first difference, or None."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*one, *other)):
            found = _first(one.get(key, ABSENT), other.get(key, ABSENT), f"{path}.{key}")
            if found:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list):
        for place in range(max(len(one), len(other))):
            mine, yours = (values[place] if place < len(values) else ABSENT for values in (one, other))
            found = _first(mine, yours, f"{path}[{place}]")
            if found:
                return found
        return None
    return None if type(one) is type(other) and one == other else (path, one, other)
