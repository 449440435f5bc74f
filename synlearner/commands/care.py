"""Taking care of a home: what is to go from it for good, what nobody needs any more, and a copy for a bad day."""

from argparse import Namespace

from synlearner.commands.result import Result


def redact(args: Namespace) -> Result:
    """Take payloads out."""
    from synlearner.agent.redacting import redact_events  # noqa: PLC0415
    from synlearner.events.redaction import BEYOND  # noqa: PLC0415

    done = redact_events(args.home, args.seq, args.reason)
    which = ", ".join(map(str, done.seqs))
    lines = [f"redacted: {which}; {len(done.blobs)} blobs deleted; derived/ is made again when it is needed"]
    if done.echoes:
        named = ", ".join(f"{seq} ({kind})" for seq, kind in done.echoes.items())
        lines.append(f"the same text also stands in: {named}")
    lines += [f"a fork reads what was redacted here: {fork}" for fork in done.forks]
    lines.append(f"out of reach: {'; '.join(BEYOND)}")
    data = done._asdict() | {"echoes": [{"seq": seq, "kind": kind} for seq, kind in done.echoes.items()]}
    return Result(data | {"out_of_reach": list(BEYOND)}, "\n".join(lines))


def gc(args: Namespace) -> Result:
    """Delete blobs that nobody names; without --yes, list them."""
    import msgspec  # noqa: PLC0415

    from synlearner.events.collect import collect  # noqa: PLC0415

    found = collect(args.home, dry=not args.yes, grace=args.grace, forks=args.fork)
    what = f"{len(found.removed)} blobs that no event names, {found.bytes} bytes"
    verdict = f"deleted: {what}" if args.yes else f"would be deleted: {what}; pass --yes to do it"
    lines = [*found.removed, f"kept: {found.marked} named, {found.young} younger than {args.grace:g} h; {verdict}"]
    return Result(msgspec.to_builtins(found) | {"dry": not args.yes}, "\n".join(lines))


def repair(args: Namespace) -> Result:
    """Set aside what is damaged; without --yes, say what that would be. The exit code is 3 until it is done."""
    import msgspec  # noqa: PLC0415

    from synlearner.agent.repairing import repair_home  # noqa: PLC0415

    done, within = repair_home(args.home, dry=not args.yes)
    first = done.problem
    if first is None:
        lines = [f"nothing to repair: {done.kept} events, all as written"]
    else:
        where = f"event {first.seq}{f' ({first.kind})' if first.kind else ''}" if first.seq is not None else first.file
        told = first.what if first.what.startswith("event") else f"{where}: {first.what}"
        would = "" if args.yes else "would be "
        lines = [
            f"first problem: {told} [{first.file}]",
            f"{would}kept: {done.kept} events, digest {done.digest}; behind them {done.lost} events are not to be trusted",
            f"{would}set aside in {done.folder}/: {', '.join(done.files) or 'nothing'}",
        ]
        lines += [f"a fork begins behind the last event that stays: {fork}" for fork in done.forks]
        lines += [f"still there: {problem.what} [{problem.file}]" for problem in done.left]
        if within:
            lines.append(
                "the log now ends within a batch: a run goes on from a fork of it, "
                f"`synlearner fork --home {args.home} --at {done.kept} --into NEW`"
            )
        if not args.yes:
            lines.append("nothing was changed; a copy of a lost blob or log can still be put back; pass --yes to go on")
    data = msgspec.to_builtins(done) | {"within_batch": within}
    return Result(data, "\n".join(lines), 3 if done.left or (done.dry and first) else 0)


def backup(args: Namespace) -> Result:
    """Copy a home that goes on, and verify the copy."""
    import msgspec  # noqa: PLC0415

    from synlearner.events.backup import backup as back_up  # noqa: PLC0415

    done = back_up(args.home, args.into)
    text = f"{done.events} events and {done.blobs} blobs in {args.into}, {done.bytes:,} bytes, digest {done.digest}: verified"
    return Result({"home": args.into} | msgspec.to_builtins(done), text)


def move(args: Namespace) -> Result:
    """Bring blobs to a URL."""
    from synlearner.events.moving import move_blobs  # noqa: PLC0415

    moved = move_blobs(args.home, args.url)
    data = {"home": args.home, "url": args.url, "moved": moved}
    return Result(data, f"{moved} blobs moved; {args.home} keeps its blobs at {args.url}")
