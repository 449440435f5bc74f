from collections import OrderedDict
from typing import Any, ClassVar

import pytest

from synlearner.errors import ConfigError, CorruptLog
from synlearner.events import (
    UPCASTERS,
    ExperienceRetired,
    Fact,
    PolicyUpdated,
    RunFinished,
    SampleGenerated,
    StudentScored,
    chain,
    codec,
    decode,
    encode,
    payload_digest,
    references,
)
from synlearner.events.chance import derive_seed, event_id

FIRST = "949a8a372b503087f7d29a85ebe514fa23a81fadcd27892df01a3ef7091e673b"


def test_the_first_hash_is_the_one_that_sha256sum_gives() -> None:
    """Worked out with `printf | sha256sum`: see the head of `synlearner.events.codec`."""
    payload = encode(RunFinished(tasks=2, delivered=40))
    assert payload == b'{"delivered":40,"tasks":2}'
    digest = payload_digest(payload)
    assert digest == "15908aa2a62992af0fdce9728667806f97c594c38b0bbdcb4cba60b5d2f16999"
    hash_ = chain(
        "0" * 64,
        seq=1,
        id="id-1",
        kind="run_finished",
        version=1,
        run_id="run-1",
        task="",
        causes=[],
        payload_digest=digest,
    )
    assert hash_ == FIRST


def test_the_second_hash_follows_from_the_first_through_quotes_controls_and_emoji() -> None:
    """Worked out with `printf | sha256sum` as well."""
    payload = encode(ExperienceRetired(item='Käse "😀"\n\x1f/', reason="zu alt"))
    assert payload == '{"item":"Käse \\"😀\\"\\n\\u001f/","reason":"zu alt"}'.encode()
    digest = payload_digest(payload)
    assert digest == "b56f47e98459e2b69c2f0acf22d1d5058333f769630f0cad5f0015f83d0a3ce9"
    hash_ = chain(
        FIRST,
        seq=2,
        id='id "2"',
        kind="experience_retired",
        version=1,
        run_id="run-1",
        task="Käse\n\x1f",
        causes=(1, 1),
        payload_digest=digest,
    )
    assert hash_ == "8bff2c478226449ea2be7d651192a59d34315bf344da11b1acff9fa60253841e"


def test_every_field_of_the_envelope_is_in_the_hash() -> None:
    entry: dict[str, Any] = {
        "seq": 1,
        "id": "a",
        "kind": "k",
        "version": 1,
        "run_id": "r",
        "task": "t",
        "causes": (1,),
        "payload_digest": "d",
    }
    other = {
        "seq": 2,
        "id": "b",
        "kind": "l",
        "version": 2,
        "run_id": "s",
        "task": "u",
        "causes": (),
        "payload_digest": "e",
    }
    hashes = {chain("0" * 64, **entry), chain("1" + "0" * 63, **entry)}
    hashes |= {chain("0" * 64, **entry | {name: value}) for name, value in other.items()}
    assert len(hashes) == 2 + len(other)


def test_floats_are_written_with_the_fewest_digits_and_stay_floats() -> None:
    fact = _student(accuracy=1, interval=(0.1, 1e300))
    assert b'"accuracy":1.0' in encode(fact)
    assert b'"interval":[0.1,1e300]' in encode(fact)


@pytest.mark.parametrize(
    ("fact", "message"),
    [
        (lambda: _student(accuracy=float("nan")), "student_scored: nan at $.accuracy: JSON has no such number"),
        (
            lambda: _student(interval=(0.0, float("inf"))),
            "student_scored: inf at $.interval[1]: JSON has no such number",
        ),
        (lambda: _student(samples=[1, 2**53 + 1]), "student_scored: 9007199254740993 at $.samples[1]: integers beyond"),
        (
            lambda: _student(trained_on=-(2**53) - 1),
            "student_scored: -9007199254740993 at $.trained_on: integers beyond",
        ),
        (lambda: _student(family="\ud800"), "student_scored: '\\ud800' at $.family: a lone surrogate is not text"),
        (lambda: _student(family=3), "student_scored: Expected `str`, got `int` - at `$.family`"),
        (
            lambda: _student(interval=[0.0, 1.0]),
            "student_scored: [0.0, 1.0] at $.interval: it comes back from JSON as (0.0, 1.0)",
        ),
        (lambda: _student(family=b"abc"), "student_scored: b'abc' at $.family: it comes back from JSON as 'YWJj'"),
        (lambda: _student(family=object()), "student_scored: <object"),
    ],
)
def test_what_cannot_be_written_is_named_with_kind_and_path(fact: Any, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        encode(fact())
    assert str(refused.value).startswith(message)


def test_integers_up_to_2_to_the_53_are_written_exactly() -> None:
    assert b'"samples":[9007199254740992,-9007199254740992]' in encode(_student(samples=[2**53, -(2**53)]))


def test_a_fact_that_is_not_in_the_union_is_refused() -> None:
    class Impostor(Fact, frozen=True):
        kind: ClassVar[str] = "run_finished"
        tasks: int
        delivered: int

    with pytest.raises(ConfigError, match="Impostor is not in AnyFact"):
        encode(Impostor(tasks=1, delivered=1))


@pytest.mark.parametrize(
    ("kind", "version", "payload", "message"),
    [
        ("os.system", 1, b"{}", "kind 'os.system' is unknown"),
        (
            "run_finished",
            2,
            b"{}",
            "run_finished has version 2, this program reads up to 1: a newer SynLearner wrote it; upgrade",
        ),
        ("run_finished", 0, b"{}", "run_finished has version 0: versions start at 1"),
        ("run_finished", 1, b"{}", "the payload does not have the shape of run_finished version 1"),
        ("run_finished", 1, b'{"tasks":1,"delivered":1,"x":1}', "the payload does not have the shape of run_finished"),
        ("run_finished", 1, b'{"\\u0085":1}', "the payload does not have the shape of run_finished"),
        ("run_finished", 1, b'{"tasks":1,"delivered":"1"}', "the payload does not have the shape of run_finished"),
        ("run_finished", 1, b'{"tasks":1,"delivered":\xff}', "the payload does not have the shape of run_finished"),
        ("history_forked", 1, b"[" * 100_000, "the payload does not have the shape of history_forked"),
    ],
)
def test_a_payload_that_cannot_be_read_says_why_in_one_line(
    kind: str, version: int, payload: bytes, message: str
) -> None:
    with pytest.raises(CorruptLog) as refused:
        decode(kind, version, payload)
    assert str(refused.value).startswith(message)
    assert len(str(refused.value).splitlines()) == 1


def test_an_old_version_is_lifted_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunFinished, "version", 3)
    monkeypatch.delitem(codec._CURRENT, ("run_finished", 1))
    monkeypatch.setitem(UPCASTERS, ("run_finished", 1), lambda old: {"tasks": old["tasks"], "given": old["given"]})
    monkeypatch.setitem(
        UPCASTERS, ("run_finished", 2), lambda old: {"tasks": old["tasks"], "delivered": old["given"] + 1}
    )
    assert decode("run_finished", 1, b'{"given":4,"tasks":2,"gone":0}') == RunFinished(tasks=2, delivered=5)
    assert decode("run_finished", 2, b'{"given":4,"tasks":2}') == RunFinished(tasks=2, delivered=5)
    assert decode("run_finished", 3, b'{"delivered":5,"tasks":2}') == RunFinished(tasks=2, delivered=5)
    for payload in (b"[]", b'{"tasks":2}', b'{"given":"4","tasks":2}'):
        with pytest.raises(CorruptLog, match="does not have the shape of run_finished version 1: "):
            decode("run_finished", 1, payload)


def test_blobs_that_a_fact_names_are_found() -> None:
    fact = PolicyUpdated(
        round=0,
        algorithm="eft",
        parent="p",
        adapter="a",
        optimizer="",
        samples=[],
        advantages=[],
        loss=0.0,
        kl=0.0,
        grad_norm=0.0,
        skipped="",
    )
    assert sorted(references(fact)) == ["a", "p"]
    assert references(_sample()) == []


def test_names_and_seeds_are_the_same_for_ever() -> None:
    """Pinned: a resumed run must find the events of the program that began it."""
    assert event_id("run", "sample", 1) == "97482fcb6968476c5b98e4bf3e213b90"
    assert derive_seed(0, "task", 1) == 7267969921825628
    assert event_id("run", "a", 1) != event_id("run", "a1")
    assert event_id("run", 1) != event_id("run", "1")
    assert all(0 <= derive_seed(0, number) < 2**53 for number in range(1000))


def _student(**changes: Any) -> StudentScored:
    fields: dict[str, Any] = {
        "family": "tfidf",
        "source": "seeds",
        "split": "test",
        "samples": [],
        "trained_on": 1,
        "scored_on": 1,
        "accuracy": 0.5,
        "macro_f1": 0.5,
        "interval": (0.0, 1.0),
    }
    return StudentScored(**fields | changes)


def _sample() -> SampleGenerated:
    return SampleGenerated(
        round=0, prompt=0, index=0, text="", token_ids=[], logprobs=[], finish="stop", policy="ab", engine="scripted"
    )


def test_what_is_named_is_what_cannot_be_written_and_not_what_stands_before_it() -> None:
    with pytest.raises(ConfigError, match=r"nan at \$\.accuracy"):
        encode(_student(samples=[2**53, -(2**53)], accuracy=float("nan")))


def test_json_that_another_type_writes_is_taken_if_it_comes_back_equal() -> None:
    assert codec.encode_json({"b": OrderedDict(y=1, x=2), "a": 1}, "it") == b'{"a":1,"b":{"x":2,"y":1}}'
    with pytest.raises(ConfigError, match="it: it does not come back from JSON as it went in"):
        codec.encode_json({"a": (1, 2)}, "it")
