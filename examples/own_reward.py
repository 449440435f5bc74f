"""A reward of your own: texts that are concrete (a number, a name, a time) are worth more to the policy.

    cd examples
    synlearner run demo --home my-home --set user_reward.function=own_reward:score --set reward.user=0.5

The function sees a round's samples that passed the gates, and returns one number for each. From Python, pass it:
`Agent.open("my-home", reward=score)`. It has to give the same values for the same samples, or a run cannot be equal to
another one; and it is called after every round, so a second is much.
"""

import re
from collections.abc import Sequence

from synlearner.agent.user_reward import RewardedSample

CONCRETE = re.compile(
    r"\b(?:\d[\d.,:]*|(?<!^)(?<![.!?] )[A-Z][a-z]+|monday|tuesday|wednesday|thursday|friday|morning|night)\b"
)
"""A number, a capital letter that begins no sentence, or a word of time."""


def score(samples: Sequence[RewardedSample]) -> list[float]:
    """Return the share of concrete words of each sample, a third of them being as good as all: in [0, 1]."""
    return [concreteness(" ".join(sample.fields.values())) for sample in samples]


def concreteness(text: str) -> float:
    """Return in [0, 1] how concrete a text is."""
    words = text.split()
    return min(1.0, 3 * len(CONCRETE.findall(text)) / len(words)) if words else 0.0


if __name__ == "__main__":
    for text in ("The plot is good.", "At 9:30 Anna still waited for the second act in Leeds."):
        print(f"{concreteness(text):.2f}  {text}")
