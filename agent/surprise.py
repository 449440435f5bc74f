"""Is a text about as surprising as real ones? A band of perplexity, taken from the card's seeds.

What a reference model finds much easier than every real row is repetition or a commonplace, what it finds much harder
is garbage. The reference model is the untrained policy (`synlearner.policies.surprise`).
Figures of models are recorded, and quality follows from what was recorded: a log is verified without the model.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from synlearner.agent.cards import Card, Row
from synlearner.events.types import Event, SampleScored, SetScored

FEWEST = 8
"""Seeds that make a band."""

NARROWEST = 0.4
"""Nats: beside a narrower band quality falls off as beside one of this width."""


class CannotTell(Exception):
    """The base model can say nothing of the texts of this card; the message says why."""


@dataclass(frozen=True, slots=True)
class Band:
    """From the least to the most surprising seed, in nats per token.

    A new real row lies inside with the probability (n - 1) / (n + 1) for n seeds, whatever its distribution: .88 for 16.
    Outside a normal density falls off, with an eighth of the band's width: about half the deviation of real rows.
    """

    low: float
    high: float

    def share(self, surprise: float) -> float:
        """Return in [0, 1]: 1 inside, .61 an eighth of the width outside, .14 a quarter of it outside."""
        outside = max(self.low - surprise, surprise - self.high, 0.0)
        return math.exp(-((8 * outside / max(self.high - self.low, NARROWEST)) ** 2) / 2)


class Surprise(Protocol):
    """Tells how surprising texts are."""

    def band(self, card: Card) -> Band:
        """Return the band of the card's seeds. Raises CannotTell."""

    def of(self, samples: Sequence[int], card: Card, rows: Sequence[Row]) -> list[float]:
        """Return nats per token of each row; *samples* are their seqs."""


class Measured:
    """By a model that is at hand."""

    def __init__(self, measure: Callable[[Sequence[str]], list[float] | None]) -> None:
        """Take what returns nats per token of texts, or None where there is no model to ask."""
        self._measure = measure
        self._band: tuple[Card, Band] | None = None

    def band(self, card: Card) -> Band:
        """Return the band of the card's seeds, which are measured once."""
        if self._band is None or self._band[0] is not card:
            if len(card.seeds) < FEWEST:
                raise CannotTell(f"the card has {len(card.seeds)} seeds, and a band takes {FEWEST}")
            seeds = self._read(card, card.seeds)
            self._band = (card, Band(min(seeds), max(seeds)))
        return self._band[1]

    def of(self, samples: Sequence[int], card: Card, rows: Sequence[Row]) -> list[float]:
        """Return nats per token of each row."""
        return self._read(card, rows)

    def _read(self, card: Card, rows: Sequence[Row]) -> list[float]:
        values = self._measure([as_text(card, row) for row in rows])
        if values is None:
            raise CannotTell("the engine has no weights here that could read a given text")
        return [round(value, 4) for value in values]


def as_text(card: Card, row: Row) -> str:
    """Return a row as a model reads it: a field a line."""
    return "\n".join(row[field] for field in card.fields)


class RecordedSurprise:
    """What a log holds of one round."""

    def __init__(self, band: Band | None, values: dict[int, float]) -> None:
        self._band = band
        self._values = values

    def band(self, card: Card) -> Band:
        """Return the recorded band."""
        if self._band is None:
            raise CannotTell("none is recorded")
        return self._band

    def of(self, samples: Sequence[int], card: Card, rows: Sequence[Row]) -> list[float]:
        """Return the recorded values."""
        return [self._values.get(seq, 0.0) for seq in samples]


def recorded_surprise(events: Iterable[Event]) -> RecordedSurprise:
    """Return what the first of *events*, those of one scored round, hold."""
    values: dict[int, float] = {}
    for event in events:
        match event.fact:
            case SampleScored(sample=sample, parts={"surprise": value}):
                values[sample] = value
            case SetScored(diversity={"surprise_low": low, "surprise_high": high}):
                return RecordedSurprise(Band(low, high), values)
            case SetScored():
                break
    return RecordedSurprise(None, values)
