"""Sampling groups: our engine against `transformers.generate` and vLLM, on the same model, prompts and samples.

Counted are useful tokens, up to and with the one that ends a sample. `generate` pads and goes on until the last row has
ended; it stops at the end token and at a newline, as the engines do here. vLLM is measured where it is installed
(`make vllm`). `--adapter` samples through LoRA, `--dtype bfloat16` in half precision. `--dtype mixed` is our engine as with
`policy.dtype=mixed`, beside peers in bfloat16.
"""

import argparse
import importlib.util
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable

import safetensors.torch
import torch

from synlearner.agent.build import limit_threads
from synlearner.events.types import Decoding
from synlearner.policies.engine import Engine, Request
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
Sampler = Callable[[int], int]
"""From the turn to the useful tokens that were written."""


def by_engine(engine: Engine, args: argparse.Namespace, prompts: list[str]) -> Sampler:
    """Sample with one of our engines."""

    def sample(turn: int) -> int:
        decoding = Decoding(temperature=1.0, min_p=0.05, max_new_tokens=args.tokens)
        first = turn * 10_000
        requests = [
            Request(
                text, PREFIX, args.stop, decoding, tuple(range(first + i * args.group, first + (i + 1) * args.group))
            )
            for i, text in enumerate(prompts)
        ]
        return sum(len(sample.token_ids) for group in engine.generate(requests) for sample in group)

    return sample


def by_generate(model: PolicyModel, args: argparse.Namespace, prompts: list[str]) -> Sampler:
    """Sample with `generate`."""
    tokenizer = model.tokenizer
    ids = [model.prompt_tokens(text, PREFIX) for text in prompts]
    batch = tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt").to(model.device)
    # As end tokens: `stop_strings` would halve its speed.
    ends = [*model.end_tokens, *(tokenizer(args.stop, add_special_tokens=False)["input_ids"] if args.stop else [])]

    def sample(turn: int) -> int:
        torch.manual_seed(turn)
        with torch.inference_mode():
            out = model.network.generate(
                **batch,
                do_sample=True,
                temperature=1.0,
                min_p=0.05,
                top_k=0,
                num_return_sequences=args.group,
                max_new_tokens=args.tokens,
                eos_token_id=ends,
                pad_token_id=model.pad_token,
            )
        useful = 0
        for row in out[:, batch["input_ids"].shape[1] :].tolist():
            useful += next((place + 1 for place, token in enumerate(row) if token in ends), len(row))
        return useful

    return sample


def by_vllm(
    model: PolicyModel, adapter: bytes | None, dtype: str, args: argparse.Namespace, prompts: list[str]
) -> Sampler:
    """Sample with vLLM."""
    from synlearner.policies.vllm_engine import VllmEngine  # noqa: PLC0415 - where it is installed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = VllmEngine(args.model, model, rank=8, alpha=16, dtype=dtype)
    engine.load(adapter)
    return by_engine(engine, args, prompts)


def small_adapter(model: PolicyModel) -> bytes:
    """Return an adapter that changes something."""
    generator = torch.Generator().manual_seed(0)
    tensors = {n: 0.01 * torch.randn(p.shape, generator=generator) for n, p in model.parameters().items()}
    return safetensors.torch.save(tensors)


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="SmolLM2-135M-Instruct")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="float32", help="float32, mixed, bfloat16 or float16")
    parser.add_argument("--stop", default="\n", help="text that ends a sample; empty for the end token alone")
    parser.add_argument("--adapter", action="store_true", help="sample through a LoRA adapter")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: for machines with other work")
    parser.add_argument("--peers", nargs="*", default=["generate", "vllm"])
    return parser.parse_args()


def make_samplers(args: argparse.Namespace) -> dict[str, Sampler]:
    """Return ours and its peers, by name."""
    mixed = args.dtype == "mixed"
    model = PolicyModel.load(ModelSettings(args.model, "cpu", "float32" if mixed else args.dtype, 8, 16, 0))
    adapter = small_adapter(model) if args.adapter else None
    model.load_adapter(adapter)
    prompts = [TEXT + " Please." * i for i in range(args.prompts)]
    samplers: dict[str, Sampler] = {"ours": by_engine(TransformersEngine(model, mixed=mixed), args, prompts)}
    peers = "bfloat16" if mixed else args.dtype
    if "generate" in args.peers:
        other = PolicyModel.load(ModelSettings(args.model, "cpu", peers, 8, 16, 0)) if mixed else model
        other.load_adapter(adapter)
        samplers["generate"] = by_generate(other, args, prompts)
    if "vllm" in args.peers and importlib.util.find_spec("vllm"):
        samplers["vllm"] = by_vllm(model, adapter, peers, args, prompts)
    return samplers


def main() -> None:
    """Measure all in turn and print the medians."""
    args = arguments()
    limit_threads(args.threads)
    samplers = make_samplers(args)
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    speeds: dict[str, list[float]] = {name: [] for name in samplers}
    for turn in range(args.rounds + 1):
        for name, sample in samplers.items():
            begun = clock()
            useful = sample(turn)
            if turn:  # the first turn warms up
                speeds[name].append(useful / (clock() - begun))
    found = {f"{name}_tokens_per_s": round(statistics.median(values), 1) for name, values in speeds.items()}
    for name in speeds.keys() - {"ours"}:
        ratios = [a / b for a, b in zip(speeds["ours"], speeds[name], strict=True)]
        found[f"times_{name}"] = round(statistics.median(ratios), 2)
    machine = {
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
    }
    print(json.dumps({"benchmark": "generate", **vars(args), **found, **machine}))


if __name__ == "__main__":
    main()
