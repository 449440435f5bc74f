"""What memory holds of an item and of a family of outcomes: counts, sums, posteriors. Integers where things add up.

Sums are kept in fixed point, so that they are equal on every machine and in any order of addition.
"""

import msgspec

from synlearner.events.types import ExperienceItem

PRIOR_MEAN = 0.0
PRIOR_VARIANCE = 0.15**2
"""Of the gain that an untried item brings, in units of the outcome."""

MICRO = 1_000_000
"""Outcomes are summed in millionths."""

GRID = 2.0**30
"""Posteriors are multiples of 1 / GRID, evidence of 1 / 2^20."""

EVIDENCE = 2.0**20


def on_grid(value: float) -> float:
    """Return the multiple of 2^-30 next to *value*: never -0.0, and the same wherever it was computed."""
    return round(value * GRID) / GRID + 0.0


class Record(msgspec.Struct, kw_only=True):
    """An item, and what its use has shown."""

    item: ExperienceItem
    embedder: str
    vector: str
    """Blob digest."""
    learned: int
    """Seq of the event that gave it its present text."""
    mean: float = PRIOR_MEAN
    variance: float = PRIOR_VARIANCE
    """Posterior of the gain it brings, in units of the outcome."""
    weight: int = 0
    moment: int = 0
    """Precision, and precision times mean, of what is known beside the outcomes: judgements, other homes, merges,
    decay; in units of 2^-20."""
    total: int = 0
    """Sum of the outcomes that it was used for, in millionths."""
    partners: dict[str, int] = {}
    """Items that were used beside it, and how often; itself too."""
    families: list[str] = []
    """Families that it was used in."""
    parents: list[str] = []
    recalled: int = 0
    """Recalls that chose it."""
    uses: int = 0
    """Outcomes that it was credited for."""
    helpful: int = 0
    harmful: int = 0
    """Of these, outcomes above and below the baseline."""
    credited: int = 0
    """Seq of the last outcome that it was used for."""
    touched: int = 0
    """Tasks that had been finished when it was last learnt, chosen or credited."""
    retired: int = 0
    """Seq of its retirement; 0 while it is in memory."""
    reason: str = ""
    supersedes: str = ""
    superseded_by: str = ""
    merged_into: str = ""
    lent: tuple[int, int] = (0, 0)
    """Evidence that the item it was merged into has from it: weight and moment."""
    kept: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """That item's posterior (mean, variance) before the merge, and after."""

    @property
    def active(self) -> bool:
        """Whether recall may consider it."""
        return not (self.retired or self.superseded_by or self.merged_into)

    def visible_in(self, scope: str) -> bool:
        """Whether somebody in *scope* may see it: items without a scope are everybody's, `*` sees them all."""
        return scope == "*" or self.item.scope in ("", scope)

    def observe(self, outcome: float, noise: float) -> None:
        """Take in an observation of the gain itself, with the variance *noise*. The posterior is set apart from it."""
        self.weight += round(EVIDENCE / noise)
        self.moment += round(EVIDENCE * outcome / noise)

    def move(self, mean: float, variance: float) -> tuple[int, int]:
        """Set the posterior, with as much evidence as makes it what the outcomes do not; return that evidence."""
        weight = round(EVIDENCE / variance) - round(EVIDENCE / self.variance)
        moment = round(EVIDENCE * mean / variance) - round(EVIDENCE * self.mean / self.variance)
        self.mean, self.variance = mean, variance
        self.weight += weight
        self.moment += moment
        return weight, moment


def succeeded(old: Record, polarity: int) -> tuple[float, float]:
    """Return the (mean, variance) that an item of *polarity* starts with that supersedes *old*.

    One of opposite polarity contradicts it: to avoid what costs x is worth x.
    """
    return (old.mean if old.item.polarity == polarity else 0.0 - old.mean), old.variance


class Family(msgspec.Struct):
    """Outcomes that are compared with one another."""

    outcomes: int = 0
    total: int = 0
    """In millionths, as all sums here."""
    squares: int = 0
    control: int = 0
    """Of the outcomes, those of prompts that were planned without memory."""
    control_total: int = 0
    memory: int = 0
    """Of the outcomes, those of prompts that were planned with it in the same experiment."""
    memory_total: int = 0
    uses: dict[str, int] = {}
    """How many of the outcomes each item was used for."""

    def count(self, outcome: float, arm: str) -> None:
        """Take in an outcome."""
        amount = round(outcome * MICRO)
        self.outcomes += 1
        self.total += amount
        self.squares += round(outcome * outcome * MICRO)
        if arm == "control":
            self.control += 1
            self.control_total += amount
        elif arm == "memory":
            self.memory += 1
            self.memory_total += amount

    @property
    def explained(self) -> int:
        """What the family's mean explains of the squares, in millionths."""
        return self.total * self.total // (self.outcomes * MICRO) if self.outcomes else 0
