"""What takes care of a home, from the command line."""

from pathlib import Path

import pytest
from commands import Run, one_line, tool
from histories import change

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


def test_repairing_shows_first_and_sets_aside_with_yes(home: Path, run: Run) -> None:
    healthy = run("log", "repair", "--home", home)
    assert (healthy.code, healthy.out) == (0, "nothing to repair: 3 events, all as written\n")
    change(home, "UPDATE events SET id = 'x' WHERE seq = 3")
    shown = run("log", "repair", "--home", home)
    assert shown.code == 3
    assert "first problem: event 3 (feedback_given): its envelope is not" in shown.out
    assert "[log.sqlite]" in shown.out
    assert "would be set aside in damaged-1/: log.sqlite, log.anchor" in shown.out
    assert "nothing was changed" in shown.out
    assert run("log", "verify", "--home", home).code == 3
    with Home.open(home, write=True):
        locked = run("log", "repair", "--yes", "--home", home)
    assert (locked.code, locked.out, len(locked.err.splitlines())) == (1, "", 1)
    done = run("log", "repair", "--yes", "--home", home, "--json")
    assert (done.code, done.data["kept"], done.data["lost"], done.data["left"]) == (0, 2, 1, [])
    assert (done.data["problem"]["seq"], done.data["problem"]["kind"]) == (3, "feedback_given")
    assert (home / "damaged-1" / "log.sqlite").exists()
    assert run("log", "verify", "--home", home).code == 0
    refused = run("log", "repair", "--home", "postgresql://me@host/db")
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (1, "", 1)
    assert "repairing works on a home in a folder" in refused.err


def test_a_backup_is_told_with_what_it_holds(home: Path, tmp_path: Path, run: Run) -> None:
    with Home.open(home, write=True):
        told = run("log", "backup", tmp_path / "one", "--home", home)
    assert told.code == 0
    digest = run("log", "digest", "--home", home, "--json").data["digest"]
    assert told.out.startswith(f"3 events and 1 blobs in {tmp_path / 'one'}, ")
    assert told.out.endswith(f" bytes, digest {digest}: verified\n")
    done = run("log", "backup", tmp_path / "two", "--home", home, "--json").data
    assert (done["home"], done["events"], done["blobs"]) == (str(tmp_path / "two"), 3, 1)
    assert run("log", "verify", "--home", tmp_path / "two").code == 0
    one_line(run("log", "backup", tmp_path / "two", "--home", home), "is not empty", "a folder that does not exist")
    change(home, "UPDATE events SET id = 'x' WHERE seq = 2")
    damaged = run("log", "backup", tmp_path / "three", "--home", home)
    one_line(damaged, "event 2")
    assert (damaged.code, (tmp_path / "three").exists()) == (3, False)


def test_signing_and_checking_heads_and_what_is_refused(home: Path, tmp_path: Path, run: Run) -> None:
    key, public = tmp_path / "key.pem", tmp_path / "key.pub"
    tool("openssl", "genpkey", "-algorithm", "ed25519", "-out", key)
    tool("openssl", "pkey", "-in", key, "-pubout", "-out", public)
    digest = run("log", "digest", "--home", home, "--json").data["digest"]
    unsigned = run("log", "verify", "--signer", public, "--home", home)
    assert unsigned.code == 3
    assert "heads.jsonl: no head is signed by SHA256:" in unsigned.out
    told = run("log", "sign", "--key", key, "--home", home)
    assert told.code == 0
    assert f": event 3, digest {digest}; added to {home / 'heads.jsonl'}\n" in told.out
    signed = run("log", "sign", "--key", key, "--heads", tmp_path / "heads", "--home", home, "--json").data
    assert (signed["seq"], signed["hash"], signed["file"]) == (3, digest, str(tmp_path / "heads"))
    checked = run("log", "verify", "--signer", public, "--home", home)
    assert (checked.code, checked.out.splitlines()[0]) == (0, f"1 heads signed by {signed['key']} are in this history")
    with Home.open(home, write=True) as opened:
        opened.log.append([Draft(fact=FeedbackGiven(target="", score=0, text="", source=""), id="x")], expected_seq=3)
    assert run("log", "sign", "--key", key, "--home", home).code == 0
    change(home, "DELETE FROM events WHERE seq > 3")
    (home / "log.anchor").unlink()
    replaced = run("log", "verify", "--signer", public, "--home", home, "--json")
    assert (replaced.code, replaced.data["signed"]) == (3, 1)
    assert [problem["seq"] for problem in replaced.data["problems"] if problem["file"] == "heads.jsonl"] == [4]
    secret = "".join(key.read_text().splitlines()[1:-1])
    assert all(secret not in ran.out + ran.err for ran in (told, checked, replaced, unsigned))
    assert all(secret.encode() not in file.read_bytes() for file in home.rglob("*") if file.is_file())
    one_line(run("log", "sign", "--key", public, "--home", home), "holds a public key")
    one_line(run("log", "verify", "--signer", key, "--home", home), "holds a private key")
    one_line(run("log", "verify", "--heads", tmp_path / "heads", "--home", home), "--signer")
