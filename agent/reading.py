"""Stream files and row files as they are read: YAML and JSONL. Every refusal names file and line."""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from synlearner.agent.config import NOT_YAML
from synlearner.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML takes the last of two equal keys without a word, and half a surrogate pair for a text; we do not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # `<<: *anchor` is flattened below, and what stands beside it wins
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int | float | bool) and key in seen:
                raise _problem(key_node, f"key {key!r} stands twice")
            seen.add(key if isinstance(key, str | int | float | bool) else id(key))
        return super().construct_mapping(node, deep=deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        text = super().construct_scalar(node)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _problem(node, "a text is not valid Unicode") from error
        return text


def _problem(node: yaml.Node, what: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, f"line {node.start_mark.line + 1}: {what}")


def read_yaml(file: Path) -> Any:
    """Return what a YAML file holds."""
    text = _read_text(file)
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        what = " ".join(str(getattr(error, "problem", None) or error).split())
        mark = getattr(error, "problem_mark", None)
        raise ConfigError(f"{file}: {f'line {mark.line + 1}: ' if mark else ''}{what}") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: nested too deeply") from error
    except NOT_YAML as error:
        raise ConfigError(f"{file}: a value is not what it looks like ({error}): put it in quotes") from error


def read_rows(value: Any, folder: Path, where: str) -> tuple[list[dict[str, Any]], str]:
    """Return the rows of a JSONL file (*value* is its path, relative to *folder*) or the inline ones; and SHA-256."""
    if isinstance(value, list):
        return _inline(value, where)
    if not isinstance(value, str):
        raise ConfigError(f"{where}: pass the path of a JSONL file, or rows")
    file = folder / value
    rows = []
    text = _read_text(file, where)
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: texts may hold U+2028
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            json.dumps(row, ensure_ascii=False).encode()  # refuses half a surrogate pair
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{where}: {file} line {number} is not JSON") from error
        if not isinstance(row, dict):
            raise ConfigError(f"{where}: {file} line {number} is not a JSON object")
        rows.append(row)
    if not rows:
        raise ConfigError(f"{where}: {file} has no rows")
    return rows, hashlib.sha256(text.encode()).hexdigest()


def _inline(rows: list[Any], where: str) -> tuple[list[dict[str, Any]], str]:
    if not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{where}: inline rows are mappings of field to text")
    try:
        text = json.dumps(rows, sort_keys=True, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: inline rows hold texts alone ({error}): put them in quotes") from error
    return rows, hashlib.sha256(text).hexdigest()


def _read_text(file: Path, where: str = "") -> str:
    before = f"{where}: {file}" if where else f"{file}"
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{before}: byte {error.start} is not UTF-8: save the file as UTF-8") from error
    except FileNotFoundError as error:
        raise ConfigError(f"{before}: there is no such file") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{before}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
