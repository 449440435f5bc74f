"""The probe of pairs' second fields: it never sees the first, and is told by nothing that it was trained on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pieces import EMBEDDER, PAIR, checked, planned, unit_rows, vectors_of, written
from worlds import card

from synlearner.agent.cards import Row
from synlearner.agent.config import RewardSettings
from synlearner.agent.figures import figures
from synlearner.agent.frames import write_sample
from synlearner.agent.judge import make_judge
from synlearner.agent.probe import SecondFieldProbe, has_second, second_field, told_by_second
from synlearner.agent.scoring import RoundScores, score_round

OF = checked(PAIR)
PREMISES = ["A man plays the guitar.", "Two dogs run over a field.", "A woman reads in the park.", "The shop closed at noon.",
            "Nine boats lie in the harbour.", "Her brother paints the door."]  # fmt: skip
ECHOES = {"entailment": "Somebody or something is around here.", "contradiction": "No, that never was so at all."}
"""Second fields that give the label away."""


def pairs(of_label: dict[str, str], count: int = 12) -> list[Row]:
    """Return *count* pairs for each label, whose second fields are nearly the same for all of a label."""
    return [
        {"text": PREMISES[i % 6], "text_b": f"{said[:-1]} in {1900 + i}.", "label": label}
        for i in range(count)
        for label, said in of_label.items()
    ]


GIVEN_AWAY = pairs(ECHOES)
SAME = pairs(dict.fromkeys(ECHOES, "People say that it was so"))
"""Every second field stands once for each label."""


def told(rows: list[Row]) -> dict[str, float]:
    return told_by_second(OF, vectors_of(OF, rows), [row["label"] for row in rows])


def test_the_second_field_is_the_second_half_at_unit_length() -> None:
    """Hand-worked: fields (1, 0) and (0, 1), side by side and divided by sqrt 2."""
    row = np.array([[1.0, 0.0, 0.0, 1.0]], dtype=np.float32) / np.float32(np.sqrt(2))
    assert second_field(row) == pytest.approx(np.array([[0.0, 1.0]]))
    assert second_field(vectors_of(OF, SAME)) == pytest.approx(
        EMBEDDER.embed([row["text_b"] for row in SAME]), abs=1e-6
    )


def test_a_set_that_gives_its_labels_away_is_told_and_one_that_does_not_is_not() -> None:
    assert told(GIVEN_AWAY) == {"second_field_accuracy": 1.0, "second_field_guess": 0.5}
    assert told(SAME)["second_field_accuracy"] <= 0.5
    assert told_by_second(OF, vectors_of(OF, []), []) == {}


def test_the_guess_is_the_share_of_the_commonest_label() -> None:
    lopsided = [row for i, row in enumerate(SAME) if row["label"] == "entailment" or i % 4 == 1]
    assert told(lopsided)["second_field_guess"] == pytest.approx(12 / 18)


def test_it_never_sees_the_first_field() -> None:
    other = [row | {"text": f"Nothing of the kind, number {i}."} for i, row in enumerate(GIVEN_AWAY)]
    assert told(other) == told(GIVEN_AWAY)
    labels = [row["label"] for row in GIVEN_AWAY]
    probe = SecondFieldProbe(OF, vectors_of(OF, GIVEN_AWAY), labels)
    said = [probe.relation(vectors_of(OF, rows), labels) for rows in (GIVEN_AWAY, other)]
    assert said[0] == pytest.approx(said[1], abs=1e-6)


def test_what_settles_the_label_has_no_relation_and_what_speaks_against_it_is_no_better_than_silence() -> None:
    labels = [row["label"] for row in GIVEN_AWAY]
    others = [next(name for name in OF.labels if name != label) for label in labels]
    probe = SecondFieldProbe(OF, vectors_of(OF, GIVEN_AWAY), labels)
    vectors = vectors_of(OF, GIVEN_AWAY)
    assert probe.relation(vectors, labels).max() < 0.3
    assert probe.relation(vectors, others) == pytest.approx(np.ones(len(labels)))
    assert probe.relation(vectors[:0], []).shape == (0,)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 12))
def test_relation_is_a_share(seed: int, count: int) -> None:
    known, asked = unit_rows(8, 16, seed), unit_rows(count, 16, seed + 1)
    relation = SecondFieldProbe(OF, known, list(OF.labels) * 4).relation(asked, ["entailment"] * count)
    assert relation.min() >= 0
    assert relation.max() <= 1


def test_only_pairs_have_a_second_field_to_probe() -> None:
    assert has_second(OF)
    assert not has_second(checked(card()))


def test_the_data_card_of_pairs_tells_it_and_no_other() -> None:
    found = figures(OF, GIVEN_AWAY, [{}] * len(GIVEN_AWAY), [], vectors_of(OF, GIVEN_AWAY))
    assert found["label told from 'text_b' alone, accuracy over five folds"] == 1.0
    assert found["the same by always naming the commonest label"] == 0.5
    topics = checked(card())
    others = figures(topics, topics.seeds, [{}] * len(topics.seeds), [], vectors_of(topics, topics.seeds))
    assert not [name for name in others if "alone" in name]
    assert not [name for name in figures(OF, GIVEN_AWAY, [], [], None) if "alone" in name], (
        "without vectors nothing is told"
    )


# ---- as a part of the reward ---------------------------------------------------------------------------------


def scored(weight: float, *, probe: bool = True) -> RoundScores:
    """Score two samples of the same prompt: the first gives its label away."""
    honest = [
        {"text": "Three horses run over the hill.", "text_b": ECHOES["entailment"]},
        {"text": "A woman cooks soup for her friends.", "text_b": "She makes food."},
    ]
    known = vectors_of(OF, GIVEN_AWAY)
    return score_round(
        OF,
        [planned("entailment", samples=2)],
        [(10 + i, written(write_sample(OF, row), index=i)) for i, row in enumerate(honest)],
        (),
        vectors_of(OF, []),
        judge=make_judge(OF, vectors_of(OF, OF.seeds)),
        embedder=EMBEDDER,
        settings=RewardSettings(relation=weight, min_fidelity=-1, min_quality=0),
        probe=SecondFieldProbe(OF, known, [row["label"] for row in GIVEN_AWAY]) if probe else None,
    )


def test_the_part_is_recorded_raw_and_weighs_what_it_is_given() -> None:
    first, second = scored(1.0).scored
    assert first.parts["relation"] < 0.5 < second.parts["relation"]
    without = scored(0.0, probe=False).scored
    assert [s.parts | {"relation": 0} for s in without] == [s.parts | {"relation": 0} for s in (first, second)]
    values = np.array([first.parts["relation"], second.parts["relation"]])
    spread = max(float(values.std()), RewardSettings().floor)
    moved = [one.total - other.total for one, other in zip((first, second), without, strict=True)]
    assert moved == pytest.approx(((values - values.mean()) / spread).tolist(), abs=2e-6)
