r"""Facts as bytes and back, and the hash chain over them. This format can never change.

A **payload** is the fact as canonical JSON: keys sorted at all levels, no spaces, UTF-8 and not `\uXXXX` outside the
control characters, the shortest digits that give a float back, no NaN, no infinity, no integer beyond 2^53.

The **hash** of an event is SHA-256, in lower-case hex, of one compact JSON array in UTF-8:

    ["synlearner:1",previous,seq,"id","kind",version,"run_id","task",[causes],"payload_digest"]

- `previous` is the hash of the event before, or 64 zeros for the first one.
- `payload_digest` is SHA-256, in lower-case hex, of the payload's bytes.
- "Compact" has no space anywhere. Strings stay UTF-8; only `"`, `\` and U+0000 to U+001F are escaped, as `\"`, `\\`,
  `\b`, `\t`, `\n`, `\f`, `\r`, and else `\u001f` in lower case: what `JSON.stringify` writes in JavaScript and
  `json.dumps(…, ensure_ascii=False, separators=(",", ":"))` in Python.

So anybody can recompute it, in any language:

    printf '%s' '{"delivered":40,"tasks":2}' | sha256sum
        15908aa2a62992af0fdce9728667806f97c594c38b0bbdcb4cba60b5d2f16999
    printf '%s' '["synlearner:1","' $(printf '0%.0s' $(seq 64)) '",1,"id-1","run_finished",1,"run-1","",[],"' \
        15908aa2a62992af0fdce9728667806f97c594c38b0bbdcb4cba60b5d2f16999 '"]' | sha256sum
        949a8a372b503087f7d29a85ebe514fa23a81fadcd27892df01a3ef7091e673b

The chain holds the payload's digest and not the payload, so a payload can be taken out without breaking it. `observed`
is outside: two equal runs have equal hashes. The digest of a history is the hash of its last event.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, get_args

import msgspec

from synlearner.errors import ConfigError, CorruptLog
from synlearner.events.exact import DEEPEST, LARGEST, faithful, is_free_json
from synlearner.events.types import AnyFact, Fact
from synlearner.events.upcasts import UPCASTERS

CHAIN = "synlearner:1"
"""The first item of each link, which names this format."""

encode_link = msgspec.json.Encoder().encode
"""Give the bytes that `link` hashes, for who compares digests and needs no hex: a replay does so at each event."""

_encode = msgspec.json.Encoder(order="sorted").encode
_KINDS: dict[str, type[Fact]] = {cls.kind: cls for cls in get_args(AnyFact)}
_DECODE: dict[str, Callable[[bytes], Any]] = {kind: msgspec.json.Decoder(cls).decode for kind, cls in _KINDS.items()}
_CURRENT = {(kind, cls.version): _DECODE[kind] for kind, cls in _KINDS.items()}
_FAITHFUL = {cls: faithful(cls) for cls in _KINDS.values()}
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)


def encode(fact: Fact) -> bytes:
    """Return the payload of *fact*: `decode` gives an equal fact back, and that one encodes to the same bytes.

    What comes back may differ in what `==` does not see: dict keys are sorted, and 1 in a float field is 1.0.

    Raises:
        ConfigError: If a value has no exact JSON; it names kind and path.

    """
    is_faithful = _FAITHFUL.get(type(fact))
    if is_faithful is None:
        raise ConfigError(f"{type(fact).__name__} is not in AnyFact: add it there, with a kind of its own")
    try:
        if is_faithful(fact):
            return _encode(fact)
        read_back = _DECODE[fact.kind](_encode(fact))
    except _UNREADABLE as error:
        raise ConfigError(f"{fact.kind}: {_problem(fact, '$') or error}") from None
    if read_back != fact or not is_faithful(read_back):
        raise ConfigError(f"{fact.kind}: {_problem(fact, '$') or _difference(fact, read_back)}")
    # Once more, because 1 in a float field was written as 1 and read back as 1.0.
    return _encode(read_back)


def decode(kind: str, version: int, payload: bytes) -> AnyFact:
    """Return the fact that *payload* holds, lifted to the newest version of its kind.

    Raises:
        CorruptLog: If the kind is unknown, the version is newer than this program, or the shape is wrong.

    """
    # Data never names code: the only way from a stored string to a class is a table.
    current = _CURRENT.get((kind, version))
    if current is not None:
        try:
            return current(payload)  # type: ignore[no-any-return]  # decoders of several classes in one table
        except _UNREADABLE as error:
            raise CorruptLog(_misshapen(kind, version, error)) from error
    cls = _KINDS.get(kind)
    if cls is None:
        raise CorruptLog(f"kind {kind!r} is unknown: a newer SynLearner may have written it; upgrade to read it")
    if type(version) is not int or version < 1:
        raise CorruptLog(f"{kind} has version {version!r}: versions start at 1")
    if version > cls.version:
        raise CorruptLog(
            f"{kind} has version {version}, this program reads up to {cls.version}: "
            "a newer SynLearner wrote it; upgrade to read it"
        )
    try:
        lifted = msgspec.json.decode(payload, type=dict[str, Any])
        for step in range(version, cls.version):
            lifted = UPCASTERS[kind, step](lifted)
        return msgspec.convert(lifted, cls)  # type: ignore[return-value]  # `cls` came from AnyFact
    except _UNREADABLE as error:
        raise CorruptLog(_misshapen(kind, version, error)) from error


def encode_json(value: dict[str, Any], name: str) -> bytes:
    """Return *value* as canonical JSON, under the rules of a payload; *name* is what an error calls it.

    Raises:
        ConfigError: If a value has no exact JSON; it names the path.

    """
    try:
        data = _encode(value)
        unchanged = is_free_json(value) or (
            msgspec.json.decode(data) == value and is_free_json(msgspec.json.decode(data))
        )
    except _UNREADABLE as error:
        raise ConfigError(f"{name}: {_problem(value, '$') or error}") from None
    if not unchanged:
        raise ConfigError(f"{name}: {_problem(value, '$') or 'it does not come back from JSON as it went in'}")
    return data


def canonical_bytes(payload: bytes) -> bytes:
    """Return the JSON text *payload* in canonical form, whatever its spaces and key order. It must be valid JSON."""
    return _encode(msgspec.json.decode(payload))


def payload_digest(payload: bytes) -> str:
    """Return SHA-256 of the payload's bytes, in hex."""
    return sha256(payload).hexdigest()


def link(entry: tuple[Any, ...]) -> str:
    """Return the hash of an event from (previous, seq, id, kind, version, run_id, task, causes, payload_digest)."""
    return sha256(encode_link((CHAIN, *entry))).hexdigest()


def chain(
    previous: str,
    *,
    seq: int,
    id: str,  # noqa: A002  # the name of the field that it hashes
    kind: str,
    version: int,
    run_id: str,
    task: str,
    causes: Sequence[int],
    payload_digest: str,
) -> str:
    """Return the hash of the event that follows *previous*: see the head of this module."""
    return link((previous, seq, id, kind, version, run_id, task, causes, payload_digest))


# ---- saying what is wrong ------------------------------------------------------------------------------------


def _misshapen(kind: str, version: int, error: Exception) -> str:
    what = " ".join(str(error).split())  # it may repeat a key with a line's end in it
    return f"the payload does not have the shape of {kind} version {version}: {what}"


def _problem(value: Any, path: str, levels: int = DEEPEST + 2) -> str:
    """Return what cannot be written in *value*, and where; empty if nothing is found."""
    if not levels:
        return f"{path[:40]}… is nested more than {DEEPEST} levels deep: make it flatter, or put it into a blob"
    parts: Iterable[tuple[str, Any]]
    match value:
        case msgspec.Struct():
            parts = ((f"{path}.{name}", getattr(value, name)) for name in value.__struct_fields__)
        case dict():
            wrong = [key for key in value if not isinstance(key, str)]
            if wrong:
                return f"key {wrong[0]!r} at {path}: a JSON key is a string; make it one"
            parts = [(path, key) for key in value] + [(f"{path}.{key}", item) for key, item in value.items()]
        case list() | tuple():
            parts = ((f"{path}[{place}]", item) for place, item in enumerate(value))
        case _:
            return _leaf_problem(value, path)
    return next((found for place, item in parts if (found := _problem(item, place, levels - 1))), "")


def _leaf_problem(value: Any, path: str) -> str:
    if isinstance(value, float) and value - value != 0:
        return f"{value!r} at {path}: JSON has no such number; leave it out, or say in words why it is missing"
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"{value!r} at {path}: integers beyond 2^53 are not exact in JSON; write it as a string"
    try:
        _encode(value)
    except UnicodeEncodeError:
        return f"{value!r} at {path}: a lone surrogate is not text; encode it with errors='replace'"
    except _UNREADABLE as error:
        return f"{value!r} at {path}: {error}; a payload holds JSON alone"
    return ""


def _difference(fact: Fact, read_back: Fact) -> str:
    differ = (
        f"{before!r:.100} at $.{name}: it comes back from JSON as {after!r:.100}; "
        "give it the declared type, and lists instead of tuples inside free JSON"
        for name in fact.__struct_fields__
        if (before := getattr(fact, name)) != (after := getattr(read_back, name))
    )
    return next(differ, "")
