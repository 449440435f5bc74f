"""The shape of the house: what a newcomer relies on, and what a careless change would break without a word."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import synlearner

ROOT = Path(__file__).parents[2]
ROOMS = ("agent", "memory", "events", "policies")
BUDGET = {"events/types.py": 620}
"""Lines of files that may be longer than 300: the vocabulary stands in one place."""


def test_every_package_with_code_is_in_the_wheel() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {f"synlearner.{room}" for room in ROOMS} | {"synlearner"}
    for init in ROOT.glob("synlearner/*/__init__.py"):
        found.add(f"synlearner.{init.parent.name}")
    for room in ROOMS:
        found |= {
            f"synlearner.{init.parent.relative_to(ROOT).as_posix().replace('/', '.')}"
            for init in ROOT.glob(f"{room}/*/__init__.py")
        }
    assert set(packages) == found


def test_the_rooms_are_links_to_the_folders_at_the_root() -> None:
    for room in ROOMS:
        assert (ROOT / "synlearner" / room).resolve() == ROOT / room


def test_no_file_outgrows_its_idea() -> None:
    files = [
        path
        for folder in (*ROOMS, "synlearner", "tests", "examples", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    ]
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in files}
    own = {
        name: count
        for name, count in lines.items()
        if not name.startswith(tuple(f"synlearner/{room}/" for room in ROOMS))
    }
    assert {name: count for name, count in own.items() if count > BUDGET.get(name, 320)} == {}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("synlearner", "torch transformers chromadb sklearn numpy"),
        ("synlearner.events", "torch transformers peft vllm chromadb sklearn"),
        ("synlearner.memory", "torch transformers peft vllm chromadb sklearn"),
        ("synlearner.cli", "torch transformers peft vllm chromadb sklearn numpy rich pydantic"),
        ("synlearner.policies", "torch transformers peft vllm"),
    ],
)
def test_importing_a_room_loads_nothing_heavy(module: str, heavy: str) -> None:
    code = f"import sys, {module}; print(*({set(heavy.split())!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.split() == []


def test_the_public_names_are_there() -> None:
    assert set(synlearner.__all__) == {"Agent", "Memory", "SynLearnerError", "__version__"}
    for name in synlearner.__all__:
        assert getattr(synlearner, name)


def test_the_version_is_the_one_of_the_package() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == synlearner.__version__


def test_nothing_in_the_product_names_a_place_outside_it() -> None:
    places = re.compile(r"\.\./shared|/work/|/root/|/tmp/")
    files = [
        path for folder in (*ROOMS, "synlearner", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")
    ]
    assert [path for path in files if places.search(path.read_text())] == []
