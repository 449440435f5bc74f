"""Weaknesses of the reference implementation that no other test is about; the table in docs/method.md has all of them."""

import ast
import importlib
import json
import pkgutil
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pieces import EMBEDDER, KINDS, checked, planned, unit_rows, vectors_of, written
from worlds import card, rows

import synlearner
from synlearner.agent.config import RewardSettings, Settings
from synlearner.agent.jsonform import parse_json
from synlearner.agent.judge import make_judge
from synlearner.agent.planning import Planner
from synlearner.agent.rewards import quality
from synlearner.agent.scoring import RoundScores, score_round
from synlearner.agent.state import RoundState, TaskState
from synlearner.agent.students import LabelledSet, score_student
from synlearner.agent.training import groups_to_learn_from
from synlearner.arguments import make_parser
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


FUNCTIONS: list[tuple[Path, ast.FunctionDef]] = [
    (file, node)
    for room in (*ROOMS, "synlearner")
    for file in sorted((ROOT / room).glob("*.py" if room != "synlearner" else "[!amep]*/*.py"))
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    if isinstance(node, ast.FunctionDef)
]


def test_every_scored_row_counts() -> None:
    """7.1.4: a `return` in the loop ended the evaluation after one batch. Hand-worked: 30 of 33 rows are what is said."""
    train = LabelledSet([{"text": "a"}], ["pets"], unit_rows(1, 4))
    labels = ["pets"] * 30 + ["weather"] * 3
    scored = LabelledSet([{"text": "b"}] * 33, labels, unit_rows(33, 4))
    found = score_student("embedding", CARD, train, scored, bootstrap=100, seed=1)
    assert found.accuracy == pytest.approx(30 / 33, abs=1e-6)


def test_every_command_that_the_documents_show_is_understood() -> None:
    """7.1.6: the README called scripts that had been deleted, and an example flag had no value."""
    shown = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*.py"))):
        lines = page.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        shown += [line.strip() for line in lines if line.strip().startswith("synlearner ") and "`" not in line]
    shown = [line for line in shown if not line.startswith("synlearner head ")]  # a signed text begins so
    assert len(shown) > 10
    for line in shown:
        words = shlex.split(line.split("&&")[0].split(" > ")[0].split(" | ")[0], comments=True)[1:]
        make_parser().parse_args(words)  # it would leave


def test_what_is_imported_is_declared() -> None:
    """7.1.7: the pinned TRL had no GRPO trainer, and two imported packages were not declared."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    optional = [name for extra in extras if extra != "dev" for name in extras[extra]]
    declared = {re.split(r"[\[<>=]", name)[0].replace("-", "_") for name in [*project["dependencies"], *optional]}
    other_names = {"scikit_learn": "sklearn", "pyyaml": "yaml", "langgraph_checkpoint": "langgraph"}
    known = (
        {other_names.get(name, name) for name in declared} | {"pydantic_core", "synlearner"} | sys.stdlib_module_names
    )
    for file in {file for file, _ in FUNCTIONS}:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert {name.split(".")[0] for name in names} <= known, (file, names)


def test_no_function_imports_again_what_its_module_has() -> None:
    """7.1.8: `json`, imported again in a branch, was unbound in the other one."""
    for file in {file for file, _ in FUNCTIONS}:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        above = {name for node in tree.body for name in imported(node)}
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                assert not above & {name for node in ast.walk(function) for name in imported(node)}, (
                    file,
                    function.name,
                )


def imported(node: ast.AST) -> list[str]:
    return [a.asname or a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []


def test_quotes_inside_a_json_sample_stay() -> None:
    """7.2.12: text was cut at the first escaped quote, and repaired with an invented label."""
    assert parse_json(CARD, '{"text": "She said \\"no\\" to the dog."}') == {"text": 'She said "no" to the dog.'}


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_in_json_is_read_and_valued_as_the_same_sample_in_prose(kind: str) -> None:
    """7.2.13: a cleaner gave None for every string, so that what could not be read was rewarded more."""
    of = checked(KINDS[kind])
    for seed in of.seeds:
        row = {field: seed[field] for field in of.fields}
        assert parse_json(of, json.dumps(row)) == row
        assert quality(of, parse_json(of, json.dumps(row))) == quality(of, row) > 0


def test_no_long_function_stands_twice() -> None:
    """7.5.39: a script for each data set, model and phase, four copied folders; 6,091 of 29,300 lines were duplicates."""
    seen: dict[str, str] = {}
    for file, node in FUNCTIONS:
        body = [ast.dump(line) for line in node.body if not isinstance(line, ast.Expr)]
        if (node.end_lineno or 0) - node.lineno >= 8:
            name = f"{file.relative_to(ROOT)}:{node.name}"
            assert seen.setdefault("".join(body), name) == name


def test_one_licence_everywhere() -> None:
    """7.5.43: the README said MIT, the licence file Apache."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")[:200]
    assert "MIT" not in re.findall(r"\b[A-Z]{3}\b", (ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_table_names_a_test_for_every_weakness() -> None:
    page = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| 7\.\d\.(\d+) \| .+ \| (.+) \|$", page, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 44))
    files = {file.stem: file for file in (ROOT / "tests").rglob("test_*.py")}
    for number, tests in rows:
        named = re.findall(r"`(test_\w+)::(test_\w+)`", tests)
        assert named, number
        for file, test in named:
            assert f"def {test}(" in files[file].read_text(encoding="utf-8"), (number, file, test)


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
