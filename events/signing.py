"""Signed heads: who holds a key says "this history ended so", and later nobody else can make it another history.

A hash chain shows damage, not malice: whoever can write to a home can write another whole history. A signature of the
head, by a key that is not in the home, covers every event up to it. Signatures stand in a file of their own, one a line,
outside the hash; who fears that lines are taken away keeps that file, or a copy of it, elsewhere.

What is signed is text, so that it can be checked without this program:

    synlearner head 1 ⏎ history HASH-OF-EVENT-1 ⏎ seq SEQ ⏎ hash HASH ⏎ time TIME ⏎
"""

import base64
import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from synlearner.errors import ConfigError, CorruptLog, NotTrusted
from synlearner.events.addresses import is_address, parse_address, shown
from synlearner.events.files import cannot_write, sync_folder
from synlearner.events.home import HEADS, Home, open_log
from synlearner.events.keys import private_key, public_key
from synlearner.events.log import StoredLog
from synlearner.events.types import EMPTY, Head
from synlearner.events.verify import Problem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class SignedHead(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the file."""

    history: str
    """Hash of the first event: which history it is."""
    seq: int
    hash: str
    time: str
    """When it was signed, by the clock of who signed."""
    key: str
    """Fingerprint of the public key, as `ssh-keygen -l` prints it."""
    signature: str
    """Ed25519, in base64."""

    def text(self) -> bytes:
        """Return what is signed."""
        return (
            f"synlearner head 1\nhistory {self.history}\nseq {self.seq}\nhash {self.hash}\ntime {self.time}\n".encode()
        )


class Heads(msgspec.Struct, frozen=True):
    """What a look at signed heads found."""

    signed: int
    """By this key, and in this history."""
    problems: list[Problem]
    key: str


def sign(home: Path | str, key: Path, *, heads: Path | None = None) -> SignedHead:
    """Sign the head of *home* with the private key in the file *key*; add it to the file *heads* and return it.

    The whole chain is checked first, and so is that it goes on from what the same key has signed before.

    Raises:
        ConfigError: If *key* holds no Ed25519 key that can be used, or the home holds no events.
        LogError: If the file cannot be written, or the home cannot be read now.
        NotTrusted: If the history is not what was written, or not what was signed before.

    """
    file = heads_file(home, heads)
    secret = private_key(key)
    with Home.open(home) as opened:
        end = EMPTY
        first = ""
        for event in opened.log.read():
            first = first or event.hash
            end = Head(event.seq, event.hash)
        if not end.seq:
            raise ConfigError(f"'{shown(home)}' holds no events: there is nothing to sign")
        name = fingerprint(secret.public_key())
        _, problems = _compare(opened.log, file, secret.public_key())
        if problems:
            raise CorruptLog(
                f"{problems[0].what} [{file}]: nothing was signed; `synlearner log verify --signer` tells all"
            )
        time = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        unsigned = SignedHead(first, end.seq, end.hash, time, name, "")
        signature = base64.b64encode(secret.sign(unsigned.text())).decode()
        signed = msgspec.structs.replace(unsigned, signature=signature)
        _add(file, signed)
    return signed


def look_at_heads(home: Path | str, signer: Path, *, heads: Path | None = None) -> Heads:
    """Check that *home* contains every head that was signed with the key whose public half is in the file *signer*.

    This looks at the places of these heads alone: `verify` checks the chain between them.

    Raises:
        ConfigError: If *signer* holds no public Ed25519 key.
        LogError: If the home or the file cannot be read now.

    """
    file = heads_file(home, heads)
    key = public_key(signer)
    name = fingerprint(key)
    if not any(line and line.key == name for _, line in _lines(file)):
        what = f"no head is signed by {name}: pass the signer's own key, or the file with the signatures (--heads)"
        return Heads(0, [Problem(None, "", file.name, what)], name)
    try:
        with closing(_open(home)) as log:
            return Heads(*_compare(log, file, key), name)
    except (NotTrusted, ConfigError) as error:  # a damaged file looks like a foreign one
        return Heads(0, [Problem(None, "", file.name, f"the signed heads cannot be compared: {error}")], name)


def heads_file(home: Path | str, heads: Path | None) -> Path:
    """Return where signed heads are kept: in the home, if *heads* does not say another place."""
    if heads is None and is_address(home):
        raise ConfigError(f"'{shown(home)}' is no folder: name a file that keeps the signed heads (--heads FILE)")
    return heads or Path(home) / HEADS


def fingerprint(key: "Ed25519PublicKey") -> str:
    """Return the name of a key, as `ssh-keygen -l` prints it."""
    raw = key.public_bytes_raw()
    blob = b"\x00\x00\x00\x0bssh-ed25519" + len(raw).to_bytes(4, "big") + raw
    return "SHA256:" + base64.b64encode(sha256(blob).digest()).decode().rstrip("=")


def _compare(log: StoredLog, file: Path, key: "Ed25519PublicKey") -> tuple[int, list[Problem]]:
    """Return how many lines *key* signed that are in this history, and what is wrong with the others."""
    name, end, first = fingerprint(key), log.head().seq, _hash(log, 1)
    good, problems = 0, []
    for number, line in _lines(file):
        if line is None:
            problems.append(Problem(None, "", file.name, f"line {number} is no signed head"))
            continue
        if line.key != name:
            continue
        what = f"event {line.seq}, which was signed at {line.time},"
        if not _is_signed(line, key):
            problems.append(Problem(None, "", file.name, f"line {number} is not what {name} signed"))
        elif line.history != first:
            problems.append(
                Problem(line.seq, "", file.name, f"{what} is of another history: this one begins otherwise")
            )
        elif line.seq > end:
            problems.append(Problem(line.seq, "", file.name, f"{what} is missing: the log ends at {end}"))
        elif _hash(log, line.seq) != line.hash:
            problems.append(Problem(line.seq, "", file.name, f"{what} is not the one in this history"))
        else:
            good += 1
    return good, problems


def _is_signed(line: SignedHead, key: "Ed25519PublicKey") -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  # an extra

    try:
        key.verify(base64.b64decode(line.signature, validate=True), line.text())
    except (InvalidSignature, ValueError):
        return False
    return True


def _hash(log: StoredLog, seq: int) -> str:
    rows = list(log.rows(after=seq - 1, until=seq))
    return rows[0].hash.hex() if rows and isinstance(rows[0].hash, bytes) else ""


def _open(home: Path | str) -> StoredLog:
    """Open a history whatever its anchor says: what is missing at its end is to be named by its signed heads."""
    if is_address(home):
        from synlearner.events.postgres import PostgresLog  # noqa: PLC0415  # only for who has a home there

        return PostgresLog(parse_address(str(home)), anchor=None, write=False)
    return open_log(Path(home), anchored=False)


def _lines(file: Path) -> Iterator[tuple[int, SignedHead | None]]:
    """Yield the signed heads with the number of their line; None for a line that is none."""
    for number, line in enumerate(_whole(file).splitlines(), start=1):
        try:
            yield number, msgspec.json.decode(line, type=SignedHead)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            yield number, None


def _whole(file: Path) -> bytes:
    """Return all lines that were written to their end: another one was never acknowledged."""
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise ConfigError(f"'{file}' cannot be read: {error.strerror}; pass the file with the signed heads") from error
    return data[: data.rfind(b"\n") + 1]


def _add(file: Path, signed: SignedHead) -> None:
    try:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
        with os.fdopen(handle, "ab") as out:
            out.truncate(len(_whole(file)))
            out.write(msgspec.json.encode(signed) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        sync_folder(file.absolute().parent)
    except OSError as error:
        raise cannot_write(file, error) from error
