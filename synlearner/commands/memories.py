"""Memory: searching, reading, judging."""

import json
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from synlearner.commands.reading import reading
from synlearner.commands.result import Result
from synlearner.errors import ConfigError

if TYPE_CHECKING:
    from synlearner.memory import Memory


@contextmanager
def _memory(args: Namespace, *, write: bool = False) -> "Iterator[Memory]":
    from synlearner.memory import Memory  # noqa: PLC0415

    if write:
        with Memory.open(args.home, write=True) as memory:
            yield memory
    else:
        # What the mirror was like in the past is not recorded, and answers are the same without it.
        with reading(args) as home, Memory(home, mirror=args.as_of is None) as memory:
            yield memory


def _json_filter(text: str | None) -> Any:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"--filter {text!r:.80} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f'--filter {text!r:.80} is not a JSON object such as {{"type": "strategy"}}')
    return found


def search(args: Namespace) -> Result:
    """Search."""
    with _memory(args) as memory:
        found = memory.search(
            args.text, k=args.k, filters=_json_filter(args.filter), explain=args.explain,
            scope=args.scope, max_tokens=args.max_tokens,
        )  # fmt: skip
    return Result(found, _items_text(found["results"]))


def list_(args: Namespace) -> Result:
    """List."""
    with _memory(args) as memory:
        found = memory.get_all(filters=_json_filter(args.filter), limit=args.limit, scope=args.scope)
    return Result(found, _items_text(found["results"]))


def _items_text(items: list[dict[str, Any]]) -> str:
    lines = []
    for item in items:
        score = f"{item['score']:.3f}  " if "score" in item else ""
        lines.append(f"{score}{item['id']}  {item.get('type', ''):<9} {item['memory']}")
        if "explain" in item:
            lines.append("       " + ", ".join(f"{key} {value}" for key, value in item["explain"].items()))
    return "\n".join(lines) or "nothing found"


def add(args: Namespace) -> Result:
    """Learn an item."""
    polarity = -1 if args.avoid else 1
    with _memory(args, write=True) as memory:
        done = memory.add(args.text, type=args.type, title=args.title, when=args.when, polarity=polarity,
                          scope=args.scope)  # fmt: skip
    return Result(done, _changes_text(done))


def tend(args: Namespace) -> Result:
    """Tend."""
    with _memory(args, write=True) as memory:
        done = memory.tend()
    return Result(done, _changes_text(done) or "nothing to do")


def merge(args: Namespace) -> Result:
    """Merge two items."""
    with _memory(args, write=True) as memory:
        done = memory.merge(args.id, args.into)
    return Result(done, _changes_text(done))


def split(args: Namespace) -> Result:
    """Take a merge back."""
    with _memory(args, write=True) as memory:
        done = memory.split(args.id)
    return Result(done, _changes_text(done))


def reembed(args: Namespace) -> Result:
    """Begin another generation of vectors."""
    from synlearner.memory import named_embedder  # noqa: PLC0415

    embedder = named_embedder(args.model)
    with _memory(args, write=True) as memory:
        done = memory.reembed(embedder)
    return Result(done, f"{done['items']} items have vectors of {done['embedder']}: generation {done['generation']}")


def _changes_text(done: dict[str, Any]) -> str:
    return "\n".join(f"{change['event']} {change['id']}" for change in done["results"])


def feedback(args: Namespace) -> Result:
    """Judge an item."""
    with _memory(args, write=True) as memory:
        done = memory.feedback(args.id, args.score, args.text)
    return Result(done, _plain(done))


def get(args: Namespace) -> Result:
    """Print one item."""
    with _memory(args) as memory:
        item = memory.get(args.id)
    return Result(item, _plain(item))


def history(args: Namespace) -> Result:
    """Print what happened to an item."""
    with _memory(args) as memory:
        found = memory.history(args.id)
    return Result(found, _plain(found))


def explain(args: Namespace) -> Result:
    """Print all that is known of an item."""
    with _memory(args) as memory:
        found = memory.explain(args.id)
    return Result(found, _plain(found))


def stats(args: Namespace) -> Result:
    """Print figures."""
    with _memory(args) as memory:
        found = memory.stats()
    return Result(found, _plain(found))


def export(args: Namespace) -> Result:
    """Write the items."""
    with _memory(args) as memory:
        done = memory.export(args.file, format=args.format)
    return Result(done, f"{done['items']} items in {args.file}")


def import_(args: Namespace) -> Result:
    """Learn the items of a file."""
    with _memory(args, write=True) as memory:
        done = memory.import_(args.file, format=args.format, collection=args.collection)
    added = sum(change["event"] == "ADD" for change in done["results"])
    return Result(done, f"{added} items learnt, {len(done['results']) - added} known already")


def _plain(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2)
