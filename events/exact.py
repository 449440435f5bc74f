"""Does a fact come back from JSON as it is? Checks made from the types: to go there and back would cost as much again."""

from collections.abc import Callable, Collection
from math import isfinite
from operator import attrgetter
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

LARGEST = 2**53
"""Up to here a double is exact, and with it every JSON reader."""

Check = Callable[[Any], bool]


def faithful(cls: type[msgspec.Struct]) -> Check:
    """Return a check of one record: each value has exactly the declared type, and an exact JSON.

    What it refuses may still be fit, such as 1 in a float field; what it accepts comes back equal and of equal types.
    Lone surrogates are left to the encoder.
    """
    hints = {name: hint for name, hint in get_type_hints(cls).items() if name in cls.__struct_fields__}
    checks: list[tuple[Callable[[Any], Any], Check]] = []
    for scalar, check in _SCALARS.items():
        names = [name for name, hint in hints.items() if hint is scalar]
        if names:
            # The first name twice, because `attrgetter` of a single name returns no tuple.
            checks.append((attrgetter(names[0], *names), check))
    checks += [(attrgetter(name), _check_of(hint)) for name, hint in hints.items() if hint not in _SCALARS]

    def is_faithful(record: Any) -> bool:
        if type(record) is not cls:
            return False
        for get, check in checks:  # noqa: SIM110  # `all` over a generator takes twice the time
            if not check(get(record)):
                return False
        return True

    return is_faithful


def is_free_json(value: Any) -> bool:
    """Return whether *value* is JSON, made of exactly the types that a reader of JSON makes, without a loss."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return bool(-LARGEST <= value <= LARGEST)
    if kind is float:
        return bool(value - value == 0)
    if kind is list:
        return all(map(is_free_json, value))
    return kind is dict and _are_text(value) and all(map(is_free_json, value.values()))


def _are_text(values: Collection[Any]) -> bool:
    return set(map(type, values)) <= _TEXT


def _are_bool(values: Collection[Any]) -> bool:
    return set(map(type, values)) <= _BOOL


def _are_int(values: Collection[Any]) -> bool:
    # Together they are small only if each is. Seqs and tokens are; what is not is looked at one by one.
    return set(map(type, values)) <= _INT and (
        sum(map(abs, values)) <= LARGEST or all(-LARGEST <= value <= LARGEST for value in values)
    )


def _are_float(values: Collection[Any]) -> bool:
    if not values:
        return True
    # A sum is finite only if all of it is; and it can overflow although all of it is.
    return set(map(type, values)) == _FLOAT and ((total := sum(values)) - total == 0 or all(map(isfinite, values)))


_TEXT, _BOOL, _INT, _FLOAT = frozenset({str}), frozenset({bool}), frozenset({int}), frozenset({float})
_SCALARS: dict[Any, Check] = {str: _are_text, bool: _are_bool, int: _are_int, float: _are_float}


def _check_of(hint: Any) -> Check:
    """Return a check of a field that is no scalar."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return is_free_json
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return faithful(hint)
    if origin is dict and inner[0] is str:
        values = _all_of(inner[1])
        return lambda value: type(value) is dict and _are_text(value) and values(value.values())
    if origin is list:
        items = _all_of(inner[0])
        return lambda value: type(value) is list and items(value)
    if origin is tuple and len(set(inner)) == 1:
        items = _all_of(inner[0])
        return lambda value: type(value) is tuple and len(value) == len(inner) and items(value)
    kind = "a union" if origin is UnionType else "a type"
    raise TypeError(f"{hint} in a payload: {kind} that has no rule here yet")


def _all_of(hint: Any) -> Check:
    if hint in _SCALARS:
        return _SCALARS[hint]
    check = _check_of(hint)
    return lambda values: all(map(check, values))
