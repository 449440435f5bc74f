"""Filters on columns let the same items pass as filters on items, whatever they are."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from synlearner.events.types import ExperienceItem
from synlearner.memory.filters import compile_filter
from synlearner.memory.items import Fields
from synlearner.memory.lexical import LexicalIndex, words
from synlearner.memory.records import Record
from synlearner.memory.state import MemoryState
from synlearner.memory.table import Table

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(-2, 2), st.sampled_from(["a", "ab", "B", ""]),
    st.lists(st.sampled_from(["a", "b"]), max_size=2),
)  # fmt: skip
KEYS = st.sampled_from(["k", "m", "type", "uses", "memory"])
TESTS = st.one_of(
    st.tuples(KEYS, st.sampled_from(["eq", "ne", "gt", "$gte", "lt", "$lte", "contains", "icontains", "not_contains"]),
              st.one_of(st.integers(-3, 3), st.floats(-2, 2), st.sampled_from(["a", "B", "lesson"]))),
    st.tuples(KEYS, st.sampled_from(["in", "$nin"]), st.lists(st.one_of(st.integers(-3, 3), st.just("a")), max_size=3)),
).map(lambda test: {test[0]: {test[1]: test[2]}})  # fmt: skip
FILTERS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.one_of(TESTS, KEYS.map(lambda key: {key: "*"})),
    lambda inner: st.tuples(st.sampled_from(["AND", "$or", "NOT"]), st.lists(inner, min_size=1, max_size=3)).map(
        lambda pair: {pair[0]: pair[1]}
    ),
    max_leaves=6,
)


def state_of(metadata: list[dict[str, Any]]) -> MemoryState:
    state = MemoryState()
    for number, fields in enumerate(metadata):
        item = ExperienceItem(
            id=f"x{number:02}", type="lesson" if number % 2 else "case", title="", when="", content=f"a b{number % 3}",
            polarity=1, scope=["", "s", "t"][number % 3], metadata=fields, evidence=[],
        )  # fmt: skip
        state.records[item.id] = Record(item=item, embedder="", vector="", learned=number, uses=number % 4)
    return state


@given(st.lists(st.dictionaries(st.sampled_from(["k", "m"]), VALUES, max_size=2), max_size=12), FILTERS, st.data())
def test_a_mask_is_what_the_filter_says_of_each_item(
    metadata: list[dict[str, Any]], filters: dict[str, Any], data: st.DataObject
) -> None:
    state = state_of(metadata)
    table = Table(state)
    table.follow(lambda _: 0)
    passes = compile_filter(filters)
    for _ in range(2):
        for scope in ("", "s", "*"):
            mask = table.mask(passes, scope)
            for number, record in enumerate(table.records):
                expected = record.active and record.visible_in(scope) and passes(Fields(record))
                assert bool(mask[number]) == expected
        if state.records:  # and again after something has changed
            name = data.draw(st.sampled_from(sorted(state.records)))
            state.records[name].uses += 1
            state.records[name].retired = 5
            state.dirty.add(name)
            table.follow(lambda _: 0)


TEXTS = st.lists(st.sampled_from(["red", "Green", "blue", "blue blue", "grey"]), max_size=6).map(" ".join)


@given(st.lists(TEXTS, min_size=1, max_size=8), TEXTS, st.booleans(), st.data())
def test_words_of_replaced_texts_leave_no_trace(
    texts: list[str], query: str, at_once: bool, data: st.DataObject
) -> None:
    """Put one by one, or all at once, and changed later or not: it is one index."""
    changed = LexicalIndex()
    if at_once:
        changed.fill([data.draw(TEXTS) for _ in texts])
    for number, text in enumerate(texts):
        if not at_once:
            changed.put(number, data.draw(TEXTS))
        changed.shares(query)
        changed.put(number, text)
    fresh = LexicalIndex()
    for number, text in enumerate(texts):
        fresh.put(number, text)
    (places, shares), (expected, values) = changed.shares(query), fresh.shares(query)
    assert (places.tolist(), shares.tolist()) == (expected.tolist(), values.tolist())
    assert all(0 < share < 1 for share in shares)
    wanted = set(words(query))
    assert places.tolist() == [number for number, text in enumerate(texts) if wanted & set(words(text))]
