"""The log: looking at it, checking it, moving it, replaying and forking it."""

import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synlearner.commands import insight
from synlearner.commands.reading import reading
from synlearner.commands.result import Result
from synlearner.errors import ConfigError

if TYPE_CHECKING:
    from synlearner.events import Event
    from synlearner.events.signing import Heads


def digest(args: Namespace) -> Result:
    """Print the head."""
    with reading(args) as home:
        head = home.log.head()
    return Result({"events": head.seq, "digest": head.hash}, f"{head.seq} events, digest {head.hash}")


def verify(args: Namespace) -> Result:
    """Check every event and blob, and signed heads if a signer is named."""
    import msgspec  # noqa: PLC0415

    from synlearner.events.verify import verify as check  # noqa: PLC0415

    report = check(args.home)
    problems, data, told = report.problems, msgspec.to_builtins(report), []
    if args.signer or args.heads:
        signed = _signed(args)
        problems = problems + signed.problems
        told = [f"{signed.signed} heads signed by {signed.key} are in this history"]
        data |= {"problems": msgspec.to_builtins(problems), "signed": signed.signed, "signer": signed.key}
    lines = [
        f"{f'event {p.seq}' if p.seq is not None else p.file}{f' ({p.kind})' if p.kind else ''}: {p.what} [{p.file}]"
        for p in problems
    ]
    verdict = f"{len(lines)} problems" if lines else "all as written"
    lines += [*told, f"{report.events} events, {report.blobs} blobs, digest {report.digest}: {verdict}"]
    return Result(data, "\n".join(lines), 3 if problems else 0)


def _signed(args: Namespace) -> "Heads":
    from synlearner.events.signing import look_at_heads  # noqa: PLC0415

    if not args.signer:
        raise ConfigError(f"--heads {args.heads}: say whose signatures these are (--signer PUBLIC_KEY)")
    return look_at_heads(args.home, Path(args.signer), heads=Path(args.heads) if args.heads else None)


def sign(args: Namespace) -> Result:
    """Sign the head."""
    import msgspec  # noqa: PLC0415

    from synlearner.events.signing import heads_file, sign  # noqa: PLC0415

    heads = Path(args.heads) if args.heads else None
    signed = sign(args.home, Path(args.key), heads=heads)
    file = str(heads_file(args.home, heads))
    text = f"signed by {signed.key}: event {signed.seq}, digest {signed.hash}; added to {file}"
    return Result(msgspec.to_builtins(signed) | {"file": file}, text)


def tail(args: Namespace) -> Result:
    """Print the last events; or follow them."""
    if args.n < 0:
        raise ConfigError(f"-n {args.n}: pass a number of events from 0 on")
    if args.follow and args.as_of is not None:
        raise ConfigError(f"--as-of {args.as_of} with --follow: nothing comes after the past; pass one of them")
    with reading(args) as home:
        head = home.log.head()
        events = list(home.log.read(after=max(0, head.seq - args.n)))
        if args.follow:
            _follow(home, events, as_json=args.json)
    return Result([_event_data(event) for event in events], "\n".join(map(event_line, events)))


def _follow(home: Any, events: "list[Event]", *, as_json: bool) -> None:
    """Write *events* and those that come after them, until the reader interrupts."""
    import sys  # noqa: PLC0415
    from itertools import chain  # noqa: PLC0415

    from synlearner.events.following import follow  # noqa: PLC0415

    last = events[-1].seq if events else home.log.head().seq
    for event in chain(events, follow(home.log, after=last)):
        sys.stdout.write((json.dumps(_event_data(event), ensure_ascii=False) if as_json else event_line(event)) + "\n")
        sys.stdout.flush()


def event_line(event: "Event") -> str:
    """Return an event on one line of about 150 characters."""
    payload = json.dumps(_event_data(event)["payload"], ensure_ascii=False)
    short = payload if len(payload) <= 100 else payload[:99] + "…"
    return f"{event.seq:>6}  {event.observed.get('time', '')[:19]}  {event.task or '-':<16} {event.kind:<20} {short}"


def _event_data(event: "Event") -> dict[str, Any]:
    import msgspec  # noqa: PLC0415

    data: dict[str, Any] = msgspec.to_builtins(event)
    return {("payload" if key == "fact" else key): value for key, value in data.items()}


def show(args: Namespace) -> Result:
    """Print one event."""
    with reading(args) as home:
        data = _event_data(home.log.get(args.seq))
    return Result(data, json.dumps(data, ensure_ascii=False, indent=2))


def export(args: Namespace) -> Result:
    """Write all events: as JSON lines, or as a table where the file is called so."""
    if Path(args.file).suffix == ".parquet":
        return insight.export_parquet(args)
    from synlearner.events import jsonl  # noqa: PLC0415

    with reading(args) as home:
        count = jsonl.export(home.log, Path(args.file), blobs=home.blobs)
        digest = home.log.head().hash
    return Result(
        {"events": count, "digest": digest, "file": args.file}, f"{count} events in {args.file}, digest {digest}"
    )


def import_(args: Namespace) -> Result:
    """Read events into a new home."""
    from synlearner.events import Home, jsonl  # noqa: PLC0415
    from synlearner.events.addresses import shown  # noqa: PLC0415

    with Home.open(args.home, write=True, create=True) as home:
        count = jsonl.import_(Path(args.file), home)
        digest = home.log.head().hash
    return Result({"events": count, "digest": digest}, f"{count} events in {shown(args.home)}, digest {digest}")


def replay(args: Namespace) -> Result:
    """Rebuild, and verify where it is asked for."""
    from synlearner.agent.rebuilding import rebuild  # noqa: PLC0415
    from synlearner.events.home import Home  # noqa: PLC0415

    if args.regenerate and not args.verify:
        raise ConfigError("--regenerate samples again in order to compare: pass --verify with it")
    data: dict[str, Any] = {"verified": None, "first_difference": None}
    with Home.open(args.home, write=True) as home:
        built = rebuild(home, until=args.until)
        if args.verify:
            from synlearner.agent.verifying import verify_run  # noqa: PLC0415

            found = verify_run(home, until=args.until, regenerate=args.regenerate)
            difference = asdict(found.first_difference) if found.first_difference else None
            data = {
                "verified": difference is None,
                "first_difference": difference,
                "checked": found.checked,
                "unchecked": found.unchecked,
            }
    data = asdict(built) | data
    return Result(data, _replay_text(data), 3 if data["first_difference"] else 0)


def _replay_text(data: dict[str, Any]) -> str:
    lines = [f"{data['events']} events", f"memory {data['memory_digest']}", f"policy {data['policy_digest']}"]
    difference = data["first_difference"]
    if difference:
        note = f" ({difference['note']})" if difference["note"] else ""
        lines.append(
            f"event {difference['seq']} ({difference['kind']}) differs at {difference['path']}: recorded "
            f"{difference['recorded']!r:.80}, recomputed {difference['recomputed']!r:.80}{note}",
        )
    elif data["verified"]:
        lines.append(f"verified: {data['checked']} events were computed again and are equal")
    lines += [f"not checked: {what}" for what in data.get("unchecked", [])]
    return "\n".join(lines)


def fork(args: Namespace) -> Result:
    """Start a home that shares history."""
    from synlearner.agent.forking import fork_home  # noqa: PLC0415
    from synlearner.events.addresses import is_address, shown  # noqa: PLC0415

    head = fork_home(args.home, args.at, args.into, args.settings, copy=args.copy)
    data = {"home": shown(args.into), "events": head.seq, "digest": head.hash}
    copied = args.copy or is_address(args.home) or is_address(args.into)
    shares = f"holds a copy of {args.at} events of" if copied else f"shares {args.at} events with"
    return Result(data, f"{shown(args.into)} {shares} {shown(args.home)}; digest {head.hash}")


def copy(args: Namespace) -> Result:
    """Bring a history into another home."""
    from synlearner.events.addresses import shown  # noqa: PLC0415
    from synlearner.events.copying import copy as copy_home  # noqa: PLC0415

    head = copy_home(args.source, args.into)
    data = {"home": shown(args.into), "events": head.seq, "digest": head.hash}
    return Result(data, f"{head.seq} events in {shown(args.into)}, digest {head.hash}")


def report(args: Namespace) -> Result:
    """Write a page about the home."""
    from synlearner.report import write_report  # noqa: PLC0415
    from synlearner.report.page import SAMPLES  # noqa: PLC0415

    with reading(args) as home:
        samples = SAMPLES if args.samples is None else args.samples
        made = write_report(home.log, Path(args.out), samples=samples)
    return Result(made, f"{made['tasks']} tasks in {made['file']}")
