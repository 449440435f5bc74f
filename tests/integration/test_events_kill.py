"""A writer is killed again and again at random moments: what it was told is there, is there, once."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from synlearner.events import Home, SetScored, verify

KILLS = 15

WRITER = """
import sys
from pathlib import Path
from synlearner.events import Draft, ExperienceRetired, Home, SetScored, event_id

def batch(number, home):
    blob = home.blobs.put(b"matrix %d" % number)
    scored = SetScored(round=number, samples=[], embeddings=blob, diversity={}, gains=[])
    facts = [scored] + [ExperienceRetired(item=f"{number}.{n}", reason="x" * 400) for n in range(number % 4)]
    return [Draft(fact=fact, id=event_id("run", number, n)) for n, fact in enumerate(facts)]

# It goes on from what it knows to be acknowledged, so a batch that was committed and not acknowledged is repeated.
number, seq = int(sys.argv[2]), int(sys.argv[3])
with Home.open(Path(sys.argv[1]), create=True) as home:
    while True:
        events = home.log.append(batch(number, home), expected_seq=seq)
        number, seq = number + 1, events[-1].seq
        print(number, seq, events[-1].hash, flush=True)
"""


def test_killed_at_any_moment_nothing_acknowledged_is_lost_and_nothing_is_doubled(tmp_path: Path) -> None:
    chance = random.Random(20261122)  # noqa: S311
    number, seq = 0, 0
    hashes: dict[int, str] = {}
    for _ in range(KILLS):
        command = [sys.executable, "-c", WRITER, str(tmp_path / "home"), str(number), str(seq)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout
            first = child.stdout.readline()
            time.sleep(chance.random() * 0.1)
            child.send_signal(signal.SIGKILL)
            # A last line that was cut off was not an acknowledgement.
            lines = [first, *child.stdout]
        for line in lines:
            if line.endswith("\n"):
                next_number, last_seq, hash_ = line.split()
                number, seq = int(next_number), int(last_seq)
                hashes[seq] = hash_
        report = verify(tmp_path / "home")
        assert report.problems == []
        assert report.events >= seq

    assert len(hashes) > KILLS
    with Home.open(tmp_path / "home") as home:
        events = list(home.log.read())
    assert {seq: events[seq - 1].hash for seq in hashes} == hashes
    assert len({event.id for event in events}) == len(events)
    rounds = [event.fact.round for event in events if isinstance(event.fact, SetScored)]
    assert rounds == list(range(len(rounds)))
