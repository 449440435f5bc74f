"""The JSON Schema of a sample: the one source of its grammar on every engine. Loads nothing heavy."""

import json
from collections.abc import Iterable, Mapping

from synlearner.errors import ConfigError

CHARACTERS = (2, 10)
"""Least and most characters for a word of a field's window: wide, since length is scored and not forced."""

FORM = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As `json.dumps` writes; llguidance's words for it."""

CLOSES = "x-closes"
"""Key of the version of the rule that ends a sample within its most tokens: `synlearner.policies.closing`. Without it
(or in a schema of before) a sample may be cut off. Another rule needs another version, for what is recorded."""


def object_schema(fields: Mapping[str, tuple[int, int]], *, closing: bool = False) -> str:
    """Return the schema of a JSON object with these text fields (name to least and most words), as one line.

    With *closing*, samples end within their most tokens. Of our engines the embedded one alone can promise that.
    """
    least, most = CHARACTERS
    texts = {
        name: {"type": "string", "minLength": least * low, "maxLength": most * high}
        for name, (low, high) in fields.items()
    }
    schema = {"type": "object", "properties": texts, "required": list(texts), "additionalProperties": False}
    return json.dumps(schema | {"x-guidance": FORM} | ({CLOSES: 1} if closing else {}), ensure_ascii=False)


def closes(grammar: str) -> bool:
    """Tell whether samples of *grammar*, a JSON Schema, end within their most tokens.

    Raises:
        ConfigError: If by a rule that is not known here.
    """
    version = json.loads(grammar).get(CLOSES) if CLOSES in grammar else None
    if version not in (None, 1):  # a list may hold anything, a set only what has a hash
        raise ConfigError(f"{CLOSES}={version!r} is a rule of a later synlearner: install that, or leave the key out")
    return version == 1


def refuse_closing(grammars: Iterable[str], engine: str) -> None:
    """Refuse grammars that close, for an *engine* that cannot: recorded samples would not be what their grammar says.

    Raises:
        ConfigError: If there is one.
    """
    if any(closes(grammar) for grammar in grammars):
        raise ConfigError(
            f"the {engine} engine cannot end samples within their most tokens, which a grammar with {CLOSES} asks for: "
            "leave the key out (a fork: from before its round was planned), or use policy.engine=transformers"
        )


def least_bytes(fields: Mapping[str, tuple[int, int]]) -> int:
    """Return the bytes of the shortest object of these fields: no tokenizer needs more tokens for it."""
    shortest = {name: "a" * (CHARACTERS[0] * low) for name, (low, _) in fields.items()}
    return len(json.dumps(shortest, ensure_ascii=False).encode())
