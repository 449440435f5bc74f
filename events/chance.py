"""Chance and names from a stable hash of what they are for. Nothing is drawn from global state, nothing is stored."""

import hashlib


def derive_seed(root: int, *path: str | int) -> int:
    """Return a 53-bit seed for *path*: the same on every machine, in every run, and exact in any JSON reader."""
    return int.from_bytes(_digest("seed", root, *path)[:7], "big") >> 3


def event_id(run_id: str, *path: str | int) -> str:
    """Return the id of the event that *path* (decision, purpose, attempt …) leads to in a run."""
    return _digest("event", run_id, *path).hex()[:32]


def _digest(*parts: str | int) -> bytes:
    # Length-prefixed and typed, so that ("a", 1) and ("a1",) or ("a", "1") never collide.
    hasher = hashlib.sha256()
    for part in parts:
        data = f"{type(part).__name__}:{part}".encode()
        hasher.update(len(data).to_bytes(8, "big") + data)
    return hasher.digest()
