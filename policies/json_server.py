"""One JSON call to a server that may be busy, slow, broken or gone: retries, rate limit, deadlines, and clear reasons.

Only what may pass by itself is tried again: connections, timeouts, garbage, and the statuses 408, 429 and 5xx. A server
that says `Retry-After` is believed, and all threads wait with the one that was told. The key is sent and never shown.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from synlearner.errors import EngineError

PASSING = frozenset({408, 425, 429, *range(500, 600)})
"""Statuses that may pass by themselves."""

LARGEST = 32 * 2**20
"""Bytes of an answer: what is larger is garbage."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try. Seconds."""

    timeout: float = 120.0
    """For one whole answer, however slowly it trickles."""
    attempts: int = 5
    first_wait: float = 0.5
    """Doubled after each failure."""
    longest_wait: float = 60.0
    per_minute: float = 0.0
    """Requests; 0 sets no limit."""


class ServerError(EngineError):
    """The server refused, or did not answer. `status` is 0 where there was no answer."""

    def __init__(self, message: str, status: int = 0, *, passing: bool = False, wait: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.passing = passing
        self.wait = wait


class JsonServer:
    """A server that speaks JSON. Safe to use from several threads."""

    def __init__(
        self,
        base_url: str,
        key: str,
        patience: Patience,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        pool = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        timeout = httpx.Timeout(patience.timeout, connect=min(10.0, patience.timeout), pool=None)
        self.base_url = base_url.rstrip("/")
        self._client = httpx.Client(headers=headers, timeout=timeout, limits=pool, follow_redirects=False)
        self._key = key
        self._patience = patience
        self._sleep = sleep
        self._lock = threading.Lock()
        self._not_before = 0.0

    def close(self) -> None:
        """Let go of all connections."""
        self._client.close()

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer to one request, as JSON.

        Raises:
            ServerError: If it refuses, or does not answer as often as patience allows; the reason is the last one's.
        """
        wait = self._patience.first_wait
        for left in range(self._patience.attempts - 1, -1, -1):
            self._take_turn()
            try:
                return self._once(method, path, body)
            except ServerError as error:
                if not error.passing or not left:
                    raise
                self._hold(min(max(error.wait, wait), self._patience.longest_wait), everybody=error.wait > 0)
                wait *= 2
        raise AssertionError("unreachable")

    def _take_turn(self) -> None:
        """Wait until this request may go, and make the next one wait as the rate says."""
        gap = 60.0 / self._patience.per_minute if self._patience.per_minute else 0.0
        with self._lock:
            now = time.monotonic()
            start = max(now, self._not_before)
            self._not_before = start + gap
        if start > now:
            self._sleep(start - now)

    def _hold(self, seconds: float, *, everybody: bool) -> None:
        if everybody:
            with self._lock:
                self._not_before = max(self._not_before, time.monotonic() + seconds)
        else:
            self._sleep(seconds)

    def _once(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        url = f"{self.base_url}{path}"
        deadline = time.monotonic() + self._patience.timeout
        parts: list[bytes] = []
        try:
            with self._client.stream(method, url, json=body) as answer:
                for part in answer.iter_bytes():
                    parts.append(part)
                    if sum(map(len, parts)) > LARGEST:
                        raise ServerError(f"{url} answers with more than {LARGEST} bytes", answer.status_code)
                    if time.monotonic() > deadline:
                        raise httpx.ReadTimeout("it only trickles")
                status, headers = answer.status_code, answer.headers
        except httpx.TimeoutException as error:
            seconds = f"{self._patience.timeout:g} s"
            raise ServerError(f"{url} did not answer within {seconds}: raise server.timeout, or ask for less",
                              passing=True) from error  # fmt: skip
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerError(f"{url} cannot be reached: {self._clean(str(error)) or type(error).__name__}",
                              passing=True) from error  # fmt: skip
        return self._read(url, status, headers, b"".join(parts))

    def _read(self, url: str, status: int, headers: httpx.Headers, content: bytes) -> Any:
        try:
            tree = json.loads(content) if content.strip() else None
        except ValueError:
            tree = content.decode("utf-8", "replace")
            if 200 <= status < 300 and headers.get("content-type", "").startswith("text/plain"):
                return tree  # vLLM answers so when it has loaded an adapter
            if 200 <= status < 300:
                raise ServerError(f"{url} answers {status} with what is no JSON: {self._clean(tree)!r}", status,
                                  passing=True) from None  # fmt: skip
        if 200 <= status < 300:
            return tree
        reason = self._clean(_message(tree)) or "no reason given"
        wait = _retry_after(headers.get("retry-after", ""))
        raise ServerError(f"{url} answers {status}: {reason}", status, passing=status in PASSING, wait=wait)

    def _clean(self, text: str) -> str:
        """Return *text* on one short line, without the key, wherever the server took it from."""
        line = " ".join(text.split())
        return (line.replace(self._key, "***") if self._key else line)[:200]


def _message(tree: Any) -> str:
    """Return what an error answer says, in any of the usual shapes."""
    if isinstance(tree, dict):
        error = tree.get("error", tree.get("detail", tree.get("message", tree)))
        return str(error.get("message", error)) if isinstance(error, dict) else str(error)
    return "" if tree is None else str(tree)


def _retry_after(value: str) -> float:
    """Return the seconds of a `Retry-After` header, which holds seconds or a date; 0 for none."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0
