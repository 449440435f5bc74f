"""Our client against vLLM's own server: adapters over its LoRA endpoints, log-probabilities that the trainer recomputes."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import adapter, ask, load
from worlds import tiny_model

from synlearner.errors import EngineError
from synlearner.policies.json_server import JsonServer, Patience, ServerError
from synlearner.policies.learner import token_logprobs
from synlearner.policies.logprobs import Support
from synlearner.policies.model import PolicyModel
from synlearner.policies.openai_engine import OpenAIEngine, Served
from synlearner.policies.packing import pack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    return load(tiny_model(tmp_path_factory.mktemp("model") / "wide", hidden=128))


@pytest.fixture(scope="module")
def url(model: PolicyModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in a process of its own; its tests skip where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM IS NOT INSTALLED: our client is not tested against its server; `make vllm` installs it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = model.tokenizer.name_or_path
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder, "--served-model-name", "tiny",
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager", "--enable-lora",
        "--max-lora-rank", "8", "--max-loras", "2", "--logprobs-mode", "processed_logprobs",
        "--structured-outputs-config", '{"backend": "guidance"}', "--max-model-len", "1024",
    ]  # fmt: skip
    settings = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("w") as out, subprocess.Popen(command, env=os.environ | settings, stdout=out, stderr=out) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/v1", process, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    server = JsonServer(url, "", Patience(timeout=5, attempts=1))
    end = time.monotonic() + 300
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            server.call("GET", "/models")
        except ServerError:
            time.sleep(1)
        else:
            server.close()
            return
    pytest.fail(f"the server does not start: {log.read_text()[-3000:]}")


@pytest.fixture
def engine(url: str, model: PolicyModel) -> Iterator[OpenAIEngine]:
    found = OpenAIEngine(JsonServer(url, "", Patience(timeout=120)), Served("tiny", 8, model.base_digest, 8, None))
    yield found
    found.close()


def test_vllm_serves_our_adapters_and_its_log_probabilities_are_the_trainers(
    engine: OpenAIEngine, model: PolicyModel
) -> None:
    assert engine.frozen == ""
    request = ask(seeds=tuple(range(4)), min_p=0.05, temperature=0.9, tokens=16)
    prompt = model.prompt_tokens(request.text, request.prefix)
    for weights in (None, adapter(model, scale=0.1), adapter(model, scale=0.1, seed=1), None):
        engine.load(weights)
        (group,) = engine.generate([request])
        assert engine.generate([request]) == [group]
        model.load_adapter(weights)
        for sample in group:
            packed = pack(prompt, [sample.token_ids], model.device)
            with torch.no_grad():
                kept_T, _ = token_logprobs(model, packed, Support(0.9, 0.05))
            assert kept_T.tolist() == pytest.approx(sample.logprobs, abs=1e-4)


def test_an_adapter_that_does_not_fit_is_refused_and_the_old_one_stays(
    engine: OpenAIEngine, model: PolicyModel
) -> None:
    good = adapter(model, scale=0.1)
    engine.load(good)
    before = engine.generate([ask(seeds=(1, 2))])
    with pytest.raises(EngineError, match="load_lora_adapter answers"):
        engine.load(adapter(load(Path(model.tokenizer.name_or_path), rank=64)))
    assert engine.generate([ask(seeds=(1, 2))]) == before
