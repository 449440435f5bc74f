"""Memory: searching, reading, judging."""

import json
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from synlearner.commands.result import Result
from synlearner.errors import ConfigError

if TYPE_CHECKING:
    from synlearner.memory import Memory


def _memory(args: Namespace, *, write: bool = False) -> "Memory":
    from synlearner.memory import Memory  # noqa: PLC0415

    return Memory.open(args.home, write=write, create=write)


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
            args.text, k=args.k, filters=_json_filter(args.filter), as_of=args.as_of, explain=args.explain
        )
    return Result(found, _items_text(found["results"]))


def list_(args: Namespace) -> Result:
    """List."""
    with _memory(args) as memory:
        found = memory.get_all(filters=_json_filter(args.filter), limit=args.limit)
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
        done = memory.add(args.text, type=args.type, title=args.title, when=args.when, polarity=polarity)
    return Result(done, "\n".join(f"{change['event']} {change['id']}" for change in done["results"]))


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
        done = memory.export(args.file)
    return Result(done, f"{done['items']} items in {args.file}")


def import_(args: Namespace) -> Result:
    """Learn the items of a file."""
    with _memory(args, write=True) as memory:
        done = memory.import_(args.file)
    added = sum(change["event"] == "ADD" for change in done["results"])
    return Result(done, f"{added} items learnt, {len(done['results']) - added} known already")


def _plain(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, indent=2)
