"""Sampling groups: our engine against `transformers.generate` on the same model, prompts and number of samples.

Counted are useful tokens, up to and with the one that ends a sample. `generate` pads and goes on until the last row has
ended; it stops at the end token and at a newline, as our engine does here.
"""

import argparse
import json
import platform
import statistics
import time

import torch

from synlearner.agent.build import limit_threads
from synlearner.events.types import Decoding
from synlearner.policies.engine import Request
from synlearner.policies.model import ModelSettings, PolicyModel
from synlearner.policies.transformers_engine import TransformersEngine

TEXT = (
    "Write a list of different examples. Each is a short message from a customer to the support desk of an online shop. "
    "Kind: billing (asks about money that was or will be charged)."
)
PREFIX = (
    "1. Why was I charged twice for the same order last week?\n"
    "2. Can I pay with a gift card and a credit card together?\n"
    "3. My invoice shows the wrong company name, please correct it.\n4."
)


def ours(model: PolicyModel, prompts: list[str], group: int, tokens: int, turn: int) -> int:
    """Sample with our engine; return the useful tokens."""
    decoding = Decoding(temperature=1.0, min_p=0.05, max_new_tokens=tokens)
    requests = [
        Request(text, PREFIX, "\n", decoding, tuple(range(turn * 10_000 + i * group, turn * 10_000 + (i + 1) * group)))
        for i, text in enumerate(prompts)
    ]
    samples = TransformersEngine(model).generate(requests)
    return sum(len(sample.token_ids) for members in samples for sample in members)


def theirs(model: PolicyModel, prompts: list[str], group: int, tokens: int, turn: int) -> int:
    """Sample with `generate`; return the useful tokens."""
    tokenizer = model.tokenizer
    ids = [model.prompt_tokens(text, PREFIX) for text in prompts]
    batch = tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
    # As end tokens: `stop_strings` would halve its speed.
    ends = [*model.end_tokens, *tokenizer("\n", add_special_tokens=False)["input_ids"]]
    torch.manual_seed(turn)
    with torch.inference_mode():
        out = model.network.generate(
            **batch,
            do_sample=True,
            temperature=1.0,
            min_p=0.05,
            top_k=0,
            num_return_sequences=group,
            max_new_tokens=tokens,
            eos_token_id=ends,
            pad_token_id=model.pad_token,
        )
    useful = 0
    for row in out[:, batch["input_ids"].shape[1] :].tolist():
        useful += next((place + 1 for place, token in enumerate(row) if token in ends), len(row))
    return useful


def main() -> None:
    """Measure both in turn and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="SmolLM2-135M-Instruct")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    limit_threads(args.threads)
    model = PolicyModel.load(ModelSettings(args.model, "cpu", "float32", 8, 16, 0))
    prompts = [TEXT + " Please." * i for i in range(args.prompts)]
    speeds: dict[str, list[float]] = {"ours": [], "generate": []}
    for turn in range(args.rounds + 1):
        for name, sample in (("ours", ours), ("generate", theirs)):
            begun = time.perf_counter()
            useful = sample(model, prompts, args.group, args.tokens, turn)
            if turn:  # the first turn warms up
                speeds[name].append(useful / (time.perf_counter() - begun))
    ratios = [a / b for a, b in zip(speeds["ours"], speeds["generate"], strict=True)]
    print(
        json.dumps(
            {
                "benchmark": "generate",
                **vars(args),
                "ours_tokens_per_s": round(statistics.median(speeds["ours"]), 1),
                "generate_tokens_per_s": round(statistics.median(speeds["generate"]), 1),
                "ratio": round(statistics.median(ratios), 2),
                "machine": platform.machine(),
                "cpu": torch.backends.cpu.get_cpu_capability(),
                "torch": str(torch.__version__),
            },
        ),
    )


if __name__ == "__main__":
    main()
