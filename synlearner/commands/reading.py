"""How commands that only read open a home: as it is, or as it was (`--as-of`)."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synlearner.events.home import Home


@contextmanager
def reading(args: Namespace) -> "Iterator[Home]":
    """Open `--home`, as it was when `--as-of` was its last event."""
    from synlearner.events.home import Home  # noqa: PLC0415
    from synlearner.events.past import as_of  # noqa: PLC0415

    with Home.open(args.home) as home:
        yield home if args.as_of is None else as_of(home, args.as_of)
