"""States of folds, kept beside what is derived, so that opening a home catches up instead of starting over.

HOME/derived/checkpoints/NAME: SHA-256 of what follows; then, as MessagePack, the fold's name, the digest of the code
that folded, the seq and hash of the last event, and the state.

A checkpoint is a cache and nothing more. It is passed over, and made anew, if a byte of it differs, if the code that
folds is not the one that made it, or if its event is not in the chain. Deleting it loses nothing.
"""

from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from synlearner.errors import LogError
from synlearner.events.home import Home
from synlearner.events.log import EventLog
from synlearner.events.past import PastHome
from synlearner.events.types import Event

EVERY = 10_000
"""Events between two checkpoints of a long run: folding so many takes about a tenth of a second."""
FOLDER = "checkpoints"


S = TypeVar("S")


class Projection(NamedTuple, Generic[S]):
    """A fold over events, and how its state becomes bytes and comes back."""

    name: str
    rooms: tuple[Path, ...]
    """Folders of all code that the fold can reach: a state is of no use to other code."""
    start: Callable[[], S]
    apply: Callable[[S, Event], S]
    dump: Callable[[S], bytes]
    load: Callable[[bytes], S]
    """Raises msgspec.MsgspecError or ValueError for what `dump` did not write."""
    seq: Callable[[S], int]
    """Of the last event that a state has taken in."""


class _Kept(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    name: str
    code: str
    seq: int
    hash: str
    state: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Kept).decode


class Checkpoint(Generic[S]):
    """The checkpoint of one projection in one open home."""

    def __init__(self, home: Home, projection: Projection[S]) -> None:
        self.home = home
        self.projection = projection
        self._code = code_digest(projection.rooms)
        self._at = 0
        """Seq of the newest checkpoint that is known to be good."""

    @property
    def path(self) -> Path:
        """Where it is, if it is."""
        return self.home.derived / FOLDER / self.projection.name

    def state(self, *, until: int | None = None) -> S:
        """Return the state at *until* or the log's head: the checkpoint's, caught up, or folded from the beginning.

        Raises:
            CorruptLog: If an event behind the checkpoint is not what was written.

        """
        state: S = together([self], until=until)[0]
        return state

    def keep(self, state: S, *, every: int = EVERY) -> None:
        """Write a checkpoint if *state* is *every* events ahead of the last one, and the home is open for writing."""
        seq = self.projection.seq(state)
        if not self.home.writable or isinstance(self.home, PastHome) or not self._code or seq - self._at < every:
            return
        try:
            hash_ = self.home.log.get(seq).hash
            kept = _encode(_Kept(self.projection.name, self._code, seq, hash_, self.projection.dump(state)))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_name(f".{self.path.name}.part")
            temporary.write_bytes(sha256(kept).digest() + kept)
            temporary.replace(self.path)
        except (OSError, LogError):
            return  # a full disk or a closed log must not stop who can do without
        self._at = seq

    def load(self, last: int) -> S:
        """Return the state of the checkpoint, if it is not beyond *last*; else that of the beginning."""
        try:
            data = self.path.read_bytes()
            kept = _decode(data[32:]) if sha256(data[32:]).digest() == data[:32] else None
            if kept and (kept.name, kept.code) == (self.projection.name, self._code) and self._is_past(kept, last):
                state = self.projection.load(kept.state)
                self._at = kept.seq
                return state
        except (OSError, msgspec.MsgspecError, ValueError):
            pass
        return self.projection.start()

    def _is_past(self, kept: _Kept, last: int) -> bool:
        log = self.home.log
        return 1 <= kept.seq <= min(last, log.head().seq) and log.get(kept.seq).hash == kept.hash


def together(checkpoints: "Sequence[Checkpoint[Any]]", *, until: int | None = None) -> list[Any]:
    """Return the states of several checkpoints of one home as `Checkpoint.state` does, reading the log once."""
    log = checkpoints[0].home.log
    last = log.head().seq if until is None else until
    states = folded(log, [(c.projection, c.load(last)) for c in checkpoints], until=until)
    if until is None:
        for checkpoint, state in zip(checkpoints, states, strict=True):
            checkpoint.keep(state)
    return states


def folded(log: EventLog, begun: Sequence[tuple[Projection[Any], Any]], *, until: int | None = None) -> list[Any]:
    """Go on with folds from the states that they have come to, reading the log once; return their states at *until*.

    Raises:
        CorruptLog: If an event is not what was written.
    """
    states = [state for _, state in begun]
    seqs = [projection.seq(state) for projection, state in begun]
    folds = [
        (place, projection.apply, seq) for place, ((projection, _), seq) in enumerate(zip(begun, seqs, strict=True))
    ]
    for event in log.read(after=min(seqs), until=until):
        for place, apply, seq in folds:
            if event.seq > seq:
                states[place] = apply(states[place], event)
    return states


@cache
def code_digest(rooms: tuple[Path, ...]) -> str:
    """Return SHA-256 over the source files in *rooms*; empty where there are none, as in a frozen program."""
    files = sorted(file for room in rooms for file in room.rglob("*.py"))
    hasher = sha256()
    for file in files:
        source = file.read_bytes()
        hasher.update(f"{file.parent.name}/{file.name}:{len(source)}:".encode() + source)
    return hasher.hexdigest() if files else ""
