"""The LangGraph store: what LangGraph's own stores promise, run against its in-memory store and ours."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langgraph.store.base", reason="needs the extra `langgraph`")

from langgraph.store.base import BaseStore, GetOp, InvalidNamespaceError, ListNamespacesOp, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from synlearner.memory import HashEmbedder, Memory
from synlearner.memory.langgraph import MemoryStore


def embed(texts: Any) -> Any:
    return HashEmbedder(256).embed(texts).tolist()


@pytest.fixture(params=["theirs", "ours"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaseStore]:
    if request.param == "theirs":
        yield InMemoryStore(index={"dims": 256, "embed": embed, "fields": ["$"]})
        return
    with Memory.open(tmp_path / "home", embedder=HashEmbedder(256), mirror=False) as memory:
        yield MemoryStore(memory)


def keys(found: Any) -> list[str]:
    return [item.key for item in found]


def test_what_was_put_is_got_with_its_times(store: BaseStore) -> None:
    store.put(("users", "ann"), "likes", {"text": "slang", "rank": 1})
    item = store.get(("users", "ann"), "likes")
    assert item is not None
    assert (item.namespace, item.key, item.value) == (("users", "ann"), "likes", {"text": "slang", "rank": 1})
    assert item.created_at <= item.updated_at
    assert store.get(("users", "ann"), "other") is None
    assert store.get(("users",), "likes") is None


def test_a_second_put_replaces_the_value(store: BaseStore) -> None:
    for value in ({"text": "slang"}, {"text": "formal"}, {"text": "formal", "rank": 2}, {"text": "slang"}):
        store.put(("users",), "k", value)
        found = store.get(("users",), "k")
        assert found is not None
        assert found.value == value
    assert keys(store.search(("users",))) == ["k"]


def test_equal_values_under_two_keys_are_two_items(store: BaseStore) -> None:
    store.put(("users",), "a", {"text": "slang"})
    store.put(("users",), "b", {"text": "slang"})
    store.delete(("users",), "a")
    assert keys(store.search(("users",))) == ["b"]
    store.put(("users",), "a", {"text": "slang"})
    assert sorted(keys(store.search(("users",)))) == ["a", "b"]


def test_deleting_what_is_not_there_is_nothing(store: BaseStore) -> None:
    store.delete(("users",), "ghost")
    assert store.search(("users",)) == []


def test_search_keeps_to_the_namespace_and_filters(store: BaseStore) -> None:
    store.put(("docs", "a"), "1", {"text": "one", "n": 1, "kind": "x"})
    store.put(("docs", "a"), "2", {"text": "two", "n": 2, "kind": "x"})
    store.put(("docs", "b"), "3", {"text": "three", "n": 3, "kind": "y"})
    store.put(("docsx",), "4", {"text": "four", "n": 4, "kind": "x"})
    assert sorted(keys(store.search(("docs",)))) == ["1", "2", "3"]
    assert keys(store.search(("docs", "b"))) == ["3"]
    assert sorted(keys(store.search((), filter={"kind": "x"}))) == ["1", "2", "4"]
    assert sorted(keys(store.search(("docs",), filter={"n": {"$gte": 2}}))) == ["2", "3"]
    assert keys(store.search(("docs",), filter={"kind": "x", "n": {"$ne": 1}})) == ["2"]
    assert len(store.search(("docs",), limit=2)) == 2
    assert sorted(keys([*store.search(("docs",), limit=2), *store.search(("docs",), limit=2, offset=2)])) == [
        "1",
        "2",
        "3",
    ]


def test_a_query_ranks_by_likeness(store: BaseStore) -> None:
    store.put(("docs",), "bread", {"text": "bake the bread slowly in the oven"})
    store.put(("docs",), "chess", {"text": "open the chess game with the pawn"})
    found = store.search(("docs",), query="bread in the oven")
    assert keys(found) == ["bread", "chess"]
    assert found[0].score is not None
    assert found[1].score is not None
    assert 1 >= found[0].score > found[1].score
    assert keys(store.search(("docs",), query="bread in the oven", limit=1, offset=1)) == ["chess"]


def test_only_the_fields_that_are_named_are_embedded(store: BaseStore) -> None:
    store.put(("docs",), "a", {"text": "nothing to see", "note": "chess"}, index=["note"])
    store.put(("docs",), "b", {"text": "chess and pawns", "note": "rain"}, index=["note"])
    assert keys(store.search(("docs",), query="chess"))[0] == "a"


def test_namespaces_are_listed(store: BaseStore) -> None:
    for namespace in (("a", "b", "c"), ("a", "b", "d"), ("a", "x"), ("z",)):
        store.put(namespace, "k", {"text": "t"})
    assert store.list_namespaces() == [("a", "b", "c"), ("a", "b", "d"), ("a", "x"), ("z",)]
    assert store.list_namespaces(prefix=("a", "b")) == [("a", "b", "c"), ("a", "b", "d")]
    assert store.list_namespaces(suffix=("d",)) == [("a", "b", "d")]
    assert store.list_namespaces(prefix=("a", "*", "c")) == [("a", "b", "c")]
    assert store.list_namespaces(max_depth=2) == [("a", "b"), ("a", "x"), ("z",)]
    assert store.list_namespaces(limit=1, offset=2) == [("a", "x")]


def test_a_batch_reads_before_it_writes_and_the_last_put_counts(store: BaseStore) -> None:
    store.put(("n",), "k", {"text": "old"})
    found = store.batch([
        PutOp(("n",), "k", {"text": "newer"}), GetOp(("n",), "k"), PutOp(("n",), "k", {"text": "newest"}),
        SearchOp(("n",)), ListNamespacesOp(),
    ])  # fmt: skip
    assert found[0] is found[2] is None
    assert found[1].value == {"text": "old"}  # type: ignore[union-attr]
    assert found[4] == [("n",)]
    now = store.get(("n",), "k")
    assert now is not None
    assert now.value == {"text": "newest"}


def test_the_awaited_twins_do_the_same(store: BaseStore) -> None:
    async def use() -> None:
        await store.aput(("n",), "k", {"text": "slang"})
        item = await store.aget(("n",), "k")
        assert item is not None
        assert keys(await store.asearch(("n",))) == ["k"]
        assert await store.alist_namespaces() == [("n",)]
        await store.adelete(("n",), "k")
        assert await store.aget(("n",), "k") is None

    asyncio.run(use())


@pytest.mark.parametrize("namespace", [(), ("a.b",), ("",), ("langgraph", "x")])
def test_wrong_namespaces_are_refused(store: BaseStore, namespace: tuple[str, ...]) -> None:
    with pytest.raises(InvalidNamespaceError):
        store.put(namespace, "k", {"text": "t"})


def test_ours_is_still_there_when_the_home_is_opened_again(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "home", embedder=HashEmbedder(64), mirror=False) as memory:
        MemoryStore(memory).put(("n",), "k", {"text": "slang", "deep": {"x": [1, None]}})
        created = MemoryStore(memory).get(("n",), "k")
        MemoryStore(memory).put(("n",), "k", {"text": "formal"})
    with Memory.open(tmp_path / "home", write=False, embedder=HashEmbedder(64)) as memory:
        item = MemoryStore(memory).get(("n",), "k")
        assert item is not None
        assert created is not None
        assert (item.value, item.created_at) == ({"text": "formal"}, created.created_at)
        assert item.updated_at >= item.created_at
