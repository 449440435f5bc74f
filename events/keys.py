"""Keys to sign with: Ed25519, in the files that `openssl` and `ssh-keygen` write. Nothing of a key is ever printed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from synlearner.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

LARGEST = 1 << 16
"""Bytes: no key is as large."""

MAKE = "`openssl genpkey -algorithm ed25519 -out key.pem`"
TAKE = "`openssl pkey -in key.pem -pubout -out key.pub`"


def private_key(file: Path) -> "Ed25519PrivateKey":
    """Return the key in *file*. Raises ConfigError, which says what is there instead."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    serialization = _serialization()
    data = _read(file)
    if _is_public(data):
        raise ConfigError(f"'{file}' holds a public key: sign with the private one")
    load = serialization.load_ssh_private_key if b"OPENSSH" in data else serialization.load_pem_private_key
    try:
        key: object = load(data, password=None)
    except Exception as error:  # noqa: BLE001  # the library names many, and its words may tell what was typed
        if b"ENCRYPTED" in data or isinstance(error, TypeError) or "password" in str(error).lower():
            raise ConfigError(
                f"the key in '{file}' is encrypted: decrypt it into a file that only you can read, and remove that "
                "afterwards, or sign with another key"
            ) from None
        raise ConfigError(f"'{file}' holds no private key that can be read: make one with {MAKE}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"'{file}' holds another kind of key than Ed25519: make one with {MAKE}")
    return key


def public_key(file: Path) -> "Ed25519PublicKey":
    """Return the key in *file*. Raises ConfigError, which says what is there instead."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    serialization = _serialization()
    data = _read(file)
    if b"PRIVATE KEY" in data:
        raise ConfigError(f"'{file}' holds a private key: to check signatures pass the public one, from {TAKE}")
    load = serialization.load_pem_public_key if b"-----BEGIN" in data else serialization.load_ssh_public_key
    try:
        key: object = load(data)
    except Exception:  # noqa: BLE001  # the library names many
        raise ConfigError(f"'{file}' holds no public key that can be read: write it with {TAKE}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"'{file}' holds another kind of key than Ed25519: make one with {MAKE}")
    return key


def _is_public(data: bytes) -> bool:
    return b"PUBLIC KEY" in data or data.startswith((b"ssh-", b"ecdsa-"))


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST).strip() + b"\n"
    except OSError as error:
        raise ConfigError(f"the key file '{file}' cannot be read: {error.strerror}; make a key with {MAKE}") from None


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415  # an extra
    except ImportError:
        raise ConfigError("signing needs the library `cryptography`: pip install 'synlearner[sign]'") from None
    return serialization
