"""A server that speaks OpenAI's chat API over real sockets, in the process of the test; it can also misbehave.

`engine` writes what it answers. With a model behind it, it is like vLLM: it loads adapters from folders, says token ids
and processed log-probabilities.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import safetensors.torch

from synlearner.events.types import Decoding
from synlearner.policies.engine import Engine, Request

Reply = tuple[int, dict[str, str], bytes]
"""Status, headers, content."""


@dataclass
class Server:
    """What the server answers from, and what it was asked."""

    engine: Engine
    vllm: bool = False
    """Has LoRA endpoints, says token ids."""
    raw_logprobs: bool = False
    model: str = "served"
    key: str = ""
    trouble: Callable[[int, dict[str, Any]], Reply | str | None] = lambda _number, _body: None
    """What goes wrong at the n-th sample asked for, from 0: a reply, `drop`, `hang`, `trickle`; None for nothing."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    loaded: dict[str, bytes] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the chat completion."""
        turns = body["messages"]
        prefix = turns[1]["content"] if len(turns) > 1 else ""
        grammar = body.get("structured_outputs", {}).get("grammar", "")
        decoding = Decoding(
            temperature=body["temperature"],
            min_p=body.get("min_p", 0.0),
            max_new_tokens=body["max_tokens"],
            top_k=body.get("top_k", 0),
            top_p=body.get("top_p", 1.0),
            grammar=grammar.removeprefix("start: %json "),
        )
        request = Request(turns[0]["content"], prefix, "".join(body.get("stop", [])), decoding, (body["seed"],))
        with self.lock:
            self.engine.load(self.loaded.get(body["model"]))
            sample = self.engine.generate([request])[0][0]
        pieces = [{"token": f"t{token}", "logprob": value - 0.1 * self.raw_logprobs}
                  for token, value in zip(sample.token_ids, sample.logprobs, strict=False)]  # fmt: skip
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": sample.text},
            "finish_reason": sample.finish,
            "logprobs": {"content": pieces} if body.get("logprobs") else None,
        }
        if body.get("return_token_ids"):
            choice["token_ids"] = sample.token_ids
        return {"object": "chat.completion", "model": body["model"], "choices": [choice]}

    def load(self, body: dict[str, Any]) -> Reply:
        """Load an adapter from a folder in peft's format, as vLLM does."""
        if not body["lora_name"] or not body["lora_path"]:
            return error(400, "Both 'lora_name' and 'lora_path' must be provided")
        if body["lora_name"] in self.loaded:
            return error(400, f"The lora adapter '{body['lora_name']}' has already been loaded.")
        folder = Path(body["lora_path"])
        config = json.loads((folder / "adapter_config.json").read_text())
        tensors = safetensors.torch.load_file(folder / "adapter_model.safetensors")
        named = {n.replace(".weight", ".default.weight"): t for n, t in tensors.items()}
        assert config["peft_type"] == "LORA"
        assert {t.shape[0] for n, t in tensors.items() if "lora_A" in n} == {config["r"]}
        self.loaded[body["lora_name"]] = safetensors.torch.save(named)
        return 200, {"Content-Type": "text/plain"}, b"Success: LoRA adapter added"


def error(status: int, message: str, **headers: str) -> Reply:
    """Return an error in OpenAI's shape."""
    return status, headers, json.dumps({"error": {"message": message, "type": "x", "code": status}}).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Server

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self._refused():
            return
        owner = "vllm" if self.served.vllm else "somebody"
        models = [
            {"id": name, "object": "model", "owned_by": owner} for name in (self.served.model, *self.served.loaded)
        ]
        self._send((200, {}, json.dumps({"object": "list", "data": models}).encode()))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._refused():
            return
        served = self.served
        if self.path.endswith("lora_adapter") and served.vllm:
            served.calls.append(f"{self.path} {body['lora_name']}")
            if "unload" in self.path:
                del served.loaded[body["lora_name"]]
                self._send((200, {"Content-Type": "text/plain"}, b"Success"))
            else:
                self._send(served.load(body))
        elif self.path.endswith("/chat/completions"):
            with served.lock:
                number = len(served.bodies)
                served.bodies.append(body)
            if not self._misbehave(served.trouble(number, body)):
                self._send((200, {}, json.dumps(served.answer(body)).encode()))
        else:
            self._send(error(404, "Not Found"))

    def _refused(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.served.keys.add(given)
        if given == self.served.key or not self.served.key:
            return False
        self._send(error(401, f"Incorrect API key provided: {given}."))
        return True

    def _misbehave(self, trouble: Reply | str | None) -> bool:
        if isinstance(trouble, tuple):
            self._send(trouble)
        elif trouble == "drop":
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{"choices"')
            self.close_connection = True
        elif trouble == "hang":
            self.served.stopping.wait(20)
            self.close_connection = True
        elif trouble == "trickle":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
            end = time.monotonic() + 20
            while time.monotonic() < end and not self.served.stopping.wait(0.02):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    break
            self.close_connection = True
        return trouble is not None

    def _send(self, reply: Reply) -> None:
        status, headers, content = reply
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that gave up are no errors here."""


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serve on a free port of this machine for a while."""
    handler = type("Handler", (_Handler,), {"served": server})
    with _Quiet(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        try:
            yield server
        finally:
            server.stopping.set()
            http.shutdown()
            thread.join()
