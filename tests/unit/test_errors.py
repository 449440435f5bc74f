"""Every refusal is one line, whatever it quotes."""

import pytest
from hypothesis import given

from strategies import texts
from synlearner.errors import ConfigError, CorruptLog, EngineError, SynLearnerError


@given(texts)
def test_a_message_is_one_line(quoted: str) -> None:
    assert len(str(ConfigError(f"'{quoted}' is no name: give another")).splitlines()) == 1


@pytest.mark.parametrize("kind", [SynLearnerError, ConfigError, CorruptLog, EngineError])
def test_what_ends_a_line_becomes_a_space_and_nothing_else_changes(kind: type[SynLearnerError]) -> None:
    assert str(kind("a\r\nb\u2028c\x85d\n\ne  f\n")) == "a b c d  e  f"
    assert kind("x").args == ("x",)
