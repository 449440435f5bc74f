"""Runs that an earlier version began."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from runs import SHORT, StopAfter, Stopped, events_of, facts_of, rewrite, run
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


def test_a_setting_of_a_later_version_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    stream = write_stream(tmp_path / "stream")
    with pytest.raises(Stopped):
        run(tmp_path / "home", stream, watcher=StopAfter(lambda state, _: state.seq > 20))

    def later(event: Event) -> Any:
        if not isinstance(event.fact, RunStarted):
            return event.fact
        parts = {part: dict(fields) for part, fields in event.fact.settings.items()}
        parts["reward"]["charm"] = 2.0
        parts["moods"] = {"blue": 1}
        return msgspec.structs.replace(event.fact, settings=parts)

    rewrite(tmp_path / "home", tmp_path / "new", later)
    before = events_of(tmp_path / "new")
    with pytest.raises(ConfigError, match=r"moods\.blue was 1 and is None; reward\.charm was 2\.0 and is None"):
        run(tmp_path / "new", stream)
    assert events_of(tmp_path / "new") == before
