"""The arms: methods that are compared, each of them settings of the ordinary product.

All arms have the same model, students, gates and cap on tokens. What is called after a paper is in its style: its way
of asking, with our model, gates and delivery.
"""

from collections.abc import Mapping
from dataclasses import dataclass

FROZEN = ("stream.adapter=none", "memory.k=0")
"""Nothing goes along from task to task."""

FIXED = (
    *FROZEN, "loop.rounds=0", "loop.student_every=0", "constraints.diversity=0", "constraints.fidelity=0",
    "dai.decodings=[open]", "delivery.untrained=false", "delivery.rescue=false",
)  # fmt: skip
"""Nothing is learnt within a task either: one way to ask, for as long as samples are lacking."""

UNJUDGED = ("reward.min_fidelity=-1", "reward.min_quality=0", "loop.oversample=1.0")
"""No judge: the first samples that pass the gates (form, length, copies, label words) are delivered."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One method."""

    about: str
    settings: tuple[str, ...] = ()
    preset: str | None = None
    carries: bool = True
    """Whether a task can depend on those before it. Where not, a task's figures hold for every order."""
    fresh: bool = False
    """Whether every task begins in a home of its own."""


ARMS: Mapping[str, Arm] = {
    "plain": Arm(
        "ZeroGen style: the bare instruction, no examples (Ye et al. 2022, arXiv:2202.07922)",
        (*FIXED, *UNJUDGED, "dai.frames=[plain]", "dai.attributes=[none]"),
        carries=False,
    ),
    "few_shot": Arm(
        "the label's seeds as the beginning of a numbered list",
        (*FIXED, *UNJUDGED, "dai.frames=[numbered]", "dai.attributes=[none]"),
        carries=False,
    ),
    "attributes": Arm(
        "AttrPrompt style: drawn attributes, the card's or topics that the policy proposes (arXiv:2306.15895)",
        (*FIXED, *UNJUDGED, "dai.frames=[attrprompt]", "dai.attributes=[card,topic]", "dai.proposals=8",
         "dai.coverage=false"),
        carries=False,
    ),
    "self_instruct": Arm(
        "Self-Instruct style: an accepted sample to three seeds in every prompt (Wang et al. 2023, arXiv:2212.10560)",
        (*FIXED, *UNJUDGED, "dai.frames=[numbered]", "dai.attributes=[none]", "dai.shots=mixed"),
        carries=False,
    ),
    "progen": Arm(
        "ProGen style: the samples that are worth most are the next prompts' examples (Ye et al. 2022, arXiv:2210.12329)",
        (*FIXED, "dai.frames=[numbered]", "dai.attributes=[none]", "dai.shots=best"),
        carries=False,
    ),
    "best_of_n": Arm(
        "few_shot, judged by our gates for as long as tokens last, and the best are delivered",
        (*FIXED, "loop.oversample=10", "dai.frames=[numbered]", "dai.attributes=[none]"),
        carries=False,
    ),
    "frozen": Arm("all of it but weights and memory", FROZEN, carries=False),
    "memory": Arm("memory alone: the weights never move", ("stream.adapter=none",)),
    "weights": Arm("weights alone: nothing is recalled", ("memory.k=0",)),
    "full": Arm("weights and memory"),
    "shuffled": Arm(
        "full, but what is recalled is believed of other parts of strategies, drawn by chance: a control",
        ("memory.shuffled=true",),
    ),
    "isolated": Arm("full, from scratch on every task", carries=False, fresh=True),
    "faithful": Arm(
        "the paper's configuration with its hours cut: 8 rounds of fine-tuning, 8 of rewards, the rest fills",
        ("loop.rounds=16", "loop.eft_rounds=8"),
        preset="faithful",
    ),
}  # fmt: skip
"""By name."""

MEANT = ("loop.fill_rounds=1000",)
"""Of every arm: the cap on tokens ends a task, not a number of rounds."""
