"""Rebuild: fold the log and make `derived/` anew. No model is called; memory and policy come out as they were."""

import shutil
from dataclasses import dataclass

from synlearner.agent.snapshot import RUN
from synlearner.errors import ConfigError
from synlearner.events.checkpoints import Checkpoint, folded
from synlearner.events.home import Home
from synlearner.memory import Memory
from synlearner.memory.snapshot import MEMORY


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What memory and policy are after the log's events."""

    memory_digest: str
    policy_digest: str
    events: int


def rebuild(home: Home, *, until: int | None = None) -> Rebuilt:
    """Return the digests after the log's events up to *until*; up to its end, also fill `derived/` anew.

    Raises:
        ConfigError: If *until* is no event of the log.
        CorruptLog: If the log is not what was written.
        CorruptBlob: If the policy's weights or a vector are missing or changed.
    """
    head = home.log.head()
    last = head.seq if until is None else until
    if not 0 <= last <= head.seq:
        raise ConfigError(f"--until {until} is no event of this home: its log holds 1 to {head.seq}")
    state, remembered = folded(home.log, [(fold, fold.start()) for fold in (RUN, MEMORY)], until=last)
    for digest in filter(None, (state.adapter, state.optimizer)):
        home.blobs.get(digest)
    if last < head.seq:
        return Rebuilt(remembered.digest(), state.policy_digest(), last)
    for entry in sorted(home.derived.iterdir()) if home.derived.exists() else []:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    Checkpoint(home, RUN).keep(state, every=1)
    Checkpoint(home, MEMORY).keep(remembered, every=1)
    with Memory(home) as memory:
        memory.flush()
        memory.rebuild_mirror()
        return Rebuilt(memory.digest(), state.policy_digest(), head.seq)
