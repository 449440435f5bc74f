"""The agent as a library: data sets for one card, data sets as files, judgements of people."""

import json
from collections import Counter
from pathlib import Path

import pytest
from runs import SHORT, events_of, run, versatile, write_mixed_stream
from worlds import card, rows, scripted, write_stream

from synlearner.agent import Agent
from synlearner.agent.parsing import normal
from synlearner.errors import ConfigError
from synlearner.events.types import DatasetDelivered, FeedbackGiven, SampleGenerated
from synlearner.memory import HashEmbedder
from synlearner.policies.scripted import ScriptedEngine

LONGER = (*SHORT, "loop.fill_rounds=8")


def open_agent(home: Path) -> Agent:
    return Agent.open(home, engine=scripted(), embedder=HashEmbedder())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a data set of each kind of card."""
    folder = tmp_path_factory.mktemp("datasets")
    run(folder / "home", write_mixed_stream(folder), engine=versatile(), settings=LONGER)
    return folder / "home"


# ---- data sets for one card ----------------------------------------------------------------------------------


def test_a_card_of_a_program_needs_no_file(tmp_path: Path) -> None:
    with open_agent(tmp_path / "home") as agent:
        found = agent.synthesize(card("remarks"), 4, settings=LONGER)
    assert [row.keys() for row in found] == [{"text", "label"}] * 4
    assert Counter(row["label"] for row in found) == {"pets": 2, "weather": 2}
    seeds = {normal(row["text"]) for row in card()["seeds"]}
    assert not seeds & {normal(row["text"]) for row in found}


def test_without_a_number_the_card_says_how_many(tmp_path: Path) -> None:
    with open_agent(tmp_path / "home") as agent:
        assert len(agent.synthesize(card("remarks", samples=3), settings=LONGER)) == 3


def test_the_same_card_again_is_another_run_and_may_bring_other_rows(tmp_path: Path) -> None:
    with open_agent(tmp_path / "home") as agent:
        first = agent.synthesize(card("remarks"), 4, settings=LONGER)
        second = agent.synthesize(card("remarks"), 4, settings=LONGER, seed=1)
    assert first != second
    with open_agent(tmp_path / "other") as agent:
        assert agent.synthesize(card("remarks"), 4, settings=LONGER) == first


def test_paths_of_a_card_are_relative_to_the_folder(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(4, 10)), encoding="utf-8")
    with open_agent(tmp_path / "home") as agent:
        agent.synthesize(card("remarks", test="test.jsonl"), 4, folder=tmp_path, settings=SHORT)
    assert any(event.kind == "student_scored" and event.fact.split == "test" for event in events_of(tmp_path / "home"))  # type: ignore[union-attr]


def test_a_wrong_card_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with open_agent(tmp_path / "home") as agent:
        with pytest.raises(ConfigError, match="card 'remarks': unknown key 'lables'"):
            agent.synthesize(card("remarks", lables={}), 4)
        with pytest.raises(ConfigError, match="card '': key 'name' is missing"):
            agent.synthesize({"kind": "generation"})
        with pytest.raises(ConfigError, match="key samples=0"):
            agent.synthesize(card("remarks"), 0)
    assert events_of(tmp_path / "home") == []


@pytest.mark.parametrize("key", ["test", "real_train"])
def test_a_row_of_the_reporting_data_is_not_delivered(tmp_path: Path, key: str) -> None:
    """The engine knows eight texts, and half of them are reporting data: those are accepted, and left out."""
    known = [
        f"{words} today" for words in ("my cat likes the dog", "rain and snow all day", "a dog saw my cat", "the rain")
    ]
    known += [f"{text} again" for text in known]
    engine = ScriptedEngine(lambda _, seed: known[seed % 8])
    leaked = [{"text": text.upper() + "!", "label": "pets" if "cat" in text else "weather"} for text in known[:4]]
    with Agent.open(tmp_path / "home", engine=engine, embedder=HashEmbedder()) as agent:
        loose = (*SHORT, "reward.min_fidelity=-1", "reward.min_quality=0")
        found = agent.synthesize(card("remarks", **{key: leaked}), 8, settings=loose)
    assert {row["text"] for row in found} <= set(known[4:])
    (fact,) = [event.fact for event in events_of(tmp_path / "home") if isinstance(event.fact, DatasetDelivered)]
    assert fact.left_out["test"] > 0
    assert len(found) == fact.accepted - sum(fact.left_out.values()) > 0


# ---- judgements ----------------------------------------------------------------------------------------------


def test_a_person_may_judge_an_item_a_sample_and_a_data_set(tmp_path: Path) -> None:
    run(tmp_path / "home", write_stream(tmp_path, "one"))
    sample = next(event.seq for event in events_of(tmp_path / "home") if isinstance(event.fact, SampleGenerated))
    with open_agent(tmp_path / "home") as agent:
        item = agent.memory.get_all()["results"][0]["id"]
        before = agent.memory.state.record(item).mean
        for target in (f"item:{item}", f"sample:{sample}", "task:one"):
            agent.feedback(target, -1, "not good", "me")
        assert agent.memory.state.record(item).mean < before
        assert agent.memory.state.seq == len(events_of(tmp_path / "home"))
    given = [event.fact for event in events_of(tmp_path / "home") if isinstance(event.fact, FeedbackGiven)]
    assert [(fact.target, fact.score, fact.text, fact.source) for fact in given] == [
        (target, -1.0, "not good", "me") for target in (f"item:{item}", f"sample:{sample}", "task:one")
    ]


@pytest.mark.parametrize(
    "target", ["item:x", "sample:1", "sample:0", "sample:9999", "sample:²", "task:two", "task:", "one", "", "other:1"]
)
def test_a_judgement_of_nothing_is_refused(home: Path, target: str) -> None:
    before = len(events_of(home))
    with open_agent(home) as agent, pytest.raises(ConfigError):
        agent.feedback(target, 0.5)
    assert len(events_of(home)) == before


@pytest.mark.parametrize("score", [1.01, -2, float("nan"), float("inf")])
def test_a_judgement_out_of_range_is_refused(home: Path, score: float) -> None:
    with open_agent(home) as agent, pytest.raises(ConfigError, match="is not between -1"):
        agent.feedback("task:topics", score)


def test_a_judgement_does_not_disturb_a_run_that_is_under_way(tmp_path: Path) -> None:
    stream = write_stream(tmp_path, "one")
    home = tmp_path / "home"
    report = run(home, stream)
    with open_agent(home) as agent:
        agent.feedback("task:one", 1)
        again = agent.run(stream, settings=SHORT, seed=1)
    assert again.run_id != report.run_id
    assert [task.name for task in again.tasks] == ["one"]
