"""What a person sees of a run: a live panel on a terminal, plain lines elsewhere. Everything goes to stderr."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from synlearner.agent.decide import Action
from synlearner.agent.delivery import shortfall
from synlearner.agent.state import RunState
from synlearner.agent.watcher import Silent, Watcher
from synlearner.clock import Clock, work
from synlearner.events.types import (
    DatasetDelivered,
    Event,
    ExperienceLearned,
    ExperienceRecalled,
    JudgesCompared,
    PolicyUpdated,
    PromptsPlanned,
    RewardFailed,
    SampleGenerated,
    SampleScored,
    SetScored,
    StudentScored,
    TaskArrived,
    TaskFinished,
)

DOING = {
    "ArriveTask": "reading the card",
    "Recall": "recalling experience",
    "Plan": "planning prompts",
    "Generate": "writing samples",
    "Propose": "choosing topics",
    "Score": "scoring",
    "CreditExperience": "crediting experience",
    "Learn": "learning",
    "Balance": "comparing with the floors",
    "Compare": "asking the held-out judge",
    "Check": "checking with a student",
    "Deliver": "choosing the data set",
    "Evaluate": "training students",
    "FinishTask": "distilling experience",
    "MergeAdapters": "merging adapters",
    "FinishRun": "finishing",
}
"""What each action is called while it is performed."""


@contextmanager
def watching(*, quiet: bool) -> Iterator[Watcher]:
    """Give the display for stderr: none, live on a terminal, else lines; take it away at the end, however that comes."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        live = LiveWatcher()
        try:
            yield live
        finally:
            live.stop()
    else:
        yield LineWatcher(sys.stderr)


def headline(event: Event, state: RunState | None = None) -> str:
    """Return what a person wants to know of an event, or an empty text; *state* is the one after it."""
    match event.fact:
        case TaskArrived(card=card):
            labels = f", {len(card['labels'])} labels" if card["labels"] else ""
            return f"{card['kind']}{labels}, {card['samples']} samples wanted"
        case ExperienceRecalled(chosen=chosen):
            return f"recalled {len(chosen)} experience items" if chosen else "no experience is close enough"
        case PromptsPlanned(purpose=purpose, prompts=prompts):
            frames = sorted({prompt.strategy.split("/")[0] for prompt in prompts})
            return f"{purpose}: {len(prompts)} prompts, {sum(p.samples for p in prompts)} samples ({', '.join(frames)})"
        case PolicyUpdated(skipped=skipped) as fact:
            moved = f"loss {fact.loss:.4f}, KL {fact.kl:.4f}, gradient {fact.grad_norm:.2f}"
            on = "" if fact.algorithm == "seeds" else f" on {len(fact.samples)} samples"
            return f"{fact.algorithm}{on}: {skipped or moved}"
        case StudentScored(split="seeds") as fact:
            return f"student ({fact.family}) on {fact.trained_on} accepted: {fact.accuracy:.0%} of the seeds"
        case JudgesCompared(alarm=True) as fact:
            return (
                f"WARNING: the policy may be learning the judge: it gives {fact.training:.2f}, a judge that no reward sees "
                f"{fact.held_out:.2f}, and the gap has grown by {fact.gap:.2f} since the untrained policy"
            )
        case JudgesCompared() as fact:
            return f"held-out judge {fact.held_out:.2f}, judge {fact.training:.2f}, gap {fact.gap:+.2f}"
        case RewardFailed(function=function, reason=reason):
            return f"the reward {function} failed: {reason}"
        case DatasetDelivered(samples=samples):
            task, seqs = state.task if state else None, set(samples)
            lacking = shortfall(task.card, [s.label for s in task.candidates if s.seq in seqs]) if task else ""
            return f"delivered {len(samples)} samples{f' ({lacking})' if lacking else ''}"
        case ExperienceLearned(item=item):
            return f"learnt: {item.content if item.type == 'case' else item.title}"
        case TaskFinished() as fact:
            return (
                f"done: {fact.accepted} accepted, {fact.rejected} rejected, {fact.failed} failed, {fact.tokens} tokens"
            )
        case _:
            return ""


def round_line(events: Sequence[Event]) -> str:
    """Return the reward parts of a scored round on one line."""
    scores = [event.fact for event in events if isinstance(event.fact, SampleScored)]
    sets = [event.fact for event in events if isinstance(event.fact, SetScored)]
    if not scores or not sets:
        return ""
    accepted = sum(score.accepted for score in scores)
    parts = {}
    for name in ("fidelity", "quality", "gain"):
        values = [score.parts[name] for score in scores if name in score.parts]
        if values:
            parts[name] = sum(values) / len(values)
    figures = "".join(f", {name} {value:.2f}" for name, value in parts.items())
    vendi = sets[0].diversity.get("vendi")
    return f"accepted {accepted}, rejected {len(scores) - accepted}{figures}" + (
        f", Vendi {vendi:.1f}" if vendi else ""
    )


def duration(seconds: float) -> str:
    """Return seconds as `1:02` or `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class LineWatcher:
    """One plain line for everything worth telling, with task, round, elapsed time and time left."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._clock = Clock()
        self._tokens = 0
        self._since = 0.0

    def begins(self, state: RunState, action: Action) -> None:
        """Note when writing begins."""
        self._tokens, self._since = 0, time.monotonic()

    def goes_on(self, done: int, of: int, tokens: int) -> None:
        """Count."""
        self._tokens = tokens

    def ends(self, state: RunState, action: Action, events: Sequence[Event]) -> None:
        """Print what the action came to."""
        speed = f"{self._tokens} tokens, {self._tokens / max(time.monotonic() - self._since, 1e-3):.0f}/s"
        lines = [*(headline(event, state) for event in events), round_line(events)]
        if type(action).__name__ == "Generate":
            lines = [f"wrote {sum(isinstance(event.fact, SampleGenerated) for event in events)} samples, {speed}"]
        for line in filter(None, lines):
            self._print(state, events, line)

    def _print(self, state: RunState, events: Sequence[Event], line: str) -> None:
        left = self._clock.left(state)
        times = duration(self._clock.elapsed()) + (f", {duration(left)} left" if left is not None else "")
        where = events[0].task if events else ""
        number = state.task.round.number if state.task else 0
        print(f"[{times}] {where}{f' round {number}' if number else ''}: {line}", file=self._out, flush=True)


class LiveWatcher:
    """A live panel: the line that moves, and the last lines above it."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

        self._console = Console(stderr=True)
        self._clock = Clock()
        self._bar = Progress(
            TextColumn("[bold]{task.fields[where]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[what]}"),
            TextColumn("[dim]{task.fields[times]}"),
            console=self._console,
            transient=True,
        )
        self._row = self._bar.add_task("", total=1.0, where="", what="loading the model", times="")
        self._bar.start()
        self._state: RunState | None = None
        self._doing = ""
        self._since = 0.0

    def begins(self, state: RunState, action: Action) -> None:
        """Show what is being done."""
        self._state, self._doing, self._since = state, DOING[type(action).__name__], time.monotonic()
        self._show(self._doing)

    def goes_on(self, done: int, of: int, tokens: int) -> None:
        """Show how far it is."""
        speed = f", {tokens / max(time.monotonic() - self._since, 1e-3):.0f} tokens/s" if tokens else ""
        self._show(f"{self._doing} {done}/{of}{speed}")

    def ends(self, state: RunState, action: Action, events: Sequence[Event]) -> None:
        """Print what the action came to above the bar."""
        self._state = state
        for text in filter(None, [*(headline(event, state) for event in events), round_line(events)]):
            number = state.task.round.number if state.task else 0
            where = f"{events[0].task}{f' {number}' if number else ''}"
            self._console.print(f"[dim]{duration(self._clock.elapsed())}[/] [cyan]{where}[/] {text}", highlight=False)

    def stop(self) -> None:
        """Take the bar away."""
        self._bar.stop()

    def _show(self, what: str) -> None:
        state = self._state
        if state is None:
            return
        done, whole = work(state)
        left = self._clock.left(state)
        times = duration(self._clock.elapsed()) + (f", about {duration(left)} left" if left is not None else "")
        where = ""
        if state.task and state.started:
            where = f"{state.task.card.name} ({state.task.index + 1}/{len(state.started.tasks)}) round {state.task.round.number}"
        self._bar.update(self._row, completed=done / whole, where=where, what=what, times=times)
