"""Runs that an earlier version began."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from runs import SHORT, StopAfter, Stopped, events_of, facts_of, rewrite, run
from worlds import scripted, write_stream

from synlearner.agent.verifying import verify_run
from synlearner.errors import ConfigError
from synlearner.events import Home
from synlearner.events.types import Event, RunStarted, SampleScored, TaskFinished
from synlearner.memory import HashEmbedder


def before(event: Event, part: str, name: str) -> Any:
    """Return the fact of *event* as it was before there was such a setting."""
    if not isinstance(event.fact, RunStarted):
        return event.fact
    settings = event.fact.settings
    kept = {key: value for key, value in settings[part].items() if key != name}
    return msgspec.structs.replace(event.fact, settings={**settings, part: kept})


def test_a_setting_that_its_version_did_not_have_is_as_if_by_default(tmp_path: Path) -> None:
    stream = write_stream(tmp_path / "stream")
    with pytest.raises(Stopped):
        run(tmp_path / "home", stream, watcher=StopAfter(lambda state, _: state.seq > 20))

    rewrite(tmp_path / "home", tmp_path / "old", lambda event: before(event, "reward", "likelihood"))
    with pytest.raises(ConfigError, match=r"reward\.likelihood was 0\.0 and is 0\.5"):
        run(tmp_path / "old", stream, settings=[*SHORT, "reward.likelihood=0.5"])
    run(tmp_path / "old", stream)
    assert facts_of(tmp_path / "old", TaskFinished)


def test_a_run_from_before_the_untrained_policy_was_judged_goes_on_as_it_was_begun(tmp_path: Path) -> None:
    stream = write_stream(tmp_path / "stream")
    with pytest.raises(Stopped):
        run(
            tmp_path / "home",
            stream,
            settings=[*SHORT, "delivery.untrained=false"],
            watcher=StopAfter(lambda state, _: state.seq > 20),
        )

    rewrite(tmp_path / "home", tmp_path / "old", lambda event: before(event, "delivery", "untrained"))
    run(tmp_path / "old", stream)
    assert facts_of(tmp_path / "old", TaskFinished)
    read = [fact for fact in facts_of(tmp_path / "old", SampleScored) if fact.reason == "reference"]
    assert read
    assert not any(fact.parts for fact in read)
    with Home.open(tmp_path / "old", write=True) as home:
        assert verify_run(home, engine=scripted(), embedder=HashEmbedder()).first_difference is None


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
