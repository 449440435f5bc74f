import json
from contextlib import suppress
from hashlib import sha256
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import FACT_CLASSES, facts, floats, integers, json_values, quick, records, texts
from synlearner.errors import ConfigError, CorruptLog
from synlearner.events import AnyFact, Fact, HistoryForked, StudentScored, chain, decode, encode, payload_digest


@pytest.mark.parametrize("cls", FACT_CLASSES)
def test_every_fact_comes_back_equal_and_encodes_to_the_same_bytes(cls: type[Fact]) -> None:
    @quick
    @given(records(cls))
    def check(fact: Any) -> None:
        payload = encode(fact)
        read_back = decode(fact.kind, fact.version, payload)
        assert read_back == fact
        assert type(read_back) is cls
        assert encode(read_back) == payload

    check()


@quick
@given(facts)
def test_a_payload_is_compact_sorted_utf8_json(fact: Any) -> None:
    payload = encode(fact).decode()
    assert [key for key, _ in json.loads(payload, object_pairs_hook=list)] == sorted(fact.__struct_fields__)
    # Floats may be spelt differently (1e16 and 1e+16), so they are compared by what they say.
    assert msgspec.json.encode(json.loads(payload), order="sorted").decode() == payload


@quick
@given(st.integers(-(2**53), 2**53))
def test_a_whole_number_in_a_float_field_is_one_payload_however_it_is_written(number: int) -> None:
    def scored(accuracy: float) -> StudentScored:
        return StudentScored(
            family="tfidf",
            source="seeds",
            split="test",
            samples=[],
            trained_on=1,
            scored_on=1,
            accuracy=accuracy,
            macro_f1=0.0,
            interval=(accuracy, accuracy),
        )

    assert encode(scored(number)) == encode(scored(float(number)))


@quick
@given(
    previous=st.binary(min_size=32, max_size=32).map(bytes.hex),
    seq=st.integers(1, 2**53),
    names=st.tuples(texts, texts, texts, texts),
    version=st.integers(1, 99),
    causes=st.lists(st.integers(1, 2**53)),
    payload=st.binary(),
)
def test_the_chain_is_sha256_of_a_json_array_that_any_language_can_write(
    previous: str, seq: int, names: tuple[str, str, str, str], version: int, causes: list[int], payload: bytes
) -> None:
    id_, kind, run_id, task = names
    digest = payload_digest(payload)
    entry = ["synlearner:1", previous, seq, id_, kind, version, run_id, task, causes, digest]
    text = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
    hash_ = chain(
        previous,
        seq=seq,
        id=id_,
        kind=kind,
        version=version,
        run_id=run_id,
        task=task,
        causes=causes,
        payload_digest=digest,
    )
    assert hash_ == sha256(text.encode()).hexdigest()


_NUMBERS_AND_TEXTS = [float("nan"), float("inf"), -float("inf"), 2**53 + 1, -(2**53) - 1, 2**70, "\ud800"]
_NO_JSON = [(1, 2), b"x", {1: 2}, {"\udfff": 1}, {1, 2}]


@quick
@given(
    json_values, st.sampled_from(_NUMBERS_AND_TEXTS + _NO_JSON), st.lists(st.sampled_from(["list", "dict"]), max_size=4)
)
def test_what_json_cannot_hold_exactly_is_refused_wherever_it_stands(good: Any, bad: Any, way: list[str]) -> None:
    value, path = bad, ""
    for step in way:
        value = [good, value] if step == "list" else {"good": good, "in": value}
        path = ("[1]" if step == "list" else ".in") + path
    with pytest.raises(ConfigError) as refused:
        encode(HistoryForked(parent_seq=1, parent_hash="", changes={"at": value}))
    message = str(refused.value)
    assert message.startswith("history_forked: ")
    assert (f" at $.changes.at{path}:" if bad in _NUMBERS_AND_TEXTS else " at $.changes") in message


@quick
@given(
    st.sampled_from(sorted(cls.kind for cls in get_args(AnyFact))),
    st.integers(-3, 3),
    st.binary() | st.text().map(str.encode),
)
def test_decoding_rubbish_raises_corrupt_log_and_nothing_else(kind: str, version: int, payload: bytes) -> None:
    with pytest.raises(CorruptLog):
        decode(kind, version, payload)


@quick
@given(facts, st.data())
def test_a_payload_with_one_byte_changed_decodes_or_raises_corrupt_log(fact: Any, data: st.DataObject) -> None:
    payload = bytearray(encode(fact))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(CorruptLog):
        decode(fact.kind, fact.version, bytes(payload))


@quick
@given(floats, integers)
def test_numbers_come_back_to_the_last_bit(number: float, whole: int) -> None:
    fact = HistoryForked(parent_seq=whole, parent_hash="", changes={"number": number})
    read_back = decode("history_forked", 1, encode(fact))
    assert isinstance(read_back, HistoryForked)
    assert (read_back.changes["number"].hex(), read_back.parent_seq) == (number.hex(), whole)
