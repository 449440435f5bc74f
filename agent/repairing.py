"""A home that was repaired, and whether a run can go on where it was cut."""

from pathlib import Path

from synlearner.agent.loop import fold_run
from synlearner.events.home import Home
from synlearner.events.repair import Repaired, repair


def repair_home(home_path: Path | str, *, dry: bool = True) -> tuple[Repaired, bool]:
    """Repair the home, or say what that would do: see `synlearner.events.repair`.

    Returns:
        What was done, and whether the log now ends within a batch: then a run goes on from a fork of it.

    Raises:
        LogError: If the home cannot be read or written now.
        NotTrusted: If what is damaged is not in this home.
    """
    done = repair(home_path, dry=dry)
    if dry or done.problem is None or done.left:
        return done, False
    with Home.open(home_path) as home:
        state = fold_run(home.log)
    return done, bool(state.task and state.task.round.cut_off)
