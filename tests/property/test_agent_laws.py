"""Laws of the agent: of any text, any group, any card, and of a recorded history."""

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pieces import KINDS, PAIR, STORY, checked, unit_rows
from worlds import QUICK, card, scripted, write_stream

from strategies import json_values
from synlearner.agent import Agent
from synlearner.agent.cards import load_stream
from synlearner.agent.config import RewardSettings
from synlearner.agent.diversity import TOP_GAIN, greedy_choice, leave_one_out_gains, rke, vendi
from synlearner.agent.frames import headings, write_sample
from synlearner.agent.parsing import gate, normal, parse, words_fit
from synlearner.agent.rewards import GATED, attribute_share, quality, totals
from synlearner.agent.state import RunState, apply
from synlearner.errors import ConfigError
from synlearner.events.home import Home
from synlearner.events.types import Event, FeedbackGiven
from synlearner.memory import HashEmbedder

CARDS = [checked(tree) for tree in KINDS.values()]
any_card = st.sampled_from(CARDS)
SCRAPS = [
    "Premise:",
    "Hypothesis:",
    "\n",
    "**",
    '"',
    " ",
    "pets",
    "Sure!",
    "word",
    "####",
    "\u2028",
    "'",
    "Worked solution:",
]
texts = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from([*SCRAPS, *(row["text"] for row in PAIR["seeds"])]), max_size=12).map("".join),
    st.lists(st.sampled_from(["cat", "dog", "rain", "a", "b"]), max_size=40).map(" ".join),
)
shares = st.floats(0, 1)


# ---- texts ---------------------------------------------------------------------------------------------------


@given(any_card, texts, texts)
def test_any_text_is_read_or_not_and_never_raises(of: Any, text: str, prefix: str) -> None:
    row = parse(of, text, prefix)
    assert row == {} or row.keys() == of.fields.keys()
    assert all(value.strip() == value != "" for value in row.values())


@given(any_card, texts, st.sampled_from(["stop", "length", "error", "?"]), st.data())
def test_the_gate_never_raises_and_what_passes_can_be_scored(
    of: Any, text: str, finish: str, data: st.DataObject
) -> None:
    row = parse(of, text, "")
    label = data.draw(st.sampled_from(list(of.labels) or [""]))
    reason = gate(of, row, finish, label, {})
    assert reason == "" or reason.startswith("gate:")
    if reason:
        return
    assert normal(" ".join(row.values()))
    assert 0 <= quality(of, row) <= 1
    for attributes in ({"keyword": "cat"}, {"length": "7"}, {"keyword": text or "x", "length": "1"}):
        share = attribute_share(attributes, of, row)
        assert share is not None
        assert 0 <= share <= 1


@given(any_card, st.data())
def test_a_seed_never_passes_in_whatever_dress(of: Any, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(of.seeds))
    dress = data.draw(
        st.sampled_from([str.upper, str.title, lambda text: text.replace(" ", " , "), lambda text: f"{text}!?"])
    )
    row = {field: dress(seed[field]) for field in of.fields}
    assert gate(of, row, "stop", seed.get("label", ""), {}).startswith("gate:")


WORDS = st.lists(st.sampled_from(["cat", "dog's", "the", "end.", "Why?", "12", "été"]), min_size=1, max_size=10).map(
    " ".join
)


@given(any_card, st.data())
def test_what_is_written_can_be_read_back(of: Any, data: st.DataObject) -> None:
    row = {field: data.draw(WORDS) for field in of.fields}
    assert parse(of, write_sample(of, row), "") == row
    first = next(iter(headings(of).values()))
    rest = write_sample(of, row).removeprefix(f"{first}:") if len(of.fields) > 1 else write_sample(of, row)
    assert parse(of, rest, f"something\n{first}:") == row


@given(texts, st.integers(1, 30), st.integers(0, 30))
def test_the_window_is_full_inside_and_empty_far_outside(text: str, low: int, more: int) -> None:
    count = len(text.split())
    share = words_fit(text, (low, low + more))
    assert 0 <= share <= 1
    assert (share == 1) is (low <= count <= low + more)


# ---- groups --------------------------------------------------------------------------------------------------

parts = st.fixed_dictionaries({"fidelity": st.floats(-1, 1), "quality": shares, "gain": shares})
groups = st.lists(st.none() | parts, max_size=8)
weights = st.builds(
    RewardSettings, fidelity=st.floats(0, 3), quality=st.floats(0, 3), gain=st.floats(0, 3), floor=st.floats(0.01, 1)
)


@given(groups, weights)
def test_totals_are_centred_and_gated_samples_come_last(group: list[Any], weigh: RewardSettings) -> None:
    found = totals(group, weigh)
    honest = [total for total, part in zip(found, group, strict=True) if part is not None]
    gated = [total for total, part in zip(found, group, strict=True) if part is None]
    assert len(found) == len(group)
    assert abs(sum(honest)) < 1e-9 * max(1, len(honest))
    if honest and gated:
        assert max(gated) == pytest.approx(min(honest) - GATED)


@given(groups, weights, st.data())
def test_totals_belong_to_the_samples_and_not_to_their_places(
    group: list[Any], weigh: RewardSettings, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(group))))
    found, moved = totals(group, weigh), totals([group[i] for i in order], weigh)
    assert moved == pytest.approx([found[i] for i in order], abs=1e-9)


@given(st.lists(parts, min_size=2, max_size=6), weights, st.data())
def test_a_better_part_is_never_worse_for_the_sample(
    group: list[Any], weigh: RewardSettings, data: st.DataObject
) -> None:
    """In one part, everything else equal: the order of the totals is the order of the part."""
    name = data.draw(st.sampled_from(["fidelity", "quality", "gain"]))
    same = [group[0] | {name: part[name]} for part in group]
    found = totals(same, weigh)
    for one, other in zip(range(len(same)), range(1, len(same)), strict=False):
        if same[one][name] > same[other][name]:
            assert found[one] >= found[other] - 1e-12


# ---- sets ----------------------------------------------------------------------------------------------------


@st.composite
def sets(draw: st.DrawFn) -> tuple[Any, Any]:
    count = draw(st.integers(1, 10))
    vectors = unit_rows(count, draw(st.integers(2, 40)), draw(st.integers(0, 10**6)))
    copies = draw(st.lists(st.integers(0, count - 1), min_size=count, max_size=count))
    quality_of = draw(st.lists(shares, min_size=count, max_size=count))
    return vectors[copies] if draw(st.booleans()) else vectors, np.array(quality_of)


@given(sets())
def test_gains_are_never_negative_nor_above_the_top(found: tuple[Any, Any]) -> None:
    vectors, weight = found
    gains = leave_one_out_gains(vectors, weight)
    assert gains.min() >= 0
    assert gains.max() <= TOP_GAIN + 1e-9
    assert gains[weight == 0] == pytest.approx(0, abs=1e-9)
    order = np.argsort(vectors[:, 0])
    assert leave_one_out_gains(vectors[order], weight[order]) == pytest.approx(gains[order], abs=1e-7)


@given(sets())
def test_effective_numbers_lie_between_one_and_all(found: tuple[Any, Any]) -> None:
    vectors, weight = found
    assert 1 - 1e-5 <= rke(vectors) <= vendi(vectors) + 1e-5 <= len(vectors) + 2e-5
    assert sorted(greedy_choice(vectors, weight, len(vectors))) == list(range(len(vectors)))


# ---- cards ---------------------------------------------------------------------------------------------------


@given(st.sampled_from([card(), PAIR, STORY]), st.data())
@settings(max_examples=150)
def test_a_card_is_taken_or_refused_and_nothing_else_is_raised(tree: dict[str, Any], data: st.DataObject) -> None:
    broken = dict(tree)
    for _ in range(data.draw(st.integers(1, 2))):
        key = data.draw(st.sampled_from([*tree, "test", "attributes", "label_attributes"]))
        broken[key] = data.draw(json_values | st.lists(st.dictionaries(st.text(max_size=5), json_values), max_size=2))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stream.yaml"
        file.write_text(json.dumps({"tasks": [broken]}), encoding="utf-8")
        try:
            said = f"{file}: {load_stream(file).digest()}"
        except ConfigError as error:
            said = str(error)
        assert said.startswith(f"{file}: ")
        assert "\n" not in said


# ---- a recorded history --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """Two runs in one home, with feedback between them."""
    folder = tmp_path_factory.mktemp("history")
    with Agent.open(folder / "home", engine=scripted(), embedder=HashEmbedder()) as agent:
        agent.run(write_stream(folder / "a", "one", "two"), settings=QUICK)
        agent.feedback("task:one", 0.5)
        agent.run(write_stream(folder / "b", "three"), settings=QUICK, seed=3)
    with Home.open(folder / "home") as home:
        return list(home.log.read())


def folded(events: list[Event], state: RunState | None = None) -> RunState:
    state = state or RunState()
    for event in events:
        state = apply(state, event)
    return state


@given(st.data())
def test_a_prefix_and_the_rest_fold_to_the_whole(history: list[Event], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(history)))
    assert folded(history[cut:], folded(history[:cut])) == folded(history)


def test_applying_an_event_leaves_the_old_state_as_it_was(history: list[Event]) -> None:
    state = RunState()
    for event in history:
        before = repr(state)
        after = apply(state, event)
        assert repr(state) == before
        assert after.seq == event.seq
        state = after


@given(st.data())
def test_events_that_are_not_of_the_run_only_move_the_place_in_the_log(
    history: list[Event], data: st.DataObject
) -> None:
    state = folded(history[: data.draw(st.integers(0, len(history)))])
    fact = FeedbackGiven(target="task:one", score=1.0, text="", source="user")
    strange = Event(
        seq=state.seq + 1, id="x", kind=fact.kind, version=1, run_id="", task="", causes=(), fact=fact, observed={}, hash=""
    )  # fmt: skip
    assert repr(apply(state, strange)).replace(f"seq={state.seq + 1}", f"seq={state.seq}", 1) == repr(state)


def test_the_state_is_bounded_by_one_task(history: list[Event]) -> None:
    """Of finished tasks summaries stay: the last state holds none of the samples."""
    last = folded(history)
    assert last.task is None
    assert len(last.done) == 1
    most = max(len(repr(folded(history[:cut]))) for cut in range(0, len(history), 40))
    assert len(repr(last)) < most / 4
