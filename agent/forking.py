"""A new home that shares history up to an event, and goes on with other settings."""

from pathlib import Path
from typing import Any

from synlearner.agent.config import Settings, differences, parse_settings
from synlearner.agent.nli import settle_nli
from synlearner.agent.snapshot import RUN
from synlearner.agent.state import RunState
from synlearner.errors import ConfigError
from synlearner.events.addresses import shown
from synlearner.events.checkpoints import Checkpoint
from synlearner.events.fork import fork
from synlearner.events.home import Home
from synlearner.events.types import Head


def fork_home(source: Path | str, at: int, into: Path | str, assignments: list[str], *, copy: bool = False) -> Head:
    """Fork *source* after event *at* into the new home *into*; *assignments* change the run that is under way there.

    With *copy* the new home holds all events and blobs itself, else it reads them in *source*.

    Raises:
        ConfigError: If *at* is no event, *into* is taken, an assignment is wrong, or there is no run for it to change.
        ModelError: If they name a model to judge that cannot be read.
    """
    with Home.open(source) as home:
        head = home.log.head()
        if not 1 <= at <= head.seq:
            raise ConfigError(f"--at {at} is no event of '{shown(source)}': its log holds 1 to {head.seq}")
        changes = _changes(Checkpoint(home, RUN).state(until=at), at, assignments) if assignments else {}
    return fork(source, at, into, changes, copy=copy)


def _changes(state: RunState, at: int, assignments: list[str]) -> dict[str, Any]:
    """Return the settings that the assignments change, and their new values."""
    if state.finished:
        raise ConfigError(f"after event {at} no run is under way that --set could change: pass it to `synlearner run`")
    wanted = parse_settings(assignments, base=state.settings)
    before = Settings.model_validate(state.settings)
    if wanted.nli.model != before.nli.model:
        is_claim = wanted.nli.digest != before.nli.digest  # that of the model before says nothing of this one
        digest = wanted.nli.digest if is_claim else ""
        fresh = wanted.model_copy(update={"nli": wanted.nli.model_copy(update={"digest": digest})})
        wanted, _ = settle_nli(fresh, [state.task.card] if state.task else [])
    settings = wanted.model_dump(mode="json")
    changes = {key: new for key, (_, new) in differences(before.model_dump(mode="json"), settings).items()}
    fixed = [key for key in changes if key.startswith("policy.") and key != "policy.threads"]
    if fixed:
        raise ConfigError(f"--set {fixed[0]} cannot change within a run, its weights depend on it: start a new run")
    return changes
