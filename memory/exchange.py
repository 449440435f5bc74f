"""Items on their way out and in: JSON lines, Parquet, folders of skills; mem0's exports and ChromaDB's collections."""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from synlearner.errors import ConfigError
from synlearner.memory.chroma import read_collection
from synlearner.memory.state import Record

READ = ("jsonl", "parquet", "mem0", "chroma")


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


# ---- out -----------------------------------------------------------------------------------------------------


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


def write_parquet(path: Path, records: Sequence[Record]) -> int:
    """Write *records* to *path* as a table; `metadata` and `posterior` are JSON texts in it."""
    import pyarrow as pa  # noqa: PLC0415 - only who exports pays for it
    from pyarrow import parquet  # noqa: PLC0415

    names = [field for field in Line.__struct_fields__ if field != "memory"]
    rows = [msgspec.to_builtins(_line(record)) for record in records]
    columns = {name: [_cell(row[name]) for row in rows] for name in names}
    temporary = path.with_name(path.name + ".new")
    try:
        parquet.write_table(pa.table(columns), temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ConfigError(f"cannot write '{path}' ({error.strerror}): name a file in a folder that exists") from error
    return len(records)


def write_skills(path: Path, records: Sequence[Record]) -> int:
    """Write each record as `NAME/SKILL.md` below *path*, a new folder: name and description, then the advice."""
    if path.exists():
        raise ConfigError(f"'{path}' exists: skills are written into a new folder; name another one")
    temporary = path.with_name(path.name + ".new")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for record in records:
            # A title is somebody's text: only letters, digits and the item's own id become a path.
            title = re.sub(r"[^a-z0-9]+", "-", (record.item.title or record.item.type).lower()).strip("-")[:40]
            folder = temporary / "-".join(part for part in (title, record.item.id) if part)
            folder.mkdir()
            (folder / "SKILL.md").write_text(_skill(folder.name, record), encoding="utf-8")
        temporary.rename(path)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise ConfigError(f"cannot write '{path}' ({error.strerror}): name a folder in one that exists") from error
    return len(records)


WRITERS: dict[str, Callable[[Path, Sequence[Record]], int]] = {
    "jsonl": write_lines,
    "parquet": write_parquet,
    "skill": write_skills,
}


def _skill(name: str, record: Record) -> str:
    item = record.item
    does = "Do" if item.polarity > 0 else "Avoid"
    # YAML reads JSON strings: no text can end the front matter.
    description = msgspec.json.encode(item.when or item.title or item.content).decode()
    figures = f"Gain {record.mean:+.3f} ± {record.variance**0.5:.3f} after {record.uses} outcomes."
    quote = "\n".join(f"> {line}" for line in item.content.splitlines())
    return f"---\nname: {name}\ndescription: {description}\n---\n\n{does}:\n\n{quote}\n\n{figures}\n"


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | list) else msgspec.json.encode(value).decode()


def _line(record: Record) -> Line:
    item = record.item
    fields = {name: getattr(item, name) for name in ("id", "content", "type", "title", "when", "polarity", "scope")}
    counts = {name: getattr(record, name) for name in Posterior.__struct_fields__}
    return Line(**fields, metadata=item.metadata, evidence=item.evidence, posterior=Posterior(**counts))


# ---- in ------------------------------------------------------------------------------------------------------


def read(path: Path, format_: str, collection: str = "") -> Iterator[tuple[str, Line]]:
    """Yield (place, line) of each item. Raises ConfigError with the place at the first bad one."""
    if format_ not in READ:
        raise ConfigError(f"format {format_!r:.40} is unknown: items are imported from {', '.join(READ)}")
    if format_ == "jsonl":
        yield from _lines(path)
        return
    readers = {"parquet": lambda: _table(path), "mem0": lambda: _mem0(path),
               "chroma": lambda: read_collection(path, collection)}  # fmt: skip
    for number, row in enumerate(readers[format_](), start=1):
        place = f"{path}:{number}"
        try:
            yield place, msgspec.convert(row, Line)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{place}: {error}; `synlearner memory export` shows the form") from error


def _lines(path: Path) -> Iterator[tuple[str, Line]]:
    decode = msgspec.json.Decoder(Line).decode
    number = 0
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    yield f"{path}:{number}", decode(text)
    except OSError as error:
        raise ConfigError(f"cannot read '{path}' ({error.strerror}): name a JSONL file of items") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}:{number}: {error}; `synlearner memory export` shows the form") from error


def _table(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    try:
        rows = parquet.read_table(path).to_pylist()
        for row in rows:
            parsed = {key: value for key, value in row.items() if value is not None}
            for key in ("metadata", "posterior"):
                if key in parsed:
                    parsed[key] = msgspec.json.decode(parsed[key])
            yield parsed
    except (OSError, pa.ArrowException, msgspec.DecodeError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"cannot read '{path}' ({reason}): name a Parquet file that `memory export` wrote") from error


def _mem0(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the memories of a mem0 export: a list, or an object with them under `results` or `memories`."""
    try:
        tree = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"cannot read '{path}' ({error}): name the JSON file of a mem0 export") from error
    found = tree.get("results", tree.get("memories")) if isinstance(tree, dict) else tree
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ConfigError(f"'{path}' holds no list of memories: a mem0 export has them under `results`")
    for each in found:
        kept = {key: value for key, value in (each.get("metadata") or {}).items() if key not in MEM0_OWN}
        own = {key: each[key] for key in ("categories", "created_at", "agent_id", "run_id", "app_id") if each.get(key)}
        yield {"memory": each.get("memory", ""), "scope": each.get("user_id") or "", "metadata": {**kept, **own}}


MEM0_OWN = ("id", "memory", "type", "title", "when", "polarity", "scope", "learned", "recalled", "uses", "helpful",
            "harmful", "utility")  # fmt: skip
"""Names that items have themselves; the same in mem0's metadata means something else, and stays behind."""
