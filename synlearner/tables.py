"""Tables as text, for stdout."""

from collections.abc import Sequence
from io import StringIO


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a plain table, the first column to the left and all others to the right."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - only where a table is drawn
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, title in enumerate(head):
        made.add_column(Text(title), justify="right" if place else "left")
    for row in rows:
        made.add_row(*map(Text, row))
    out = StringIO()
    # Wide enough for any row: a terminal wraps it, a pipe gets it whole.
    Console(file=out, width=160, color_system=None).print(made)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n")
