"""Does a fact come back from JSON as it is? Checks made from the types: to go there and back would cost as much again."""

from collections.abc import Callable, Collection
from math import isfinite
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec.structs import astuple

LARGEST = 2**53
"""Up to here a double is exact, and with it every JSON reader."""

DEEPEST = 100
"""Levels of free JSON. A reader that recurses must manage it, wherever it is called from."""

Check = Callable[[Any], bool]


def faithful(cls: type[msgspec.Struct]) -> Check:
    """Return a check of one record: each value has exactly the declared type, and an exact JSON.

    What it refuses may still be fit, such as 1 in a float field; what it accepts comes back equal and of equal types.
    Lone surrogates are left to the encoder.
    """
    hints = [get_type_hints(cls)[name] for name in cls.__struct_fields__]
    types = tuple(get_origin(hint) or hint for hint in hints)
    ints = [place for place, hint in enumerate(hints) if hint is int]
    floats = [place for place, hint in enumerate(hints) if hint is float]
    inner = [(place, _check_of(hint)) for place, hint in enumerate(hints) if hint not in _SCALARS]

    # Every event that is appended goes through here: hence no generators, and no calls for scalars.
    def is_faithful(record: Any) -> bool:
        values = astuple(record)
        if tuple(map(type, values)) != types:
            return False
        for place in ints:
            if not -LARGEST <= values[place] <= LARGEST:
                return False
        for place in floats:
            if not isfinite(values[place]):
                return False
        for place, check in inner:  # noqa: SIM110
            if not check(values[place]):
                return False
        return True

    return is_faithful


def is_free_json(value: Any, levels: int = DEEPEST) -> bool:
    """Return whether *value* is JSON, made of exactly the types that a reader of JSON makes, without a loss."""
    if type(value) is dict:
        return _are_text(value) and _are_free(value.values(), levels)
    return _are_free(value, levels) if type(value) is list else _are_free((value,), levels)


def _are_free(values: Collection[Any], levels: int = DEEPEST) -> bool:
    kinds = set(map(type, values))
    if kinds <= _PLAIN:
        return True
    if not kinds <= _JSON:
        return False
    for value in values:
        kind = type(value)
        if kind is int:
            if not -LARGEST <= value <= LARGEST:
                return False
        elif kind is float:
            if not isfinite(value):
                return False
        elif (kind is dict or kind is list) and not (levels and is_free_json(value, levels - 1)):
            return False
    return True


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
_PLAIN = frozenset({str, bool, type(None)})
_JSON = _PLAIN | {int, float, list, dict}
_SCALARS: dict[Any, Check] = {str: _are_text, bool: _are_bool, int: _are_int, float: _are_float}


def _check_of(hint: Any) -> Check:
    """Return a check of a field that is no scalar and whose own type has been checked."""
    origin, inner = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return faithful(hint)
    if origin is dict and inner[0] is str:
        values = _all_of(inner[1])
        return lambda value: _are_text(value) and values(value.values())
    if origin is list:
        return _all_of(inner[0])
    if origin is tuple and len(set(inner)) == 1:
        items = _all_of(inner[0])
        return lambda value: len(value) == len(inner) and items(value)
    kind = "a union" if origin is UnionType else "a type"
    raise TypeError(f"{hint} in a payload: {kind} that has no rule here yet")


def _all_of(hint: Any) -> Check:
    """Return a check of all values in a collection, their types included."""
    if hint is Any:
        return _are_free
    if hint in _SCALARS:
        return _SCALARS[hint]
    check, kind = _check_of(hint), frozenset({get_origin(hint) or hint})
    return lambda values: set(map(type, values)) <= kind and all(map(check, values))
