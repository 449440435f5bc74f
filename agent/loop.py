"""Begin or resume a run, then: decide, perform, append, fold, until there is nothing left to do."""

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from synlearner.agent.cards import Stream
from synlearner.agent.config import Settings, differences
from synlearner.agent.decide import Action, FinishRun, decide
from synlearner.agent.execute import Executor
from synlearner.agent.logs import get_logger
from synlearner.agent.state import RunState, apply, as_begun
from synlearner.agent.watcher import Watcher
from synlearner.errors import ConfigError, RewardError
from synlearner.events.chance import event_id
from synlearner.events.log import EventLog
from synlearner.events.types import Draft, Event, RewardFailed, RunStarted
from synlearner.memory.experience import Experience

log = get_logger()

PACKAGES = ("synlearner", "torch", "transformers", "peft", "numpy", "scikit-learn", "chromadb", "msgspec")


def fold_run(events: EventLog, *, until: int | None = None) -> RunState:
    """Return the run state after the events of a log."""
    state = RunState()
    for event in events.read(until=until):
        state = apply(state, event)
    return state


def check_resumable(state: RunState, stream: Stream, settings: Settings, seed: int, home: Path) -> None:
    """Refuse to go on with an unfinished run as something else.

    Raises:
        ConfigError: Naming what differs from the run at hand.
    """
    if state.finished or state.started is None:
        return
    started = state.started
    way_out = f"run it as it was begun to go on from event {state.seq}, or take another --home"
    if started.stream_digest != stream.digest():
        raise ConfigError(
            f"home '{home}' holds an unfinished run of stream {started.stream!r}, and {stream.name!r} is "
            f"{'changed since' if started.stream == stream.name else 'another one'}: {way_out}",
        )
    if state.task and state.task.round.cut_off:
        raise ConfigError(
            f"home '{home}' ends within a batch, at event {state.seq}: its log was cut; go on from a fork of it, "
            f"`synlearner fork --home {home} --at {state.seq} --into NEW`",
        )
    changed = differences(as_begun(state), settings.model_dump(mode="json"))
    if started.seed != seed:
        changed["--seed"] = (started.seed, seed)
    if changed:
        what = "; ".join(f"{key} was {old!r} and is {new!r}" for key, (old, new) in changed.items())
        raise ConfigError(f"home '{home}' holds an unfinished run with another configuration: {what}; {way_out}")


def check_base_model(state: RunState, base_model: str, home: Path) -> None:
    """Refuse to go on with an unfinished run on another base model."""
    if not state.finished and state.started is not None and state.started.base_model != base_model:
        raise ConfigError(
            f"home '{home}' holds an unfinished run of base model {state.started.base_model}, this one is "
            f"{base_model}: bring the same model back, or take another --home",
        )


def begin(
    state: RunState,
    events: EventLog,
    memory: Experience,
    stream: Stream,
    settings: Settings,
    seed: int,
    base_model: str,
    source: str,
) -> RunState:
    """Append `run_started`; *source* is where the stream's file is, outside the hash."""
    dumped = settings.model_dump(mode="json")
    run_id = event_id("run", events.head().hash, stream.digest(), repr(sorted(dumped.items())), seed)[:16]
    fact = RunStarted(
        stream=stream.name,
        stream_digest=stream.digest(),
        tasks=[task.card.name for task in stream.tasks],
        settings=dumped,
        seed=seed,
        base_model=base_model,
    )
    observed = {
        "source": source,
        "versions": _versions(),
        "python": platform.python_version(),
        "os": platform.platform(),
    }
    draft = Draft(fact=fact, id=event_id(run_id, "begin"), run_id=run_id, observed=observed)
    for event in events.append([draft], expected_seq=state.seq):
        state = apply(state, event)
        memory.apply(event)
    return state


def go_on(
    state: RunState,
    events: EventLog,
    memory: Experience,
    executor: Executor,
    watcher: Watcher,
    keep: Callable[[RunState], None],
) -> RunState:
    """Perform actions until the run is finished. Every action is one batch: killed within one, nothing of it stays.

    *keep* sees the state after each action.
    """
    while action := decide(state):
        if isinstance(action, FinishRun):
            # Killed after the run is finished, the same command would start another one: nothing slow comes after.
            memory.flush()
        state = take_step(state, action, events, memory, executor, watcher)
        keep(state)
    return state


def take_step(
    state: RunState,
    action: Action,
    events: EventLog,
    memory: Experience,
    executor: Executor,
    watcher: Watcher,
) -> RunState:
    """Perform one action, append what it led to, and return the state after it."""
    watcher.begins(state, action)
    drafts = executor.perform(state, action)
    if not drafts:
        raise RuntimeError(f"{action} led to no event after seq {state.seq}: the run would go round in circles")
    appended = events.append(drafts, expected_seq=state.seq)
    for event in appended:
        state = apply(state, event)
        memory.apply(event)
    log.debug("action_performed", action=type(action).__name__, events=len(appended), seq=state.seq)
    watcher.ends(state, action, appended)
    _check_reward(state, appended)
    return state


def _check_reward(state: RunState, appended: Sequence[Event]) -> None:
    """Stop the run where the user's own reward has failed, if that is what is configured."""
    for event in appended:
        if isinstance(event.fact, RewardFailed) and state.settings["user_reward"]["on_error"] == "stop":
            detail = event.observed.get("detail")
            raise RewardError(
                f"the reward {event.fact.function!r:.120} failed in task {event.task!r}, round {event.fact.round}: "
                f"{event.fact.reason}{f' ({detail})' if detail else ''}; mend it and run the same command to go on, or fork "
                f"at event {event.seq} with --set user_reward.on_error=skip"
            )


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
