"""The task at hand: what it consists of. How events make it so is in `synlearner.agent.tasks`. Immutable, without I/O."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import Struct, field

from synlearner.agent.cards import Card
from synlearner.agent.scoring import PoolSample
from synlearner.events.types import (
    AttributesProposed,
    ExperienceRecalled,
    JudgesCompared,
    PlannedPrompt,
    PromptsPlanned,
    SampleGenerated,
    SampleScored,
    StudentScored,
)

ENGINE = "gate:engine"
"""The reason of a sample that the engine failed to write."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """An accepted sample with the prompt that it answered: all that learning from it again takes."""

    seq: int
    label: str
    worth: float
    prompt: PlannedPrompt
    sample: SampleGenerated


class Counts(NamedTuple):
    """What became of samples: `requested` = `accepted` + all of `rejected` + `failed`."""

    requested: int
    accepted: int
    rejected: dict[str, int]
    """Reason to number."""
    failed: int


class RoundState(Struct, frozen=True):
    """The round at hand. What it still lacks is what is done next."""

    number: int
    recalled: ExperienceRecalled | None = None
    plan: PromptsPlanned | None = None
    plan_seq: int = 0
    samples: tuple[tuple[int, SampleGenerated], ...] = ()
    scores: tuple[SampleScored, ...] = ()
    set_seq: int = 0
    credited: int = 0
    """Prompts whose outcome has been attributed."""
    updated: bool = False
    balanced: bool = False
    """Whether the multipliers have been adjusted to it."""
    compared: bool = False
    """Whether the held-out judge has looked at it."""
    checked: int = 0
    """Students scored on the seeds."""

    @property
    def requested(self) -> int:
        """Samples that the plan asks for."""
        return sum(prompt.samples for prompt in self.plan.prompts) if self.plan else 0

    @property
    def remembered(self) -> bool:
        """Whether memory had something for this round."""
        return self.recalled is not None and bool(self.recalled.chosen)

    @property
    def cut_off(self) -> bool:
        """Whether a part of a batch is here: no kill leaves that, but a log that was cut elsewhere does."""
        return 0 < len(self.samples) < self.requested or (bool(self.scores) and not self.set_seq)


class TaskState(Struct, frozen=True):
    """The task at hand."""

    index: int
    seq: int
    card: Card
    files: Mapping[str, str]
    """Reporting file to SHA-256."""
    start_adapter: str
    """The policy at the start of the task; once the seeds have taught, the policy after that."""
    round: RoundState = field(default_factory=lambda: RoundState(0))
    learn_rounds: int = 0
    fill_rounds: int = 0
    reference_rounds: int = 0
    pool: tuple[PoolSample, ...] = ()
    reference: tuple[PoolSample, ...] = ()
    """Samples of the untrained policy that could be read."""
    untrained: tuple[PoolSample, ...] = ()
    """Those of them that gates and judge accepted: they may be delivered, as the pool may."""
    untrained_fates: Mapping[str, int] = field(default_factory=dict)
    """Where the untrained policy's samples were judged: reason to how many were rejected for it; "" to those accepted."""
    reference_asked: int = 0
    """Samples that the untrained policy was asked for."""
    proposed: AttributesProposed | None = None
    """Topics for each label; None where nobody was asked."""
    drawn: tuple[tuple[str, Mapping[str, str]], ...] = ()
    """(label, attributes) of every prompt so far, but for those of the untrained policy."""
    multipliers: Mapping[str, float] = field(default_factory=dict)
    """Of the constraints, by name: see `synlearner.agent.constraints`."""
    judged: JudgesCompared | None = None
    """What the held-out judge said of the newest round that it looked at."""
    alarms: int = 0
    """Rounds of which it raised an alarm."""
    seeded: bool = False
    """Whether the seeds have taught, or could not."""
    reward_failed: bool = False
    """Whether the user's own reward has failed in this task."""
    kept: tuple[Replayed, ...] = ()
    """What later tasks may learn from again: the accepted samples of most worth, labels in equal shares."""
    outcomes: tuple[tuple[str, str, float], ...] = ()
    """(label, strategy, outcome) of every prompt so far: see `prompt_outcomes`."""
    utilities: tuple[float | None, ...] = ()
    """What the samples of each were worth to a student; None where nobody told."""
    requested: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    failed: int = 0
    tokens: int = 0
    reference_tokens: int = 0
    """Those of them that the untrained policy wrote."""
    delivered: tuple[int, ...] | None = None
    students: tuple[StudentScored, ...] = ()
    learned: int = 0

    @property
    def accepted(self) -> int:
        """Samples in the pool."""
        return len(self.pool)

    @property
    def candidates(self) -> tuple[PoolSample, ...]:
        """Samples that may be delivered, the oldest first."""
        return (*self.untrained, *self.pool)

    def counts(self, *, untrained: bool) -> Counts:
        """Return what became of all samples that might have been delivered: with those of the untrained policy, or without."""
        fates = self.untrained_fates if untrained else {}
        rejected = Counter(self.rejected) + Counter({r: n for r, n in fates.items() if r not in ("", ENGINE)})
        requested, failed = self.requested + sum(fates.values()), self.failed + fates.get(ENGINE, 0)
        return Counts(requested, len(self.candidates), dict(sorted(rejected.items())), failed)
