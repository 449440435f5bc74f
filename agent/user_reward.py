"""A reward of the user's own, beside the built-in parts: a Python function that whoever runs names or passes.

It sees the samples of a round that passed the gates, and gives one number for each, best in about [0, 1]. As with every
part, the raw values are recorded, standardised within each group, and then weighted (`reward.user`). What a log holds
never leads to a function: a replay takes the recorded values.
"""

import importlib
import inspect
import operator
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

import numpy as np

from synlearner.agent.config import Settings
from synlearner.errors import ConfigError
from synlearner.events.types import Event, RewardFailed, SampleScored, SetScored

LARGEST = 1e6
"""No value may be further from 0: beyond it a standardised sum is noise."""


@dataclass(frozen=True, slots=True)
class RewardedSample:
    """What a user's function sees of a sample."""

    seq: int
    """Of its event in the log: the sample's name."""
    task: str
    """Name of the card."""
    fields: Mapping[str, str]
    """Its texts."""
    label: str
    """The label that was asked for; empty for a card without labels."""
    attributes: Mapping[str, str]
    """The attribute values that were asked for."""


Function = Callable[[Sequence[RewardedSample]], Sequence[float]]
"""One number for each sample, in their order."""


class RewardFailure(Exception):
    """The reward gave no values that can be used."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        """What happened, the same whenever it happens."""
        self.detail = detail
        """What the function said of it."""


class Reward(Protocol):
    """Gives the raw values of the part `user`."""

    def __call__(self, samples: Sequence[RewardedSample]) -> list[float]:
        """Return one finite number for each sample. Raises RewardFailure."""


class Guarded:
    """A user's function, called with a limit in seconds, whose answer is checked.

    It runs in a thread of its own. One that takes too long is left alone there: it ends with the process.
    """

    def __init__(self, function: Function, seconds: float) -> None:
        self._function = function
        self._seconds = seconds

    def __call__(self, samples: Sequence[RewardedSample]) -> list[float]:
        """Return what the function gives, as plain numbers.

        Raises:
            RewardFailure: If it raises, takes too long, or does not give one finite number for each sample.
        """
        found: list[Any] = []
        raised: list[BaseException] = []

        def call() -> None:
            try:
                found.append(self._function(samples))
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is a reason and not a crash
                raised.append(error)

        thread = threading.Thread(target=call, name="user-reward", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if raised:
            raise RewardFailure(f"it raised {type(raised[0]).__name__}", _line(raised[0])) from raised[0]
        if not found:
            raise RewardFailure(f"it took longer than {self._seconds:g} seconds")
        return checked_values(found[0], len(samples))


class Recorded:
    """The values that a log holds of one round, or the failure."""

    def __init__(self, values: Mapping[int, float], failure: str = "") -> None:
        self._values = values
        self._failure = failure

    def __call__(self, samples: Sequence[RewardedSample]) -> list[float]:
        """Return the recorded values; raise the recorded failure."""
        if self._failure:
            raise RewardFailure(self._failure)
        if any(sample.seq not in self._values for sample in samples):
            raise RewardFailure("no value of it is recorded")
        return [self._values[sample.seq] for sample in samples]


def recorded_values(events: Iterable[Event]) -> Recorded:
    """Return what the first of *events*, those of one scored round, hold of the user's reward."""
    values: dict[int, float] = {}
    for event in events:
        match event.fact:
            case RewardFailed(reason=reason):
                return Recorded({}, reason)
            case SampleScored(sample=sample, parts={"user": value}):
                values[sample] = value
            case SetScored():
                break
    return Recorded(values)


def checked_values(found: Any, count: int) -> list[float]:
    """Return *count* numbers.

    Raises:
        RewardFailure: If *found* is not a list, tuple or one-dimensional array of so many finite numbers.
    """
    if isinstance(found, np.ndarray):
        found = found.tolist()
    if not isinstance(found, list | tuple):
        raise RewardFailure(f"it returned {_kind(found)} and not a list of numbers")
    if len(found) != count:
        raise RewardFailure(f"it returned {len(found)} values for {count} samples")
    for place, value in enumerate(found):
        if not isinstance(value, Real):
            raise RewardFailure(f"value {place} is {_kind(value)} and not a number")
        if not -LARGEST <= float(value) <= LARGEST:  # NaN is not, either
            raise RewardFailure(f"value {place} is {float(value):g}, and must lie within {LARGEST:g} of 0")
    return [float(value) for value in found]


def load_function(name: str) -> Function:
    """Return the function that *name* (`module:function`) stands for.

    Raises:
        ConfigError: If there is no such module or function, or it cannot be called with the samples alone.
    """
    where = f"user_reward.function={name!r:.120}"
    module_name, _, path = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{where}: there is no module {error.name!r} here or among the installed packages") from error
    except Exception as error:
        raise ConfigError(
            f"{where}: importing {module_name!r} raised {type(error).__name__}: {_line(error)}"
        ) from error
    try:
        function = operator.attrgetter(path)(module)
    except AttributeError as error:
        raise ConfigError(f"{where}: module {module_name!r} has no {path!r}") from error
    check_callable(function, where)
    return function  # type: ignore[no-any-return]


def check_callable(function: Any, where: str) -> None:
    """Refuse what cannot be called with the samples alone.

    Raises:
        ConfigError: Beginning with *where*.
    """
    if not callable(function):
        raise ConfigError(f"{where} is {_kind(function)} and not a function: name one that takes the samples")
    try:
        inspect.signature(function).bind([])
    except TypeError as error:
        raise ConfigError(f"{where} cannot be called with the samples alone ({error})") from error
    except ValueError:
        return  # some functions written in C do not tell


def settle(settings: Settings, own: Function | None, *, named: bool) -> tuple[Settings, Reward | None]:
    """Return the settings with the reward's name in them, and the reward itself, before anything runs.

    Args:
        settings: Of the run.
        own: A function that the caller of the API passed.
        named: Whether the caller's own settings name the function. Those of a forked run come from its log, and what
            a log names is not imported.

    Raises:
        ConfigError: If it cannot be found or called, is given twice, or only the log names it.
    """
    chosen = settings.user_reward
    if own is not None:
        name = f"{own.__module__ or 'python'}:{getattr(own, '__qualname__', type(own).__name__)}"
        check_callable(own, f"reward {name!r:.120}")
        if named and chosen.function not in {"", name}:
            raise ConfigError(
                f"user_reward.function={chosen.function!r:.120} and a reward were passed: pass one of them"
            )
        chosen = chosen.model_copy(update={"function": name})
        return settings.model_copy(update={"user_reward": chosen}), Guarded(own, chosen.seconds)
    if not chosen.function:
        return settings, None
    if not named:
        raise ConfigError(
            f"this run was forked from one with the reward {chosen.function!r:.120}, and code that only a log names is not "
            f"run: name it again with --set user_reward.function={chosen.function:.120}"
        )
    return settings, Guarded(load_function(chosen.function), chosen.seconds)


def _kind(value: Any) -> str:
    return f"something of type {type(value).__name__}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
