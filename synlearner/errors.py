"""Every error that SynLearner raises on purpose. Imports nothing.

    SynLearnerError
    ├── ConfigError       (ValueError)    a setting, card, stream or argument is wrong; nothing has run yet
    ├── LogError          (RuntimeError)  the home cannot be read or written now; what it holds is intact
    │   ├── AppendConflict                somebody appended first; read the head and decide again
    │   ├── HomeLocked                    another process writes to this home
    │   └── NotTrusted                    the log or a blob is not what was written
    │       ├── CorruptLog                an event is changed, missing, swapped, or the tail was lost
    │       └── CorruptBlob               a blob is missing or its bytes do not match its name
    ├── ModelError        (RuntimeError)  a model cannot be fetched, converted or loaded
    ├── EngineError       (RuntimeError)  a generation engine failed
    └── RewardError       (RuntimeError)  the user's own reward failed, and the run stops there as configured

`exit_code` is what the command line returns: 1 refused, 3 the log or a blob cannot be trusted.
To add one: put it under the branch whose way out is the same, and give it a line above.
"""


class SynLearnerError(Exception):
    """Base of all of them. The message names the value, then the rule, then the way out, in one line."""

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        # It may quote what it refuses, or another library's words: a line's end in there would not end ours.
        super().__init__(" ".join(message.splitlines()))


class ConfigError(SynLearnerError, ValueError):
    """A setting, card, stream or argument is wrong. Nothing has run yet."""


class LogError(SynLearnerError, RuntimeError):
    """The home cannot be read or written now. What it holds is intact."""


class AppendConflict(LogError):
    """The log is longer than the writer believed. Nothing was written: read the head and decide again."""


class HomeLocked(LogError):
    """Another process writes to this home."""


class NotTrusted(LogError):
    """The log or a blob is not what was written."""

    exit_code = 3


class CorruptLog(NotTrusted):
    """An event is changed, missing or swapped, or the tail of the log was lost."""


class CorruptBlob(NotTrusted):
    """A blob is missing, or its bytes do not match its name."""


class ModelError(SynLearnerError, RuntimeError):
    """A model cannot be fetched, converted or loaded."""


class EngineError(SynLearnerError, RuntimeError):
    """A generation engine failed."""


class RewardError(SynLearnerError, RuntimeError):
    """The user's own reward failed, and the run stops there as configured. What the home holds is intact."""
