"""Filters on an item's fields, in mem0's spelling and in Chroma's.

`{"task": "mr"}` · `{"uses": {"gte": 1}}` · `{"AND": [f, g]}` · `{"NOT": [f]}` · `{"task": "*"}` (it has one) ·
`{"memory": {"icontains": "slang"}}` · `{"uses": {"$gte": 1}}` · `{"$or": [f, g]}`. Several keys, and several operators
on one key, must all hold.

A missing key fails every comparison but `ne`, `nin` and `not_contains`, which it passes, as in Chroma. Values of
different types are unequal and not ordered.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synlearner.errors import ConfigError

DEEPEST = 20
"""Levels of nesting; a filter comes from outside."""

MISSING = object()
"""The value of a key that an item does not have."""


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def holds(value: Any, bound: Any) -> bool:
        alike = isinstance(value, str) == isinstance(bound, str)
        return alike and isinstance(value, int | float | str) and bool(compare(value, bound))

    return holds


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(value, str):
        return isinstance(wanted, str) and wanted in value
    return isinstance(value, list) and wanted in value


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, wanted: value is not MISSING and bool(value == wanted),
    "ne": lambda value, wanted: bool(value != wanted),
    "in": lambda value, wanted: value is not MISSING and value in wanted,
    "nin": lambda value, wanted: value not in wanted,
    "gt": _ordered(operator.gt),
    "gte": _ordered(operator.ge),
    "lt": _ordered(operator.lt),
    "lte": _ordered(operator.le),
    "contains": _contains,
    "not_contains": lambda value, wanted: not _contains(value, wanted),
    "icontains": lambda value, wanted: (
        isinstance(value, str) and isinstance(wanted, str) and wanted.casefold() in value.casefold()
    ),
    "exists": lambda value, _: value is not MISSING,
}
JOINS = ("and", "or", "not")
ALLOWED = (
    "eq, ne, in, nin, gt, gte, lt, lte, contains, not_contains, icontains (or with $), AND, OR, NOT "
    "(or $and, $or, $not), and the value *"
)


@dataclass(frozen=True, slots=True)
class Test:
    """A comparison of one field."""

    key: str
    name: str
    bound: Any

    def __call__(self, fields: Mapping[str, Any]) -> bool:
        """Return whether it holds for an item with these fields."""
        return COMPARE[self.name](fields.get(self.key, MISSING), self.bound)


@dataclass(frozen=True, slots=True)
class Join:
    """Filters joined by `and`, `or` or `not` (none of them holds)."""

    name: str
    parts: "Sequence[Filter]"

    def __call__(self, fields: Mapping[str, Any]) -> bool:
        """Return whether it holds for an item with these fields."""
        if self.name == "and":
            return all(part(fields) for part in self.parts)
        return any(part(fields) for part in self.parts) == (self.name == "or")


Filter = Test | Join


def compile_filter(filters: Mapping[str, Any] | None) -> Filter:
    """Return the test that *filters* stands for; None and {} let everything pass.

    Raises:
        ConfigError: If an operator is unknown, or a value does not fit its operator.

    """
    return _all_of(filters or {}, 0)


def _all_of(filters: Any, depth: int) -> Join:
    if not isinstance(filters, Mapping):
        raise ConfigError(f'{filters!r:.80} is not a filter: a filter is an object such as {{"uses": {{"gte": 1}}}}')
    if depth > DEEPEST:
        raise ConfigError(f"this filter is nested more than {DEEPEST} levels deep: write it flatter")
    return Join("and", [_part(key, value, depth) for key, value in filters.items()])


def _part(key: str, value: Any, depth: int) -> Filter:
    if key in ("AND", "OR", "NOT") or key.startswith("$"):
        name = key.lower().lstrip("$")
        if name not in JOINS:
            raise _unknown(key)
        inner = [value] if isinstance(value, Mapping) else value
        if not isinstance(inner, list) or not inner:
            raise ConfigError(f"{key} got {value!r:.80}: it joins a list of at least one filter")
        return Join(name, [_all_of(each, depth + 1) for each in inner])
    if isinstance(value, Mapping):
        return Join("and", [_test(key, name, bound) for name, bound in value.items()])
    return Test(key, "exists", None) if value == "*" else _test(key, "eq", value)


def _test(key: str, name: str, bound: Any) -> Test:
    plain = name.removeprefix("$")
    if plain not in COMPARE or plain == "exists":
        raise _unknown(name)
    listed = plain in ("in", "nin")
    if listed != isinstance(bound, list):
        rule = "it takes a list" if listed else "it takes one value; `in` takes a list"
        raise ConfigError(f"{name} on {key!r} got {bound!r:.80}: {rule}")
    return Test(key, plain, bound)


def _unknown(name: str) -> ConfigError:
    return ConfigError(f"{name!r:.40} is no filter operator: use {ALLOWED}")
