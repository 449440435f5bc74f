"""The JSON Schema of a sample: the one source of its grammar on every engine. Loads nothing heavy."""

import json
from collections.abc import Mapping

CHARACTERS = (2, 10)
"""Least and most characters for a word of a field's window: wide, since length is scored and not forced."""

FORM = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As `json.dumps` writes; llguidance's words for it."""


def object_schema(fields: Mapping[str, tuple[int, int]]) -> str:
    """Return the schema of a JSON object with these text fields (name to least and most words), as one line."""
    least, most = CHARACTERS
    texts = {
        name: {"type": "string", "minLength": least * low, "maxLength": most * high}
        for name, (low, high) in fields.items()
    }
    schema = {"type": "object", "properties": texts, "required": list(texts), "additionalProperties": False}
    return json.dumps(schema | {"x-guidance": FORM}, ensure_ascii=False)
