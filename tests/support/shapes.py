"""What decides which payloads a type reads, as JSON: `tests/golden/events_shapes.json` keeps it for every version."""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from strategies import floats, integers, json_values, texts

_PLAIN = {str: "str", int: "int", float: "float", bool: "bool", NoneType: "null", Any: "any"}


def shape(hint: Any) -> Any:
    """Return the shape of a type. Docstrings, the order of fields and the Python name of a class are no part of it."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return ["limited", sorted(map(repr, inner[1:])), shape(inner[0])]
    if origin is Literal:
        return ["one of", sorted(inner, key=repr)]
    if origin in (Union, UnionType):
        return ["or", *sorted(map(shape, inner), key=repr)]
    if origin in (list, tuple, dict):
        return [
            origin.__name__,
            *(["..."] if ... in inner else []),
            *(shape(each) for each in inner if each is not ...),
        ]
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _of_struct(hint)
    raise TypeError(f"{hint} has no shape: a payload holds JSON alone")


def _of_struct(cls: type[msgspec.Struct]) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(cls):
        found = shape(hints[field.name])
        if field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT:
            default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
            found = ["optional", msgspec.to_builtins(default), found]
        fields[field.encode_name] = found
    config = cls.__struct_config__
    unusual = {
        "array": config.array_like,
        "tag": config.tag,
        "lenient": not config.forbid_unknown_fields,
        "omits": config.omit_defaults,
    }
    told = {name: value for name, value in unusual.items() if value}
    return dict(sorted(fields.items())) | ({"(struct)": told} if told else {})


def payloads(known: Any) -> SearchStrategy[Any]:
    """Values of a kept shape, whether or not any class still has it."""
    plain: Mapping[str, SearchStrategy[Any]] = {
        "str": texts, "int": integers, "float": floats, "bool": st.booleans(), "any": json_values, "null": st.none(),
    }  # fmt: skip
    if isinstance(known, str):
        return plain[known]
    if isinstance(known, dict):
        return st.fixed_dictionaries({name: payloads(inner) for name, inner in known.items()})
    match known:
        case ["list", inner]:
            return st.lists(payloads(inner), max_size=3)
        case ["tuple", *inner]:
            return st.tuples(*map(payloads, inner)).map(list)
        case ["dict", "str", inner]:
            return st.dictionaries(texts, payloads(inner), max_size=3)
        case ["or", *inner]:
            return st.one_of(*map(payloads, inner))
        case ["optional", _, inner]:
            return payloads(inner)
    raise TypeError(f"no values for {known}")
