"""Filters: both spellings, missing keys, and what is refused."""

from typing import Any

import pytest

from synlearner.errors import ConfigError
from synlearner.memory.filters import compile_filter

FIELDS = {"task": "mr", "uses": 3, "score": 0.5, "checked": True}


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        (None, True),
        ({}, True),
        ({"task": "mr"}, True),
        ({"task": "ag"}, False),
        ({"task": "mr", "uses": 4}, False),
        ({"uses": {"gte": 3, "lt": 4}}, True),
        ({"uses": {"$gt": 3}}, False),
        ({"uses": {"lte": 2.5}}, False),
        ({"task": {"in": ["ag", "mr"]}}, True),
        ({"task": {"$nin": ["ag", "mr"]}}, False),
        ({"task": {"ne": "mr"}}, False),
        ({"AND": [{"task": "mr"}, {"uses": {"eq": 3}}]}, True),
        ({"$or": [{"task": "ag"}, {"uses": {"$eq": 3}}]}, True),
        ({"OR": [{"task": "ag"}, {"uses": 4}]}, False),
        ({"NOT": [{"task": "ag"}, {"uses": 3}]}, False),
        ({"NOT": {"task": "ag"}}, True),
        ({"task": "*"}, True),
        ({"nothing": "*"}, False),
        ({"nothing": {"ne": 1}}, True),
        ({"nothing": {"nin": [1]}}, True),
        ({"nothing": {"eq": 1}}, False),
        ({"nothing": {"lt": 1}}, False),
        ({"nothing": {"in": [1]}}, False),
        ({"nothing": None}, False),
        ({"task": {"gt": 1}}, False),
        ({"uses": {"gt": "a"}}, False),
        ({"task": {"gt": "ma"}}, True),
        ({"$and": [{"$or": [{"uses": 1}, {"uses": 3}]}, {"score": {"gt": 0.4}}]}, True),
    ],
)
def test_a_filter_lets_the_right_items_pass(filters: dict[str, Any] | None, passes: bool) -> None:
    assert compile_filter(filters)(FIELDS) is passes


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"uses": {"above": 1}}, "'above' is no filter operator: use eq, ne, in, nin, gt, gte, lt, lte"),
        ({"uses": {"$regex": "a"}}, "'\\$regex' is no filter operator"),
        ({"$xor": [{}]}, "'\\$xor' is no filter operator"),
        ({"uses": {"in": 3}}, "in on 'uses' got 3: it takes a list"),
        ({"uses": [1, 2]}, "eq on 'uses' got \\[1, 2\\]: it takes one value; `in` takes a list"),
        ({"AND": []}, "AND got \\[\\]: it joins a list of at least one filter"),
        ({"AND": "a"}, "AND got 'a'"),
        ({"OR": ["a"]}, "'a' is not a filter: a filter is an object"),
        ("task=mr", "'task=mr' is not a filter"),
    ],
)
def test_a_wrong_filter_is_refused_with_the_way_out(filters: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compile_filter(filters)


def test_a_bottomless_filter_is_refused() -> None:
    filters: dict[str, Any] = {"uses": 1}
    for _ in range(500):
        filters = {"AND": [filters]}
    with pytest.raises(ConfigError, match="nested more than 20 levels deep"):
        compile_filter(filters)
