"""Small histories for tests that need no agent, and ways to change them as no SynLearner would."""

import sqlite3
from contextlib import closing
from pathlib import Path

from synlearner.events import Draft, Home, RunFinished, SetScored


def small_home(path: Path) -> Path:
    """Make a home of six events; the second names one blob, the fifth another."""
    with Home.open(path, create=True) as home:
        drafts = [Draft(fact=RunFinished(tasks=number, delivered=0), id=str(number)) for number in range(6)]
        for place in (1, 4):
            blob = home.blobs.put(f"matrix {place}".encode())
            scored = SetScored(round=0, samples=[], embeddings=blob, diversity={}, gains=[])
            drafts[place] = Draft(fact=scored, id=str(place))
        home.log.append(drafts, expected_seq=0)
    return path


def change(home: Path, sql: str, *values: object) -> None:
    """Change the database behind the log's back."""
    with closing(sqlite3.connect(home / "log.sqlite", isolation_level=None)) as database:
        database.execute(sql, values)
