"""One suite over every engine, and what an engine with weights promises beyond it."""

import hashlib
from collections.abc import Sequence

import pytest
import torch
from tiny import adapter, ask, base_weights

from synlearner.errors import EngineError
from synlearner.policies import decoding
from synlearner.policies.engine import Engine, Request, Sample
from synlearner.policies.group_cache import fits
from synlearner.policies.learner import token_logprobs
from synlearner.policies.logprobs import Support
from synlearner.policies.model import PolicyModel
from synlearner.policies.packing import pack
from synlearner.policies.scripted import ScriptedEngine
from synlearner.policies.transformers_engine import TransformersEngine

LONG = "Write a remark about animals at home. " * 6
WORDS = ["cat", "dog", "rain", "snow", "wind", "fog"]


def script(text: str, seed: int) -> str:
    digest = hashlib.sha256(f"{text} {seed}".encode()).digest()
    return " ".join(WORDS[byte % len(WORDS)] for byte in digest[: 4 + digest[0] % 20])


WAYS = ("joining", "shared", "padded")
ENGINES = ("scripted", *(f"transformers, {way}" for way in WAYS), *(f"mixed, {way}" for way in WAYS), "openai", "vllm")


def go(way: str, patch: pytest.MonkeyPatch) -> None:
    """Let the transformers engine decode in this way, whatever would be best."""
    if way != "joining":
        patch.setattr(PolicyModel, "written_by", lambda _, **__: None)
    if way == "padded":
        patch.setattr(decoding, "fits", lambda _: False)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, model: PolicyModel, monkeypatch: pytest.MonkeyPatch) -> Engine:
    if request.param == "scripted":
        return ScriptedEngine(script)
    if request.param in {"openai", "vllm"}:
        found: Engine = request.getfixturevalue("served" if request.param == "openai" else "vllm")
        base = request.getfixturevalue("wide") if request.param == "vllm" else model
        found.load(adapter(base, scale=0.1))
        return found
    go(request.param.rsplit(maxsplit=1)[-1], monkeypatch)
    model.load_adapter(adapter(model, scale=0.1))
    return TransformersEngine(model, mixed=request.param.startswith("mixed"))


@pytest.fixture(params=WAYS)
def written(request: pytest.FixtureRequest, model: PolicyModel, monkeypatch: pytest.MonkeyPatch) -> TransformersEngine:
    """An engine with weights, in each of its ways."""
    go(request.param, monkeypatch)
    model.load_adapter(None)
    return TransformersEngine(model)


def texts(groups: Sequence[Sequence[Sample]]) -> list[list[str]]:
    return [[sample.text for sample in group] for group in groups]


# ---- what every engine promises ------------------------------------------------------------------------------


def test_groups_come_in_the_order_of_the_requests_and_in_their_size(engine: Engine) -> None:
    requests = [ask("one", (1, 2, 3)), ask(LONG, (4,)), ask("three", (5, 6))]
    groups = engine.generate(requests)
    assert [len(group) for group in groups] == [3, 1, 2]
    alone = [engine.generate([request])[0] for request in requests]
    assert texts(groups) == texts(alone)


def test_no_requests_have_no_groups(engine: Engine) -> None:
    assert engine.generate([]) == []


def test_a_sample_says_how_it_ended(engine: Engine) -> None:
    for tokens in (1, 5, 12):
        for group in engine.generate([ask(seeds=tuple(range(8)), tokens=tokens)]):
            for sample in group:
                assert sample.finish in {"stop", "length"}
                assert 1 <= len(sample.token_ids) <= tokens
                if sample.finish == "length":
                    assert len(sample.token_ids) == tokens


def test_the_same_seeds_write_the_same_samples(engine: Engine) -> None:
    requests = [ask(seeds=(7, 7, 8)), ask(LONG, (7,))]
    first = engine.generate(requests)
    assert engine.generate(requests) == first
    assert first[0][0] == first[0][1]
    assert first[0][0].text != first[0][2].text


def test_a_sample_does_not_depend_on_its_neighbours(engine: Engine) -> None:
    (alone,) = engine.generate([ask(seeds=(5,), tokens=20)])
    for others in ((1, 5), (9, 8, 5, 4), tuple(range(5, 20))):
        groups = engine.generate([ask(LONG, (3, 2, 1), tokens=30), ask(seeds=others, tokens=20)])
        assert groups[1][others.index(5)].text == alone[0].text


def test_a_sample_ends_before_its_stop_text(engine: Engine) -> None:
    seeds = tuple(range(24))
    (free,) = engine.generate([ask(seeds=seeds, tokens=24)])
    stop = free[0].text.lstrip()[2:5]
    (cut,) = engine.generate([ask(seeds=seeds, tokens=24, stop=stop)])
    assert cut[0].text == free[0].text.lstrip()[:2].strip()
    for before, after in zip(free, cut, strict=True):
        assert stop not in after.text
        assert before.token_ids[: len(after.token_ids) - 1] == after.token_ids[:-1]
        if stop in before.text:
            assert after.finish == "stop"
            assert before.text.startswith(after.text)
        else:
            assert (after.text, after.token_ids, after.finish) == (before.text, before.token_ids, before.finish)


def test_every_token_has_its_log_probability_where_there_are_any(engine: Engine) -> None:
    for sample in engine.generate([ask(seeds=(1, 2, 3, 4), min_p=0.1)])[0]:
        assert len(sample.logprobs) in {0, len(sample.token_ids)}
        assert all(value <= 0 for value in sample.logprobs)


def test_progress_counts_up_to_what_was_written(engine: Engine) -> None:
    seen: list[tuple[int, int]] = []
    groups = engine.generate(
        [ask("one", (1, 2, 3)), ask(LONG, (4, 5))], progress=lambda tokens, ended: seen.append((tokens, ended))
    )
    assert seen == sorted(seen)
    assert seen[-1] == (sum(len(sample.token_ids) for group in groups for sample in group), 5)


def test_an_engine_has_a_name_and_its_weights_have_a_digest(engine: Engine) -> None:
    assert engine.name in {"scripted", "transformers", "openai", "vllm"}
    assert engine.base_model
    engine.load(None)


def test_a_sample_with_a_missing_log_probability_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="2 token_ids but 1 logprobs: an engine must report one log-probability"):
        Sample("a b", [1, 2], [-0.5], "stop")


def test_the_script_decides_what_the_scripted_engine_writes() -> None:
    (group,) = ScriptedEngine(lambda text, seed: f"{text} {seed}").generate([ask("hello there", (4, 9), tokens=2)])
    assert [(s.text, s.finish) for s in group] == [("hello there", "length")] * 2
    assert ScriptedEngine(script, base_model="mine").base_model == "mine"


# ---- what an engine with weights promises --------------------------------------------------------------------


def test_an_end_of_sequence_token_ends_a_sample_and_is_not_in_its_text(
    written: TransformersEngine, model: PolicyModel
) -> None:
    (group,) = written.generate([ask(seeds=tuple(range(60)), tokens=40)])
    ended = [sample for sample in group if sample.token_ids[-1] in model.end_tokens]
    assert ended
    for sample in ended:
        assert sample.finish == "stop"
        assert not model.end_tokens & set(sample.token_ids[:-1])
        assert "<|im_end|>" not in sample.text
    assert {len(s.token_ids) for s in group if s not in ended} == {40}


def test_another_temperature_writes_other_samples_within_one_batch(written: TransformersEngine) -> None:
    """Some rows end before others: those that stay keep their own temperature."""
    cold, hot = (ask(seeds=tuple(range(8)), temperature=value, tokens=30, stop="a") for value in (0.3, 1.5))
    together = written.generate([cold, hot])
    assert texts(together) == [*texts(written.generate([cold])), *texts(written.generate([hot]))]
    lengths = {len(sample.token_ids) for sample in together[0]}
    assert len(lengths) > 2
    means = [sum(sum(s.logprobs) for s in group) / sum(len(s.logprobs) for s in group) for group in together]
    assert means[0] > means[1]


def test_the_most_likely_text_is_that_of_transformers(written: TransformersEngine, model: PolicyModel) -> None:
    """At a very low temperature nothing is left to chance: `generate(do_sample=False)` writes the same."""
    requests = [ask("one", (1, 2), temperature=1e-4, tokens=16), ask(LONG, (3,), temperature=1e-4, tokens=16)]
    for request, group in zip(requests, written.generate(requests), strict=True):
        prompt = torch.tensor([model.prompt_tokens(request.text, request.prefix)])
        with torch.no_grad():
            ids = model.network.get_base_model().generate(
                prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=16
            )[0, prompt.shape[1] :]
        assert {tuple(sample.token_ids) for sample in group} == {tuple(ids.tolist())}


@pytest.mark.parametrize(("temperature", "min_p"), [(1.0, 0.0), (0.7, 0.0), (1.0, 0.05), (1.3, 0.1)])
@pytest.mark.parametrize("trained", [False, True])
def test_the_learner_recomputes_the_log_probabilities_of_the_engine(
    written: TransformersEngine, model: PolicyModel, temperature: float, min_p: float, trained: bool
) -> None:
    """Within 1e-4 nats: the first ratio of a step is then 1."""
    written.load(adapter(model, scale=0.1) if trained else None)
    requests = [ask(text, (1, 2, 3, 4), temperature=temperature, min_p=min_p, tokens=20) for text in ("one", LONG)]
    for request, group in zip(requests, written.generate(requests), strict=True):
        prompt = model.prompt_tokens(request.text, request.prefix)
        packed = pack(prompt, [sample.token_ids for sample in group], model.device)
        with torch.no_grad():
            kept_T, _ = token_logprobs(model, packed, Support(temperature, min_p))
        recorded = [value for sample in group for value in sample.logprobs]
        assert kept_T.tolist() == pytest.approx(recorded, abs=1e-4)


def test_all_ways_write_the_same(model: PolicyModel) -> None:
    model.load_adapter(adapter(model, scale=0.1))
    requests = [ask(text, tuple(range(6)), tokens=24) for text in ("one", LONG, "and a third one")]
    assert fits(model.network.get_base_model()), "else there is nothing to compare"
    assert model.written_by()
    found = []
    for way in WAYS:
        with pytest.MonkeyPatch.context() as patch:
            go(way, patch)
            found.append(texts(TransformersEngine(model).generate(requests)))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("way", WAYS)
def test_the_width_of_a_batch_does_not_change_the_samples(
    model: PolicyModel, rows: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(way, monkeypatch)
    model.load_adapter(None)
    requests = [ask(text, (1, 2), tokens=16) for text in ("one", LONG, "three", "four")]
    assert texts(TransformersEngine(model, rows=rows).generate(requests)) == texts(
        TransformersEngine(model).generate(requests)
    )


def test_an_adapter_writes_otherwise_and_none_is_the_untrained_policy(
    written: TransformersEngine, model: PolicyModel
) -> None:
    request: Request = ask(seeds=(1, 2, 3))
    untrained = written.generate([request])
    before = base_weights(model)
    written.load(adapter(model))
    assert texts(written.generate([request])) != texts(untrained)
    with pytest.raises(EngineError, match="the adapter is not safetensors"):
        written.load(b"garbage")
    written.load(None)
    assert written.generate([request]) == untrained
    assert all(torch.equal(before[name], tensor) for name, tensor in base_weights(model).items())


@pytest.mark.parametrize("kind", ["transformers", "vllm"])
def test_a_prompt_that_is_too_long_fails_alone_and_says_why(kind: str, request: pytest.FixtureRequest) -> None:
    writer: Engine = (
        TransformersEngine(request.getfixturevalue("model")) if kind != "vllm" else request.getfixturevalue(kind)
    )
    writer.load(None)
    seen: list[tuple[int, int]] = []
    requests = [ask("word " * 2000), ask("one", (1, 2))]
    failed, fine = writer.generate(requests, progress=lambda *done: seen.append(done))
    assert [(sample.finish, sample.token_ids) for sample in failed] == [("error", [])] * 3
    assert "but the model reads 2048: shorten the card's description and seeds" in failed[0].text
    assert [sample.finish for sample in fine] == ["length"] * 2
    assert seen[-1] == (24, 5)
