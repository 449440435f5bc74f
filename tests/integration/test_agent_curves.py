"""Students of a whole run: what they are trained on, and what the report tells of them."""

from pathlib import Path

import tiny
from runs import SHORT, events_of, facts_of, run
from worlds import rows, write_stream

from synlearner.agent.datasets import delivered_rows
from synlearner.events.home import Home
from synlearner.events.types import DatasetDelivered, StudentScored


def test_the_curve_is_of_growing_even_parts_of_what_was_delivered(tmp_path: Path) -> None:
    """About ten samples of two labels: 2, 4 and 8 of them, each part in the next, and all of them at its end."""
    report = run(
        tmp_path / "home", write_stream(tmp_path, "one"), settings=(*SHORT, "loop.fill_rounds=6", "students.curve=2")
    )
    task = report.tasks[0]
    assert task.student is not None
    (first, *_) = facts_of(tmp_path / "home", DatasetDelivered)
    found = [f for f in facts_of(tmp_path / "home", StudentScored) if f.source == "curve"]
    mine = [fact for fact in found if fact.family == "embedding"][:3]
    assert [fact.trained_on for fact in mine] == [len(fact.samples) for fact in mine] == [2, 4, 8]
    assert task.student.curve == {fact.trained_on: fact.accuracy for fact in mine} | {
        len(first.samples): task.student.accuracy
    }
    parts = [set(fact.samples) for fact in mine]
    assert parts[0] < parts[1] < parts[2] < set(first.samples)
    with Home.open(tmp_path / "home") as home:
        dataset = delivered_rows(home.log, task.name)
    labels = {seq: row["label"] for seq, row in zip(dataset.seqs, dataset.rows, strict=True)}
    for part in parts:
        assert len({labels[seq] for seq in part}) == 2
        assert abs(sum(labels[seq] == "pets" for seq in part) - len(part) / 2) <= 1


def test_no_curve_where_none_is_asked_for(tmp_path: Path) -> None:
    report = run(tmp_path / "home", write_stream(tmp_path, "one"), settings=(*SHORT, "students.curve=0"))
    assert all(task.student is not None and task.student.curve == {} for task in report.tasks)
    assert not any(fact.source == "curve" for fact in facts_of(tmp_path / "home", StudentScored))


def test_a_fine_tuned_student_is_for_the_end_unless_it_is_the_only_one(tmp_path: Path) -> None:
    """Within the loop it is spared; with a curve or without, the figures of the table are its own."""
    texts = [row["text"] for row in rows(80)]
    encoder = tiny.encoder(tmp_path / "encoder", texts)
    several = (*SHORT, f"students.encoder={encoder}", "students.families=[transformer, embedding]")
    report = run(tmp_path / "several", write_stream(tmp_path, "one"), settings=several)
    found = facts_of(tmp_path / "several", StudentScored)
    assert {fact.family for fact in found if fact.split == "seeds"} == {"embedding"}
    assert {fact.family for fact in found if fact.source == "curve"} <= {"embedding"}
    (tuned,) = [f for f in found if (f.split, f.source, f.family) == ("test", "delivered", "transformer")]
    assert report.tasks[0].student is not None
    assert report.tasks[0].student.accuracy == tuned.accuracy
    assert report.tasks[0].student.curve == {}
    alone = (*SHORT, f"students.encoder={encoder}", "students.families=[transformer]")
    run(tmp_path / "alone", write_stream(tmp_path, "one"), settings=alone)
    assert {fact.split for fact in facts_of(tmp_path / "alone", StudentScored)} == {"seeds", "test"}
    run(tmp_path / "again", write_stream(tmp_path, "one"), settings=alone)
    assert events_of(tmp_path / "alone")[-1].hash == events_of(tmp_path / "again")[-1].hash
