"""Laws of the memory, on random histories."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synlearner.events.types import (
    AnyFact,
    Credit,
    Event,
    ExperienceCredited,
    ExperienceItem,
    ExperienceLearned,
    ExperienceMerged,
    ExperienceRecalled,
    ExperienceReembedded,
    ExperienceRetired,
    ExperienceSplit,
    FeedbackGiven,
)
from synlearner.memory import ExactIndex, HashEmbedder, Memory, MemoryState, RecallSettings, credit, fold, recall
from synlearner.memory.embedders import Matrix
from synlearner.memory.index import exact_cosines
from synlearner.memory.recall import Option
from synlearner.memory.snapshot import dump, load

NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
NUMBERS = st.floats(-2, 2)


@st.composite
def items(draw: st.DrawFn) -> ExperienceItem:
    return ExperienceItem(
        id=draw(NAMES), type="lesson", title="", when="", content=draw(st.text(max_size=3)), polarity=1,
        scope=draw(st.sampled_from(["", "s"])), metadata={"n": draw(NUMBERS)}, evidence=[],
    )  # fmt: skip


FACTS: st.SearchStrategy[AnyFact] = st.one_of(
    st.builds(
        ExperienceLearned,
        item=items(),
        embedder=st.just("hash-4"),
        vector=st.sampled_from(["0" * 64, "1" * 64, "2" * 64]),
        supersedes=st.one_of(st.just(""), NAMES),
        parents=st.lists(NAMES, max_size=2),
    ),
    st.builds(
        ExperienceCredited,
        family=st.sampled_from(["mr", "ag", "feedback:user"]),
        outcome=NUMBERS,
        baseline=NUMBERS,
        noise=st.sampled_from([0.0, 0.0, 0.05]),
        arm=st.sampled_from(["", "memory", "control"]),
        used=st.lists(NAMES, max_size=3, unique=True),
        credits=st.lists(
            st.builds(Credit, item=NAMES, mean=NUMBERS, variance=st.floats(1e-6, 1), depth=st.integers(0, 2)), max_size=2
        ),
    ),
    st.builds(ExperienceRetired, item=NAMES, reason=st.text(max_size=2)),
    st.builds(
        ExperienceRecalled, round=st.just(0), query=st.just("q"), query_vector=st.just("0" * 64), scope=st.just(""),
        filters=st.just({}), k=st.just(4), settings=st.just({}), control=st.just(0.0),
        candidates=st.just([]), chosen=st.lists(NAMES, max_size=2), seed=st.just(0),
    ),
    st.builds(
        ExperienceMerged, item=NAMES, into=NAMES, similarity=st.just(1.0), mean=NUMBERS, variance=st.floats(1e-6, 1)
    ),
    st.builds(ExperienceSplit, item=NAMES, out_of=NAMES, mean=NUMBERS, variance=st.floats(1e-6, 1)),
    st.builds(
        ExperienceReembedded,
        embedder=st.sampled_from(["hash-8", "hash-16"]),
        vectors=st.dictionaries(NAMES, st.sampled_from(["3" * 64, "4" * 64]), max_size=5),
        last=st.booleans(),
    ),
    st.builds(FeedbackGiven, target=NAMES, score=NUMBERS, text=st.just(""), source=st.just("u")),
)  # fmt: skip


def events_of(facts: list[AnyFact]) -> list[Event]:
    return [
        Event(seq=seq, id=str(seq), kind=fact.kind, version=1, run_id="", task="", causes=(), fact=fact, observed={}, hash="")
        for seq, fact in enumerate(facts, start=1)
    ]  # fmt: skip


@given(st.lists(FACTS, max_size=25), st.data())
def test_a_prefix_and_the_rest_fold_to_the_whole(facts: list[AnyFact], data: st.DataObject) -> None:
    events = events_of(facts)
    cut = data.draw(st.integers(0, len(events)))
    state = fold(events[:cut])
    for event in events[cut:]:
        state.apply(event)
    whole = fold(events)
    assert state.digest() == whole.digest()
    assert (state.seq, state.vectors, state.owners) == (whole.seq, whole.vectors, whole.owners)


@given(st.lists(FACTS, max_size=25), st.data())
def test_a_state_that_was_kept_goes_on_as_if_nothing_had_been(facts: list[AnyFact], data: st.DataObject) -> None:
    events = events_of(facts)
    cut = data.draw(st.integers(0, len(events)))
    state = load(dump(fold(events[:cut])))
    assert state.dirty == set(state.records)
    for event in events[cut:]:
        state.apply(event)
    whole = fold(events)
    assert state.digest() == whole.digest()
    assert vars(state) | {"dirty": set()} == vars(whole) | {"dirty": set()}


@given(st.lists(FACTS, max_size=40))
def test_whatever_happened_every_item_lives_on_in_one_that_nothing_superseded(facts: list[AnyFact]) -> None:
    state = fold(events_of(facts))
    for item, record in state.records.items():
        newest = state.newest(item)
        assert (newest.superseded_by, newest.merged_into) == ("", "")
        assert record.vector in state.owners
        assert item in state.owners[record.vector]


@given(st.lists(FACTS, max_size=25), st.floats(-1, 1), st.sampled_from(["mr", "new", "feedback:user"]))
def test_credit_is_joint_and_never_makes_anybody_less_certain(
    facts: list[AnyFact], outcome: float, family: str
) -> None:
    state = fold(events_of(facts))
    used = sorted(state.records)[:4]
    fact = credit(outcome, family, used, state)
    for order in itertools.permutations(used):
        assert credit(outcome, family, order, state) == fact
    moves = []
    for entry in fact.credits:
        before = state.record(entry.item)
        assert 0 < entry.variance <= before.variance
        moves.append(entry.mean - before.mean)


@given(
    st.lists(st.tuples(st.integers(0, 40), NUMBERS, st.floats(1e-6, 0.1)), max_size=30), st.integers(0, 5), st.data()
)
def test_recall_chooses_at_most_k_relevant_ones_in_order(
    rows: list[tuple[int, float, float]], k: int, data: st.DataObject
) -> None:
    vectors = HashEmbedder(16).embed([f"text {number}" for number, _, _ in rows] + ["text 7"])
    options = [Option(f"{place:02}", vectors[place], mean, variance) for place, (_, mean, variance) in enumerate(rows)]
    seed = data.draw(st.one_of(st.none(), st.integers(0, 2**53)))
    rules = RecallSettings(gate=data.draw(st.floats(0, 1)))
    found = recall(vectors[-1], options, k=k, seed=seed, settings=rules)
    assert found == recall(vectors[-1], data.draw(st.permutations(options)), k=k, seed=seed, settings=rules)
    assert sum(candidate.chosen for candidate in found) <= k
    assert [(-c.score, c.item) for c in found] == sorted((-c.score, c.item) for c in found)
    for candidate in found:
        assert rules.gate <= candidate.similarity <= 1
        assert 0 <= candidate.score <= 1


@given(st.lists(st.integers(0, 60), min_size=1, max_size=400), st.integers(1, 30), st.integers(0, 60))
def test_the_exact_index_agrees_with_sorting_everything(numbers: list[int], k: int, query: int) -> None:
    rows = TEXTS[numbers]
    index = ExactIndex(rows.shape[1])
    ids = [f"{place:03}" for place in range(len(numbers))]
    index.add(ids, rows)
    cosines = exact_cosines(rows, TEXTS[query])
    expected = sorted(zip(cosines, ids, strict=True), key=lambda pair: (-pair[0], pair[1]))[:k]
    assert index.search(TEXTS[query], k) == [(id_, cosine) for cosine, id_ in expected]


TEXTS: Matrix = HashEmbedder(8).embed([f"text {number}" for number in range(61)])

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 6)),
        st.tuples(st.just("update"), st.integers(0, 6)),
        st.tuples(st.just("delete"), st.integers(0, 6)),
        st.tuples(st.just("feedback"), st.integers(0, 6)),
    ),
    max_size=8,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTIONS)
def test_a_memory_that_is_opened_again_is_the_same(actions: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with Memory.open(home, embedder=HashEmbedder(16), mirror=False) as memory:
            for step, (verb, number) in enumerate(actions):
                _act(memory, verb, number, step)
            digest, answer = memory.digest(), memory.search("lesson 3", k=9, explain=True)
            states = fold(memory._home.log.read())
        assert states.digest() == digest
        with Memory.open(home, write=False) as again:
            assert again.digest() == digest
            assert again.search("lesson 3", k=9, explain=True) == answer


def _act(memory: Memory, verb: str, number: int, step: int) -> None:
    active = [record.item.id for record in memory.state.active()]
    if verb == "add" or not active:
        memory.add(f"lesson {number}", scope="*"[:0])
        return
    item = active[number % len(active)]
    if verb == "update":
        memory.update(item, f"lesson {number} of step {step}")
    elif verb == "delete":
        memory.delete(item)
    else:
        memory.feedback(item, number / 6)


def test_an_empty_history_folds_to_an_empty_memory() -> None:
    """Golden: the digest of nothing is part of the promise that equal histories have equal digests."""
    assert fold([]).digest() == MemoryState().digest()
    assert np.array_equal(TEXTS[0], HashEmbedder(8).embed(["text 0"])[0])
