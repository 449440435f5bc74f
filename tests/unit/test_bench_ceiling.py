"""The ceiling of writers, on real rows made by hand: who is drawn, who is chosen, what students come to."""

from pathlib import Path

import numpy as np
import pytest
from pieces import checked
from worlds import card

from benchmarks.bench_ceiling import Real, against, ceiling, delivered, draw
from synlearner.agent.students import LabelledSet

LABELS = ["coins", "stars"]


def real(*, right: int = 12) -> Real:
    """Return rows of two labels on two axes; of each label's 12 the first *right* are accepted, the others lie the wrong way."""
    rng = np.random.default_rng(0)
    rows, labels, vectors, accepted = [], [], [], []
    for place, label in enumerate(LABELS):
        for i in range(12):
            good = i < right
            axis = place if good else 1 - place
            vector = 0.3 * rng.normal(size=8)
            vector[axis] += 1
            rows.append({"text": f"{label} {'good' if good else 'bad'} {chr(97 + i) * 4} {i}"})
            labels.append(label)
            vectors.append(vector / np.linalg.norm(vector))
            accepted.append(good)
    matrix = np.array(vectors, dtype=np.float32)
    test = LabelledSet([{"text": label} for label in LABELS], LABELS, np.eye(2, 8, dtype=np.float32))
    of = checked(card(labels=dict.fromkeys(LABELS, ""), seeds=[{"text": label, "label": label} for label in LABELS]))
    return Real(of, rows, labels, matrix, [0.9] * len(rows), accepted, test, judge=1.0)


def test_rows_are_drawn_with_the_labels_in_turn() -> None:
    of = real()
    places = draw(of, range(24), 5)
    assert [of.labels[i] for i in places] == ["coins", "stars", "coins", "stars", "coins"]
    assert places == [0, 12, 1, 13, 2]
    assert draw(of, [3, 2], 5) == [3, 2], "no more than there are"


def test_what_the_judge_refuses_is_never_chosen() -> None:
    """Half of the rows lie the wrong way: a student of raw ones knows little, one of chosen ones all."""
    found = ceiling(real(right=6), 8, repeats=6)
    assert found["chosen_embedding"] == 1.0
    assert found["raw_embedding"] < 1.0
    assert set(found) == {f"{name}_{family}" for name in ("raw", "chosen") for family in ("embedding", "tfidf")}


def test_what_is_left_is_the_ceiling_less_what_was_delivered() -> None:
    sets = [(8, {"embedding": 0.5}), (4, {"embedding": 0.7}), (0, {})]
    found = against(real(), sets, repeats=2)
    assert found["delivered_embedding"] == pytest.approx(0.6)
    assert found["left_embedding"] == pytest.approx(0.4)


def test_homes_tell_what_was_delivered(tmp_path: Path) -> None:
    from grids import ran, small_grid  # noqa: PLC0415

    ran(small_grid(tmp_path, "plain"), tmp_path / "out")
    found = delivered([tmp_path / "out" / "cells" / "small.plain.o0.s0" / "home"])
    assert list(found) == ["one", "two"]
    ((count, figures),) = found["one"]
    assert count > 0
    assert set(figures) == {"embedding", "tfidf"}
