"""SynLearner: an agent that writes synthetic training data and learns from experience."""

from typing import TYPE_CHECKING, Any

from synlearner.errors import SynLearnerError

if TYPE_CHECKING:
    from synlearner.agent import Agent
    from synlearner.memory import Memory

__version__ = "0.1.0"
__all__ = ["Agent", "Memory", "SynLearnerError", "__version__"]


def __getattr__(name: str) -> Any:
    # Importing any submodule runs this file first: `synlearner.events` must not load the rooms above it.
    if name == "Agent":
        from synlearner.agent import Agent  # noqa: PLC0415

        return Agent
    if name == "Memory":
        from synlearner.memory import Memory  # noqa: PLC0415

        return Memory
    raise AttributeError(f"module 'synlearner' has no attribute {name!r}")
