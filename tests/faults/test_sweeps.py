"""The short form of every sweep, each as the command that it is, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]


def run(*arguments: str) -> dict[str, Any]:
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "faults", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.stderr == ""
    figures: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == bool(figures["wrong"])
    return figures


@pytest.mark.slow
def test_an_operation_that_fails_loses_nothing_and_the_home_goes_on() -> None:
    figures = run("errors", "--short")
    assert figures["wrong"] == []
    assert figures["failed"] >= 2 * figures["operations"] > 400
    assert figures["refused"] > figures["failed"] // 2


@pytest.mark.slow
def test_a_loss_of_power_takes_nothing_that_was_acknowledged() -> None:
    figures = run("losses", "--short")
    assert figures["wrong"] == []
    assert (figures["losses"], figures["behind_a_stop"]) == (2000, 1000)
    assert figures["not_as_written"] > 1000


def test_a_loss_of_power_on_a_disk_that_lies_is_seen() -> None:
    """Else the test above could not fail."""
    wrong = run("lies")["wrong"]
    assert any("acknowledged up to event" in each for each in wrong)
    assert any("CorruptBlob" in each for each in wrong)


@pytest.mark.slow
def test_killed_at_any_moment_nothing_acknowledged_is_lost_and_nothing_is_doubled() -> None:
    figures = run("kills", "--short")
    assert figures["wrong"] == []
    assert figures["kills"] == 300
    assert figures["acknowledged"] > 50  # hundreds, unless the machine is busy
    assert figures["while_opening"] > 10


@pytest.mark.slow
def test_no_flipped_bit_and_no_cut_changes_what_is_read_without_being_named() -> None:
    figures = run("flips", "--short")
    assert figures["wrong"] == []
    assert min(figures["files"].values()) > 0
    assert figures["flips"] > figures["bytes"] // 7
    assert min(figures["refused"], figures["went_on"], figures["repaired"]) > 50
