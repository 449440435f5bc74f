"""Engines with weights behind them, for the contract's tests. vLLM is loaded once for all of them."""

import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai_server import Server, serving
from tiny import ask, load
from worlds import tiny_model

from synlearner.policies.engine import Engine
from synlearner.policies.json_server import JsonServer, Patience
from synlearner.policies.model import PolicyModel
from synlearner.policies.openai_engine import OpenAIEngine, Served
from synlearner.policies.transformers_engine import TransformersEngine


@pytest.fixture(scope="session")
def model(tiny_folder: Path) -> PolicyModel:
    return load(tiny_folder)


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> PolicyModel:
    """A tiny model whose heads are as wide as vLLM's kernels need."""
    return load(tiny_model(tmp_path_factory.mktemp("model") / "wide", hidden=128))


@pytest.fixture(scope="session")
def vllm(wide: PolicyModel) -> Iterator[Engine]:
    """vLLM in this process; its tests skip where it is not installed."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM IS NOT INSTALLED: its part of the contract is not tested; `make vllm` installs it")
    from synlearner.policies.vllm_engine import VllmEngine  # noqa: PLC0415 - slow to load

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what vLLM imports, all of it deprecated somewhere
        engine = VllmEngine(wide.tokenizer.name_or_path, wide, rank=4, alpha=8, dtype="float32")
        engine.generate([ask()])  # it imports more when it is first used
    yield engine
    engine.close()


@pytest.fixture
def served(model: PolicyModel) -> Iterator[OpenAIEngine]:
    """The client of a server that is like vLLM's, over real sockets."""
    model.load_adapter(None)
    with serving(Server(TransformersEngine(model), vllm=True)) as live:
        server = JsonServer(live.url, "", Patience(timeout=60))
        engine = OpenAIEngine(server, Served(live.model, 4, model.base_digest, 8, None))
        yield engine
        engine.close()
