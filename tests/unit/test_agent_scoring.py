"""Feedback on a round: cheating samples rank below honest ones, and a sample's parts are its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pieces import EMBEDDER, KINDS, checked, planned, pooled, vectors_of, written
from worlds import card, rows

from synlearner.agent.cards import Card
from synlearner.agent.config import RewardSettings
from synlearner.agent.features import Matrix
from synlearner.agent.frames import Ask, write_sample
from synlearner.agent.judge import make_judge
from synlearner.agent.planning import PLAIN
from synlearner.agent.scoring import PoolSample, RoundScores, Utility, _group_totals, score_round
from synlearner.agent.strategies import write
from synlearner.events.types import PlannedPrompt, SampleGenerated

TOPICS = checked(card(seeds=rows(8)))


def score(
    of: Card,
    prompts: list[PlannedPrompt],
    samples: list[SampleGenerated],
    pool: tuple[PoolSample, ...] = (),
    settings: RewardSettings | None = None,
    utility: Utility | None = None,
) -> RoundScores:
    return score_round(
        of,
        prompts,
        list(enumerate(samples, start=10)),
        pool,
        vectors_of(of, [sample.row for sample in pool]),
        judge=make_judge(of, vectors_of(of, of.seeds)),
        embedder=EMBEDDER,
        settings=settings or RewardSettings(),
        utility=utility,
    )


# ---- cheating ------------------------------------------------------------------------------------------------

REMARKS = {
    "name": "remarks",
    "kind": "generation",
    "description": "A short remark about animals at home.",
    "fields": {"text": {"words": [3, 14]}},
    "seeds": [{"text": row["text"]} for row in rows(8) if row["label"] == "pets"],
}
ALL_KINDS = KINDS | {"generation of one field": REMARKS}

PETS = ["a dog and a cat on the roof", "my cat likes your dog", "the dog talked to my cat"]
HONEST: dict[str, list[dict[str, str]]] = {
    "classification": [{"text": text} for text in PETS],
    "pair_classification": [
        {"text": "A man plays the drums in a band.", "text_b": "Somebody makes a lot of noise."},
        {"text": "Three horses run over the hill.", "text_b": "Animals are moving outside."},
        {"text": "A woman cooks soup for her friends.", "text_b": "Somebody makes food."},
    ],
    "generation": [
        {"question": "Ben has 5 pears and eats 2 of them. How many has he?", "answer": "5 - 2 = 3 pears.\n#### 3"},
        {"question": "A train holds 30 and 9 more get on. How many is that?", "answer": "30 + 9 = 39 people."},
        {"question": "Eva swims 3 miles on every day of a week. How far?", "answer": "3 * 7 = 21 miles."},
    ],
    "generation of one field": [{"text": text} for text in PETS],
}
"""Samples of each kind that somebody might honestly have written."""

CHEATS = ("nothing", "the prompt", "the labels", "one word", "a good one again", "a seed", "cut off", "talk")


def prompt_of(of: Card) -> PlannedPrompt:
    label = next(iter(of.labels), "")
    text = write(PLAIN, Ask(of, label, of.seeds[:1], [], ["", ""])).text
    return planned(label, text=text)


def cheats_of(kind: str) -> list[str]:
    """Return the cheats that a card of this kind allows: without labels there are none to name."""
    return [how for how in CHEATS if how != "the labels" or "labels" in ALL_KINDS[kind]]


def cheat(of: Card, how: str, good: dict[str, str]) -> SampleGenerated:
    """Return a sample that tries to be paid for nothing; *good* is an honest one that was there before it."""
    last = list(good)[-1]
    match how:
        case "nothing":
            return written("")
        case "the prompt":
            return written(prompt_of(of).text)
        case "the labels":
            return written(write_sample(of, good | {last: ", ".join([*of.labels, of.name, of.kind])}))
        case "one word":
            return written(write_sample(of, good | {last: "good " * 12}))
        case "a good one again":
            return written(write_sample(of, good).upper())
        case "a seed":
            return written(write_sample(of, of.seeds[0]))
        case "cut off":
            return written(write_sample(of, good | {last: f"{good[last]} and then the"}), finish="length")
        case _:
            return written(f"Sure! Here is what you asked for: {write_sample(of, good)}")


@pytest.mark.parametrize(("kind", "how"), [(k, h) for k in ALL_KINDS for h in cheats_of(k)])
def test_a_cheating_sample_ranks_below_every_honest_one(kind: str, how: str) -> None:
    of, honest = checked(ALL_KINDS[kind]), HONEST[kind]
    samples = [written(write_sample(of, row)) for row in honest]
    scored = score(of, [prompt_of(of)], [*samples, cheat(of, how, honest[0])]).scored
    assert [s.reason for s in scored[:-1]] == [""] * len(honest)
    assert not scored[-1].accepted, scored[-1]
    assert scored[-1].total < min(s.total for s in scored[:-1])


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_a_group_of_gated_samples_earns_nothing_for_any_of_them(kind: str) -> None:
    of, honest = checked(ALL_KINDS[kind]), HONEST[kind]
    hows = cheats_of(kind)
    pool = (PoolSample(1, prompt_of(of).label, "", honest[0], 0.5, "", 0),)
    scores = score(of, [prompt_of(of)], [cheat(of, how, honest[0]) for how in hows], pool)
    assert [s.accepted for s in scores.scored] == [False] * len(hows)
    assert {s.total for s in scores.scored} == {-1.0}
    assert scores.valid == []


def test_a_copy_within_the_round_is_gated_across_prompts_and_the_first_one_counts() -> None:
    samples = [written("i saw a kitten on the roof"), written("I saw a kitten, on the roof!", prompt=1)]
    scored = score(TOPICS, [planned(), planned()], samples).scored
    assert [s.reason for s in scored] == ["", "gate:copy_of_sample"]


def test_a_copy_of_the_pool_is_gated() -> None:
    pool = (pooled(3, text="i saw a kitten on the roof"),)
    (scored,) = score(TOPICS, [planned()], [written("i saw a kitten on the roof")], pool).scored
    assert scored.reason == "gate:copy_of_sample"


def test_a_gated_text_does_not_take_its_place() -> None:
    """The first of two equal texts was cut off: the second is the first that counts."""
    samples = [written("i saw a kitten on the roof", finish="length"), written("i saw a kitten on the roof")]
    assert [s.reason for s in score(TOPICS, [planned()], samples).scored] == ["gate:cut_off", ""]


# ---- parts, set and totals -----------------------------------------------------------------------------------

TEXTS = ["i saw a kitten on the roof", "rain and snow all day long", "", "my puppy likes the hamster", "Sure! A cat."]
ASKED = [planned("pets"), planned("weather", attributes={"keyword": "snow"})]


def by_text(order: list[tuple[str, int]]) -> dict[tuple[str, int], Any]:
    """Return what was found of each (text, prompt), scored in this order."""
    samples = [written(text, prompt=prompt, index=i) for i, (text, prompt) in enumerate(order)]
    scored = score(TOPICS, ASKED, samples).scored
    return {key: (s.reason, s.fields, s.parts, s.total) for key, s in zip(order, scored, strict=True)}


def test_the_order_of_samples_does_not_change_what_is_found_of_each() -> None:
    order = [(text, prompt) for prompt in (0, 1) for text in TEXTS[:4] if not (prompt and text == TEXTS[0])]
    order = [
        (text, prompt) for text, prompt in order if (text, prompt) != (TEXTS[3], 1) and (text, prompt) != (TEXTS[1], 0)
    ]
    expected = by_text(order)
    found = by_text(order[::-1])
    for key, (reason, fields, parts, total) in expected.items():
        assert found[key][:2] == (reason, fields)
        assert found[key][2] == pytest.approx(parts, abs=2e-6)
        assert found[key][3] == pytest.approx(total, abs=1e-4)


def test_parts_are_recorded_raw_and_gated_samples_have_none() -> None:
    samples = [written(text, index=i) for i, text in enumerate(TEXTS)]
    scored = score(TOPICS, [planned("pets")], samples).scored
    for one in scored:
        assert one.parts.keys() == (set() if one.reason.startswith("gate:") else {"fidelity", "quality", "gain"})
    assert scored[0].parts["quality"] == 1.0
    assert scored[0].fields == {"text": TEXTS[0]}


def test_checked_attributes_are_a_part_of_their_prompt_alone() -> None:
    samples = [written(TEXTS[0]), written(TEXTS[1], prompt=1)]
    plain, with_keyword = score(TOPICS, ASKED, samples).scored
    assert "attributes" not in plain.parts
    assert with_keyword.parts["attributes"] == 1.0


def test_a_gated_sample_ranks_below_every_other_of_its_group() -> None:
    samples = [written(text, index=i) for i, text in enumerate(TEXTS)]
    totals = [(s.total, s.reason) for s in score(TOPICS, [planned("pets")], samples).scored]
    gated = [total for total, reason in totals if reason.startswith("gate:")]
    assert gated
    assert max(gated) < min(total for total, reason in totals if not reason.startswith("gate:"))


def test_a_refused_sample_never_ranks_above_an_accepted_one() -> None:
    """The second is against its label and gains much: its total falls from above to that of the worst accepted one."""
    samples = [(10 + i, written("x")) for i in range(3)]
    parts = [{"fidelity": f, "quality": 1.0, "gain": gain} for f, gain in ((0.1, 0.0), (-0.1, 1.0), (0.2, 0.1))]
    lenient = _group_totals(samples, parts, RewardSettings(min_fidelity=-1))
    assert lenient[1] > lenient[0]
    strict = _group_totals(samples, parts, RewardSettings())
    assert strict[1] == min(strict) == lenient[0]
    assert strict[::2] == lenient[::2]


def test_samples_below_the_least_fidelity_or_quality_are_rejected_with_parts() -> None:
    samples = [written("i saw a kitten on the roof"), written("my cat", index=1)]
    strict = RewardSettings(min_fidelity=1.0, min_quality=0.5)
    scored = score(TOPICS, [planned("pets")], samples, settings=strict).scored
    assert [s.reason for s in scored] == ["fidelity", "quality"]
    assert all(s.parts for s in scored)
    loose = score(TOPICS, [planned("pets")], samples, settings=RewardSettings(min_fidelity=-1, min_quality=0)).scored
    assert [s.accepted for s in loose] == [True, True]


def test_a_sample_is_compared_with_its_own_label_alone() -> None:
    """The pool of the other label may hold the same words: it takes nothing away."""
    sample = [written("i saw a kitten on the roof")]
    alone = score(TOPICS, [planned("pets")], sample).gains
    same, other = (
        score(TOPICS, [planned("pets")], sample, (pooled(3, label, text="i saw a kitten on the floor", worth=1.0),))
        for label in ("pets", "weather")
    )
    assert other.gains == alone
    assert same.gains < alone


def test_what_a_sample_adds_to_rke_is_a_part_where_it_has_weight() -> None:
    """Of two samples the one that the pool holds already takes away, the other adds; gains and what is valid stay."""
    samples = [written("i saw a cat on the roof today"), written("i saw the parrot yesterday", index=1)]
    pool = (pooled(3, text="today a cat sat on our roof", worth=1.0),)
    sure = RewardSettings(min_fidelity=-1, min_quality=0)
    plain = score(TOPICS, [planned("pets")], samples, pool, sure)
    asked = score(TOPICS, [planned("pets")], samples, pool, sure.model_copy(update={"rke": 1.0}))
    assert all("rke" not in s.parts for s in plain.scored)
    same, other = (s.parts["rke"] for s in asked.scored)
    assert same < other
    assert (asked.gains, asked.valid) == (plain.gains, plain.valid)
    assert asked.scored[0].total - asked.scored[1].total < plain.scored[0].total - plain.scored[1].total


def test_what_a_sample_is_worth_to_a_student_is_a_part_where_somebody_tells() -> None:
    """Told are the samples that passed, with the places of the seeds that their prompts showed; its weight is that of the part."""
    samples = [written(text, index=i) for i, text in enumerate(TEXTS[:4])]
    sure, asked = RewardSettings(min_fidelity=-1, min_quality=0), []

    def utility(vectors: Matrix, labels: Sequence[str], shown: Sequence[Sequence[int]]) -> list[float]:
        asked.append((len(vectors), list(labels), [list(mine) for mine in shown]))
        return [float(place) for place in range(len(labels))]

    plain = score(TOPICS, [planned("pets")], samples, settings=sure)
    told, paid = (
        score(TOPICS, [planned("pets")], samples, settings=sure.model_copy(update={"utility": weight}), utility=utility)
        for weight in (0.0, 9.0)
    )
    assert asked[0] == (3, ["pets"] * 3, [planned("pets").exemplars] * 3)
    assert [s.parts.get("utility") for s in told.scored] == [0.0, 1.0, None, 2.0]
    assert [s.total for s in told.scored] == [s.total for s in plain.scored], "without weight it pays nothing"
    assert paid.scored[0].total < paid.scored[1].total < paid.scored[3].total


def test_only_the_newest_of_the_pool_are_compared() -> None:
    near = [pooled(i, text="i saw a kitten on the floor", worth=1.0) for i in range(1)]
    far = [pooled(i + 1, text=f"number {i} of {i * 7919}", worth=0.0) for i in range(64)]
    sample = [written("i saw a kitten on the roof")]
    alone = score(TOPICS, [planned("pets")], sample).gains
    assert score(TOPICS, [planned("pets")], sample, (*near, *far)).gains == pytest.approx(alone, abs=1e-6)
    assert score(TOPICS, [planned("pets")], sample, (*far, *near)).gains < alone


def test_the_set_holds_the_samples_that_passed_with_vectors_and_gains() -> None:
    samples = [written(text, index=i) for i, text in enumerate(TEXTS)]
    scores = score(TOPICS, [planned("pets")], samples)
    assert scores.valid == [10, 11, 13]
    assert np.array_equal(scores.vectors, vectors_of(TOPICS, [{"text": TEXTS[i]} for i in (0, 1, 3)]))
    assert len(scores.gains) == 3
    assert 1 <= scores.diversity["rke"] <= scores.diversity["vendi"] <= 3
    assert scores.diversity["distinct_2"] == 1.0


def test_a_round_of_rubbish_has_scores_too() -> None:
    scores = score(TOPICS, [planned()], [written(""), written("x", index=1)])
    assert (scores.valid, scores.gains, scores.vectors.shape) == ([], [], (0, 256))
    assert scores.diversity == {"vendi": 0.0, "rke": 0.0, "distinct_2": 0.0}
    assert [s.total for s in scores.scored] == [-1.0, -1.0]


def test_an_engine_that_failed_is_a_reason_of_its_own() -> None:
    (scored,) = score(TOPICS, [planned()], [written("out of memory", finish="error")]).scored
    assert (scored.accepted, scored.reason) == (False, "gate:engine")
