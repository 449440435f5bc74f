"""Laws of the choice of a data set: nothing is lost, nothing stands twice, nothing leaks, and chance has no part."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from pieces import checked, unit_rows
from worlds import TOPICS, card

from synlearner.agent.cards import Row
from synlearner.agent.config import DeliverySettings
from synlearner.agent.delivery import choose_dataset
from synlearner.agent.overlap import leaked, near_copies, shingles
from synlearner.agent.parsing import normal
from synlearner.agent.scoring import PoolSample

WORDS = ["cat", "dog", "the", "a", "rain", "Rain!", "sat", "on", "my", "mat", "été"]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)
shares = st.none() | st.floats(0.3, 1)
rules = st.builds(DeliverySettings, near_meaning=shares, near_wording=shares, leak_words=st.integers(3, 6))
sample = st.tuples(st.sampled_from(list(TOPICS)), texts, st.floats(0, 1), st.integers(0, 5))


@st.composite
def pools(draw: st.DrawFn) -> tuple[list[PoolSample], np.ndarray]:
    """Samples, some of them of equal wording, meaning or both."""
    drawn = draw(st.lists(sample, max_size=20))
    vectors = unit_rows(6, 8)[[meaning for *_, meaning in drawn]]
    pool = [
        PoolSample(10 * i, label, "", {"text": text}, worth, "", 0) for i, (label, text, worth, _) in enumerate(drawn)
    ]
    return pool, vectors


@given(pools(), rules, st.lists(texts, max_size=4), st.integers(1, 12))
def test_every_accepted_sample_is_delivered_or_left_out_for_one_reason(
    found: tuple[list[PoolSample], np.ndarray], rule: DeliverySettings, real: list[str], wanted: int
) -> None:
    pool, vectors = found
    of = checked(card(samples=wanted))
    leaks = leaked(of, [s.row for s in pool], [{"text": text} for text in real], rule)
    chosen, left_out = choose_dataset(of, pool, vectors, leaks, rule)
    assert len(chosen) + left_out.total() == len(pool)
    assert all(count >= 0 for count in left_out.values())
    assert left_out["test"] == len(leaks)
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= wanted
    assert leaks.isdisjoint(chosen)
    assert len(chosen) == min(wanted, len(pool) - sum(left_out[r] for r in ("test", "near_copy", "near_duplicate")))
    assert choose_dataset(of, pool, vectors, leaks, rule) == (chosen, left_out)
    for i in chosen:
        for j in chosen:
            if i < j and pool[i].label == pool[j].label:
                same = [normal(pool[k].row["text"]) for k in (i, j)]
                assert rule.near_wording is None or jaccard(*same) < rule.near_wording
                assert rule.near_meaning is None or float(vectors[i] @ vectors[j]) < rule.near_meaning


@given(pools(), rules)
def test_labels_get_equal_shares_as_far_as_they_can_fill_them(
    found: tuple[list[PoolSample], np.ndarray], rule: DeliverySettings
) -> None:
    pool, vectors = found
    of = checked(card(samples=8))
    chosen, _ = choose_dataset(of, pool, vectors, set(), rule)
    counts = Counter(pool[i].label for i in chosen)
    least, most = sorted(counts[label] for label in TOPICS)
    if most - least > 1:  # then the other label has no more to give
        scarce = min(TOPICS, key=lambda label: counts[label])
        alone = [s for s in pool if s.label == scarce]
        places = [i for i, s in enumerate(pool) if s.label == scarce]
        assert len(choose_dataset(of, alone, vectors[places], set(), rule)[0]) == least


@given(st.lists(texts, max_size=8), st.lists(texts, max_size=8), st.floats(0.05, 1))
def test_near_copies_are_those_that_counting_finds(mine: list[str], others: list[str], least: float) -> None:
    found = set(near_copies(mine, others, least))
    assert found == {(i, j) for i, a in enumerate(mine) for j, b in enumerate(others) if jaccard(a, b) >= least}


@given(st.lists(texts, max_size=6), st.lists(texts, max_size=6), rules)
def test_more_real_data_never_lets_more_through(mine: list[str], real: list[str], rule: DeliverySettings) -> None:
    of = checked(card())
    rows: list[Row] = [{"text": text} for text in mine]
    known: list[Row] = [{"text": text} for text in real]
    whole = leaked(of, rows, known, rule)
    assert whole == {i for row in known for i in leaked(of, rows, [row], rule)}
    assert leaked(of, rows, rows, rule) == set(range(len(rows)))


def jaccard(one: str, other: str) -> float:
    """Return the index by its definition."""
    a, b = set(shingles(one)), set(shingles(other))
    return len(a & b) / len(a | b)
