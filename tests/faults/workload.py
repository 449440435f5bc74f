"""What is done to a home while it is being spoilt: batches with blobs, anchors, a projection with checkpoints.

Every batch is the same whenever it is made, so a whole history is known by heart, whoever was cut off writing it.
"""

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from synlearner.errors import CorruptLog, LogError
from synlearner.events import AnyFact, Draft, Event, ExperienceRetired, Home, SetScored, SqliteLog, event_id, verify
from synlearner.events.checkpoints import Checkpoint, Projection

Parts = tuple[int, ...]
"""Batches that each opening of the home writes."""
SHORT: Parts = (2, 1)
LONG: Parts = (6, 4, 2)


class Told(NamedTuple):
    """What the writer was told is on disk."""

    seq: int
    hash: str


COUNTING: Projection[tuple[int, int]] = Projection(
    name="counting",
    rooms=(Path(__file__).parent,),
    start=lambda: (0, 0),
    apply=lambda state, event: (event.seq, state[1] + len(event.id)),
    dump=lambda state: b"%d %d" % state,
    load=lambda data: (int(data.split()[0]), int(data.split()[1])),
    seq=lambda state: state[0],
)


def content(number: int) -> bytes:
    """Return the blob of batch *number*. Two batches share one."""
    return b"matrix %d" % (number // 2) * (1 + 90 * (number % 4 // 2))


def batch(number: int) -> list[Draft]:
    """Return a batch of one to four events, some larger than half a page."""
    blob = sha256(content(number)).hexdigest()
    facts: list[AnyFact] = [SetScored(round=number, samples=[], embeddings=blob, diversity={}, gains=[0.5])]
    facts += [ExperienceRetired(item=f"{number}.{n}", reason="é" * (50 + 2500 * (n % 2))) for n in range(number % 4)]
    return [Draft(fact=fact, id=event_id("run", number, n)) for n, fact in enumerate(facts)]


def length(batches: int) -> int:
    """Return how many events the first *batches* have."""
    return sum(1 + number % 4 for number in range(batches))


def write_one(home: Home, number: int) -> Told:
    """Write batch *number*: its blob, then its events. What the log refuses for now is tried once more."""
    home.blobs.put(content(number))
    try:
        events = home.log.append(batch(number), expected_seq=length(number))
    except CorruptLog:
        raise
    except LogError:
        events = home.log.append(batch(number), expected_seq=length(number))
    return Told(events[-1].seq, events[-1].hash)


def write(path: Path, told: list[Told], parts: Parts) -> None:
    """Bring the home at *path* to the end of the script, from the batches on that *told* does not know of; it grows."""
    last = 0
    for part in parts:
        last += part
        if len(told) < last or last == sum(parts):
            with Home.open(path, create=True) as home:
                move_often(home)
                while len(told) < last:
                    told.append(write_one(home, len(told)))
                Checkpoint(home, COUNTING).keep(Checkpoint(home, COUNTING).state(), every=1)


def look(path: Path, told: list[Told]) -> None:
    """Do what a reader does."""
    with Home.open(path) as home:
        assert len(list(home.log.read())) == told[-1].seq
    problems = verify(path).problems
    assert not problems, f"nothing is damaged, and it is reported: {problems[0].what}"


def move_often(home: Home) -> None:
    """Let the WAL be moved into the database every few batches, as it is in a long run every few thousand."""
    if isinstance(home.log, SqliteLog):
        home.log._connection().execute("PRAGMA wal_autocheckpoint = 6")


def faults_of(path: Path, told: list[Told], whole: list[Event]) -> list[str]:
    """Return what is wrong with the home at *path*, whose writer was *told* that; *whole* is all it may ever hold."""
    found = [f"verify: {problem.what}" for problem in verify(path).problems]
    with Home.open(path) as home:
        events = list(home.log.read())
        if [key(event) for event in events] != [key(event) for event in whole[: len(events)]]:
            found.append("the history is not the one that was written")
        if told and (len(events) < told[-1].seq or events[told[-1].seq - 1].hash != told[-1].hash):
            found.append(f"acknowledged up to event {told[-1].seq}, there are {len(events)}")
        if len({event.id for event in events}) < len(events):
            found.append("an event is there twice")
        for event in events:
            if isinstance(event.fact, SetScored):
                home.blobs.get(event.fact.embeddings)
    return found


def key(event: Event) -> tuple[object, ...]:
    """Return all of an event but `observed`, which holds the time."""
    return (
        event.seq,
        event.id,
        event.kind,
        event.version,
        event.run_id,
        event.task,
        event.causes,
        event.fact,
        event.hash,
    )
