"""The OpenAI-compatible engine against real sockets: what it sends, what it bears, and what it never shows."""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai_server import Server, error, serving
from tiny import adapter, ask, load

from synlearner.errors import EngineError
from synlearner.policies.adapters import adapter_name
from synlearner.policies.engine import Engine, failed
from synlearner.policies.json_server import JsonServer, Patience
from synlearner.policies.model import PolicyModel
from synlearner.policies.openai_engine import OpenAIEngine, Served
from synlearner.policies.schema import object_schema
from synlearner.policies.scripted import ScriptedEngine
from synlearner.policies.transformers_engine import TransformersEngine

KEY = "sk-not-to-be-seen-4711"
PATIENCE = Patience(timeout=0.5, attempts=3, first_wait=0.01, longest_wait=0.05)


def script(text: str, seed: int) -> str:
    return hashlib.sha256(f"{text} {seed}".encode()).hexdigest()[:12]


@contextmanager
def connected(
    server: Server, *, key: str = "", weights: str = "", patience: Patience = PATIENCE, parallel: int = 4
) -> Iterator[OpenAIEngine]:
    with serving(server) as live:
        client = JsonServer(live.url, key, patience)
        try:
            engine = OpenAIEngine(client, Served(server.model, parallel, weights, 8, None))
            yield engine
            engine.close()
        finally:
            client.close()


def scripted(**changes: Any) -> Server:
    return Server(ScriptedEngine(script), **changes)


# ---- what goes over the wire ---------------------------------------------------------------------------------


def test_every_sample_is_a_request_with_its_own_seed() -> None:
    with connected(scripted()) as engine:
        groups = engine.generate([ask("one", (1, 2**62)), ask("two", (1,), stop="\n", temperature=0.7)])
    assert [[s.text for s in g] for g in groups] == [[script("one", 1), script("one", 2**62)], [script("two", 1)]]
    assert engine.base_model == "openai:served"
    assert engine.frozen.startswith("its weights are the server's")


def test_other_servers_get_standard_parameters_alone() -> None:
    server = scripted()
    grammar = object_schema({"text": (1, 9)}, closing=True)  # as it is planned for who gives an engine of his own
    request = ask("one", (1,), stop="\n", min_p=0.1)
    request = replace(
        request, decoding=type(request.decoding)(temperature=1.0, min_p=0.1, max_new_tokens=9, grammar=grammar)
    )
    with connected(server) as engine:
        engine.generate([request])
    (body,) = server.bodies
    assert set(body) == {"model", "messages", "max_tokens", "temperature", "seed", "stop", "response_format"}
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant"]
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["text"]
    assert '"x-' not in json.dumps(body)


def test_a_parameter_that_a_server_does_not_know_is_left_out_from_then_on() -> None:
    server = scripted(trouble=lambda _, body: error(400, "unsupported parameter: 'seed'") if "seed" in body else None)
    server.answer = lambda body, real=server.answer: real({"seed": 5, **body})  # type: ignore[method-assign, misc]
    with connected(server, parallel=1) as engine:
        (group,) = engine.generate([ask("one", (1, 2, 3))])
    assert [s.finish for s in group] == ["stop"] * 3
    assert ["seed" in body for body in server.bodies] == [True, False, False, False]


# ---- what it bears -------------------------------------------------------------------------------------------

PASSING: dict[str, Any] = {
    "too many requests": error(429, "slow down", Retry_After="0.01"),
    "a date to come back at": error(503, "busy", Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
    "a broken server": (500, {"Content-Type": "text/html"}, b"<html>oops</html>"),
    "a connection that is dropped": "drop",
    "a server that hangs": "hang",
    "an answer that trickles": "trickle",
    "no JSON": (200, {}, b"<html>hello</html>"),
    "no text at all": (200, {}, b""),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_tried_again(name: str) -> None:
    server = scripted(trouble=lambda number, _: PASSING[name] if number == 0 else None)
    with connected(server, parallel=1) as engine:
        if name == "no text at all":  # valid, and empty: not to be tried again
            with pytest.raises(EngineError, match="no chat completion: 'None'"):
                engine.generate([ask("one", (1,))])
            return
        (group,) = engine.generate([ask("one", (1,))])
    assert group[0].text == script("one", 1)
    assert len(server.bodies) == 2


BROKEN: dict[str, tuple[Any, str]] = {
    "hang": ("hang", r"did not answer within 0.5 s: raise server.timeout"),
    "trickle": ("trickle", "did not answer within 0.5 s"),
    "drop": ("drop", "cannot be reached: "),
    "html": ((200, {}, b"<html>hi</html>"), "answers 200 with what is no JSON: '<html>hi</html>'"),
    "another shape": ((200, {}, b'{"choices": []}'), "no chat completion"),
    "a list": ((200, {}, b"[1, 2]"), "no chat completion"),
    "no content": ((200, {}, b'{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}'), "no sample"),
    "a filter": ((200, {}, b'{"choices": [{"message": {"content": "x"}, "finish_reason": "content_filter"}]}'),
                 r"no sample \(content_filter\)"),
    "NaN": ((200, {}, b'{"choices": [{"message": {"content": "x"}, "logprobs": {"content": [{"logprob": "?"}]}}]}'),
            "no chat completion"),
    "refusal": (error(400, "the prompt is too long"), "answers 400: the prompt is too long"),
    "no shape": ((500, {}, b'"kaputt"'), "answers 500: kaputt"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_one_sample_that_fails_says_why_and_the_others_come_back(name: str) -> None:
    trouble, reason = BROKEN[name]
    server = scripted(trouble=lambda _, body: trouble if body["seed"] == 2 else None)
    with connected(server) as engine:
        (group,) = engine.generate([ask("one", (1, 2, 3))])
    assert [sample.finish for sample in group] == ["stop", "error", "stop"]
    assert re.search(reason, group[1].text)
    assert len(group[1].text) < 400
    assert group[1] == failed(group[1].text)


def test_when_nothing_comes_back_it_is_an_error() -> None:
    with (
        connected(scripted(trouble=lambda *_: "drop")) as engine,
        pytest.raises(EngineError, match="no sample of 3 came"),
    ):
        engine.generate([ask("one", (1, 2, 3))])


def test_a_server_that_is_not_there_is_named() -> None:
    client = JsonServer("http://127.0.0.1:9/v1", "", replace(PATIENCE, attempts=1))
    with pytest.raises(EngineError, match=r"http://127.0.0.1:9/v1/models cannot be reached"):
        OpenAIEngine(client, Served("m", 1, "", 8, None))
    client.close()


def test_a_model_that_is_not_served_is_named() -> None:
    with serving(scripted(model="other")) as live:
        client = JsonServer(live.url, "", PATIENCE)
        with pytest.raises(EngineError, match=r"has no model 'mine': set policy\.model to one of other"):
            OpenAIEngine(client, Served("mine", 1, "", 8, None))
        client.close()


def test_retry_after_holds_everybody_and_the_rate_is_kept() -> None:
    waits: list[float] = []
    server = scripted(trouble=lambda number, _: error(429, "slow down", Retry_After="7") if number == 0 else None)
    with serving(server) as live:
        client = JsonServer(live.url, "", replace(PATIENCE, longest_wait=60, per_minute=6), sleep=waits.append)
        body = {"messages": [{"content": "x"}], "seed": 1, "max_tokens": 4, "temperature": 1.0, "model": "served"}
        client.call("POST", "/chat/completions", body)
        client.close()
    assert len(waits) == 1
    assert waits[0] == pytest.approx(10, abs=1), "6 a minute is one in 10 s, and longer than the 7 it was told"


# ---- the key -------------------------------------------------------------------------------------------------


def test_the_key_is_sent_and_never_shown() -> None:
    server = scripted(key=KEY)
    with connected(server, key=KEY) as engine:
        assert engine.generate([ask("one", (1,))])[0][0].finish == "stop"
    assert server.keys == {KEY}
    with pytest.raises(EngineError) as refused, connected(scripted(key="another"), key=KEY):
        pass
    assert "401: Incorrect API key provided: ***" in str(refused.value)
    assert KEY not in str(refused.value)
    assert KEY not in repr(refused.value.__cause__)


def test_a_key_that_the_server_repeats_is_not_in_a_sample_either() -> None:
    server = scripted(key=KEY, trouble=lambda *_: error(400, f"key {KEY} has no right"))
    with connected(server, key=KEY) as engine, pytest.raises(EngineError) as raised:
        engine.generate([ask("one", (1,))])
    assert KEY not in str(raised.value)


# ---- adapters on a server like vLLM --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> PolicyModel:
    return load(tiny_folder)


def test_adapters_are_served_under_names_made_of_their_digests(model: PolicyModel) -> None:
    server = Server(TransformersEngine(model), vllm=True)
    here: Engine = TransformersEngine(model)
    versions = [adapter(model, seed=seed) for seed in range(4)]
    request = ask(seeds=(1, 2), tokens=20)
    with connected(server, weights=model.base_digest, patience=Patience(timeout=30)) as engine:
        assert engine.frozen == ""
        assert engine.base_model == model.base_digest
        for version in (*versions, versions[0], None):
            engine.load(version)
            theirs = engine.generate([request])
            here.load(version)
            for there, own in zip(theirs[0], here.generate([request])[0], strict=True):
                assert (there.text, there.token_ids, there.finish) == (own.text, own.token_ids, own.finish)
                assert there.logprobs == pytest.approx(own.logprobs, abs=1e-4)
        names = [adapter_name(version) for version in versions]
    loads = [call.rsplit(" ", 1)[1] for call in server.calls if " " in call and "/load" in call]
    assert loads == ["", *names, names[0]], "an adapter that is loaded is not loaded again"
    assert set(server.loaded) == {names[3], names[0]}, "old ones are unloaded"


def test_an_adapter_that_an_earlier_client_loaded_is_used(model: PolicyModel) -> None:
    server = Server(TransformersEngine(model), vllm=True)
    weights = adapter(model)
    server.loaded[adapter_name(weights)] = weights
    with connected(server, weights=model.base_digest, patience=Patience(timeout=30)) as engine:
        engine.load(weights)
        (group,) = engine.generate([ask(seeds=(1,))])
    assert group[0].finish == "length"
    assert server.bodies[-1]["model"] == adapter_name(weights)


def test_raw_log_probabilities_are_not_passed_off_as_those_of_the_kept_set(model: PolicyModel) -> None:
    server = Server(TransformersEngine(model), vllm=True, raw_logprobs=True)
    with connected(server, weights=model.base_digest, patience=Patience(timeout=30)) as engine:
        (group,) = engine.generate([ask(seeds=(1, 2))])
    assert [sample.logprobs for sample in group] == [[], []]


def test_a_server_that_loads_no_adapters_cannot_learn() -> None:
    with connected(scripted(), weights="sha256:1") as engine:
        assert engine.frozen.startswith("the server loads no adapters: start vLLM with --enable-lora")
        with pytest.raises(EngineError, match="serves no adapter"):
            engine.load(b"x")
