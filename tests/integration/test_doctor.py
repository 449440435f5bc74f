"""`synlearner doctor`: what is reported was tried."""

from pathlib import Path
from typing import Any

import pytest
from commands import Run

from synlearner.policies import learner, transformers_engine


def test_it_tries_the_policy_and_measures_it(run: Run, tiny_folder: Path) -> None:
    ran = run("doctor", "--json", "--set", f"policy.model={tiny_folder}", "--set", "policy.threads=1")
    assert ran.code == 0, ran.err
    found = ran.data
    assert found["ok"] is True
    assert found["problems"] == []
    assert found["engines"]["transformers"] == "works"
    assert found["engines"]["openai"].startswith("no server named")
    assert found["determinism"]["class"] == "equal bits"
    assert found["determinism"]["inside"]["threads"] == 1
    assert found["agreement"]["probed"] is True
    assert found["agreement"]["gap"] < 1e-4 < found["agreement"]["moved"]
    assert found["speed"]["tokens_per_s"] > 0
    assert found["speed"]["expected_s_per_round"] > 0
    assert found["versions"]["torch"]


def test_what_bfloat16_costs_in_agreement_is_measured(run: Run, tiny_folder: Path) -> None:
    ran = run("doctor", "--json", "--set", f"policy.model={tiny_folder}", "--set", "policy.dtype=mixed")
    assert ran.code == 0, ran.err
    found = ran.data["agreement"]
    assert found["exact"] < 1e-4
    assert found["exact"] < found["gap"] < 0.1


def test_as_text_it_is_a_table_with_a_verdict(run: Run, tiny_folder: Path) -> None:
    ran = run("doctor", "--set", f"policy.model={tiny_folder}")
    assert ran.code == 0
    assert "tokens_per_s" in ran.out
    assert ran.out.strip().endswith("all that was tried works")


def test_a_model_that_is_not_there_is_a_problem_and_not_a_crash(run: Run, tmp_path: Path) -> None:
    ran = run("doctor", "--json", "--set", f"policy.model={tmp_path}")
    assert ran.code == 1
    found = ran.data
    assert found["ok"] is False
    assert "is a folder without config.json" in found["problems"][0]
    assert found["engines"]["transformers"].startswith("does not work: ")
    assert found["machine"]["cores"] >= 1


def test_an_engine_that_serves_something_else_is_a_problem(
    run: Run, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        transformers_engine.TransformersEngine, "load", lambda engine, _: engine._model.load_adapter(None)
    )
    ran = run("doctor", "--json", "--set", f"policy.model={tiny_folder}")
    assert ran.code == 1
    assert "the transformers engine and the trainer differ by" in ran.data["problems"][0]


def test_a_step_that_does_not_repeat_is_a_problem(run: Run, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, steps = learner.learn, []

    def drifting(*args: Any, **kwargs: Any) -> learner.Learned:
        steps.append(1)
        learned = plain(*args, **kwargs)
        return learned if len(steps) == 1 else plain(*args, **kwargs | {"adapter": learned.adapter})

    monkeypatch.setattr(learner, "learn", drifting)
    ran = run("doctor", "--json", "--set", f"policy.model={tiny_folder}")
    assert ran.code == 1
    assert ran.data["determinism"]["class"] == "NOT repeatable"
