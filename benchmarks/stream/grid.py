"""A grid: which arms, streams, orders and seeds; and the promise that one folder holds one grid alone."""

import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from benchmarks.stream.arms import ARMS, MEANT, Arm
from synlearner.agent import Settings, Stream, load_stream, parse_settings, preset
from synlearner.agent.cards import Task
from synlearner.agent.config import differences, first_problem
from synlearner.agent.reading import read_yaml
from synlearner.demo import built_in
from synlearner.errors import ConfigError

MANIFEST = "grid.json"


class ArmSpec(BaseModel):
    """How a grid changes an arm, or makes one of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str = ""
    """The arm that it is a change of; empty: the one of its own name."""
    settings: tuple[str, ...] = ()
    orders: Annotated[int, Field(ge=1)] | None = None
    """Fewer orders than the grid has."""


class GridFile(BaseModel):
    """A grid as a person writes it, in YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    streams: Annotated[tuple[str, ...], Field(min_length=1)]
    """Stream files, or names of built-in streams."""
    arms: Annotated[dict[str, ArmSpec], Field(min_length=1)]
    """Names, or names with changes."""
    tokens: Annotated[int, Field(ge=1)]
    """Cap on the generated tokens of a task: `loop.tokens` of every arm."""
    orders: Annotated[int, Field(ge=1, le=100)] = 1
    """Orders of the tasks: the stream's own, then permutations."""
    seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    settings: tuple[str, ...] = ()
    """Of every arm, before its own."""
    tasks: Annotated[int, Field(ge=1)] | None = None
    """Only the first so many of a stream."""
    samples: Annotated[int, Field(ge=1)] | None = None
    """To deliver for a task, instead of what its card says."""
    probe: Annotated[int, Field(ge=0)] = 0
    """Samples of each probe of the transfer matrix; 0 makes none. A matrix costs (tasks + 1) x tasks probes a cell."""

    @field_validator("arms", mode="before")
    @classmethod
    def _by_name(cls, arms: Any) -> Any:
        if isinstance(arms, list | tuple):
            return {str(name): {} for name in arms}
        return {name: spec or {} for name, spec in arms.items()} if isinstance(arms, dict) else arms


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm on one stream, in one order, with one seed."""

    stream: str
    arm: str
    order: int
    seed: int

    @property
    def name(self) -> str:
        """Return its name, and its folder's."""
        return f"{self.stream}.{self.arm}.o{self.order}.s{self.seed}"

    @property
    def root_seed(self) -> int:
        """Return the seed of all its chance: equal for all arms, different for every order."""
        return 1000 * self.order + self.seed


class Grid:
    """A grid with everything looked up: streams loaded, settings resolved.

    Raises:
        ConfigError: Naming what is wrong, before anything runs.
    """

    def __init__(self, file: GridFile) -> None:
        self.file = file
        self.arms: dict[str, Arm] = {}
        self.settings: dict[str, Settings] = {}
        for name, spec in file.arms.items():
            self._add_arm(name, spec)
        self.streams: dict[str, Stream] = {}
        for path in file.streams:
            self._add_stream(path)

    def _add_arm(self, name: str, spec: ArmSpec) -> None:
        base = spec.base or name
        if base not in ARMS:
            raise ConfigError(f"arm {base!r:.60} is none of {', '.join(ARMS)}: `base` names one that it changes")
        if not name.isidentifier():
            raise ConfigError(f"arm {name!r:.60}: a name is letters, digits and '_', since it becomes a folder's")
        arm = self.arms[name] = ARMS[base]
        capped = (*MEANT, *self.file.settings, *arm.settings, *spec.settings, f"loop.tokens={self.file.tokens}")
        self.settings[name] = parse_settings(capped, base=preset(arm.preset).model_dump() if arm.preset else None)

    def _add_stream(self, path: str) -> None:
        whole = load_stream(path)
        tasks = [self._cut(task) for task in whole.tasks[: self.file.tasks]]
        if whole.name in self.streams:
            raise ConfigError(f"{path}: a stream named {whole.name!r} is in the grid already")
        if self.file.orders > math.factorial(len(tasks)):
            raise ConfigError(f"{path}: {len(tasks)} tasks have no {self.file.orders} orders: pass fewer --orders")
        for task in tasks:
            if task.test is None or not task.card.labels:
                raise ConfigError(f"{path}: task {task.card.name!r} has no labels or no test data to be compared on")
        self.streams[whole.name] = Stream(whole.name, whole.description, tasks)

    def _cut(self, task: Task) -> Task:
        if self.file.samples is None:
            return task
        card = task.card.model_copy(update={"samples": self.file.samples})
        return Task(card, task.seeds_sha256, task.test, task.real_train)

    @cached_property
    def cells(self) -> list[Cell]:
        """Return all cells: seed by seed and order by order, so that a grid that is stopped has whole comparisons."""
        return list(self._cells())

    def _cells(self) -> Iterator[Cell]:
        for seed in range(self.file.seeds):
            for order in range(self.file.orders):
                for stream in self.streams:
                    for arm in self.arms:
                        if order < self.orders(arm):
                            yield Cell(stream, arm, order, seed)

    def tasks(self, cell: Cell) -> list[Task]:
        """Return the tasks of a cell in its order."""
        tasks = self.streams[cell.stream].tasks
        return [tasks[place] for place in permutations(len(tasks), cell.order + 1)[cell.order]]

    def record(self) -> dict[str, Any]:
        """Return what the manifest keeps: what decides about a cell, resolved, and where the streams are."""
        return {
            "grid": self.file.model_dump(mode="json"),
            "streams": {name: stream.digest() for name, stream in self.streams.items()},
            "arms": {name: settings.model_dump(mode="json") for name, settings in self.settings.items()},
            "orders": {name: self.orders(name) for name in self.arms},
        }

    def orders(self, arm: str) -> int:
        """Return how many orders of the tasks an arm is run in."""
        return min(self.file.orders, self.file.arms[arm].orders or self.file.orders)


def permutations(count: int, wanted: int) -> list[list[int]]:
    """Return *wanted* different orders of *count* things: theirs first, then seeded ones that more orders only add to."""
    found = [list(range(count))]
    rng = random.Random(f"order of {count}")
    while len(found) < wanted:
        order = rng.sample(range(count), count)
        if order not in found:
            found.append(order)
    return found


def read_grid(file: Path, given: Mapping[str, Any]) -> Grid:
    """Return the grid of a YAML file, completed by what is *given* beside it; paths in it are relative to it."""
    tree = read_yaml(file)
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: a grid is a mapping with the keys {', '.join(GridFile.model_fields)}")
    both = sorted(tree.keys() & given.keys())
    if both:
        raise ConfigError(f"{file} says {both[0]!r} already: change the file, or leave the option out")
    return make_grid({**tree, **given}, file.parent if "streams" in tree else Path(), str(file))


def make_grid(tree: Mapping[str, Any], folder: Path, where: str) -> Grid:
    """Check a grid; *where* begins each refusal."""
    try:
        file = GridFile.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{where}: {first_problem(error)}") from error
    paths = tuple(str(built_in(path) or (folder / path).resolve()) for path in file.streams)
    return Grid(file.model_copy(update={"streams": paths}))


def kept_grid(out: Path, *, reading: bool = False) -> Grid:
    """Return the grid that the folder *out* holds; refuse it if a stream or an arm is no longer what it was.

    Who is only *reading* what was run may do so with other defaults than the grid was run with.
    """
    old = _manifest(out)
    if old is None:
        raise ConfigError(f"'{out}' holds no grid: pass the --out of an earlier run")
    grid = make_grid(old["grid"], Path("/"), str(out / MANIFEST))
    new = grid.record()
    check_same(old, new | {"arms": old["arms"]} if reading else new, out)
    return grid


def keep_grid(grid: Grid, out: Path) -> None:
    """Write the manifest of *grid* in *out*, or refuse if another grid is there.

    Raises:
        ConfigError: Naming what changed. More arms, streams, orders or seeds are no change of the cells that are there.
    """
    old, new = _manifest(out), grid.record()
    if old is None:
        if out.exists() and any(path.name != ".writer" for path in out.iterdir()):
            raise ConfigError(
                f"'{out}' holds something else than a grid: pass a folder that is empty, or does not exist"
            )
    else:
        check_same(old, new, out)
    part = out / f".{MANIFEST}.part"
    part.write_text(json.dumps(new, indent=1), encoding="utf-8")
    part.replace(out / MANIFEST)


def _manifest(out: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"'{out / MANIFEST}' cannot be read ({error}): restore it, or take another --out") from error
    return found


def check_same(old: Mapping[str, Any], new: Mapping[str, Any], out: Path) -> None:
    """Raise ConfigError, naming what differs, unless all cells of *old* are cells of *new*."""
    changed = []
    for name, digest in old["streams"].items():
        if new["streams"].get(name) != digest:
            changed.append(f"stream {name!r} {'is another one' if name in new['streams'] else 'is gone'}")
    for name, settings in old["arms"].items():
        if name not in new["arms"]:
            changed.append(f"arm {name!r} is gone")
            continue
        for key, (was, now) in differences(settings, new["arms"][name]).items():
            changed.append(f"{key} of arm {name!r} was {was!r} and is {now!r}")
        if new["orders"][name] < old["orders"][name]:
            changed.append(f"orders of arm {name!r} were {old['orders'][name]} and are {new['orders'][name]}")
    if new["grid"]["seeds"] < old["grid"]["seeds"]:
        changed.append(f"seeds were {old['grid']['seeds']} and are {new['grid']['seeds']}")
    was, now = old["grid"]["probe"], new["grid"]["probe"]
    if was not in (0, now):
        changed.append(f"probe was {was} and is {now}")
    if changed:
        raise ConfigError(f"'{out}' holds a grid of another configuration: {'; '.join(changed)}; take another --out")
