"""The built-in stream: three small tasks whose rows were written for this project."""

from importlib.resources import files
from pathlib import Path

__all__ = ["DEMO_SETTINGS", "stream_path"]

DEMO_SETTINGS = (
    "loop.rounds=2",
    "loop.prompts=6",
    "loop.fill_rounds=4",
    "loop.oversample=1.25",
    "learning.eft_epochs=1",
)
"""Shorter than the defaults, so that the demo ends within minutes on two cores."""


def stream_path() -> Path:
    """Return the stream file of the demo; its data files lie beside it."""
    return Path(str(files(__name__) / "demo.yaml"))
