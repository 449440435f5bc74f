"""The state of the memory as bytes and back, for its checkpoint."""

from pathlib import Path
from typing import Any

import msgspec

from synlearner import events
from synlearner.events.checkpoints import Projection
from synlearner.events.types import Event
from synlearner.memory.collector import paused
from synlearner.memory.state import Family, MemoryState, Record

_ROOMS = (Path(events.__file__).parent, Path(__file__).parent)
_TYPES: dict[str, Any] = {
    "seq": int,
    "records": dict[str, Record],
    "owners": dict[str, list[str]],
    "vectors": list[tuple[int, str]],
    "scoped": dict[str, list[tuple[int, str]]],
    "subjects": dict[tuple[str, str], list[str]],
    "families": dict[str, Family],
    "overall": Family,
    "explained": int,
    "tasks": int,
    "embedder": str,
    "generation": int,
    "pending": tuple[str, dict[str, str]],
}
"""Every attribute of the state that a fold gives it."""

_Snapshot = msgspec.defstruct("_Snapshot", list(_TYPES.items()), kw_only=True, forbid_unknown_fields=True)
_decode = msgspec.msgpack.Decoder(_Snapshot).decode


def dump(state: MemoryState) -> bytes:
    """Return *state* as bytes: `load` gives it back."""
    return msgspec.msgpack.encode(_Snapshot(**{name: getattr(state, name) for name in _TYPES}))


@paused()
def load(data: bytes) -> MemoryState:
    """Return the state that `dump` wrote. Raises msgspec.MsgspecError for anything else."""
    snapshot, state = _decode(data), MemoryState()
    for name in _TYPES:
        setattr(state, name, getattr(snapshot, name))
    state.dirty = set(state.records)  # nobody has looked at any of it yet
    return state


def _apply(state: MemoryState, event: Event) -> MemoryState:
    state.apply(event)
    return state


MEMORY = Projection("memory", _ROOMS, MemoryState, _apply, dump, load, lambda state: state.seq)
