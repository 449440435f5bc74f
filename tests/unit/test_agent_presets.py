"""Presets: configuration and nothing else."""

import json
from pathlib import Path

import pytest
from worlds import write_stream

from synlearner.agent import Agent, Settings, load_stream, parse_settings, preset, preset_differences
from synlearner.agent.attributes import complete, options
from synlearner.agent.config import differences
from synlearner.agent.presets import FAITHFUL
from synlearner.agent.strategies import decoding
from synlearner.demo import built_in
from synlearner.errors import ConfigError
from synlearner.events.types import RunStarted
from synlearner.memory import HashEmbedder
from synlearner.policies.scripted import ScriptedEngine


def test_improved_is_the_defaults_and_faithful_is_what_its_table_says() -> None:
    assert preset("improved") == Settings()
    assert preset_differences("improved") == {}
    found = preset_differences("faithful")
    assert set(found) <= set(FAITHFUL)
    assert found["reward.gain"][:2] == (1.0, 0.3)


def test_the_figures_of_the_paper() -> None:
    """Method, sections 3 and 4: R = .1 label + .1 attribute + .5 quality + .3 diversity, 4 generations, lr 5e-5, 3e-6."""
    of = preset("faithful")
    assert (of.reward.fidelity, of.reward.attributes, of.reward.quality, of.reward.gain) == (0.1, 0.1, 0.5, 0.3)
    assert (of.loop.group, of.loop.group * of.loop.prompts, of.loop.rounds - of.loop.eft_rounds) == (4, 16, 250)
    assert (of.learning.eft_rate, of.learning.grpo_rate, of.learning.kl) == (5e-5, 3e-6, 0.0)
    first = load_stream(str(built_in("paper"))).tasks[0].card
    drawn = decoding(of.dai.decodings[0], first, next(iter(first.labels)))
    assert (drawn.temperature, drawn.top_p, drawn.top_k, drawn.min_p) == (0.85, 0.92, 60, 0.0)
    assert (of.policy.rank, of.policy.alpha, of.memory.k) == (64, 16, 0)


def test_every_difference_can_be_taken_back_with_set() -> None:
    for key, (usual, _, _) in preset_differences("faithful").items():
        changed = parse_settings([f"{key}={json.dumps(usual)}"], base=preset("faithful").model_dump())
        left = differences(Settings().model_dump(mode="json"), changed.model_dump(mode="json"))
        assert set(left) == set(preset_differences("faithful")) - {key}


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ConfigError, match="--preset 'best' is none of improved, faithful"):
        preset("best")


def test_a_preset_is_recorded_through_its_settings(tmp_path: Path) -> None:
    short = ["loop.rounds=1", "loop.fill_rounds=0", "students.bootstrap=100"]
    engine = ScriptedEngine(lambda _, seed: f"my cat sat on mat {seed % 97}")
    with Agent.open(tmp_path / "home", engine=engine, embedder=HashEmbedder()) as agent:
        agent.run(write_stream(tmp_path), settings=short, preset="faithful")
        started = next(iter(agent._home.log.read())).fact
        assert isinstance(started, RunStarted)
        assert started.settings == parse_settings(short, base=preset("faithful").model_dump()).model_dump(mode="json")
        with pytest.raises(ConfigError, match="exclude each other"):
            agent.run(write_stream(tmp_path), settings=Settings(), preset="faithful")


def test_the_papers_tasks_come_along_with_their_attributes() -> None:
    """Method, section 1: 12, 7, 8 and 9 attributes; five levels, ten topics, three relations; no rows of others."""
    file = built_in("paper")
    assert file is not None
    cards = [task.card for task in load_stream(file).tasks]
    counts = [len({**of.attributes, **next(iter(of.label_attributes.values()))}) for of in cards]
    assert counts == [12, 7, 8, 9]
    assert [len(of.labels) for of in cards] == [5, 5, 10, 3]
    for of in cards:
        for label in of.labels:
            values = options(of.attributes, of.label_attributes[label], label, of.labels)
            assert complete(values, of.conflicts, {"label": label})


def test_a_file_of_the_same_name_goes_before_a_built_in_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert built_in("paper") is not None
    assert built_in("other") is None
    Path("paper").write_text("stream: mine")
    assert built_in("paper") is None
