"""Constrained samples: whether they are valid, trainer and sampler agree, and what a grammar does to quality.

`--count` samples under the grammars of the demo's cards, checked with jsonschema and by the trainer's replay of the
masks; with `--tiny` by a model with random weights, which shows the rule and not the quality. With `--quality` the same prompts are
planned with and without a grammar, written, gated and scored as a round of the agent would be.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import torch

from synlearner.agent.build import limit_threads
from synlearner.agent.cards import Card, load_stream
from synlearner.agent.config import Settings, parse_settings
from synlearner.agent.features import embed_rows
from synlearner.agent.judge import make_judge
from synlearner.agent.planning import Planner
from synlearner.agent.scoring import score_round
from synlearner.agent.state import TaskState
from synlearner.demo import stream_path
from synlearner.events.types import Decoding, SampleGenerated
from synlearner.memory import default_embedder
from synlearner.policies.engine import Request
from synlearner.policies.grammar import allowed_masks
from synlearner.policies.learner import token_logprobs
from synlearner.policies.logprobs import Support
from synlearner.policies.model import ModelSettings, PolicyModel
from synlearner.policies.packing import pack
from synlearner.policies.schema import object_schema
from synlearner.policies.transformers_engine import TransformersEngine


def validity(model: PolicyModel, cards: list[Card], args: argparse.Namespace) -> dict[str, Any]:
    """Write samples under each card's grammar, and check every one."""
    engine = TransformersEngine(model)
    valid, gap, checked, tokens = 0, 0.0, 0, 0
    finishes: Counter[str] = Counter()
    broken: list[str] = []
    begun = time.perf_counter()
    for start in range(0, args.count, 64):
        card = cards[start // 64 % len(cards)]
        schema = object_schema({name: spec.words for name, spec in card.fields.items()}, closing=not args.open)
        room = sum(10 * spec.words[1] for spec in card.fields.values()) + 20 * len(card.fields)
        how = Decoding(temperature=1.0, min_p=0.05, max_new_tokens=args.tokens or 2 * room, grammar=schema)
        request = Request(f"Write {card.description}", "", "", how, tuple(range(start, min(start + 64, args.count))))
        (group,) = engine.generate([request])
        for sample in group:
            finishes[sample.finish] += 1
            tokens += len(sample.token_ids)
            try:
                jsonschema.validate(json.loads(sample.text), json.loads(schema))
                valid += 1
            except (ValueError, jsonschema.ValidationError):
                broken.append(sample.text[-60:])
        if checked < args.replayed:
            gap = max(gap, largest_gap(model, request, group))
            checked += 4
    return {"samples": args.count, "valid": valid, "finishes": dict(finishes), "broken": broken[:3], "replayed": checked,
            "largest_gap_nats": gap, "tokens_per_s": round(tokens / (time.perf_counter() - begun), 1)}  # fmt: skip


@torch.no_grad()
def largest_gap(model: PolicyModel, request: Request, group: list[Any]) -> float:
    """Return by how much the trainer, replaying the masks, differs from what the sampler recorded, per token."""
    prompt = model.prompt_tokens(request.text, request.prefix)
    worst = 0.0
    for sample in group[:4]:
        masks = allowed_masks(model, request.decoding, sample.token_ids)
        support = Support(request.decoding.temperature, request.decoding.min_p, masks)
        kept_T, _ = token_logprobs(model, pack(prompt, [sample.token_ids], model.device), support)
        worst = max(worst, float((kept_T - torch.tensor(sample.logprobs)).abs().max()))
    return worst


def quality(model: PolicyModel, card: Card, settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """Write one round and score it."""
    prompts = [
        p for turn in range(args.rounds) for p in Planner(TaskState(0, 2, card, {}, ""), settings).learning(turn)
    ]
    requests = [
        Request(p.text, p.prefix, p.stop, p.decoding, tuple(range(i * 100, i * 100 + p.samples)))
        for i, p in enumerate(prompts)
    ]
    begun = time.perf_counter()
    groups = TransformersEngine(model).generate(requests)
    seconds = time.perf_counter() - begun
    samples = [
        SampleGenerated(round=1, prompt=i, index=j, text=s.text, token_ids=s.token_ids, logprobs=s.logprobs,
                        finish=s.finish, policy="", engine="transformers")
        for i, group in enumerate(groups)
        for j, s in enumerate(group)
    ]  # fmt: skip
    embedder = default_embedder()
    judge = make_judge(card, embed_rows(embedder, card, card.seeds))
    empty = np.zeros((0, embedder.dimension * len(card.fields)), dtype=np.float32)
    scores = score_round(card, prompts, list(enumerate(samples, 10)), [], empty, judge=judge, embedder=embedder,
                         settings=settings.reward)  # fmt: skip
    passed = [score for score in scores.scored if not score.reason.startswith("gate:")]
    tokens = sum(len(sample.token_ids) for sample in samples)
    return {
        "samples": len(samples),
        "read": sum(score.reason != "gate:format" for score in scores.scored),
        "past_the_gates": len(passed),
        "accepted": sum(score.accepted for score in scores.scored),
        "gates": dict(Counter(s.reason for s in scores.scored if s.reason.startswith("gate:")).most_common()),
        "fidelity": round(sum(s.parts["fidelity"] for s in passed) / max(1, len(passed)), 3),
        "vendi": round(scores.diversity["vendi"], 1),
        "tokens": tokens,
        "seconds": round(seconds, 1),
    }


def tiny(folder: Path) -> str:
    """Return the folder of a new model with random weights."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
    from worlds import tiny_model  # noqa: PLC0415 - lies in tests/support

    return str(tiny_model(folder))


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="SmolLM2-135M-Instruct")
    parser.add_argument("--tiny", action="store_true", help="random weights instead of --model")
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=0, help="most tokens of a sample; 0 for as many as may be needed")
    parser.add_argument("--open", action="store_true", help="without the rule that ends samples in time")
    parser.add_argument("--replayed", type=int, default=40)
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    limit_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        source = tiny(Path(folder)) if args.tiny else args.model
        model = PolicyModel.load(ModelSettings(source, "cpu", "float32", 8, 16, 0))
    cards = [task.card for task in load_stream(stream_path()).tasks]
    found: dict[str, Any] = {"benchmark": "grammar", **vars(args)}
    if args.count:
        found["validity"] = validity(model, cards, args)
    if args.quality:
        forms = {name: parse_settings([f"policy.grammar={name}"]) for name in ("none", "json")}
        found["quality"] = {c.name: {name: quality(model, c, s, args) for name, s in forms.items()} for c in cards}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
