"""Runs that an earlier version began."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from runs import SHORT, StopAfter, Stopped, facts_of, rewrite, run
from worlds import write_stream

from synlearner.errors import ConfigError
from synlearner.events.types import Event, RunStarted, TaskFinished


def test_a_setting_that_its_version_did_not_have_is_as_if_by_default(tmp_path: Path) -> None:
    stream = write_stream(tmp_path / "stream")
    with pytest.raises(Stopped):
        run(tmp_path / "home", stream, watcher=StopAfter(lambda state, _: state.seq > 20))

    def before(event: Event) -> Any:
        if not isinstance(event.fact, RunStarted):
            return event.fact
        parts = {part: dict(fields) for part, fields in event.fact.settings.items()}
        del parts["reward"]["likelihood"]
        return msgspec.structs.replace(event.fact, settings=parts)

    rewrite(tmp_path / "home", tmp_path / "old", before)
    with pytest.raises(ConfigError, match=r"reward\.likelihood was 0\.0 and is 0\.5"):
        run(tmp_path / "old", stream, settings=[*SHORT, "reward.likelihood=0.5"])
    run(tmp_path / "old", stream)
    assert facts_of(tmp_path / "old", TaskFinished)
