"""OpenAI's chat format: from a request to a body, and from an answer to a sample. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from synlearner.policies.engine import Request, Sample, hashed
from synlearner.policies.json_server import ServerError

FINISHES = {"stop": "stop", "length": "length", "eos": "stop", "tool_calls": "stop"}
"""A server's reasons in our words; any other is an error that says so."""


def chat_body(model: str, request: Request, seed: int, *, is_vllm: bool, logprobs: bool) -> dict[str, Any]:
    """Return the body for one sample. Its beginning goes along as the assistant's unfinished turn."""
    decoding = request.decoding
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": request.text}],
        "max_tokens": decoding.max_new_tokens,
        "temperature": decoding.temperature,
        "seed": seed % 2**63,
    }
    if decoding.top_p < 1:
        body["top_p"] = decoding.top_p
    if request.prefix:
        body["messages"].append({"role": "assistant", "content": request.prefix})
    if request.stop:
        body["stop"] = [request.stop]
    if logprobs:
        body |= {"logprobs": True, "top_logprobs": 0}
    if is_vllm:
        body |= {"min_p": decoding.min_p, "top_k": decoding.top_k, "return_token_ids": True}
        if request.prefix:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        if decoding.grammar:
            body["structured_outputs"] = {"grammar": f"start: %json {decoding.grammar}"}
    elif decoding.grammar:
        schema = {k: v for k, v in json.loads(decoding.grammar).items() if not k.startswith("x-")}
        form = {"name": "sample", "schema": schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": form}
    return body


def read_choice(answer: Any) -> Sample:
    """Return the sample in an answer.

    Tokens are the server's ids where it says them, else hashes of their texts: enough for the loop, which reads no
    meaning from them. Log-probabilities are given with ids alone, since nothing can be learnt without those.

    Raises:
        ServerError: If the answer is no chat completion; it may be tried again.
    """
    try:
        choice: Mapping[str, Any] = answer["choices"][0]
        text = choice["message"]["content"]
        reason = choice.get("finish_reason") or "stop"
        pieces = (choice.get("logprobs") or {}).get("content") or []
        values = [min(0.0, round(float(piece["logprob"]), 6)) for piece in pieces]
        words = [str(piece["token"]) for piece in pieces]
        ids = choice.get("token_ids")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ServerError(f"the server answers with what is no chat completion: {str(answer)[:120]!r}") from error
    if not isinstance(text, str) or reason not in FINISHES:
        refusal = text if isinstance(text, str) else str(choice["message"].get("refusal") or "no text")
        raise ServerError(f"the server gives no sample ({reason}): {refusal[:120]}")
    if not isinstance(ids, list) or not all(type(token) is int for token in ids):
        return Sample(text.strip(), hashed(words or text.split()), [], FINISHES[reason])
    return Sample(text.strip(), ids, values if len(values) == len(ids) else [], FINISHES[reason])
