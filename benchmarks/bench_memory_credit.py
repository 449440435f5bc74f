"""Who gets the credit: streams whose item effects are known, ours beside three rules that products use.

A stream: 30 families of tasks with 10 items each, whose true effect on the outcome is +.15 (25 %), 0 (55 %) or -.15
(20 %); the families' baselines lie between .35 and .65. In each episode a rule chooses 4 items of a family; the outcome
is drawn (`--noise bernoulli`: 0 or 1; `group`: the mean of 6 such samples, as a prompt's group in the loop). In the
`additive` world effects add up; in the `best` world harms add up, but only the best helpful item counts.

- **regression**: `synlearner.memory.credit.credit`, folded by `MemoryState`, chosen as recall chooses among items that
  are equally relevant (`synlearner.memory.recall.Choice`);
- **ema**: every used item moves by .1 towards the outcome (MemRL, cognee), greedy;
- **beta**: successes and failures of each item, Thompson draws from its Beta distribution (ACE, MemOS);
- **likeness**: all items are alike, so any four: what recall without outcomes comes down to;
- **exact**, on request: exact Bayes that is told the effects and the world, which no user knows.

Gap closed is (mean gain of the chosen) / (mean gain of the best four), over the last 1,500 episodes of 200 per family,
or over all episodes of the shorter streams; AUC that of the learnt estimates, ranking harmful items below all others.

The settings of recall were chosen on the seeds 1000 to 7059 of other simulators of the same worlds, horizon and lifetime
on 50000 to 50063, for streams of 200: those from `--first` on, 20,000 by default, are fresh.

    python benchmarks/bench_memory_credit.py [--seeds 8] [--first 20000] [--scale 0.12] [--horizon 60] [--noise bernoulli]
    python benchmarks/bench_memory_credit.py --rules exact --draws 8 --first 40000 --seeds 6
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from itertools import combinations, product
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from synlearner.events.types import Event, ExperienceItem, ExperienceLearned
from synlearner.memory import MemoryState, RecallSettings, credit
from synlearner.memory.credit import doubts
from synlearner.memory.recall import Choice, Option
from synlearner.memory.records import PRIOR_VARIANCE

FAMILIES, ITEMS, CHOSEN = 30, 10, 4
NOWHERE = np.zeros(1, np.float32)
"""The vector of every item: all are equally relevant."""
Floats = NDArray[np.float64]


class Rule(Protocol):
    """What chooses by what it has learnt."""

    def choose(self, family: int) -> list[int]:
        """Return the items to use."""

    def learn(self, family: int, used: list[int], outcome: float) -> None:
        """Take in an outcome."""

    def estimates(self) -> Floats:
        """Return what each item is believed to be worth, shape `(families, items)`."""


class Regression:
    """Ours: facts from `credit`, folded."""

    def __init__(self, rng: np.random.Generator, settings: RecallSettings) -> None:
        self._rng, self._settings = rng, settings
        self._state = MemoryState()
        for family in range(FAMILIES):
            for item in range(ITEMS):
                name = f"{family:02}.{item}"
                thing = ExperienceItem(
                    id=name, type="lesson", title="", when="", content=name, polarity=1, scope="", metadata={},
                    evidence=[],
                )  # fmt: skip
                self._take(ExperienceLearned(item=thing, embedder="", vector=name, supersedes="", parents=[]))

    def choose(self, family: int) -> list[int]:
        """Choose as recall does."""
        names = [f"{family:02}.{item}" for item in range(ITEMS)]
        known = [self._state.records[name] for name in names]
        options = [Option(name, NOWHERE, r.mean, r.variance, uses=r.uses) for name, r in zip(names, known, strict=True)]
        chance = self._rng.standard_normal(ITEMS)
        draws = [r.mean + self._settings.scale * r.variance**0.5 * z for r, z in zip(known, chance, strict=True)]
        choice = Choice([1.0] * ITEMS, options, None, CHOSEN, self._settings)
        if self._settings.horizon:
            choice.learn_from(doubts(self._state))
        return sorted(choice.made(draws)[0])

    def learn(self, family: int, used: list[int], outcome: float) -> None:
        """Credit jointly."""
        self._take(credit(outcome, f"f{family}", [f"{family:02}.{item}" for item in used], self._state))

    def estimates(self) -> Floats:
        """Return the posterior means."""
        known = self._state.records
        return np.array([[known[f"{f:02}.{i}"].mean for i in range(ITEMS)] for f in range(FAMILIES)])

    def _take(self, fact: Any) -> None:
        seq = self._state.seq + 1
        self._state.apply(
            Event(
                seq=seq,
                id="",
                kind=fact.kind,
                version=2,
                run_id="",
                task="",
                causes=(),
                fact=fact,
                observed={},
                hash="",
            )
        )


class MovingAverage:
    """Equal shares: every used item moves towards the outcome."""

    def __init__(self, rng: np.random.Generator, rate: float = 0.1) -> None:
        self._rng, self._rate = rng, rate
        self._values = np.zeros((FAMILIES, ITEMS))

    def choose(self, family: int) -> list[int]:
        """Take the highest, ties by chance."""
        return _best(self._values[family] + 1e-9 * self._rng.standard_normal(ITEMS))

    def learn(self, family: int, used: list[int], outcome: float) -> None:
        """Move by a tenth."""
        self._values[family, used] += self._rate * ((2 * outcome - 1) - self._values[family, used])

    def estimates(self) -> Floats:
        """Return the averages."""
        return self._values


class Counts:
    """Successes and failures of each item by itself."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._good = np.ones((FAMILIES, ITEMS))
        self._bad = np.ones((FAMILIES, ITEMS))

    def choose(self, family: int) -> list[int]:
        """Draw from the Beta distributions."""
        return _best(self._rng.beta(self._good[family], self._bad[family]))

    def learn(self, family: int, used: list[int], outcome: float) -> None:
        """Count."""
        self._good[family, used] += outcome
        self._bad[family, used] += 1 - outcome

    def estimates(self) -> Floats:
        """Return the means."""
        mean: Floats = self._good / (self._good + self._bad)
        return mean


class Exact:
    """A peer: Bayes over all 3^10 worlds of a family, told what no user knows (the effects, how they combine).

    Chooses the set that is best on average over some worlds drawn from the posterior: with 1 it is Thompson sampling.
    """

    WORLDS = np.array(list(product((0.15, 0.0, -0.15), repeat=ITEMS)))
    SETS = np.array(list(combinations(range(ITEMS), CHOSEN)))

    def __init__(self, rng: np.random.Generator, world: str, noise: str, draws: int) -> None:
        self._rng, self._world, self._draws = rng, world, draws
        self._noise = 0.23 if noise == "bernoulli" else 0.23 / 6
        shares = np.log([0.25, 0.55, 0.2])
        self._prior = np.array(list(product(shares, repeat=ITEMS))).sum(axis=1)
        # Of each family and world: sum of (outcome - .5 - gain), and of its squares; and the number of outcomes.
        self._sums = np.zeros((FAMILIES, 2, len(self.WORLDS)))
        self._outcomes = np.zeros(FAMILIES)

    def choose(self, family: int) -> list[int]:
        """Take the best set of the worlds drawn."""
        total = np.cumsum(self._posterior(family))
        places = np.searchsorted(total, self._rng.random(self._draws) * total[-1])
        drawn = self.WORLDS[np.minimum(places, len(total) - 1)]
        worth = gains(drawn[:, self.SETS], self._world).mean(axis=0)
        best: list[int] = self.SETS[np.argmax(worth + 1e-9 * self._rng.standard_normal(len(worth)))].tolist()
        return best

    def learn(self, family: int, used: list[int], outcome: float) -> None:
        """Add up the residuals."""
        residual = outcome - 0.5 - gains(self.WORLDS[:, used], self._world)
        self._sums[family] += residual, residual**2
        self._outcomes[family] += 1

    def estimates(self) -> Floats:
        """Return the probability of doing no harm: what ranks harmful items last best."""
        return np.array([self._posterior(family) @ (self.WORLDS >= 0) for family in range(FAMILIES)])

    def _posterior(self, family: int) -> Floats:
        total, squares = self._sums[family]
        # The baseline, uniform in [.35, .65], is taken for normal and integrated out.
        shrunk = total**2 / (self._outcomes[family] + self._noise / (0.3**2 / 12))
        chance = self._prior - (squares - shrunk) / (2 * self._noise)
        weights: Floats = np.exp(chance - chance.max())
        weights /= weights.sum()
        return weights


class Likeness:
    """No outcome counts, and all are equally alike."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def choose(self, family: int) -> list[int]:
        """Take any."""
        return _best(self._rng.standard_normal(ITEMS))

    def learn(self, family: int, used: list[int], outcome: float) -> None:
        """Forget it."""

    def estimates(self) -> Floats:
        """Return nothing but ties."""
        return np.zeros((FAMILIES, ITEMS))


def _best(values: Floats) -> list[int]:
    return sorted(int(place) for place in np.argsort(-values)[:CHOSEN])


def gains(effects: Floats, world: str) -> Floats:
    """Return what sets of items with these effects bring, shape `(..., items)` to `(...)`."""
    if world == "additive":
        return np.asarray(effects.sum(axis=-1))
    return np.asarray(effects.max(axis=-1, initial=0.0) + np.minimum(effects, 0.0).sum(axis=-1))


def run(make: Callable[[np.random.Generator], Rule], world: str, episodes: int, seed: int, noise: str) -> tuple[float, float]:  # fmt: skip
    """Return gap closed and AUC after *episodes* per family."""
    rng = np.random.default_rng(seed)
    effects = rng.choice([0.15, 0.0, -0.15], p=[0.25, 0.55, 0.2], size=(FAMILIES, ITEMS))
    base = rng.uniform(0.35, 0.65, FAMILIES)
    rule = make(np.random.default_rng(seed + 10_000))
    most = gains(np.sort(effects)[:, -CHOSEN:], world).tolist()
    got, best = [], []
    for family in rng.permutation(np.repeat(np.arange(FAMILIES), episodes)).tolist():
        used = rule.choose(family)
        value = float(gains(effects[family, used], world))
        chance = min(0.98, max(0.02, base[family] + value))
        outcome = float(rng.binomial(1, chance)) if noise == "bernoulli" else rng.binomial(6, chance) / 6
        rule.learn(family, used, outcome)
        got.append(value)
        best.append(most[family])
    last = 1_500 if episodes >= 200 else len(got)
    believed, harmful = rule.estimates(), effects < 0
    low, high = believed[harmful], believed[~harmful]
    auc = (high[None] > low[:, None]).mean() + 0.5 * (high[None] == low[:, None]).mean()
    return sum(got[-last:]) / sum(best[-last:]), float(auc)


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=20_000, help="first seed")
    parser.add_argument("--scale", type=float, default=RecallSettings().scale)
    parser.add_argument("--horizon", type=float, default=RecallSettings().horizon)
    parser.add_argument("--lifetime", type=float, default=RecallSettings().lifetime)
    parser.add_argument("--rules", default="regression,ema,beta,likeness")
    parser.add_argument("--draws", type=int, default=16, help="worlds that `exact` draws")
    parser.add_argument("--noise", choices=("bernoulli", "group"), default="bernoulli")
    args = parser.parse_args()
    # Nothing is alike here, and nothing is long.
    settings = RecallSettings(scale=args.scale, horizon=args.horizon, lifetime=args.lifetime, diversity=0.0)
    rules: dict[str, Callable[[np.random.Generator], Rule]] = {
        "regression": lambda rng: Regression(rng, settings),
        "ema": MovingAverage,
        "beta": Counts,
        "likeness": Likeness,
    }
    found: dict[str, Any] = {
        "noise": args.noise,
        "seeds": args.seeds,
        "first": args.first,
        "scale": args.scale,
        "horizon": args.horizon,
        "lifetime": args.lifetime,
        "prior": PRIOR_VARIANCE**0.5,
    }
    for name in args.rules.split(","):
        found[name] = {"draws": args.draws} if name == "exact" else {}
        for world, episodes in (("additive", 50), ("additive", 200), ("best", 200)):
            exact = partial(Exact, world=world, noise=args.noise, draws=args.draws)
            make = exact if name == "exact" else rules[name]
            each = np.array(
                [run(make, world, episodes, seed, args.noise) for seed in range(args.first, args.first + args.seeds)]
            )
            mean, error = each.mean(axis=0), each.std(axis=0) / len(each) ** 0.5
            found[name][f"{world}@{episodes}"] = {
                "gap": round(mean[0], 3), "gap_error": round(error[0], 3), "auc": round(mean[1], 3)
            }  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
