"""Filters on an item's fields, in mem0's spelling and in Chroma's.

`{"task": "mr"}` · `{"uses": {"gte": 1}}` · `{"AND": [f, g]}` · `{"NOT": [f]}` · `{"task": "*"}` (it has one) ·
`{"uses": {"$gte": 1}}` · `{"$or": [f, g]}`. Several keys, and several operators on one key, must all hold.

A missing key fails every comparison but `ne` and `nin`, which it passes, as in Chroma. Values of different types are
unequal and not ordered.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from synlearner.errors import ConfigError

Predicate = Callable[[Mapping[str, Any]], bool]

DEEPEST = 20
"""Levels of nesting; a filter comes from outside."""

_MISSING = object()


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def holds(value: Any, bound: Any) -> bool:
        alike = isinstance(value, str) == isinstance(bound, str)
        return alike and isinstance(value, int | float | str) and bool(compare(value, bound))

    return holds


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, wanted: value is not _MISSING and bool(value == wanted),
    "ne": lambda value, wanted: bool(value != wanted),
    "in": lambda value, wanted: value is not _MISSING and value in wanted,
    "nin": lambda value, wanted: value not in wanted,
    "gt": _ordered(operator.gt),
    "gte": _ordered(operator.ge),
    "lt": _ordered(operator.lt),
    "lte": _ordered(operator.le),
}
_JOIN: dict[str, Callable[[list[Predicate], Mapping[str, Any]], bool]] = {
    "and": lambda parts, fields: all(part(fields) for part in parts),
    "or": lambda parts, fields: any(part(fields) for part in parts),
    "not": lambda parts, fields: not any(part(fields) for part in parts),
}
ALLOWED = "eq, ne, in, nin, gt, gte, lt, lte (or with $), AND, OR, NOT (or $and, $or, $not), and the value *"


def compile_filter(filters: Mapping[str, Any] | None) -> Predicate:
    """Return the test that *filters* stands for; None and {} let everything pass.

    Raises:
        ConfigError: If an operator is unknown, or a value does not fit its operator.

    """
    return _all_of(filters or {}, 0)


def _all_of(filters: Any, depth: int) -> Predicate:
    if not isinstance(filters, Mapping):
        raise ConfigError(f'{filters!r:.80} is not a filter: a filter is an object such as {{"uses": {{"gte": 1}}}}')
    if depth > DEEPEST:
        raise ConfigError(f"this filter is nested more than {DEEPEST} levels deep: write it flatter")
    parts = [_part(key, value, depth) for key, value in filters.items()]
    return lambda fields: all(part(fields) for part in parts)


def _part(key: str, value: Any, depth: int) -> Predicate:
    if key in ("AND", "OR", "NOT") or key.startswith("$"):
        join = _JOIN.get(key.lower().lstrip("$"))
        if join is None:
            raise _unknown(key)
        inner = [value] if isinstance(value, Mapping) else value
        if not isinstance(inner, list) or not inner:
            raise ConfigError(f"{key} got {value!r:.80}: it joins a list of at least one filter")
        parts = [_all_of(each, depth + 1) for each in inner]
        return lambda fields: join(parts, fields)
    if isinstance(value, Mapping):
        tests = [_test(key, name, bound) for name, bound in value.items()]
        return lambda fields: all(test(fields) for test in tests)
    if value == "*":
        return lambda fields: key in fields
    return _test(key, "eq", value)


def _test(key: str, name: str, bound: Any) -> Predicate:
    compare = _COMPARE.get(name.removeprefix("$"))
    if compare is None:
        raise _unknown(name)
    if ("in" in name) != isinstance(bound, list):
        rule = "it takes a list" if "in" in name else "it takes one value; `in` takes a list"
        raise ConfigError(f"{name} on {key!r} got {bound!r:.80}: {rule}")
    return lambda fields: compare(fields.get(key, _MISSING), bound)


def _unknown(name: str) -> ConfigError:
    return ConfigError(f"{name!r:.40} is no filter operator: use {ALLOWED}")
