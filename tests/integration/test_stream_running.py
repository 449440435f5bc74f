"""Running a grid: what is refused before anything runs, and what a killed one leaves behind."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from grids import ran, small_grid

from benchmarks.stream import running
from benchmarks.stream.__main__ import main
from synlearner.errors import ConfigError
from synlearner.events.lock import WriterLock

PARENT = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from benchmarks.stream.running import _end_with_parent

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_end_with_parent)
    print(pool.submit(os.getpid).result(), flush=True)
    pool.submit(time.sleep, 600)
    time.sleep(600)
"""


def environment() -> dict[str, str]:
    """Return what a process needs that imports `benchmarks` from anywhere."""
    return os.environ | {"PYTHONPATH": str(Path(running.__file__).parents[2])}


def lives(process: int) -> bool:
    """Tell whether a process is there, and not a dead one that nobody has asked for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tokens": 400}, "loop.tokens of arm 'plain' was 300 and is 400"),
        ({"samples": 5}, "stream 'small' is another one"),
        ({"arms": ["full"]}, "arm 'plain' is gone"),
        ({"settings": ["memory.k=1", "students.bootstrap=100"]}, "of arm 'plain' was"),
    ],
)
def test_a_changed_configuration_is_refused_and_named(tmp_path: Path, changes: dict[str, object], named: str) -> None:
    ran(small_grid(tmp_path, "plain", tasks=1), tmp_path / "out")
    with pytest.raises(ConfigError, match=named):
        ran(small_grid(tmp_path, "plain", tasks=1, **{"arms": ["plain"], **changes}), tmp_path / "out")


def test_fewer_seeds_are_refused(tmp_path: Path) -> None:
    ran(small_grid(tmp_path, "plain", tasks=1, seeds=2), tmp_path / "out")
    with pytest.raises(ConfigError, match="seeds were 2 and are 1"):
        ran(small_grid(tmp_path, "plain", tasks=1), tmp_path / "out")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="something else than a grid"):
        ran(small_grid(tmp_path), tmp_path / "out")


def test_a_second_grid_at_work_in_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with WriterLock(tmp_path / "out" / running.WRITER), pytest.raises(ConfigError, match="a grid is being run there"):
        ran(small_grid(tmp_path), tmp_path / "out")


def test_the_command_line_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--out", str(tmp_path / "nothing")]) == 1
    assert main(["run", "--streams", "demo", "--arms", "best", "--tokens", "9", "--out", str(tmp_path / "o")]) == 1
    assert main(["run", "--streams", "demo", "--arms", "plain", "--out", str(tmp_path / "o")]) == 1
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 3
    assert "holds no grid" in err[0]
    assert "arm 'best' is none of plain, few_shot" in err[1]
    assert "tokens" in err[2]
    assert not (tmp_path / "o").exists()


def test_a_killed_grid_leaves_no_process_behind(tmp_path: Path) -> None:
    """What it had started would go on writing to homes that the next one takes over."""
    script = tmp_path / "script.py"
    script.write_text(PARENT)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment()
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert lives(child)
        parent.kill()
        deadline = time.monotonic() + 30
        while lives(child) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert not lives(child)
