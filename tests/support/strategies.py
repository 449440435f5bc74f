"""Hypothesis strategies for everything that a log can hold, made from the types themselves."""

from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from synlearner.events import AnyFact, Draft, Fact

quick = settings(max_examples=50, deadline=None)
"""For laws that are cheap to state and dear to check. No deadline: the machine is shared."""

FACT_CLASSES: tuple[type[Fact], ...] = get_args(AnyFact)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
integers = st.integers(-(2**53), 2**53)
floats = st.floats(allow_nan=False, allow_infinity=False)
json_values: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | integers | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
_PLAIN: dict[Any, SearchStrategy[Any]] = {
    str: texts,
    int: integers,
    float: floats,
    bool: st.booleans(),
    Any: json_values,
}


def values_of(hint: Any) -> SearchStrategy[Any]:
    """Values of a type that a payload can have."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is list:
        return st.lists(values_of(inner[0]), max_size=3)
    if origin is tuple:
        return st.tuples(*map(values_of, inner))
    if origin is dict:
        return st.dictionaries(texts, values_of(inner[1]), max_size=3)
    if issubclass(hint, msgspec.Struct):
        return records(hint)
    raise TypeError(f"no strategy for {hint}")


def records(cls: type[Any]) -> SearchStrategy[Any]:
    """Instances of a fact or of a part of one."""
    hints = get_type_hints(cls)
    return st.builds(cls, **{name: values_of(hints[name]) for name in cls.__struct_fields__})


facts: SearchStrategy[Any] = st.one_of([records(cls) for cls in FACT_CLASSES])
ids = texts.filter(bool)
observations = st.dictionaries(texts, json_values, max_size=2)


def drafts() -> SearchStrategy[Draft]:
    """Drafts of any kind."""
    causes = st.lists(st.integers(1, 2**53), max_size=2).map(tuple)
    return st.builds(Draft, fact=facts, id=ids, run_id=texts, task=texts, causes=causes, observed=observations)


def batches(max_size: int = 4) -> SearchStrategy[list[Draft]]:
    """Batches whose ids differ."""
    return st.lists(drafts(), min_size=1, max_size=max_size, unique_by=lambda draft: draft.id)
