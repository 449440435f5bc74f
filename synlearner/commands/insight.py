"""Looking into histories: what one is made of, and where two of them part."""

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synlearner.commands.reading import reading
from synlearner.commands.result import Result

if TYPE_CHECKING:
    from synlearner.events.diff import Comparison
    from synlearner.events.stats import Share, Statistics


def stats(args: Namespace) -> Result:
    """Print the figures of a history."""
    import msgspec  # noqa: PLC0415

    from synlearner.events.stats import statistics  # noqa: PLC0415

    with reading(args) as home:
        found = statistics(home)
    return Result(msgspec.to_builtins(found), _stats_text(found))


def _stats_text(found: "Statistics") -> str:
    from synlearner.tables import table  # noqa: PLC0415

    def rows(shares: "dict[str, Share]") -> list[list[str]]:
        return [[name or "-", f"{share.events:,}", f"{share.bytes:,}"] for name, share in shares.items()]

    parts = [
        table([title, "events", "payload bytes"], rows(shares))
        for title, shares in (("kind", found.kinds), ("run", found.runs), ("task", found.tasks))
        if shares
    ]
    shared = f", {found.shared:,} of them read in a parent" if found.shared else ""
    time = f", from {found.first} to {found.last}" if found.first else ""
    blobs = f"{found.blobs:,} blobs of {found.blob_bytes:,} bytes"
    parts.append(f"{found.events:,} events{shared}, {found.bytes:,} bytes{time}; {blobs}\ndigest {found.digest}")
    return "\n\n".join(parts)


def diff(args: Namespace) -> Result:
    """Compare two histories. The exit code is that of the tool of this name: 0 for equal, 1 where they differ."""
    import msgspec  # noqa: PLC0415

    from synlearner.events.addresses import shown  # noqa: PLC0415
    from synlearner.events.diff import diff as compare  # noqa: PLC0415
    from synlearner.events.home import Home  # noqa: PLC0415

    with Home.open(args.a) as a, Home.open(args.b) as b:
        found = compare(a.log, b.log)
    return Result(msgspec.to_builtins(found), _diff_text(found, shown(args.a), shown(args.b)), 0 if found.equal else 1)


def _diff_text(found: "Comparison", a: str, b: str) -> str:
    difference = found.difference
    if difference is None:
        return f"equal: {found.common} events"
    where = f"event {difference.seq} ({difference.kind}): {difference.cause}, at {difference.path}"
    values = f"  a {_short(difference.a)}\n  b {_short(difference.b)}"
    ends = f"a '{a}' has {found.events[0]} events, b '{b}' has {found.events[1]}; the first {found.common} are equal"
    return f"{where}\n{values}\n{ends}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:199] + "…"


def export_parquet(args: Namespace) -> Result:
    """Write all events as a table."""
    from synlearner.events.parquet import export_parquet as write  # noqa: PLC0415

    with reading(args) as home:
        count, digest = write(home.log, Path(args.file)), home.log.head().hash
    return Result(
        {"events": count, "digest": digest, "file": args.file}, f"{count} events in {args.file}, digest {digest}"
    )
