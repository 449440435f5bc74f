"""Redaction as the agent allows it: never of what a run that is under way may still look at."""

from collections.abc import Sequence
from pathlib import Path

from synlearner.agent.loop import fold_run
from synlearner.errors import ConfigError
from synlearner.events.home import Home
from synlearner.events.redaction import Redaction, redact


def redact_events(home_path: Path | str, seqs: Sequence[int], reason: str) -> Redaction:
    """Take the payloads of the events *seqs* out of the home: see `synlearner.events.redaction`.

    Raises:
        ConfigError: If a task is not finished, or an event cannot be redacted. Nothing was done.
        NotTrusted: If the log is not what was written.
    """
    with Home.open(home_path) as home:
        state = fold_run(home.log)
    if state.task is not None:
        raise ConfigError(
            f"task {state.task.card.name!r} is not finished, and what it still does may follow from these events: "
            "run it to its end, then redact"
        )
    return redact(home_path, seqs, reason)
