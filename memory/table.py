"""The items as columns, so that a filter is a few operations on arrays and not a call for each of a million items.

Follows a `MemoryState`: what changed is brought in before each use. A column is made when a filter first asks for it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synlearner.memory.collector import paused
from synlearner.memory.filters import COMPARE, MISSING, Filter, Test
from synlearner.memory.items import column_of, embedded_text
from synlearner.memory.lexical import LexicalIndex
from synlearner.memory.state import MemoryState, Record

Mask = NDArray[np.bool_]

ORDERED = {"gt": np.greater, "gte": np.greater_equal, "lt": np.less, "lte": np.less_equal}


class Column:
    """The values of one field: each distinct one once, and for each item which of them it has."""

    def __init__(self, key: str, items: int) -> None:
        self.key = key
        self._codes = np.zeros(max(items, 64), np.int32)
        self._values: list[Any] = [MISSING]
        self._places: dict[Any, int] = {}
        self._numbers: NDArray[np.float64] | None = None

    def set(self, number: int, record: Record) -> None:
        """Take in an item's value."""
        if number >= len(self._codes):
            self._codes = np.concatenate([self._codes, np.zeros_like(self._codes)])
        self._codes[number] = self._code(column_of([record], self.key, MISSING)[0])

    def fill(self, records: list[Record]) -> None:
        """Take in the values of the first items."""
        self._codes[: len(records)] = [*map(self._code, column_of(records, self.key, MISSING))]

    def mask(self, test: Test, items: int) -> Mask:
        """Return which of the first *items* pass."""
        codes = self._codes[:items]
        if test.name == "eq" and isinstance(test.bound, str):
            place = self._places.get((str, test.bound))
            return np.zeros(items, bool) if place is None else codes == place
        passing = self._passing(test)
        alone = np.flatnonzero(passing)
        return codes == alone[0] if len(alone) == 1 else np.take(passing, codes)

    def _passing(self, test: Test) -> Mask:
        """Return which of the distinct values pass."""
        if test.name in ORDERED and isinstance(test.bound, int | float):
            numbers = self._ready_numbers()
            found: Mask = ORDERED[test.name](numbers, test.bound) & ~np.isnan(numbers)
            return found
        compare = COMPARE[test.name]
        return np.fromiter((compare(value, test.bound) for value in self._values), bool, len(self._values))

    def _ready_numbers(self) -> NDArray[np.float64]:
        done = 0 if self._numbers is None else len(self._numbers)
        if self._numbers is None or done < len(self._values):
            new = [float(v) if isinstance(v, int | float) else np.nan for v in self._values[done:]]
            self._numbers = np.concatenate([self._numbers if done else np.empty(0), np.array(new, np.float64)])
        return self._numbers

    def _code(self, value: Any) -> int:
        return 0 if value is MISSING else self._place(value)

    def _place(self, value: Any) -> int:
        # 1, 1.0 and true are equal, and yet not the same value.
        key = (type(value), value if isinstance(value, str | int | float | None) else repr(value))
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = len(self._values)
            self._values.append(value)
        return place


class Table:
    """Numbered items of a state, their columns and their words. Numbers are given once, in no particular order."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state
        self.numbers: dict[str, int] = {}
        """Of each item id."""
        self.records: list[Record] = []
        """By number."""
        self.lexical = LexicalIndex()
        self._active = np.zeros(64, bool)
        self._columns: dict[str, Column] = {}
        self.rows = np.zeros(64, np.int64)
        """Place of each item's vector in the index, as `place` said."""
        state.dirty.update(state.records)

    @paused()
    def follow(self, place: Callable[[str], int]) -> None:
        """Bring in what changed since; *place* tells where in the index a vector is, -1 for nowhere."""
        changed = [self._state.records[item] for item in sorted(self._state.dirty)]
        if self.records:
            for record in changed:
                self._take(record, place)
        else:
            self._fill(changed, place)
        self._state.dirty.clear()

    def owners(self, digest: str) -> list[int]:
        """Return the items whose present text has the vector *digest*."""
        found = [self.numbers[item] for item in self._state.owners.get(digest, ())]
        return [number for number in found if self.records[number].vector == digest]

    def mask(self, passes: Filter | None, scope: str) -> Mask:
        """Return which items recall may consider, in *scope*, among those that pass a filter."""
        count = len(self.records)
        mask = self._active[:count].copy()
        if scope != "*":
            mask &= self._tested(Test("scope", "in", ["", scope]))
        if passes is not None:
            mask &= self._passing(passes)
        return mask

    def _passing(self, passes: Filter) -> Mask:
        if isinstance(passes, Test):
            return self._tested(passes)
        masks = [self._passing(part) for part in passes.parts]
        count = len(self.records)
        if passes.name == "and":
            every: Mask = np.logical_and.reduce([np.ones(count, bool), *masks])
            return every
        found: Mask = np.logical_or.reduce([np.zeros(count, bool), *masks])
        return found if passes.name == "or" else ~found

    def _tested(self, test: Test) -> Mask:
        column = self._columns.get(test.key)
        if column is None:
            column = self._columns[test.key] = Column(test.key, len(self.records))
            column.fill(self.records)
        return column.mask(test, len(self.records))

    def _fill(self, records: list[Record], place: Callable[[str], int]) -> None:
        """Do what `_take` does with each of the first records, much quicker."""
        room, count = max(64, len(records)), len(records)
        self.records = records
        self.numbers = {record.item.id: number for number, record in enumerate(records)}
        self._active, self.rows = np.zeros(room, bool), np.zeros(room, np.int64)
        self._active[:count] = [record.active for record in records]
        self.rows[:count] = [place(record.vector) for record in records]
        self.lexical.fill([embedded_text(record.item) for record in records])

    def _take(self, record: Record, place: Callable[[str], int]) -> None:
        number = self.numbers.get(record.item.id)
        if number is None:
            number = self.numbers[record.item.id] = len(self.records)
            self.records.append(record)
            if number >= len(self._active):
                self._active = np.concatenate([self._active, np.zeros_like(self._active)])
                self.rows = np.concatenate([self.rows, np.zeros_like(self.rows)])
        self._active[number] = record.active
        self.rows[number] = place(record.vector)
        self.lexical.put(number, embedded_text(record.item))
        for column in self._columns.values():
            column.set(number, record)
