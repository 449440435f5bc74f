"""Weaknesses of the reference implementation, each by its number in the method's section 7, that no other test names."""

import ast
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pieces import EMBEDDER, checked, planned, vectors_of, written
from worlds import card, rows

import synlearner
from synlearner.agent.config import RewardSettings, Settings
from synlearner.agent.judge import make_judge
from synlearner.agent.planning import Planner
from synlearner.agent.scoring import RoundScores, score_round
from synlearner.agent.state import RoundState, TaskState
from synlearner.agent.training import groups_to_learn_from
from synlearner.cli import main
from synlearner.events.types import PlannedPrompt, PromptsPlanned, SampleScored

ROOT = Path(__file__).parents[2]
ROOMS = ("agent", "memory", "policies", "events")
OPTIONAL = {"synlearner.policies.vllm_engine"}
CARD = checked(card(seeds=rows(8)))


def test_every_module_can_be_imported() -> None:
    """7.1.1, 7.1.2, 7.1.3: three modules did not parse, one had no imports, two imported a folder that was not there."""
    found = [module.name for module in pkgutil.walk_packages(synlearner.__path__, "synlearner.")]
    assert len(found) > 80
    for name in found:
        if name not in OPTIONAL and not name.endswith("__main__"):
            importlib.import_module(name)


@pytest.mark.parametrize(
    "arguments", [["run"], ["run", "s.yaml", "--home", "h", "--bogus"], ["run", "s.yaml", "--no_bf16"]]
)
def test_arguments_that_nobody_knows_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """7.5.40: unknown arguments were ignored. 7.1.5: an option was read as a subtraction."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_no_module_has_state_of_its_own() -> None:
    """7.5.41: current attributes, step counters and logs were module-level; the order of reward calls mattered."""
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Global)], file
            for node in tree.body:
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.List | ast.Dict | ast.Set):
                    names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                    assert all(name.lstrip("_").isupper() or name == "__all__" for name in names), (file, names)


def scores(prompt: PlannedPrompt) -> RoundScores:
    samples = [(i, written(row["text"] + " indeed", index=i)) for i, row in enumerate(rows(3, 20))]
    judge = make_judge(CARD, vectors_of(CARD, CARD.seeds))
    return score_round(
        CARD, [prompt], samples, [], vectors_of(CARD, []), judge=judge, embedder=EMBEDDER, settings=RewardSettings()
    )


def test_label_and_attributes_are_carried_as_data_and_never_read_back_from_the_prompt() -> None:
    """7.2.18, 7.2.19, 7.2.24: a regex found 'Scie', a first label or another prompt's attributes."""
    said = planned("pets", samples=6, attributes={"length": "6"}, text="Label: weather. Length: 90 words. Science")
    silent = msgspec.structs.replace(said, text="write")
    assert scores(said).scored == scores(silent).scored
    other = msgspec.structs.replace(said, label="weather")
    assert scores(other).scored != scores(said).scored, "what is carried does matter"


def test_what_is_trained_on_is_what_was_asked_word_for_word() -> None:
    """7.4.33: training and evaluation wrote prompts in different formats, and five scripts trained classifiers."""
    prompts = Planner(TaskState(0, 2, CARD, {}, ""), Settings()).learning(1)
    plan = PromptsPlanned(round=1, purpose="learn", prompts=prompts)
    samples = tuple((10 + i, written("my cat sat", prompt=i)) for i in range(len(prompts)))
    judged = tuple(
        SampleScored(sample=seq, accepted=True, reason="", fields={"text": "x"}, parts={}, total=0.0)
        for seq, _ in samples
    )
    task = TaskState(0, 2, CARD, {}, "", round=RoundState(1, plan=plan, samples=samples, scores=judged, set_seq=9))
    groups, left_out = groups_to_learn_from(task, "eft")
    assert [group[0] for group in groups] == prompts
    assert left_out == {}


def test_a_missing_attribute_is_an_error_and_not_a_default_value() -> None:
    """7.3.32: missing attribute files became 'default_value', which was then written into prompts."""
    missing: list[dict[str, Any]] = [{"tone": []}, {"tone": None}, {"tone": "warm"}]
    for attributes in missing:
        with pytest.raises(synlearner.SynLearnerError, match="attributes"):
            checked(card(attributes=attributes))
