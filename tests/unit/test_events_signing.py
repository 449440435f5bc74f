"""A history that does not hold what was signed is named, whoever wrote it; and keys are what openssl and ssh-keygen make."""

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import tool
from histories import change, small_home

from synlearner.errors import ConfigError, CorruptLog
from synlearner.events import Anchor, Draft, FeedbackGiven, Head, Home, RunFinished, fork, verify
from synlearner.events.backup import backup
from synlearner.events.copying import copy
from synlearner.events.keys import private_key, public_key
from synlearner.events.redaction import redact
from synlearner.events.signing import fingerprint, look_at_heads, sign


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of keys, made by the programs that users have."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("own", "other"):
        tool("openssl", "genpkey", "-algorithm", "ed25519", "-out", folder / f"{name}.pem")
        tool("openssl", "pkey", "-in", folder / f"{name}.pem", "-pubout", "-out", folder / f"{name}.pub")
    tool("openssl", "genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x", "-out", folder / "locked.pem")
    tool("openssl", "genpkey", "-algorithm", "x25519", "-out", folder / "x.pem")
    tool("openssl", "pkey", "-in", folder / "x.pem", "-pubout", "-out", folder / "x.pub")
    for name, kind, word in (("ssh", "ed25519", ""), ("sshlocked", "ed25519", "secret"), ("ecdsa", "ecdsa", "")):
        tool("ssh-keygen", "-q", "-t", kind, "-N", word, "-f", folder / name)
    (folder / "rubbish").write_bytes(b"\xff\x00rubbish")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return small_home(tmp_path / "home")


def grow(home: Path, number: int) -> None:
    with Home.open(home, write=True) as opened:
        seq = opened.log.head().seq
        opened.log.append([Draft(fact=RunFinished(tasks=number, delivered=1), id=f"n{number}")], expected_seq=seq)


def other_history(home: Path, *, same_until: int) -> None:
    """Put a valid history in the place of what is there, with an anchor that fits."""
    rows = []
    with Home.open(home) as opened:
        rows = list(opened.log.rows(until=same_until))
        end = opened.log.head().seq
    for file in ("log.sqlite", "log.anchor"):
        (home / file).unlink()
    with Home.open(home, create=True) as opened:
        if rows:
            opened.log.adopt(rows)
        for seq in range(same_until, end):
            opened.log.append([Draft(fact=RunFinished(tasks=99, delivered=seq), id=f"other {seq}")], expected_seq=seq)


def found(home: Path, keys: Path) -> list[tuple[int | None, str]]:
    return [(problem.seq, problem.what) for problem in look_at_heads(home, keys / "own.pub").problems]


@pytest.mark.parametrize(("private", "public"), [("own.pem", "own.pub"), ("ssh", "ssh.pub")])
def test_what_was_signed_is_found_again_while_the_history_goes_on(
    home: Path, keys: Path, private: str, public: str
) -> None:
    first = sign(home, keys / private)
    with Home.open(home) as opened:
        assert (first.seq, first.hash, first.history) == (6, opened.log.get(6).hash, opened.log.get(1).hash)
    grow(home, 1)
    second = sign(home, keys / private)
    grow(home, 2)
    looked = look_at_heads(home, keys / public)
    assert (looked.signed, looked.problems, looked.key) == (2, [], first.key)
    assert [json.loads(line)["seq"] for line in (home / "heads.jsonl").read_text().splitlines()] == [6, 7]
    assert second.signature != first.signature
    assert verify(home).problems == []


def test_a_key_is_called_as_ssh_calls_it(keys: Path) -> None:
    told = tool("ssh-keygen", "-l", "-f", keys / "ssh.pub")
    assert fingerprint(public_key(keys / "ssh.pub")) == told.split()[1]


def test_a_signature_can_be_checked_without_this_program(home: Path, keys: Path, tmp_path: Path) -> None:
    signed = sign(home, keys / "own.pem")
    text = f"synlearner head 1\nhistory {signed.history}\nseq 6\nhash {signed.hash}\ntime {signed.time}\n"
    (tmp_path / "text").write_text(text)
    (tmp_path / "signature").write_bytes(base64.b64decode(signed.signature))
    tool(
        "openssl", "pkeyutl", "-verify", "-pubin", "-inkey", keys / "own.pub", "-rawin",
        "-in", tmp_path / "text", "-sigfile", tmp_path / "signature",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("same_until", "what"), [(0, "is of another history: this one begins otherwise"), (3, "is not the one in this")]
)
def test_another_history_with_a_chain_and_an_anchor_of_its_own_is_named(
    home: Path, keys: Path, same_until: int, what: str
) -> None:
    signed = sign(home, keys / "own.pem")
    other_history(home, same_until=same_until)
    assert verify(home).problems == [], "which is why heads are signed"
    ((seq, told),) = found(home, keys)
    assert seq == 6
    assert f"event 6, which was signed at {signed.time}, {what}" in told
    with pytest.raises(CorruptLog, match="nothing was signed"):
        sign(home, keys / "own.pem")
    assert len((home / "heads.jsonl").read_text().splitlines()) == 1


def test_a_history_that_ends_before_what_was_signed_is_named(home: Path, keys: Path) -> None:
    sign(home, keys / "own.pem")
    change(home, "DELETE FROM events WHERE seq > 4")
    assert "is missing: the log ends at 4" in found(home, keys)[0][1], "the anchor tells too, and this looks on"
    (home / "log.anchor").unlink()
    anchor = Anchor(home / "log.anchor")
    with Home.open(home) as opened:
        anchor.write(Head(4, opened.log.get(4).hash))
    anchor.close()
    assert found(home, keys)[0][0] == 6


def cut(text: str) -> str:
    return text.replace('"seq":6', '"seq":5')


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (cut, "line 1 is not what SHA256:"),
        (lambda text: text.replace('"time":"2', '"time":"1'), "line 1 is not what SHA256:"),
        (lambda text: text.replace('"signature":"', '"signature":"é'), "line 1 is not what SHA256:"),
        (lambda text: text + "{}\n", "line 2 is no signed head"),
        (lambda text: text + "[" * 100_000 + "\n", "line 2 is no signed head"),
        (lambda _: "", "no head is signed by SHA256:"),
    ],
)
def test_lines_that_were_changed_or_taken_away_are_named(
    home: Path, keys: Path, damage: Callable[[str], str], what: str
) -> None:
    sign(home, keys / "own.pem")
    file = home / "heads.jsonl"
    file.write_text(damage(file.read_text()))
    ((_, told),) = found(home, keys)
    assert what in told
    file.write_bytes(b"\xff\n")
    assert "no head is signed" in found(home, keys)[0][1]


def test_a_line_that_was_cut_off_when_it_was_written_is_nothing_and_goes(home: Path, keys: Path) -> None:
    sign(home, keys / "own.pem")
    file = home / "heads.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:50])
    assert look_at_heads(home, keys / "own.pub").signed == 1
    sign(home, keys / "own.pem")
    assert file.read_bytes().startswith(whole + b'{"history"')
    assert look_at_heads(home, keys / "own.pub").signed == 2


def test_each_signer_is_looked_at_alone_and_one_who_never_signed_is_named(home: Path, keys: Path) -> None:
    sign(home, keys / "own.pem")
    ((_, told),) = [(p.seq, p.what) for p in look_at_heads(home, keys / "other.pub").problems]
    assert "no head is signed by" in told
    sign(home, keys / "other.pem")
    assert (look_at_heads(home, keys / "other.pub").signed, look_at_heads(home, keys / "own.pub").signed) == (1, 1)


def test_heads_may_be_kept_where_nobody_can_take_them_away(home: Path, keys: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.jsonl"
    sign(home, keys / "own.pem", heads=elsewhere)
    assert not (home / "heads.jsonl").exists()
    assert look_at_heads(home, keys / "own.pub", heads=elsewhere).signed == 1
    with pytest.raises(ConfigError, match="cannot be read"):
        sign(home, keys / "own.pem", heads=tmp_path)


def test_what_was_redacted_backed_up_or_forked_is_still_what_was_signed(home: Path, keys: Path, tmp_path: Path) -> None:
    with Home.open(home, write=True) as opened:
        fact = FeedbackGiven(target="task:a", score=0, text="secret", source="me")
        opened.log.append([Draft(fact=fact, id="text")], expected_seq=6)
    sign(home, keys / "own.pem")
    redact(home, [7], "asked")
    assert found(home, keys) == []
    backup(home, tmp_path / "backup")
    assert look_at_heads(tmp_path / "backup", keys / "own.pub").signed == 1
    fork(home, 8, tmp_path / "child", {})
    assert look_at_heads(tmp_path / "child", keys / "own.pub", heads=home / "heads.jsonl").signed == 1
    fork(home, 3, tmp_path / "early", {})
    assert look_at_heads(tmp_path / "early", keys / "own.pub", heads=home / "heads.jsonl").problems[0].seq == 7


def test_a_damaged_history_is_neither_signed_nor_believed(home: Path, keys: Path) -> None:
    sign(home, keys / "own.pem")
    change(home, "UPDATE events SET task = 'x' WHERE seq = 3")
    with pytest.raises(CorruptLog, match="event 3"):
        sign(home, keys / "own.pem")
    (home / "log.sqlite").write_bytes(b"x" * 10_000)
    assert "cannot be compared" in found(home, keys)[0][1]


def test_an_empty_history_has_nothing_to_sign(tmp_path: Path, keys: Path) -> None:
    Home.open(tmp_path / "home", create=True).close()
    with pytest.raises(ConfigError, match="holds no events: there is nothing to sign"):
        sign(tmp_path / "home", keys / "own.pem")


def test_a_home_in_a_database_keeps_its_heads_in_a_file_that_is_named(
    home: Path, keys: Path, tmp_path: Path, home_url: str
) -> None:
    copy(home, home_url)
    with pytest.raises(ConfigError, match="is no folder: name a file that keeps the signed heads"):
        sign(home_url, keys / "own.pem")
    signed = sign(home_url, keys / "own.pem", heads=tmp_path / "heads.jsonl")
    assert look_at_heads(home_url, keys / "own.pub", heads=tmp_path / "heads.jsonl").signed == 1
    assert look_at_heads(home, keys / "own.pub", heads=tmp_path / "heads.jsonl").signed == 1, "one history"
    assert signed.seq == 6


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("none", "cannot be read: No such file"),
        ("own.pub", "holds a public key: sign with the private one"),
        ("ssh.pub", "holds a public key: sign with the private one"),
        ("x.pem", "holds another kind of key than Ed25519"),
        ("ecdsa", "holds another kind of key than Ed25519"),
        ("locked.pem", "is encrypted: decrypt it"),
        ("sshlocked", "is encrypted: decrypt it"),
        ("rubbish", "holds no private key that can be read"),
    ],
)
def test_what_cannot_sign_is_named(keys: Path, name: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as refused:
        private_key(keys / name)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("own.pem", "holds a private key: to check signatures pass the public one"),
        ("ssh", "holds a private key: to check signatures pass the public one"),
        ("x.pub", "holds another kind of key than Ed25519"),
        ("ecdsa.pub", "holds another kind of key than Ed25519"),
        ("rubbish", "holds no public key that can be read"),
    ],
)
def test_what_cannot_check_is_named(keys: Path, name: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        public_key(keys / name)


def test_without_the_library_the_way_to_it_is_said(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(ConfigError, match=r"pip install 'synlearner\[sign\]'"):
        public_key(keys / "own.pub")
