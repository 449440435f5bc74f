"""A memory as a LangGraph store: `graph.compile(store=MemoryStore(memory))`. Needs the extra `synlearner[langgraph]`.

A value is an item whose text is its key and the values at `fields` (default: all texts in it); the value itself is in
the metadata. A namespace is a scope. Searching with a query ranks as `Memory.search` does; without one, oldest first.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
    get_text_at_path,
)

from synlearner.errors import ConfigError
from synlearner.events.types import ExperienceItem
from synlearner.memory.items import new_item
from synlearner.memory.memory import Memory
from synlearner.memory.records import Record

Namespace = tuple[str, ...]

SCOPE = "langgraph:"
VALUE = "value."
"""Metadata with this prefix is the value's."""


class MemoryStore(BaseStore):
    """A `BaseStore` over an open `Memory`, which stays the caller's. For one thread at a time, as the memory is.

    Args:
        memory: Open for writing if anything is to be put.
        fields: Paths in a value whose texts are embedded, as LangGraph's `index={"fields": …}`; `$` is the whole value.

    """

    supports_ttl = False

    def __init__(self, memory: Memory, fields: Sequence[str] = ("$",)) -> None:
        self._memory = memory
        self._fields = fields

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Perform operations: what is read is what was there before; of two puts of a key the last one counts."""
        results: list[Result] = []
        puts: dict[tuple[Namespace, str], PutOp] = {}
        for op in ops:
            match op:
                case GetOp():
                    record = self._find(op.namespace, op.key)
                    results.append(self._item(record) if record else None)
                case SearchOp():
                    results.append(list(self._searched(op)))
                case ListNamespacesOp():
                    results.append(self._namespaces(op))
                case PutOp():
                    puts[op.namespace, op.key] = op
                    results.append(None)
        for put in puts.values():
            self._put(put)
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Perform operations; they take milliseconds, and a memory belongs to one thread."""
        return self.batch(ops)

    # ---- reading ---------------------------------------------------------------------------------------------

    def _records(self) -> dict[tuple[Namespace, str], Record]:
        self._memory.follow()
        found = [record for record in self._memory.state.active() if record.item.scope.startswith(SCOPE)]
        found.sort(key=lambda record: (record.item.metadata.get("created", record.learned), record.item.id))
        return {(_namespace(record), record.item.metadata["key"]): record for record in found}

    def _find(self, namespace: Namespace, key: str) -> Record | None:
        return self._records().get((namespace, key))

    def _searched(self, op: SearchOp) -> Iterator[SearchItem]:
        records = self._records()
        if op.query is None:
            passing = [record for record in records.values() if self._passes(record, op)]
            for record in passing[op.offset : op.offset + op.limit]:
                yield self._search_item(record, None)
            return
        filters = {"AND": [{"within": {"contains": _prefix(op.namespace_prefix)}}, {"indexed": True}, _filters(op)]}
        k = op.offset + op.limit
        found = self._memory.search(op.query, k=k, scope="*", filters=filters)["results"][op.offset :]
        for result in found:
            yield self._search_item(self._memory.state.record(result["id"]), result["score"])

    def _passes(self, record: Record, op: SearchOp) -> bool:
        prefix = op.namespace_prefix
        return _namespace(record)[: len(prefix)] == prefix and self._memory.passes(record, _filters(op))

    def _namespaces(self, op: ListNamespacesOp) -> list[Namespace]:
        found = {namespace for namespace, _ in self._records()}
        for condition in op.match_conditions or ():
            found = {namespace for namespace in found if _matches(namespace, condition)}
        if op.max_depth is not None:
            found = {namespace[: op.max_depth] for namespace in found}
        return sorted(found)[op.offset : op.offset + op.limit]

    def _item(self, record: Record) -> Item:
        return Item(**self._parts(record))

    def _search_item(self, record: Record, score: float | None) -> SearchItem:
        return SearchItem(**self._parts(record), score=score)

    def _parts(self, record: Record) -> dict[str, Any]:
        metadata = record.item.metadata
        return {
            "namespace": _namespace(record),
            "key": metadata["key"],
            "value": {key.removeprefix(VALUE): value for key, value in metadata.items() if key.startswith(VALUE)},
            "created_at": self._time(metadata.get("created", record.learned)),
            "updated_at": self._time(record.learned),
        }

    def _time(self, seq: int) -> datetime:
        return datetime.fromisoformat(self._memory.time_of(seq))

    # ---- writing ---------------------------------------------------------------------------------------------

    def _put(self, op: PutOp) -> None:
        old = self._find(op.namespace, op.key)
        if op.value is None:
            if old is not None:
                self._memory.delete(old.item.id, "deleted through LangGraph")
            return
        self._memory.put(self._new(op, op.value, old), supersedes=old.item.id if old else "")

    def _new(self, op: PutOp, value: Mapping[str, Any], old: Record | None) -> ExperienceItem:
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise ConfigError(f"key {wrong[0]!r:.40} of the value is no string: a value is a JSON object")
        fields = [] if op.index is False else self._fields if op.index is None else op.index
        texts = [text for field in fields for text in get_text_at_path(value, field)]
        metadata = {
            "key": op.key,
            "within": [_prefix(op.namespace[:depth]) for depth in range(len(op.namespace) + 1)],
            "indexed": bool(texts),
            **{VALUE + key: each for key, each in value.items()},
        }
        if old is not None:
            metadata["created"] = old.item.metadata.get("created", old.learned)
        # The key makes equal texts under two keys two items.
        content = "\n".join([op.key, *texts])
        return new_item(content, type="case", scope=SCOPE + _prefix(op.namespace), metadata=metadata)


def _namespace(record: Record) -> Namespace:
    return tuple(json.loads(record.item.scope.removeprefix(SCOPE)))


def _prefix(namespace: Namespace) -> str:
    return json.dumps(namespace, ensure_ascii=False)


def _filters(op: SearchOp) -> dict[str, Any]:
    return {VALUE + key: bound for key, bound in (op.filter or {}).items()}


def _matches(namespace: Namespace, condition: MatchCondition) -> bool:
    path = condition.path
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if condition.match_type == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in ("*", found) for found, wanted in zip(part, path, strict=True))
