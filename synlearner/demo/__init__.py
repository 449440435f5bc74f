"""The built-in streams: all their rows were written for this project."""

from importlib.resources import files
from pathlib import Path

__all__ = ["BUILT_IN", "DEMO_SETTINGS", "built_in", "stream_path"]

DEMO_SETTINGS = (
    "loop.rounds=2",
    "loop.prompts=6",
    "loop.fill_rounds=4",
    "loop.oversample=1.25",
    "learning.eft_epochs=1",
)
"""Shorter than the defaults, so that the demo ends within minutes on two cores."""


BUILT_IN = ("demo", "paper")
"""Streams that come along: three small tasks, and the four of the paper with their attributes."""


def built_in(name: str) -> Path | None:
    """Return the file of a built-in stream; None for any other name, and where a file of that name stands."""
    return Path(str(files(__name__) / f"{name}.yaml")) if name in BUILT_IN and not Path(name).exists() else None


def stream_path() -> Path:
    """Return the stream file of the demo; its data files lie beside it."""
    return Path(str(files(__name__) / "demo.yaml"))
