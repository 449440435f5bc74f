"""Tests in a child of this process, which has loaded what is slow to load: on a mutant, or to see what they go through."""

import ast
import importlib.abc
import importlib.util
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from time import process_time
from types import CodeType, FrameType, ModuleType

import coverage
import pytest

BROKEN = 70
"""Exit status of a child that did not come to its tests."""

MEMORY = 8 << 30
"""Bytes that a mutant may ask for."""


class Chosen:
    """A plugin: runs the tests that are named, in the order in which they are named."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._order = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self._order]
        items[:] = sorted(chosen, key=lambda item: self._order[item.nodeid])


class Watching:
    """A plugin: says which test is running, and how many seconds of the processor it took."""

    def __init__(self, measuring: coverage.Coverage) -> None:
        self.seconds: dict[str, float] = {}
        self._measuring = measuring
        self._began = 0.0

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        # A server takes seconds to start, would outlive a child that is killed, and is for files outside of the core.
        items[:] = [
            item
            for item in items
            if not {"server", "home_url"} & set(getattr(item, "fixturenames", ()))
            and not any(word in item.nodeid for word in ("postgres", "s3", "remote"))
        ]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._measuring.switch_context(nodeid)
        self._began = process_time()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._measuring.switch_context("")
        self.seconds[nodeid] = process_time() - self._began


class _Loader(SourceFileLoader):
    """Loads a module from a tree in place of its file."""

    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        super().__init__(name, path)
        self._tree = tree

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self._tree, self.path, "exec")
        return code


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module: str, tree: ast.Module) -> None:
        self._module = module
        self._tree = tree

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        found = PathFinder.find_spec(fullname, path)
        assert found is not None
        assert found.origin is not None
        found.loader = _Loader(fullname, found.origin, self._tree)
        return found


def put_in_place(module: str, tree: ast.Module) -> None:
    """Let *module*, when it is imported, be what *tree* says."""
    assert module not in sys.modules
    sys.meta_path.insert(0, _Finder(module, tree))


def run_pytest(folder: Path, tests: Sequence[str], *options: str, plugin: object) -> int:
    """Run pytest over the files of *tests*, in this process."""
    files = sorted({test.partition("::")[0] for test in tests})
    basics = ["-q", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:cacheprovider", "-m", "not slow"]
    basics.append(f"--basetemp={folder / 'pytest'}")
    try:
        return int(pytest.main([*basics, *options, *files], plugins=[plugin]))
    except Exception:  # noqa: BLE001  # a warning that is an error, such as a file left open, after the last test
        return int(pytest.ExitCode.INTERNAL_ERROR)


def in_child(work: Callable[[], int], folder: Path, limit: float) -> tuple[int | None, str]:
    """Run *work* in a child and return (exit status, what it printed); no status past *limit* seconds."""
    child = os.fork()
    if not child:
        _be_child(work, folder)
    status = _wait(child, limit)
    return status, (folder / "out.txt").read_text(errors="replace")


def _be_child(work: Callable[[], int], folder: Path) -> None:
    status = BROKEN
    try:
        os.setsid()
        out = os.open(folder / "out.txt", os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.environ["HYPOTHESIS_PROFILE"] = "mutants"
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        status = work()
    except BaseException as error:  # noqa: BLE001  # whatever a mutant does, it ends here
        with suppress(BaseException):
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _wait(child: int, limit: float) -> int | None:
    """Wait for *child*, and end it and all that it started behind *limit* seconds."""

    def late(number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, limit)
    _, status = os.waitpid(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else None


def load(modules: Iterable[str]) -> None:
    """Import *modules*, of other packages, so that the children need not."""
    for name in modules:
        with suppress(Exception):
            importlib.import_module(name)
