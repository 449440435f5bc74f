"""The state of a run as bytes and back, for its checkpoint."""

from pathlib import Path
from typing import Any

import msgspec

from synlearner import events, memory, policies
from synlearner.agent.cards import Card
from synlearner.agent.state import RunState, apply
from synlearner.events.checkpoints import Projection

_ROOMS = tuple(Path(str(file)).parent for file in (events.__file__, memory.__file__, policies.__file__, __file__))


def _plain(value: Any) -> Any:
    if isinstance(value, Card):
        return value.record()
    raise NotImplementedError(f"no way to keep {type(value)}")


def _typed(cls: type, value: Any) -> Any:
    if cls is Card:
        return Card.from_record(value)
    raise NotImplementedError(f"no way to bring back {cls}")


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_decode = msgspec.msgpack.Decoder(RunState, dec_hook=_typed).decode

RUN = Projection("run", _ROOMS, RunState, apply, _encode, _decode, lambda state: state.seq)
