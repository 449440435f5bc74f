"""Engines with weights behind them, as fixtures. vLLM is loaded once for all tests."""

# ruff: noqa: PLC0415 - `tests/conftest.py` imports this for all tests, and most of them need no torch

import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from worlds import tiny_model

from synlearner.policies.engine import Engine

if TYPE_CHECKING:
    from synlearner.policies.model import PolicyModel
    from synlearner.policies.openai_engine import OpenAIEngine


@pytest.fixture(scope="session")
def model(tiny_folder: Path) -> "PolicyModel":
    """The tiny model, loaded."""
    from tiny import load

    return load(tiny_folder)


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> "PolicyModel":
    """A tiny model whose heads are as wide as vLLM's kernels need."""
    from tiny import load

    return load(tiny_model(tmp_path_factory.mktemp("model") / "wide", hidden=128))


@pytest.fixture(scope="session")
def vllm(wide: "PolicyModel") -> Iterator[Engine]:
    """vLLM in this process; its tests skip where it is not installed."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM IS NOT INSTALLED: its part of the contract is not tested; `make vllm` installs it")
    from tiny import ask

    from synlearner.policies.vllm_engine import VllmEngine

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what vLLM imports, all of it deprecated somewhere
        engine = VllmEngine(wide.tokenizer.name_or_path, wide, rank=4, alpha=8, dtype="float32")
        engine.generate([ask()])  # it imports more when it is first used
    yield engine
    engine.close()


@pytest.fixture
def served(model: "PolicyModel") -> Iterator["OpenAIEngine"]:
    """The client of a server that is like vLLM's, over real sockets."""
    from openai_server import Server, serving

    from synlearner.policies.json_server import JsonServer, Patience
    from synlearner.policies.openai_engine import OpenAIEngine, Served
    from synlearner.policies.transformers_engine import TransformersEngine

    model.load_adapter(None)
    with serving(Server(TransformersEngine(model), vllm=True)) as live:
        server = JsonServer(live.url, "", Patience(timeout=60))
        engine = OpenAIEngine(server, Served(live.model, 4, model.base_digest, 8, None))
        yield engine
        engine.close()
