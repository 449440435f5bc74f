"""How much of what the best strategy would bring the choice of strategies brings, in a world made from real outcomes.

    python benchmarks/bench_bandit.py HOME [HOME ...] [--rounds 6] [--prompts 8] [--repeats 40]

From every finished task in the homes, the gains of strategy parts are fitted to the recorded outcomes (ridge regression
around each label's mean), and what is left is the noise. A task is then played anew: each round the rule chooses
strategies and is told outcomes of that world. Printed is the share of the way from a uniform choice (0) to the best strategy (1)
that the mean chosen strategy makes, and the gain over the uniform choice as a share of the mean outcome.

`ours` is `synlearner.agent.bandit`; `unscaled` are the same sums with the variances that memory begins with, whatever the
outcomes' own spread; `uniform` draws any strategy.
"""

import argparse
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synlearner.agent.bandit import Beliefs, Outcome, choose, parts_of, posteriors
from synlearner.agent.state import RunState, apply
from synlearner.agent.strategies import Strategy
from synlearner.events import Home
from synlearner.events.chance import derive_seed
from synlearner.events.types import TaskFinished
from synlearner.memory import joint_update
from synlearner.memory.regression import NOISE_VARIANCE
from synlearner.memory.state import PRIOR_MEAN, PRIOR_VARIANCE

RIDGE = 6.0
"""Noise variance over gain variance, about: what the outcomes of 12 tasks showed."""

Rule = Callable[[Sequence[Strategy], Sequence[Outcome], int], Strategy]


@dataclass(frozen=True, slots=True)
class World:
    """A task as its outcomes showed it."""

    level: float
    gains: dict[str, float]
    noise: float
    strategies: list[Strategy]

    def worth(self, strategy: Strategy) -> float:
        """Return what *strategy* brings beyond the level."""
        return sum(self.gains[part] for part in strategy.parts)


def world_of(outcomes: Sequence[Outcome]) -> World:
    """Fit a world to the outcomes of a task."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for label, _, value in outcomes:
        values[label].append(value)
    parts = sorted({part for _, strategy, _ in outcomes for part in parts_of(strategy)})
    x_N_P = np.array([[part in parts_of(strategy) for part in parts] for _, strategy, _ in outcomes], dtype=float)
    y_N = np.array([value - statistics.mean(values[label]) for label, _, value in outcomes])
    gains_P = np.linalg.solve(x_N_P.T @ x_N_P + RIDGE * np.eye(len(parts)), x_N_P.T @ y_N)
    frames, attributes, decodings = (
        [part.partition(":")[2] for part in parts if part.startswith(axis)]
        for axis in ("frame:", "attributes:", "decoding:")
    )
    return World(
        level=statistics.mean(value for *_, value in outcomes),
        gains=dict(zip(parts, gains_P.tolist(), strict=True)),
        noise=float((y_N - x_N_P @ gains_P).std()),
        strategies=[Strategy(f, a, d) for f in frames for a in attributes for d in decodings],
    )


def ours(strategies: Sequence[Strategy], outcomes: Sequence[Outcome], seed: int) -> Strategy:
    """Choose as the loop does."""
    return choose(strategies, posteriors(outcomes), seed)


def unscaled(strategies: Sequence[Strategy], outcomes: Sequence[Outcome], seed: int) -> Strategy:
    """Choose by variances that do not look at the outcomes' spread."""
    found: dict[str, tuple[float, float]] = {part: (PRIOR_MEAN, PRIOR_VARIANCE) for s in strategies for part in s.parts}
    seen: list[float] = []
    for _, strategy, value in outcomes:
        if seen:
            parts = parts_of(strategy)
            gains = joint_update([found[part] for part in parts], value - statistics.mean(seen), NOISE_VARIANCE)
            found.update(zip(parts, gains, strict=True))
        seen.append(value)
    return choose(strategies, Beliefs(parts=found), seed)


def uniform(strategies: Sequence[Strategy], outcomes: Sequence[Outcome], seed: int) -> Strategy:  # noqa: ARG001
    """Choose any."""
    return strategies[seed % len(strategies)]


def play(world: World, rule: Rule, rounds: int, prompts: int, seed: int) -> float:
    """Return the mean worth of the strategies that *rule* chose."""
    rng = np.random.default_rng(seed)
    outcomes: list[Outcome] = []
    worths = []
    for number in range(rounds):
        known = tuple(outcomes)
        for place in range(prompts):
            strategy = rule(world.strategies, known, derive_seed(seed, number, place))
            worths.append(world.worth(strategy))
            outcomes.append(("", strategy.id, world.level + worths[-1] + world.noise * rng.normal()))
    return statistics.mean(worths)


def worlds(homes: Sequence[Path]) -> dict[str, World]:
    """Return the worlds of all finished tasks."""
    found = {}
    for path in homes:
        state = RunState()
        with Home.open(path) as home:
            for event in home.log.read():
                if isinstance(event.fact, TaskFinished) and state.task is not None and state.task.outcomes:
                    found[f"{path.name}: {event.task}"] = world_of(state.task.outcomes)
                state = apply(state, event)
    return found


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("homes", type=Path, nargs="+", metavar="HOME")
    for name, default in (("rounds", 6), ("prompts", 8), ("repeats", 40)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    known = worlds(args.homes)
    shares: dict[str, list[float]] = {}
    relative: dict[str, list[float]] = {}
    for rule in (ours, unscaled, uniform):
        for world in known.values():
            every = [world.worth(strategy) for strategy in world.strategies]
            usual, best = statistics.mean(every), max(every)
            for seed in range(args.repeats):
                gain = play(world, rule, args.rounds, args.prompts, seed) - usual
                shares.setdefault(rule.__name__, []).append(gain / (best - usual))
                relative.setdefault(rule.__name__, []).append(gain / world.level)
    found = {
        name: {
            "share_of_best": round(statistics.mean(values), 3),
            "standard_error": round(statistics.stdev(values) / math.sqrt(len(values)), 3),
            "gain_over_uniform": round(statistics.mean(relative[name]), 3),
        }
        for name, values in shares.items()
    }
    print(json.dumps({"benchmark": "bandit", "tasks": len(known), "rounds": args.rounds, "rules": found}))


if __name__ == "__main__":
    main()
