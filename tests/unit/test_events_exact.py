"""Which facts are encoded without a look at what comes back: only those for which that look would change nothing."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import facts, json_values, quick
from synlearner.errors import ConfigError
from synlearner.events import Fact, StudentScored, codec
from synlearner.events.exact import LARGEST, faithful, is_free_json


class Inner(msgspec.Struct):
    number: int


class Every(msgspec.Struct, kw_only=True):
    """One field of every shape that a fact may have."""

    whole: int
    real: float
    text: str
    flag: bool
    wholes: list[int]
    reals: list[float]
    texts: list[str]
    flags: list[bool]
    names: dict[str, float]
    deep: dict[str, list[int]]
    inner: Inner
    inners: list[Inner]
    free: dict[str, Any]
    pair: tuple[float, float]


def every(**other: Any) -> Every:
    values: dict[str, Any] = {
        "whole": 1, "real": 1.5, "text": "é", "flag": True, "wholes": [1, 2], "reals": [1.5], "texts": ["a"],
        "flags": [True], "names": {"a": 1.5}, "deep": {"a": [1]}, "inner": Inner(1), "inners": [Inner(1)],
        "pair": (1.5, 2.5),
        "free": {"a": [1, 1.5, None, True, {"b": "c"}]},
    }  # fmt: skip
    return Every(**(values | other))


is_faithful = faithful(Every)


def test_exact_values_are_taken_at_their_word() -> None:
    assert is_faithful(every())
    assert is_faithful(every(whole=-LARGEST))
    assert is_faithful(every(whole=LARGEST, wholes=[-LARGEST, LARGEST, LARGEST], reals=[1.7e308, 1.7e308], texts=[]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"whole": True}, {"whole": 1.0}, {"whole": LARGEST + 1}, {"whole": "1"},
        {"real": 1}, {"real": float("nan")}, {"real": float("-inf")},
        {"text": b"a"}, {"text": None}, {"flag": 1},
        {"wholes": (1, 2)}, {"wholes": [1, True]}, {"wholes": [1.0]}, {"wholes": [-LARGEST - 1]}, {"wholes": {1}},
        {"reals": [1.5, 1]}, {"reals": [1.5, float("inf")]}, {"reals": [float("inf"), float("-inf")]},
        {"flags": [True, 1]}, {"texts": [None]}, {"names": {"a": 1}}, {"names": {1: 1.5}}, {"names": [1.5]},
        {"deep": {"a": (1,)}}, {"deep": {"a": [LARGEST + 1]}}, {"deep": {"a": 1}},
        {"inner": {"number": 1}}, {"inner": Inner(LARGEST + 1)}, {"inners": [Inner(1), None]},
        {"free": {"a": (1,)}}, {"free": {"a": {1: 2}}}, {"free": {"a": [float("nan")]}}, {"free": {"a": 2**60}},
        {"free": {"a": {"b": [[LARGEST + 1]]}}}, {"free": {"a": b"x"}},
        {"pair": [1.5, 2.5]}, {"pair": (1.5,)}, {"pair": (1.5, 2)},
    ],
)  # fmt: skip
def test_everything_else_is_looked_at(wrong: dict[str, Any]) -> None:
    assert not is_faithful(every(**wrong))


def test_a_subclass_is_not_the_class() -> None:
    class Text(str):
        __slots__ = ()

    assert not is_faithful(every(text=Text("a")))
    assert not is_free_json({Text("a"): 1})


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        (list[int | None], "a union"), (set[int], "a type"), (tuple[int, str], "a type"), (dict[int, int], "a type"),
        (bytes, "a type"),
    ],
)  # fmt: skip
def test_a_shape_without_a_rule_is_refused_when_the_program_starts(hint: Any, kind: str) -> None:
    shape = msgspec.defstruct("Shape", [("field", hint)])
    with pytest.raises(TypeError, match=f"{kind} that has no rule here yet"):
        faithful(shape)


def test_free_json_goes_up_to_the_largest_number_and_the_deepest_level() -> None:
    assert is_free_json([LARGEST, -LARGEST, 1.5])
    assert not is_free_json([LARGEST + 1])
    assert not is_free_json([-LARGEST - 1])
    assert is_free_json([[[1]]], levels=2)
    assert not is_free_json([[[1]]], levels=1)
    assert is_free_json({"a": {"b": {"c": 1}}}, levels=2)
    assert not is_free_json({"a": {"b": {"c": 1}}}, levels=1)
    deep: Any = []
    for _ in range(100):
        deep = [deep]
    assert is_free_json(deep)
    assert not is_free_json([deep])


@quick
@given(json_values)
def test_what_a_reader_of_json_makes_is_free_json(value: Any) -> None:
    assert is_free_json(value)


@quick
@given(facts)
def test_the_short_way_leads_where_the_long_way_does(fact: Any) -> None:
    """The long way: encode, decode, compare, encode what came back."""
    payload = codec.encode(fact)
    read_back = codec._DECODE[fact.kind](codec._encode(fact))
    assert (payload, read_back) == (codec._encode(read_back), fact)
    assert repr(codec.decode(fact.kind, fact.version, payload)) == repr(read_back)


@quick
@given(st.sampled_from([1, True, "1", None, float("nan"), (1,), b"1"]))
def test_a_field_of_another_type_is_refused_or_normalised(value: Any) -> None:
    fact: Fact = StudentScored(
        family="tfidf",
        source="seeds",
        split="test",
        samples=[],
        trained_on=1,
        scored_on=1,
        accuracy=value,
        macro_f1=0.0,
        interval=(0.0, 1.0),
    )
    if value == 1 and type(value) is int:
        assert b'"accuracy":1.0' in codec.encode(fact)
    else:
        with pytest.raises(ConfigError):
            codec.encode(fact)
