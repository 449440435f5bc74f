"""Items as JSON lines: to take along, and to bring in from here or elsewhere."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from synlearner.errors import ConfigError
from synlearner.memory.state import Record


class Posterior(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an item's use has shown where it comes from."""

    mean: float
    variance: float
    uses: int = 0
    helpful: int = 0
    harmful: int = 0


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line: the text in `content` (or in `memory`, as mem0 calls it), all else may be left out."""

    id: str = ""
    """For the reader: on the way in it is derived from the content again."""
    content: str = ""
    memory: str = ""
    type: str = "lesson"
    title: str = ""
    when: str = ""
    polarity: int = 1
    scope: str = ""
    metadata: dict[str, Any] = {}
    evidence: list[int] = []
    """For the reader: events of another history prove nothing here."""
    posterior: Posterior | None = None

    def __post_init__(self) -> None:
        if bool(self.content) == bool(self.memory):
            raise ValueError("a line has its text in one of `content` and `memory`")
        if self.posterior is not None and not self.posterior.variance > 0:
            raise ValueError(f"posterior variance {self.posterior.variance} is not above 0")


def write_lines(path: Path, records: Sequence[Record]) -> int:
    """Write *records* to *path*, all or nothing, and return how many they are."""
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("wb") as file:
            for record in records:
                file.write(msgspec.json.encode(_line(record)) + b"\n")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"cannot write '{path}' ({error.strerror}): name a file in a folder that exists") from error
    return len(records)


def read_lines(path: Path) -> Iterator[tuple[str, Line]]:
    """Yield (place, line) of each line of *path*. Raises ConfigError with file and number at the first bad one."""
    decode = msgspec.json.Decoder(Line).decode
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    yield f"{path}:{number}", decode(text)
    except OSError as error:
        raise ConfigError(f"cannot read '{path}' ({error.strerror}): name a JSONL file of items") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}:{number}: {error}; `synlearner memory export` shows the form") from error


def _line(record: Record) -> Line:
    item = record.item
    return Line(
        id=item.id,
        content=item.content,
        type=item.type,
        title=item.title,
        when=item.when,
        polarity=item.polarity,
        scope=item.scope,
        metadata=item.metadata,
        evidence=item.evidence,
        posterior=Posterior(
            mean=record.mean,
            variance=record.variance,
            uses=record.uses,
            helpful=record.helpful,
            harmful=record.harmful,
        ),
    )
