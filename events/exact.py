"""Are the integers of a fact exact in JSON? Checks made from the types: to walk over every token would cost too much."""

from collections.abc import Callable, Collection
from operator import attrgetter
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

LARGEST = 2**53
"""Up to here a double is exact, and with it every JSON reader."""

Check = Callable[[Any], bool]


def exactness(cls: type[msgspec.Struct]) -> Check:
    """Return a check of one record: no integer in it is beyond `LARGEST`."""
    hints = get_type_hints(cls)
    checks: list[tuple[Callable[[Any], Any], Check]] = []
    plain = [name for name in cls.__struct_fields__ if hints[name] is int]
    if plain:
        # The first name twice, because `attrgetter` of a single name returns no tuple.
        checks.append((attrgetter(plain[0], *plain), _are_exact))
    for name in cls.__struct_fields__:
        check = _check_of(hints[name])
        if check:
            checks.append((attrgetter(name), check))

    def record_is_exact(record: Any) -> bool:
        for get, check in checks:  # noqa: SIM110  # `all` over a generator takes twice the time
            if not check(get(record)):
                return False
        return True

    return record_is_exact


def json_is_exact(value: Any) -> bool:
    """Return whether no integer in free JSON is beyond `LARGEST`."""
    match value:
        case int():
            return -LARGEST <= value <= LARGEST
        case dict():
            return all(map(json_is_exact, value.values()))
        case list():
            return all(map(json_is_exact, value))
    return True


def _check_of(hint: Any) -> Check | None:
    """Return a check of a field that is no plain integer; None if it can hold none."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return json_is_exact
    if origin is UnionType:
        raise TypeError(f"{hint} in a payload: a union needs a rule here first")
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return exactness(hint)
    if origin not in (list, tuple, dict):
        return None
    check = _are_exact if inner[-1] is int else _all_of(_check_of(inner[-1]))
    if check is None or origin is not dict:
        return check
    return lambda mapping: check(mapping.values())


def _all_of(check: Check | None) -> Check | None:
    return check and (lambda values: all(map(check, values)))


def _are_exact(values: Collection[int]) -> bool:
    return not values or (max(values) <= LARGEST and min(values) >= -LARGEST)
