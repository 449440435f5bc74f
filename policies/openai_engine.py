"""An engine behind any server that speaks OpenAI's chat API. vLLM's also serves our adapters, and says token ids.

Every sample is a request of its own, with its own seed, so it does not depend on its group; the server's prefix cache
reads the prompt once. What a request cannot be given for is one failed sample with the reason, never a lost one; only
when nothing at all came back is it an error.
"""

import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synlearner.errors import EngineError
from synlearner.policies.adapters import adapter_name, write_adapter
from synlearner.policies.chat import chat_body, read_choice
from synlearner.policies.engine import Progress, Request, Sample, failed
from synlearner.policies.json_server import JsonServer, ServerError
from synlearner.policies.schema import refuse_closing

FATAL = frozenset({401, 402, 403, 404})
"""Statuses that every other request would get too: no key, no money, no right, no such model."""

KEPT = 2
"""Adapters that stay loaded on the server: the one in use and the one before."""


@dataclass(frozen=True, slots=True)
class Served:
    """What is served, and how."""

    model: str
    parallel: int
    """Requests at a time."""
    weights: str
    """Digest of the base weights where they are also here, to learn with; empty for weights that are the server's."""
    alpha: int
    """Of the adapters."""
    folder: Path | None
    """Where adapters are written for the server to read; None for a folder of our own."""


class OpenAIEngine:
    """Samples from a server."""

    name = "openai"

    def __init__(self, server: JsonServer, served: Served) -> None:
        """Look at what the server offers.

        Raises:
            EngineError: If it does not answer, refuses the key, or has no such model.
        """
        self._server = server
        self._served = served
        self._is_vllm = self._find_model()
        self._loaded: list[str] = []
        self._model = served.model
        self._unknown: set[str] = set()
        self._own_folder: tempfile.TemporaryDirectory[str] | None = None
        self.frozen = self._why_frozen()
        """Why the weights behind it cannot learn; empty if they can."""
        self._tells_logprobs = not self.frozen and self._logprobs_are_processed()

    @property
    def base_model(self) -> str:
        """Digest of the base weights, or the name of a model that is the server's."""
        return self._served.weights or f"openai:{self._served.model}"

    def close(self) -> None:
        """Let go of the server, and of the folder of adapters."""
        self._server.close()
        if self._own_folder is not None:
            self._own_folder.cleanup()

    # ---- what the server can ---------------------------------------------------------------------------------

    def _find_model(self) -> bool:
        """Check that the model is served; return whether by vLLM. Not every server lists its models."""
        try:
            tree = self._server.call("GET", "/models")
        except ServerError as error:
            if error.status in {404, 405, 501}:
                return False
            raise
        rows = tree.get("data") if isinstance(tree, dict) else None
        models = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        names = [str(row.get("id")) for row in models]
        if names and self._served.model not in names:
            known = ", ".join(names[:5])
            raise EngineError(
                f"{self._server.base_url} has no model {self._served.model!r}: set policy.model to one of {known}"
            )
        return any(row.get("owned_by") == "vllm" for row in models)

    def _why_frozen(self) -> str:
        if not self._served.weights:
            return "its weights are the server's; set server.weights to the same model here, to learn with"
        try:
            self._server.call("POST", "/load_lora_adapter", {"lora_name": "", "lora_path": ""})
        except ServerError as error:
            if error.status in {400, 422}:  # it knows the endpoint, and refuses an adapter without a name
                return ""
        return "the server loads no adapters: start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"

    def _logprobs_are_processed(self) -> bool:
        """Tell whether log-probabilities are over the kept set. Only then do sampler and trainer mean the same.

        With one token kept its log-probability is 0; over the whole vocabulary it is not.
        """
        body = {"model": self._model, "messages": [{"role": "user", "content": "Write a line."}], "max_tokens": 4,
                "temperature": 2.0, "top_k": 1, "logprobs": True, "top_logprobs": 0, "seed": 1, "return_token_ids": True}  # fmt: skip
        sample = read_choice(self._server.call("POST", "/chat/completions", body))
        return bool(sample.logprobs) and all(value == 0 for value in sample.logprobs)

    # ---- the adapter -----------------------------------------------------------------------------------------

    def load(self, adapter: bytes | None) -> None:
        """Serve this adapter from now on; None is the untrained policy.

        Raises:
            EngineError: If the server does not take it. The old one is then still served.
        """
        if adapter is None:
            self._model = self._served.model
            return
        if self.frozen:
            raise EngineError(f"the openai engine serves no adapter: {self.frozen}")
        name = adapter_name(adapter)
        if name not in self._loaded:
            path = write_adapter(adapter, self._served.alpha, self._folder(), self._served.model)
            try:
                self._server.call("POST", "/load_lora_adapter", {"lora_name": name, "lora_path": str(path)})
            except ServerError as error:
                # An earlier client has loaded it: under this name there can be no other.
                if error.status != 400 or "already been loaded" not in str(error):
                    raise
            self._loaded.append(name)
        self._model = name
        while len(self._loaded) > KEPT:
            oldest = next(loaded for loaded in self._loaded if loaded != name)
            self._loaded.remove(oldest)
            self._server.call("POST", "/unload_lora_adapter", {"lora_name": oldest})

    def _folder(self) -> Path:
        if self._served.folder is not None:
            return self._served.folder
        if self._own_folder is None:
            self._own_folder = tempfile.TemporaryDirectory(prefix="synlearner-adapters-")
        return Path(self._own_folder.name)

    # ---- samples ---------------------------------------------------------------------------------------------

    def generate(self, requests: Sequence[Request], *, progress: Progress | None = None) -> list[list[Sample]]:
        """Return the group of each request, in order.

        Raises:
            ConfigError: If a grammar is to end samples in time, and they are learnt from: servers know grammars alone,
                and the trainer would replay masks that nobody drew with.
            EngineError: If the server refuses them all, or gives none of them an answer.
        """
        if not self.frozen:
            refuse_closing((request.decoding.grammar for request in requests), self.name)
        tokens = ended = 0
        pool = ThreadPoolExecutor(self._served.parallel, thread_name_prefix="openai")
        try:
            groups = [[pool.submit(self._sample, request, seed) for seed in request.seeds] for request in requests]
            found: list[list[Sample]] = []
            for group in groups:
                found.append([])
                for future in group:
                    sample = _result(future)
                    found[-1].append(sample)
                    tokens, ended = tokens + len(sample.token_ids), ended + 1
                    if progress:
                        progress(tokens, ended)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        samples = [sample for group in found for sample in group]
        if samples and all(sample.finish == "error" for sample in samples):
            raise EngineError(f"no sample of {len(samples)} came back: {samples[0].text}")
        return found

    def _sample(self, request: Request, seed: int) -> Sample:
        while True:
            body = chat_body(self._model, request, seed, is_vllm=self._is_vllm, logprobs=self._tells_logprobs)
            for name in self._unknown:
                body.pop(name, None)
            try:
                sample = read_choice(self._server.call("POST", "/chat/completions", body))
            except ServerError as error:
                unknown = _refused_parameter(error, body) - self._unknown
                if not unknown:
                    raise
                self._unknown |= unknown  # a server that does not know a parameter is asked without it
                continue
            return sample


def _result(future: Future[Sample]) -> Sample:
    try:
        return future.result()
    except ServerError as error:
        if error.status in FATAL:
            raise
        return failed(str(error))


def _refused_parameter(error: ServerError, body: dict[str, Any]) -> set[str]:
    """Return the optional parameter that a server says it does not know, if it is one of ours."""
    optional = {"seed", "logprobs", "top_logprobs", "top_p", "response_format", "stop"} & body.keys()
    if error.status not in {400, 422}:
        return set()
    return {name for name in optional if name in str(error)}
