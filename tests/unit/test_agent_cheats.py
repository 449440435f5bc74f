"""Cheating samples, made from every card at hand: each ranks below every honest sample."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
from pieces import EMBEDDER, KINDS, checked, planned, vectors_of, written

from synlearner.agent.cards import Card, Row, Task, load_stream
from synlearner.agent.cheats import Cheat, cheats
from synlearner.agent.config import RewardSettings
from synlearner.agent.frames import Ask, write_sample
from synlearner.agent.judge import make_judge
from synlearner.agent.planning import PLAIN
from synlearner.agent.scoring import score_round
from synlearner.agent.strategies import write
from synlearner.events.types import Decoding, PlannedPrompt, SampleScored

HONEST = 8
"""Real rows of a label, shown as if they had been generated."""


def prompt_of(card: Card, label: str, *, grammar: str = "") -> PlannedPrompt:
    shown = [row for row in card.seeds if row.get("label", "") == label][:1]
    text = write(PLAIN, Ask(card, label, shown, [], ["", ""])).text
    decoding = Decoding(temperature=1.0, min_p=0.0, max_new_tokens=40, grammar=grammar)
    return planned(label, text=text, decoding=decoding)


def ranked(card: Card, honest: list[Row], found: list[Cheat], label: str, *, as_json: bool) -> list[SampleScored]:
    """Score the honest rows and then the cheats as one group."""
    rows = [{field: row[field] for field in card.fields} for row in honest]
    texts = [json.dumps(row) if as_json else write_sample(card, row) for row in rows]
    samples = [written(text) for text in texts] + [written(c.text, finish=c.finish) for c in found]
    prompt = prompt_of(card, label, grammar="{}" if as_json else "")
    judge = make_judge(card, vectors_of(card, card.seeds))
    scores = score_round(
        card, [prompt], list(enumerate(samples, 10)), [], vectors_of(card, []), judge=judge, embedder=EMBEDDER,
        settings=RewardSettings(),
    )  # fmt: skip
    return scores.scored


def check(card: Card, rows: list[Row]) -> None:
    """Rank the cheats of a card against real rows of each of its first two labels."""
    for label in list(card.labels)[:2] or [""]:
        honest = [row for row in rows if row.get("label", "") == label][:HONEST]
        every = cheats(card, honest, prompt_of(card, label))
        assert len(every) >= 30
        assert len({cheat.name for cheat in every}) == len(every)
        for as_json in (False, True):
            found = [cheat for cheat in every if cheat.as_json == as_json]
            scored = ranked(card, honest, found, label, as_json=as_json)
            good = [s.total for s in scored[: len(honest)] if not s.reason.startswith("gate:")]
            assert len(good) >= 0.75 * len(honest), [s.reason for s in scored[: len(honest)]]
            pairs = list(zip(found, scored[len(honest) :], strict=True))
            won = [(c.name, c.text, s.parts) for c, s in pairs if s.accepted or s.total >= min(good)]
            assert not won, (card.name, label)


def demo_tasks() -> list[Task]:
    streams = [load_stream(Path(str(files("synlearner.demo") / name))) for name in ("demo.yaml", "paper.yaml")]
    return [task for stream in streams for task in stream.tasks]


@pytest.mark.parametrize("task", demo_tasks(), ids=lambda task: task.card.name)
def test_every_cheat_ranks_below_every_honest_row_of_the_built_in_cards(task: Task) -> None:
    card = task.card
    rows = task.real_train.rows if task.real_train else card.seeds[1::2]
    if not task.real_train:  # half of the seeds stand for held-out rows
        kept = [row for i, row in enumerate(card.seeds) if not i % 2 or row not in rows]
        missing = [label for label in card.labels if all(row["label"] != label for row in kept)]
        kept += [row for row in card.seeds if row.get("label") in missing]
        card, rows = card.model_copy(update={"seeds": kept}), [row for row in rows if row not in kept]
    check(card, rows)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_has_thirty_cheats(kind: str) -> None:
    card = checked(KINDS[kind])
    assert len(cheats(card, card.seeds, prompt_of(card, next(iter(card.labels), "")))) >= 30


def test_every_cheat_ranks_below_every_honest_row_of_real_data(shared: Path) -> None:
    for name in ("public8.yaml", "mixed.yaml"):
        for task in load_stream(shared / "streams" / name).tasks:
            assert task.real_train
            check(task.card, task.real_train.rows)
