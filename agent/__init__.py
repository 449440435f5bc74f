"""The loop: task cards, strategies and prompts, feedback, deciding, delivering data sets. `Agent` is the way in."""

from synlearner.agent.agent import Agent
from synlearner.agent.cards import Card, Stream, load_stream
from synlearner.agent.config import Settings, parse_settings
from synlearner.agent.presets import PRESETS, preset, preset_differences
from synlearner.agent.reports import RunReport
from synlearner.agent.watcher import Watcher

__all__ = [
    "PRESETS", "Agent", "Card", "RunReport", "Settings", "Stream", "Watcher", "load_stream", "parse_settings", "preset",
    "preset_differences",
]  # fmt: skip
