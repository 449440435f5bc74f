"""What becomes of items: merging and splitting, contradiction, fading, going."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from synlearner.errors import ConfigError
from synlearner.events.types import ExperienceDecayed, ExperienceMerged, ExperienceRetired, TaskFinished
from synlearner.memory import HashEmbedder, Memory, RecallSettings, new_item
from synlearner.memory.life import LifeSettings, duplicates
from synlearner.memory.records import PRIOR_VARIANCE

SLANG = "Ask for short film reviews in casual slang, the way friends talk about a movie."
TWIN = "Ask for short film reviews in casual slang, the way friends talk about a movie!"
DONE = TaskFinished(requested=0, accepted=0, rejected=0, failed=0, delivered=0, tokens=0)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with Memory.open(tmp_path / "home", embedder=HashEmbedder(256), mirror=False) as opened:
        yield opened


def learn(memory: Memory, text: str, **fields: object) -> str:
    return str(memory.add(text, **fields)["results"][0]["id"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (SLANG, TWIN, True),
        ("Use the prompt frame 'dashes' for tasks like it.", "Use the prompt frame 'headed' for tasks like it.", False),
        ("Ask for 3 short sentences about films in one go.", "Ask for 5 short sentences about films in one go.", False),
        ("Do name the label in the prompt you write for it.", "Do not name the label in the prompt you write for it.",
         False),
        ("Bake bread slowly.", "Play chess often.", False),
    ],
)  # fmt: skip
def test_words_decide_whether_near_vectors_say_the_same(one: str, other: str, same: bool) -> None:
    assert duplicates(new_item(one), new_item(other)) is same


@pytest.mark.parametrize(
    "fields", [{"polarity": -1}, {"type": "strategy"}, {"scope": "s"}, {"metadata": {"part": "frame:x"}}]
)
def test_what_differs_in_kind_is_no_duplicate(fields: dict[str, object]) -> None:
    assert not duplicates(new_item(SLANG), new_item(TWIN, **fields))  # type: ignore[arg-type]
    assert duplicates(new_item(SLANG), new_item(TWIN, metadata={"task": "where it is from"}))


def test_tending_merges_a_duplicate_into_the_more_used_one(memory: Memory) -> None:
    first, second = learn(memory, SLANG), learn(memory, TWIN)
    memory.feedback(second, 1.0)
    with_feedback = memory.get(second)
    assert memory.tend()["results"] == [{"id": first, "memory": SLANG, "event": "MERGE"}]
    assert memory.get(first)["status"] == "merged"
    assert [result["id"] for result in memory.search(SLANG)["results"]] == [second]
    assert memory.get(second)["utility"] == pytest.approx(with_feedback["utility"]), "an untried twin brings nothing"
    assert memory.tend()["results"] == []


def test_a_split_restores_the_digest(memory: Memory) -> None:
    first, second = learn(memory, SLANG), learn(memory, TWIN)
    memory.feedback(first, 0.7)
    memory.feedback(second, -0.2)
    before = memory.digest()
    memory.merge(first, second)
    assert memory.digest() != before
    merged = next(item for item in (first, second) if memory.get(item)["status"] == "merged")
    memory.split(merged)
    assert memory.digest() == before


def test_a_split_after_more_credit_keeps_the_credit_and_gives_back_the_rest(memory: Memory) -> None:
    first, second = learn(memory, SLANG), learn(memory, TWIN)
    memory.feedback(first, 1.0)
    memory.merge(first, second)
    stays, gone = (first, second) if memory.get(second)["status"] == "merged" else (second, first)
    memory.feedback(stays, 1.0)
    memory.split(gone)
    alone = memory.get(stays)
    assert alone["utility"] == pytest.approx(2 * 0.0225 / (0.0625 + 2 * 0.0225), abs=1e-6)
    assert alone["uses"] == 2
    with pytest.raises(ConfigError, match="is not merged into another one"):
        memory.split(gone)
    with pytest.raises(ConfigError, match="are one item already: name two"):
        memory.merge(stays, stays)


def test_learning_a_merged_item_again_credits_what_it_lives_on_in(memory: Memory) -> None:
    first, second = learn(memory, SLANG), learn(memory, TWIN)
    memory.merge(first, second)
    merged, stays = (first, second) if memory.get(first)["status"] == "merged" else (second, first)
    assert memory.add(SLANG if merged == first else TWIN)["results"][0]["event"] == "NONE"
    memory.feedback(merged, 1.0)
    assert memory.get(stays)["utility"] > 0


def test_advice_against_what_was_advised_supersedes_it_and_turns_its_gain(memory: Memory) -> None:
    good = learn(memory, "Name the label.", type="strategy")
    memory.feedback(good, -1.0)
    done = memory.add("Name the label.", type="pitfall", polarity=-1)["results"][0]
    assert done["supersedes"] == good
    assert memory.get(good)["status"] == "superseded"
    assert memory.get(done["id"])["utility"] == -memory.get(good)["utility"] > 0


def test_items_of_the_loop_contradict_each_other_by_part_and_task(memory: Memory) -> None:
    about = {"part": "frame:dashes", "task": "mr"}
    old = learn(memory, "Use the frame 'dashes' for mr.", type="strategy", metadata=about)
    other = learn(memory, "Use the frame 'dashes' for ag.", type="strategy", metadata={**about, "task": "ag"})
    done = memory.add("Avoid the frame 'dashes' for mr.", type="pitfall", polarity=-1, metadata=about)["results"][0]
    assert done["supersedes"] == old
    assert memory.get(other)["status"] == "active"


def test_what_was_learnt_again_keeps_what_its_use_has_shown(tmp_path: Path) -> None:
    """The same lesson from another task is one more observation, and no overwriting."""
    with Memory.open(tmp_path / "h", embedder=HashEmbedder(), mirror=False) as memory:
        fact = memory.learned(new_item(SLANG))
        shown = memory.informed(fact, 0.1, 0.01, "distilled:a")
        assert shown is not None
        memory._append([(fact, ()), (shown, ())])
        assert memory.state.record(fact.item.id).mean == pytest.approx(0.1, abs=1e-8)
        memory.feedback(fact.item.id, -1.0)
        used = memory.state.record(fact.item.id).mean
        again = memory.informed(memory.learned(new_item(SLANG)), 0.1, 0.01, "distilled:b")
        assert again is not None
        memory._append([(memory.learned(new_item(SLANG)), ()), (again, ())])
        record = memory.state.record(fact.item.id)
        assert used < record.mean < 0.1
        assert (record.variance < 0.01, record.uses) == (True, 3)


def test_an_item_that_harms_goes_and_says_why(memory: Memory) -> None:
    bad, fine = learn(memory, "Shout."), learn(memory, "Whisper softly to everybody.")
    for _ in range(3):
        memory.feedback(bad, -1.0)
    assert memory.tend()["results"] == [], "three outcomes are not enough"
    for _ in range(3):
        memory.feedback(bad, -1.0)
    assert memory.tend()["results"] == [{"id": bad, "memory": "Shout.", "event": "DELETE"}]
    assert memory.state.record(bad).reason.startswith("harmful: its gain is -0.")
    assert memory.get(fine)["status"] == "active"


def test_what_is_not_asked_for_fades_and_at_last_goes(memory: Memory) -> None:
    item = learn(memory, SLANG)
    memory.feedback(item, 1.0)
    before = memory.state.record(item).mean
    rules = LifeSettings(idle=4, forgotten=12)
    fates = []
    for _ in range(14):
        memory._append([(DONE, ())])
        facts = memory.tidy(rules)
        memory._append(facts)
        fates += [(memory.state.tasks, fact.kind) for fact, _ in facts]
    assert fates == [(task, "experience_decayed") for task in (4, 6, 8, 10, 12, 14)], "it helped once: it stays"
    assert memory.state.record(item).mean == pytest.approx(before / 64, abs=1e-6)
    assert memory.state.record(item).variance < PRIOR_VARIANCE
    useless = learn(memory, "Say nothing.")
    for _ in range(12):
        memory._append([(DONE, ())])
    gone = [fact for fact, _ in memory.tidy(rules) if isinstance(fact, ExperienceRetired)]
    assert [(fact.item, fact.reason[:9]) for fact in gone] == [(useless, "forgotten")]


def test_tidying_leaves_alone_what_it_is_told_to_keep(memory: Memory) -> None:
    first, second = learn(memory, SLANG), learn(memory, TWIN)
    assert memory.tidy(keep=frozenset({first})) == []
    (fact,) = (fact for fact, _ in memory.tidy())
    assert isinstance(fact, ExperienceMerged)
    assert {fact.item, fact.into} == {first, second}
    assert not [fact for fact, _ in memory.tidy() if isinstance(fact, ExperienceDecayed)]


def test_a_chosen_item_is_not_idle(memory: Memory) -> None:
    item = learn(memory, SLANG)
    memory._append([(DONE, ())] * 3)
    memory._append([(memory.recall(SLANG, k=1, seed=1, round=1, settings=RecallSettings(gate=0.0)), ())])
    assert memory.state.record(item).touched == 3
