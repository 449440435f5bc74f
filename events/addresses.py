"""Where a home is: a folder, or a schema of a PostgreSQL database, named by a URL.

    postgresql://user@host:5432/database?schema=NAME[&blobs=s3://bucket/prefix]

The password may stand in the URL, in `PGPASSWORD`, or in `~/.pgpass`; it is never shown. What belongs to such a home on
this machine alone (`derived/`, and the anchor of what this machine has seen acknowledged) is below the cache folder.
"""

import os
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from synlearner.errors import ConfigError

_SCHEMES = ("postgresql://", "postgres://")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_EXAMPLE = "postgresql://user@host/database?schema=my_home"


@dataclass(frozen=True)
class Address:
    """A home in a PostgreSQL database."""

    conninfo: str
    """For libpq, without the password."""
    schema: str
    password: str | None
    blobs: str = ""
    """Where its blobs are, if not in the schema."""

    def __str__(self) -> str:
        """Return the URL without the password."""
        place = f"{self.conninfo}{'&' if '?' in self.conninfo else '?'}schema={self.schema}"
        return f"{place}&blobs={self.blobs}" if self.blobs else place

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def scrub(self, text: str) -> str:
        """Return *text* without the password, should it stand there."""
        secrets = {self.password or "", quote(self.password or "", safe=""), os.environ.get("PGPASSWORD", "")}
        for secret in sorted(secrets - {""}, key=len, reverse=True):
            text = text.replace(secret, "***")
        return " ".join(text.split())

    def folder(self) -> Path:
        """Return where this machine keeps what can be made again, and its anchor."""
        parts = urlsplit(self.conninfo)
        place = f"{parts.hostname or ''}:{parts.port or 5432}{parts.path}?{parts.query}&schema={self.schema}"
        own = os.environ.get("SYNLEARNER_CACHE")
        cache = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "synlearner"
        return cache.expanduser() / "homes" / sha256(place.encode()).hexdigest()[:16]


def is_address(home: Path | str) -> bool:
    """Return whether *home* is a URL and no folder."""
    return isinstance(home, str) and home.startswith(_SCHEMES)


def shown(home: Path | str) -> str:
    """Return *home* as it may be printed: without a password."""
    return str(parse_address(str(home))) if is_address(home) else str(home)


def parse_address(url: str) -> Address:
    """Return the address that *url* is. Raises ConfigError, which never repeats the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        password = unquote(parts.password) if parts.password is not None else query.pop("password", None)
        _ = parts.port
    except ValueError:
        raise ConfigError(f"the URL of the home is none that PostgreSQL knows: write {_EXAMPLE}") from None
    schema, blobs = query.pop("schema", "synlearner"), query.pop("blobs", "")
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
        raise ConfigError(
            f"schema {schema!r:.80} in the URL of the home: a name has up to 63 characters out of a-z, 0-9 and _"
        )
    if not parts.path.strip("/"):
        raise ConfigError(f"the URL of the home names no database: write {_EXAMPLE}")
    netloc = parts.netloc.rpartition("@")[2]
    user = parts.username
    conninfo = f"postgresql://{user + '@' if user else ''}{netloc}{parts.path}"
    return Address(conninfo + (f"?{urlencode(query)}" if query else ""), schema, password, blobs)


def folder_of(home: Path | str, what: str) -> Path:
    """Return the folder of a home. Raises ConfigError, which says that *what* needs one, if it is in a database."""
    if is_address(home):
        raise ConfigError(
            f"{what} works on a home in a folder, not on '{shown(home)}': "
            "`synlearner log copy` brings a history into a folder and back"
        )
    return Path(home)
