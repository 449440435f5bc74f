"""What a finished task teaches: the best and the worst parts, the case, and nothing of the test data."""

import json

import msgspec
import pytest
from pieces import STORY, checked, planned, pooled, task_of, written
from worlds import card

from synlearner.agent.bandit import parts_of, posteriors
from synlearner.agent.distilling import distil, situation
from synlearner.agent.state import TaskState
from synlearner.agent.task_state import Replayed
from synlearner.events.types import StudentScored

TOPICS = checked(card())
GOOD, BAD, ONCE = "dashes/none/open", "headed/none/open", "quotes/length/bold"
OUTCOMES = (("pets", BAD, 0.3), ("pets", GOOD, 0.7), ("pets", BAD, 0.2), ("pets", GOOD, 0.8), ("pets", ONCE, 0.9))


def student(split: str, accuracy: float, *, source: str = "accepted", family: str = "embedding") -> StudentScored:
    return StudentScored(
        family=family, source=source, split=split, samples=[], trained_on=8, scored_on=16, accuracy=accuracy,
        macro_f1=accuracy, interval=(0.0, accuracy),
    )  # fmt: skip


def finished(**changes: object) -> TaskState:
    values: dict[str, object] = {
        "outcomes": OUTCOMES, "requested": 20, "pool": tuple(pooled(i, ("pets", "weather")[i % 2]) for i in range(9)), "delivered": (1, 2, 3),
        "rejected": {"gate:format": 3, "fidelity": 8},
    }  # fmt: skip
    return task_of(TOPICS, **(values | changes))


def texts(task: TaskState) -> str:
    return json.dumps([msgspec.to_builtins(item) for item, _ in distil(task)])


def test_the_best_part_of_each_axis_becomes_a_strategy_and_the_worst_of_all_a_pitfall() -> None:
    found = {item.metadata["part"]: item for item, _ in distil(finished()) if "part" in item.metadata}
    assert found["frame:dashes"].type == "strategy"
    assert found["frame:dashes"].polarity == 1
    assert found["frame:headed"].type == "pitfall"
    assert found["frame:headed"].polarity == -1
    assert "Avoid the prompt frame 'headed' for tasks like topics" in found["frame:headed"].content


def test_what_samples_were_worth_to_a_student_has_its_weight() -> None:
    """Where it speaks for the other frame as strongly as outcomes for this one, four times the weight turns them round."""
    task = finished(utilities=(5.0, 1.0, 6.0, 0.0, 3.0))
    frames = {
        weight: {item.metadata.get("part"): item.polarity for item, _ in distil(task, weight)} for weight in (0.0, 4.0)
    }
    assert (frames[0.0]["frame:dashes"], frames[0.0]["frame:headed"]) == (1, -1)
    assert (frames[4.0]["frame:dashes"], frames[4.0]["frame:headed"]) == (-1, 1)


def test_a_part_that_was_tried_once_is_no_experience() -> None:
    """`quotes` had the highest outcome of all, once."""
    parts = {item.metadata.get("part") for item, _ in distil(finished())}
    assert not parts & set(parts_of(ONCE))
    assert "frame:quotes" in posteriors(OUTCOMES).parts


def test_the_first_posterior_of_an_item_is_what_the_task_has_shown() -> None:
    believed = posteriors(OUTCOMES)
    for item, posterior in distil(finished()):
        if posterior is None:
            assert item.type == "case"
            continue
        mean, variance = believed.of(item.metadata["part"])
        assert posterior == (item.polarity * mean, variance)
        assert posterior[0] > 0, "avoiding what harms is a gain too"


def test_topics_of_the_best_samples_are_kept_for_tasks_without_any() -> None:
    def about(topic: str, seq: int, worth: float) -> Replayed:
        return Replayed(seq, "pets", worth, planned(attributes={"topic": topic} if topic else {}), written("my cat"))

    task = finished(kept=(about("parrots", 1, 0.2), about("vets", 2, 0.9), about("vets", 3, 0.1), about("", 4, 1.0)))
    (item,) = [item for item, _ in distil(task) if item.type == "lesson"]
    assert item.metadata["topics"] == ["vets", "parrots"]
    assert not [item for item, _ in distil(finished()) if item.type == "lesson"]


def test_a_task_in_which_nothing_differed_teaches_the_case_alone() -> None:
    even = tuple(("pets", GOOD, 0.5) for _ in range(4))
    for outcomes in ((), even):
        assert [item.type for item, _ in distil(finished(outcomes=outcomes))] == ["case"]


def test_the_case_tells_what_became_of_the_samples() -> None:
    case, _ = distil(finished(students=(student("seeds", 0.75),)))[-1]
    assert case.content == (
        "Of 20 samples for topics, 45% were accepted. Most others failed on fidelity (8). "
        "A student trained on them was right on 75% of the seeds."
    )
    assert case.evidence == [2]


def test_a_task_without_samples_has_a_case_too() -> None:
    case, _ = distil(finished(outcomes=(), requested=0, pool=(), delivered=(), rejected={}))[-1]
    assert case.content == "Of 0 samples for topics, 0% were accepted."


def test_no_figure_of_the_test_data_can_enter_an_item() -> None:
    """Students that were scored on the test data are in the task's state; whatever they say, the items are the same."""
    seen = (student("seeds", 0.75),)
    hidden = [
        (*seen, student("test", accuracy, source=source, family=family))
        for accuracy in (0.1234, 0.9876)
        for source in ("delivered", "seeds", "untrained", "real")
        for family in ("embedding", "tfidf")
    ]
    for students in hidden:
        assert distil(finished(students=students)) == distil(finished(students=seen))
    assert "98" not in texts(finished(students=hidden[-1]))
    assert distil(finished(files={"test": "f" * 64}, students=hidden[-1])) == distil(finished(students=seen))


def test_the_newest_check_on_the_seeds_is_told() -> None:
    students = (student("seeds", 0.25), student("seeds", 0.5), student("seeds", 0.9, family="tfidf"))
    assert "right on 50% of the seeds" in texts(finished(students=students))


def test_items_of_like_tasks_are_found_by_the_same_situation() -> None:
    assert situation(TOPICS) == "classification: A short remark. Labels: pets, weather."
    assert situation(checked(STORY)) == "generation: A word problem with its solution."
    assert {item.when for item, _ in distil(finished())} == {situation(TOPICS)}


@pytest.mark.parametrize("seqs", [(2, 2), (2, 9)])
def test_the_same_task_teaches_the_same_items(seqs: tuple[int, int]) -> None:
    first, second = (distil(finished(seq=seq)) for seq in seqs)
    assert [item.id for item, _ in first] == [item.id for item, _ in second]
