"""What a command came to."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """For programs and for people."""

    data: Any
    text: str
    code: int = 0
