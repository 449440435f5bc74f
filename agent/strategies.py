"""The strategy library: prompt frames x attribute plans x decoding settings, each judged part by part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from synlearner.agent.cards import Card
from synlearner.agent.config import DaiSettings
from synlearner.agent.frames import FRAMES, Ask, Prompt
from synlearner.agent.room import room_for
from synlearner.events.types import Decoding


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to ask. Its parts are judged one by one, so that what is learnt of a part serves all combinations."""

    frame: str
    attributes: str
    decoding: str

    @property
    def id(self) -> str:
        """Return `frame/attributes/decoding`."""
        return f"{self.frame}/{self.attributes}/{self.decoding}"

    @property
    def parts(self) -> tuple[str, str, str]:
        """Return the parts as they are credited: `frame:numbered` and so on."""
        return f"frame:{self.frame}", f"attributes:{self.attributes}", f"decoding:{self.decoding}"


class Cut(NamedTuple):
    """How tokens are drawn: temperature, and what is cut off the tail."""

    temperature: float
    min_p: float = 0.0
    top_p: float = 1.0
    top_k: int = 0


DECODINGS: Mapping[str, Cut] = {
    "calm": Cut(0.8, 0.1),
    "open": Cut(1.0, 0.05),
    "bold": Cut(1.2, 0.1),
    "paper": Cut(0.85, top_p=0.92, top_k=60),
}
"""By name. `paper` is the paper's, but for its repetition penalty, which would draw from another distribution than the
one that is learnt."""

ATTRIBUTE_PLANS = ("none", "keyword", "length", "persona", "topic", "card")
"""`keyword`: a word that the sample uses; `length`: how many words; `persona`: who writes; `topic`: one that policy or
memory proposed (`synlearner.agent.topics`); `card`: the card's own."""

PERSONAS = (
    "a student", "a nurse", "a retired teacher", "a truck driver", "a new parent", "a shop owner", "a farmer",
    "an engineer", "a tourist", "a cook", "an office clerk", "a sports fan", "a musician", "a gardener", "a lawyer",
    "a teenager",
)  # fmt: skip


def decoding(name: str, card: Card, label: str, heat: float = 1.0) -> Decoding:
    """Return the decoding settings, their temperature times *heat*, with room for the longest sample of *label*."""
    cut = DECODINGS[name]
    return Decoding(
        temperature=round(cut.temperature * heat, 6),
        min_p=cut.min_p,
        top_p=cut.top_p,
        top_k=cut.top_k,
        max_new_tokens=room_for(card, label),
    )


def library(card: Card, dai: DaiSettings, *, topics: bool = False) -> list[Strategy]:
    """Return all strategies that fit *card* and the settings; without any fitting part `numbered` or `none` stands in.

    *topics* tells whether there are topics to write about.
    """
    own = bool(card.attributes or card.label_attributes)
    frames: Sequence[str] = [name for name in dai.frames if name != "contrast" or card.labels] or ["numbered"]
    fits = {"card": own, "topic": topics}
    plans: Sequence[str] = [name for name in dai.attributes if fits.get(name, True)] or ["none"]
    found = {
        Strategy(frame, "none" if frame == "plain" else plan, name)
        for frame in frames
        for plan in plans
        for name in dai.decodings
    }
    return sorted(found, key=lambda strategy: strategy.id)


def write(strategy: Strategy, ask: Ask) -> Prompt:
    """Return *strategy* written out."""
    return FRAMES[strategy.frame](ask)
