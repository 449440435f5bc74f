"""What takes care of a home, from the command line."""

from pathlib import Path

import pytest
from commands import Run

from synlearner.events import AnyFact, Draft, FeedbackGiven, Home, SetScored

TEXT = "Please forget my telephone number"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    with Home.open(tmp_path / "home", create=True) as home:
        home.blobs.put(b"named by nobody")
        scored = SetScored(round=0, samples=[], embeddings=home.blobs.put(b"named"), diversity={}, gains=[])
        given = [FeedbackGiven(target="task:a", score=0, text=text, source="me") for text in (TEXT, f"{TEXT}, again")]
        facts: list[AnyFact] = [scored, *given]
        home.log.append([Draft(fact=fact, id=str(n)) for n, fact in enumerate(facts)], expected_seq=0)
    return tmp_path / "home"


def test_redacting_says_what_went_what_is_left_and_what_is_out_of_reach(home: Path, run: Run) -> None:
    done = run("log", "redact", 2, "--reason", "she asked", "--home", home, "--json")
    assert done.code == 0
    assert (done.data["seqs"], done.data["head"]) == ([2], 4)
    assert done.data["echoes"] == [{"seq": 3, "kind": "feedback_given"}]
    told = run("log", "redact", 3, "--reason", "she asked", "--home", home).out
    assert "redacted: 3; 0 blobs deleted" in told
    assert "out of reach: backups and exports made before" in told
    assert all(TEXT.encode() not in file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert run("log", "verify", "--home", home).code == 0
    assert '"redacted"' in run("log", "show", 2, "--home", home).out
    refused = run("log", "redact", 1, "--reason", "she asked", "--home", home)
    assert (refused.code, refused.out) == (1, "")
    assert "event 1 is a set_scored" in refused.err


def test_collecting_shows_first_and_deletes_with_yes(home: Path, run: Run) -> None:
    shown = run("blob", "gc", "--grace", 0, "--home", home)
    assert "would be deleted: 1 blobs that no event names, 15 bytes; pass --yes to do it" in shown.out
    done = run("blob", "gc", "--grace", 0, "--yes", "--home", home, "--json").data
    assert (done["marked"], len(done["removed"]), done["dry"]) == (1, 1, False)
    assert run("blob", "gc", "--grace", 0, "--home", home, "--json").data["removed"] == []
    assert run("log", "verify", "--home", home).code == 0
