"""A GRPO step: ours against TRL's on the same model, prompt and group; time, peak memory, and equal gradients.

Each side runs in a process of its own, one after the other in turns, so that peaks are its own. A step is what a
trainer does for one prompt: write a group, score it against the reference, go backward, move the adapter. Rewards are
the samples' own lengths, which costs nothing. Both sides write exactly `--tokens` tokens a sample: ends are forbidden.

With `--gradients` both sides take the same recorded group, and loss and gradients are compared instead. With `--updates`
our side alone samples, learns and loads so many times, and the memory and the digest of the base are looked at; with
`--tiny` a model with random weights does, so that a thousand take minutes.
"""

import argparse
import importlib
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from synlearner.agent.build import limit_threads
from synlearner.events.types import Decoding
from synlearner.policies.engine import Request
from synlearner.policies.learner import StepSettings, Trained, TrainedGroup, accumulate, learn
from synlearner.policies.losses import Objective
from synlearner.policies.microbatches import micro_batches
from synlearner.policies.model import ModelSettings, PolicyModel
from synlearner.policies.transformers_engine import TransformersEngine

TEXT = "Write one short message from a customer to the support desk of an online shop."
PREFIX = ""
SHOTS = (
    "1. Why was I charged twice for the same order last week?\n"
    "2. Can I pay with a gift card and a credit card together?\n"
    "3. My invoice shows the wrong company name, please correct it.\n4."
)


def main() -> None:
    """Measure what was asked for and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="SmolLM2-135M-Instruct")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--steps", type=int, default=3, help="measured ones; one more warms up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--kl", type=float, default=0.0)
    parser.add_argument("--shots", action="store_true", help="a prompt with three examples, as our loop writes them")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--micro-batch", type=int, default=448)
    parser.add_argument("--gradients", action="store_true")
    parser.add_argument("--updates", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="random weights, with --updates")
    parser.add_argument("--side", choices=("ours", "trl"), help="used by the benchmark itself")
    args = parser.parse_args()
    if args.side:
        print(json.dumps({"ours": ours, "trl": theirs}[args.side](args)))
    elif args.gradients:
        print(json.dumps(gradients(args)))
    elif args.updates:
        print(json.dumps(updates(args)))
    else:
        print(json.dumps(side_by_side(args)))


def side_by_side(args: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of both sides."""
    found = {}
    for side in ("ours", "trl"):
        command = [sys.executable, __file__, "--side", side, *sys.argv[1:]]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise SystemExit(ran.stderr[-2000:])
        found[side] = json.loads(ran.stdout.splitlines()[-1])
    ratios = {key: round(found["ours"][key] / found["trl"][key], 3) for key in found["ours"]}
    return {
        "benchmark": "learn",
        **{key: value for key, value in vars(args).items() if key != "side"},
        **found,
        "ratio": ratios,
        "machine": platform.machine(),
    }


def peak_gib() -> float:
    """Return the most memory this process has held, in GiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3)


def now_gib() -> float:
    """Return the memory this process holds now, in GiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(pages * resource.getpagesize() / 2**30, 4)


def report(walls: list[float], cpus: list[float], learning: list[float], loaded: float) -> dict[str, float]:
    """Return medians without the first step, which warms up."""
    return {
        "wall_s": round(statistics.median(walls[1:]), 2),
        "cpu_s": round(statistics.median(cpus[1:]), 2),
        "learning_cpu_s": round(statistics.median(learning[1:]), 2),
        "peak_gib": peak_gib(),
        "peak_above_model_gib": round(peak_gib() - loaded, 3),
    }


def ours(args: argparse.Namespace) -> dict[str, float]:
    """Take our steps."""
    limit_threads(args.threads)
    model = PolicyModel.load(ModelSettings(args.model, "cpu", "float32", args.rank, 2 * args.rank, 0))
    ends, model.end_tokens = model.end_tokens, frozenset()
    engine, loaded = TransformersEngine(model), now_gib()
    decoding = Decoding(temperature=1.0, min_p=0.0, max_new_tokens=args.tokens)
    settings = StepSettings(
        "grpo", 1e-5, Objective(kl=args.kl), micro_batch=args.micro_batch, checkpointing=args.checkpointing
    )
    adapter: bytes | None = None
    optimizer: bytes | None = None
    walls, cpus, learning = [], [], []
    for step in range(args.steps + 1):
        begun, used = time.perf_counter(), time.process_time()
        engine.load(adapter)
        seeds = tuple(range(step * args.group, (step + 1) * args.group))
        (group,) = engine.generate([Request(TEXT, SHOTS if args.shots else PREFIX, "", decoding, seeds)])
        values = [float(len(sample.text)) for sample in group]
        mean = sum(values) / len(values)
        written = time.process_time()
        trained = [Trained(s.token_ids, s.logprobs, (v - mean) / 50) for s, v in zip(group, values, strict=True)]
        learned = learn(
            model,
            [TrainedGroup(TEXT, SHOTS if args.shots else PREFIX, decoding, trained)],
            settings,
            adapter=adapter,
            optimizer=optimizer,
            reference=None,
        )
        adapter, optimizer = learned.adapter, learned.optimizer
        walls.append(time.perf_counter() - begun)
        cpus.append(time.process_time() - used)
        learning.append(time.process_time() - written)
        assert all(len(sample.token_ids) == args.tokens for sample in group)
    model.end_tokens = ends
    return report(walls, cpus, learning, loaded)


def theirs(args: argparse.Namespace) -> dict[str, float]:
    """Take TRL's steps, with the settings that a user of a CPU would give it."""
    trl: Any = importlib.import_module("trl")
    datasets: Any = importlib.import_module("datasets")
    limit_threads(args.threads)
    model = PolicyModel.load(ModelSettings(args.model, "cpu", "float32", args.rank, 2 * args.rank, 0))
    model.switch(on=True)
    loaded = now_gib()
    marks: list[tuple[float, float]] = []
    generated: list[float] = []

    class Clock(trl.GRPOTrainer):  # type: ignore[misc]
        """Notes when a step begins and when its samples are there."""

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            marks.append((time.perf_counter(), time.process_time()))
            outputs = super()._generate_and_score_completions(inputs)
            generated.append(time.process_time())
            return outputs

    prompt = model.tokenizer.decode(model.prompt_tokens(TEXT, SHOTS if args.shots else PREFIX))
    with tempfile.TemporaryDirectory() as folder:
        settings = trl.GRPOConfig(
            output_dir=folder, per_device_train_batch_size=args.group, num_generations=args.group, use_cpu=True,
            bf16=False, gradient_checkpointing=args.checkpointing, report_to=[], max_completion_length=args.tokens,
            temperature=1.0, top_k=0, learning_rate=1e-5, beta=args.kl, max_steps=args.steps + 1, save_strategy="no",
            logging_strategy="no", disable_tqdm=True, scale_rewards="none",
            generation_kwargs={"min_new_tokens": args.tokens},
        )  # fmt: skip
        trainer = Clock(
            model=model.network,
            reward_funcs=lambda completions, **_: [len(text) / 50 for text in completions],
            args=settings,
            train_dataset=datasets.Dataset.from_dict({"prompt": [prompt] * 8}),
            processing_class=model.tokenizer,
        )
        trainer.train()
    ended = (time.perf_counter(), time.process_time())
    marks.append(ended)
    walls = [b[0] - a[0] for a, b in pairwise(marks)]
    cpus = [b[1] - a[1] for a, b in pairwise(marks)]
    learning = [b[1] - done for done, b in zip(generated, marks[1:], strict=False)]
    return report(walls, cpus, learning, loaded)


def gradients(args: argparse.Namespace) -> dict[str, Any]:
    """Return how far loss and gradients of the same recorded group are apart."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
    from trl_peer import batch_of, loss_and_gradient, make_trainer  # noqa: PLC0415 - lies in tests/support

    limit_threads(args.threads)
    model = PolicyModel.load(ModelSettings(args.model, "cpu", "float32", args.rank, 2 * args.rank, 0))
    decoding = Decoding(temperature=1.0, min_p=0.0, max_new_tokens=args.tokens)
    (samples,) = TransformersEngine(model).generate(
        [Request(TEXT, SHOTS if args.shots else PREFIX, "", decoding, tuple(range(args.group)))]
    )
    advantages = [place - (args.group - 1) / 2 for place in range(args.group)]
    trained = [Trained(s.token_ids, s.logprobs, a) for s, a in zip(samples, advantages, strict=True)]
    group = TrainedGroup(TEXT, SHOTS if args.shots else PREFIX, decoding, trained)
    settings = StepSettings("grpo", 1e-5, Objective(), micro_batch=args.micro_batch)
    parts = micro_batches(model, group, args.micro_batch)
    model.switch(on=True)
    mine = accumulate(model, parts, settings, lambda _: None).loss
    our_D = torch.cat([p.grad.flatten() for p in model.parameters().values() if p.grad is not None])
    batch = batch_of(model, [group], [s.logprobs for s in samples])
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(model, Path(folder), group=args.group, longest=args.tokens, temperature=1.0)
        loss, gradient = loss_and_gradient(trainer, model, batch, settings)
    their_D = torch.cat([gradient[name].flatten() for name in sorted(gradient)])
    return {
        "benchmark": "learn --gradients",
        "model": args.model,
        "loss": mine,
        "loss_difference": abs(mine - loss),
        "relative_gradient": float((our_D - their_D).norm() / their_D.norm()),
    }


def tiny(folder: Path) -> str:
    """Return the folder of a new model with random weights."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
    from worlds import tiny_model  # noqa: PLC0415 - lies in tests/support

    return str(tiny_model(folder))


def updates(args: argparse.Namespace) -> dict[str, Any]:
    """Move the adapter many times; return what the base and the memory came to."""
    limit_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        source = tiny(Path(folder)) if args.tiny else args.model
        model = PolicyModel.load(ModelSettings(source, "cpu", "float32", args.rank, 2 * args.rank, 0))
    engine, decoding = TransformersEngine(model), Decoding(temperature=1.0, min_p=0.0, max_new_tokens=8)
    adapter: bytes | None = None
    optimizer: bytes | None = None
    memory = []
    for number in range(args.updates):
        engine.load(adapter)
        (group,) = engine.generate([Request("x", "", "", decoding, (2 * number, 2 * number + 1))])
        trained = [Trained(s.token_ids, s.logprobs, a) for s, a in zip(group, (0.5, -0.5), strict=True)]
        settings = StepSettings("grpo", 1e-3)
        learned = learn(
            model,
            [TrainedGroup("x", "", decoding, trained)],
            settings,
            adapter=adapter,
            optimizer=optimizer,
            reference=None,
        )
        adapter, optimizer = learned.adapter, learned.optimizer
        memory.append(now_gib())
    return {
        "benchmark": "learn --updates",
        "model": "tiny" if args.tiny else args.model,
        "updates": args.updates,
        "base_unchanged": model.measure_base() == model.base_digest,
        "memory_gib": {"after a tenth": memory[args.updates // 10], "at the end": memory[-1]},
    }


if __name__ == "__main__":
    main()
