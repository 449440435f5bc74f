"""A grammar that closes, by hand: one token a byte, so that what is left can be counted on paper."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import torch
from llguidance import LLMatcher
from tiny import ask, load
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from synlearner.errors import ConfigError
from synlearner.events.types import Decoding
from synlearner.policies.closing import PENDING, Ending, Vocabulary, holds
from synlearner.policies.engine import Request, Sample
from synlearner.policies.grammar import Grammars, Matcher, allowed_masks, compiled, grammars_of
from synlearner.policies.learner import token_logprobs
from synlearner.policies.logprobs import Support, unpacked
from synlearner.policies.model import PolicyModel
from synlearner.policies.packing import pack
from synlearner.policies.schema import least_bytes, object_schema
from synlearner.policies.transformers_engine import TransformersEngine

SCHEMA = object_schema({"t": (1, 5)}, closing=True)
"""`{"t": "aa"}`: seven tokens open it, two letters at least, two tokens close it."""

PAIR = {"text": (1, 4), "text_b": (0, 2)}


def bytes_alone(merges: Sequence[tuple[str, str]] = ()) -> Any:
    """Return a tokenizer with a token for each byte, and these merges."""
    symbols = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges), "<end>"]
    tokenizer = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(symbols)}, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")  # type: ignore[no-untyped-call]  # noqa: S106


def grammars(merges: Sequence[tuple[str, str]] = ()) -> Grammars:
    tokenizer = bytes_alone(merges)
    return Grammars(tokenizer, frozenset({tokenizer.eos_token_id}))


def of(tokens: int, schema: str = SCHEMA) -> Decoding:
    return Decoding(temperature=1.0, min_p=0.0, max_new_tokens=tokens, grammar=schema)


class Hand:
    """Writes byte by byte, and tells what may come next."""

    def __init__(self, tokens: int) -> None:
        self.grammars = grammars()
        self.matcher: Matcher = self.grammars.matcher(of(tokens))
        self.tokens = {self.grammars.text([token]): token for token in range(257)}
        self.write('{"t": "')

    def write(self, text: str | bytes) -> None:
        for byte in text if isinstance(text, bytes) else text.encode():
            piece = bytes([byte])
            assert piece in self.allowed()
            assert self.matcher.take(self.tokens[piece])

    def allowed(self) -> set[bytes]:
        return {
            self.grammars.text([token])
            for token in unpacked(self.matcher.mask()[None], 257)[0].nonzero()[:, 0].tolist()
        }


def test_what_may_come_while_tokens_run_out() -> None:
    """Of 20 tokens 13 are left in the string. Two close it, and 4 more are kept back: free while 7 or more are left."""
    hand = Hand(20)
    for left in range(13, 6, -1):
        assert {b"\\", b"x", b"\xf0"} <= hand.allowed(), left
        hand.write("x")
    for left in range(6, 2, -1):
        assert {b'"', b"x", b" "} <= hand.allowed(), left
        assert not {b"\\", b"\xf0"} & hand.allowed(), left
        hand.write("x")
    assert not hand.matcher.is_cut
    assert hand.allowed() == {b'"'}  # two are left
    assert hand.matcher.is_cut
    hand.write('"')
    assert hand.allowed() == {b"}"}
    hand.write("}")
    assert hand.matcher.is_complete


def test_a_model_that_closes_in_time_is_not_cut() -> None:
    hand = Hand(20)
    hand.write('xxxxxxxxxx"}')
    assert hand.matcher.is_complete
    assert not hand.matcher.is_cut


def test_what_a_string_still_needs_is_chosen_by_the_model() -> None:
    """At the least, 11 tokens, the two letters are the model's own; everything else is forced."""
    hand = Hand(11)
    for _ in range(2):
        assert {b"x", b"y", b" "} <= hand.allowed()
        assert not {b"\\", b"\xf0", b'"'} & hand.allowed()
        hand.write("y")
    assert hand.allowed() == {b'"'}
    hand.write('"}')
    assert hand.matcher.is_complete


@pytest.mark.parametrize(
    ("begun", "forced", "left"),
    [(b"\xf0", 3, 7), (b"\xe2", 2, 7), (b"\xc3", 1, 7), (b"\\u", 4, 8), (b"\\", 1, 7)],
    ids=["four bytes", "three", "two", "digits", "an escape"],
)
def test_a_character_begun_at_the_last_moment_is_ended(begun: bytes, forced: int, left: int) -> None:
    """The worst place is the last free one, 7 tokens before the end (`\\u` needs two places, and leaves none to spare)."""
    hand = Hand(20)
    hand.write("x" * (13 - left))
    hand.write(begun)
    for _ in range(forced):
        assert not {b"x", b"}"} & hand.allowed()
        hand.write(min(hand.allowed()))
    rest = left - len(begun) - forced
    assert b'"' in hand.allowed()
    hand.write("x" * (rest - 2) + '"}')
    assert hand.matcher.is_complete


def test_a_token_that_ends_within_a_name_is_reckoned_with() -> None:
    """`name` is one token, but behind a drawn `n` it takes three, `a`, `m`, `e`: two more than before it."""
    merges = [("n", "a"), ("na", "m"), ("nam", "e")]
    schema = object_schema({"t": (1, 1), "name": (1, 1)}, closing=True)
    ending = ending_of(grammars(merges), schema)
    assert ending.least == len('{"t": "aa", "name": "aa"}') - 3
    assert ending.slack == PENDING + 2
    assert ending_of(grammars(), schema).slack == PENDING


def ending_of(of_tokens: Grammars, schema: str) -> Ending:
    tokenizer = of_tokens._tokenizer
    return Ending(Vocabulary(tokenizer), LLMatcher(tokenizer, compiled(schema), log_level=0))


def test_no_room_is_said_before_anything_runs(tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"max_new_tokens=10 has no room .* takes 11 tokens: raise it, or lower"):
        grammars().matcher(of(10))
    told: list[int] = []
    writable, hopeless = ask(tokens=9), replace(ask(), decoding=of(3))
    with pytest.raises(ConfigError, match="max_new_tokens=3 has no room for the shortest sample of its grammar"):
        TransformersEngine(load(tiny_folder)).generate([writable, hopeless], progress=lambda *_: told.append(1))
    assert told == []


def test_the_bytes_of_the_shortest_object_are_always_room_enough() -> None:
    assert least_bytes({"t": (1, 5)}) == 11
    grammars().matcher(of(least_bytes({"t": (1, 5)})))


def test_a_grammar_without_an_end_is_refused() -> None:
    endless = '{"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, '
    endless += '"required": ["n"]}}, "x-closes": 1}'
    with pytest.raises(ConfigError, match=r"no room for the shortest sample of its grammar, which takes 8192 or more"):
        grammars().matcher(of(9, endless))


@pytest.mark.parametrize("version", ["2", "[]", '"1"'])
def test_a_rule_of_a_later_version_is_refused(version: str) -> None:
    later = SCHEMA.replace('"x-closes": 1', f'"x-closes": {version}')
    with pytest.raises(ConfigError, match="is a rule of a later synlearner"):
        grammars().matcher(of(99, later))


def test_samples_of_grammars_that_do_not_close_are_replayed_as_they_were() -> None:
    """A home of before: cut off in the middle, and masked by the grammar alone."""
    before = object_schema({"t": (1, 5)})
    assert "x-closes" not in before
    rules = grammars()
    tokens = bytes_alone()('{"t": "xxxxx\\')["input_ids"]
    recorded = rules.allowed(of(len(tokens), before), tokens)
    assert torch.equal(recorded, rules.allowed(of(999, before), tokens))
    with pytest.raises(ConfigError, match="is not allowed by the grammar"):
        rules.allowed(of(len(tokens), SCHEMA), tokens)


# ---- with a model --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> PolicyModel:
    return load(tiny_folder)


def written(model: PolicyModel, fields: dict[str, tuple[int, int]], more: int) -> tuple[Request, list[Sample]]:
    """Return samples that have *more* tokens than the least that they must."""
    schema = object_schema(fields, closing=True)
    least = ending_of(grammars_of(model), schema).least
    asked = replace(
        ask(seeds=tuple(range(16)), min_p=0.05), decoding=msgspec.structs.replace(of(least + more, schema), min_p=0.05)
    )
    (group,) = TransformersEngine(model).generate([asked])
    return asked, group


def logprobs(model: PolicyModel, asked: Request, sample: Sample, decoding: Decoding) -> torch.Tensor:
    masks = allowed_masks(model, decoding, sample.token_ids)
    packed = pack(model.prompt_tokens(asked.text, asked.prefix), [sample.token_ids], model.device)
    with torch.no_grad():
        return token_logprobs(model, packed, Support(decoding.temperature, decoding.min_p, masks))[0]


@pytest.mark.parametrize("more", [0, 1, 7, 30])
def test_samples_end_in_time_and_the_trainer_replays_them(model: PolicyModel, more: int) -> None:
    asked, group = written(model, PAIR, more)
    for sample in group:
        assert len(sample.token_ids) <= asked.decoding.max_new_tokens
        jsonschema.validate(json.loads(sample.text), json.loads(asked.decoding.grammar))
        replayed = logprobs(model, asked, sample, asked.decoding)
        assert replayed.tolist() == pytest.approx(sample.logprobs, abs=1e-4)


def test_what_the_rule_ended_is_cut_off_and_forced(model: PolicyModel) -> None:
    """Without a word that must be written, the least leaves no choice at all: nothing of it is the model's."""
    asked, group = written(model, {"text": (0, 9), "text_b": (0, 9)}, 0)
    (text,) = {sample.text for sample in group}
    assert json.loads(text) == {"text": "", "text_b": ""}
    assert {sample.finish for sample in group} == {"length"}
    (first, *_) = group
    assert set(first.logprobs) == {0.0}
    opened = msgspec.structs.replace(asked.decoding, grammar=object_schema({"text": (0, 9), "text_b": (0, 9)}))
    assert logprobs(model, asked, first, asked.decoding).sum().item() == pytest.approx(0.0, abs=1e-4)
    assert logprobs(model, asked, first, opened).sum().item() < -2, "without the rule the trainer would be off by nats"


def test_a_mask_holds_what_its_bits_say_and_nothing_outside() -> None:
    """Bit 0 of the first word is token 0, bit 1 of the second 33; there is no token -1, and none from 64 on."""
    mask_W = torch.tensor([1, 2], dtype=torch.int32)
    assert [token for token in range(-70, 200) if holds(mask_W, token)] == [0, 33]
    assert holds(torch.tensor([-1], dtype=torch.int32), 31), "the sign is a bit as any other"
