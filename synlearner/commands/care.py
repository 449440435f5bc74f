"""Taking care of a home: what is to go from it for good, and what nobody needs any more."""

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
