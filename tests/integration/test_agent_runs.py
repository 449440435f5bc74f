"""Whole runs with a scripted engine: equal digests, stopping anywhere, refusing to go on as something else."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from runs import (
    SHORT,
    StopAfter,
    Stopped,
    events_of,
    facts_of,
    run,
    run_in_pieces,
    versatile,
    write_mixed_stream,
)
from worlds import scripted, write_stream

from synlearner.agent import Agent
from synlearner.agent.datasets import delivered_rows
from synlearner.agent.decide import Action, Generate
from synlearner.agent.reports import RunReport
from synlearner.agent.state import RunState
from synlearner.agent.watcher import Silent
from synlearner.errors import ConfigError
from synlearner.events.types import (
    DatasetDelivered,
    ExperienceCredited,
    ExperienceLearned,
    ExperienceRecalled,
    PlannedPrompt,
    PolicyUpdated,
    PromptsPlanned,
    SampleGenerated,
    SampleScored,
    StudentScored,
    TaskArrived,
    TaskFinished,
)
from synlearner.memory import HashEmbedder
from synlearner.policies.scripted import ScriptedEngine


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stream(tmp_path_factory.mktemp("stream"), "one", "two")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, stream: Path) -> tuple[Path, RunReport]:
    """A home with an uninterrupted run of two tasks."""
    home = tmp_path_factory.mktemp("whole") / "home"
    return home, run(home, stream)


# ---- digests -------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_digest_in_another_place(whole: tuple[Path, RunReport], tmp_path: Path) -> None:
    again = run(tmp_path / "elsewhere", write_stream(tmp_path / "moved", "one", "two"))
    assert again == whole[1]


def test_another_seed_gives_another_digest(whole: tuple[Path, RunReport], stream: Path, tmp_path: Path) -> None:
    other = run(tmp_path / "home", stream, seed=1)
    assert other.digest != whole[1].digest
    assert [task.name for task in other.tasks] == [task.name for task in whole[1].tasks]


def test_another_process_with_other_string_hashes_gives_the_same_digest(
    whole: tuple[Path, RunReport], stream: Path, tmp_path: Path
) -> None:
    code = "import sys, pathlib, runs; print(runs.run(*map(pathlib.Path, sys.argv[1:])).digest)"
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    command = [sys.executable, "-c", code, str(tmp_path / "home"), str(stream)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == whole[1].digest


def test_the_report_says_what_the_log_says(whole: tuple[Path, RunReport]) -> None:
    home, report = whole
    events = events_of(home)
    assert (report.events, report.digest, report.run_id) == (len(events), events[-1].hash, events[0].run_id)
    delivered = facts_of(home, DatasetDelivered)
    assert [task.delivered for task in report.tasks] == [len(fact.samples) for fact in delivered]
    for task, dataset in zip(report.tasks, delivered, strict=True):
        tested = {
            e.fact.source: e.fact
            for e in events
            if isinstance(e.fact, StudentScored)
            and (e.task, e.fact.split, e.fact.family) == (task.name, "test", "embedding")
        }
        assert tested["delivered"].samples == dataset.samples
        assert task.student is not None
        assert task.student.accuracy == tested["delivered"].accuracy
        assert task.student.reference.model_dump() == {
            name: tested[name].accuracy for name in ("seeds", "seeds_and_delivered", "untrained", "real")
        }
        both = tested["seeds_and_delivered"]
        assert both.trained_on == tested["seeds"].trained_on + tested["delivered"].trained_on
        assert both.samples == dataset.samples


# ---- stopping ------------------------------------------------------------------------------------------------


def test_a_run_stopped_after_every_action_ends_with_the_digest_of_one_that_never_was(
    whole: tuple[Path, RunReport], stream: Path, tmp_path: Path
) -> None:
    report, times = run_in_pieces(tmp_path, lambda: run(tmp_path / "home", stream, watcher=StopAfter()))
    assert times > 30
    assert report == whole[1]


class BreakWithin(Silent):
    """Fails in the middle of every generation, the first time that it comes by."""

    def __init__(self) -> None:
        self.broken: set[int] = set()
        self._at = 0

    def begins(self, state: RunState, action: Action) -> None:
        self._at = state.seq if isinstance(action, Generate) else 0

    def goes_on(self, done: int, of: int, tokens: int) -> None:
        if self._at and self._at not in self.broken:
            self.broken.add(self._at)
            raise Stopped


def test_an_action_that_was_cut_off_in_its_middle_leaves_nothing_behind(
    whole: tuple[Path, RunReport], stream: Path, tmp_path: Path
) -> None:
    watcher = BreakWithin()
    report, times = run_in_pieces(tmp_path, lambda: run(tmp_path / "home", stream, watcher=watcher))
    assert times == len(watcher.broken) >= 8
    assert report == whole[1]


# ---- refusing ------------------------------------------------------------------------------------------------

OTHERWISE: dict[str, tuple[dict[str, Any], str]] = {
    "another stream": ({"stream": "other"}, "unfinished run of stream 'small', and 'small' is changed since"),
    "another setting": ({"settings": [*SHORT, "loop.rounds=3"]}, r"loop\.rounds was 2 and is 3"),
    "another seed": ({"seed": 5}, "--seed was 0 and is 5"),
    "another base model": ({"engine": "other"}, "base model scripted, this one is other"),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_an_unfinished_run_is_not_gone_on_with_as_something_else(stream: Path, tmp_path: Path, case: str) -> None:
    home = tmp_path / "home"
    with pytest.raises(Stopped):
        run(home, stream, watcher=StopAfter(lambda state, _: state.seq > 20))
    before = events_of(home)
    changes, message = OTHERWISE[case]
    arguments = dict(changes)
    source = write_stream(tmp_path / "other", "one", "two", samples=9) if arguments.pop("stream", "") else stream
    if "engine" in arguments:
        arguments["engine"] = ScriptedEngine(scripted()._reply, base_model="other")
    with pytest.raises(ConfigError, match=message):
        run(home, source, **arguments)
    assert events_of(home) == before


def test_a_home_keeps_to_its_embedder(whole: tuple[Path, RunReport], stream: Path) -> None:
    before = len(events_of(whole[0]))
    with (
        Agent.open(whole[0], engine=scripted(), embedder=HashEmbedder(32)) as agent,
        pytest.raises(ConfigError, match="embedder hash-32 does not fit: the vectors of this home are of hash-64"),
    ):
        agent.run(stream)
    assert len(events_of(whole[0])) == before


def test_a_wrong_stream_is_refused_before_the_first_event(tmp_path: Path) -> None:
    bad = write_stream(tmp_path, "one", labels={"pets": ""})
    with pytest.raises(ConfigError, match="a classification has at least 2"):
        run(tmp_path / "home", bad)
    assert events_of(tmp_path / "home") == []


# ---- what is recorded ----------------------------------------------------------------------------------------


def test_every_sample_is_scored_once_and_counted_once(whole: tuple[Path, RunReport]) -> None:
    home = whole[0]
    events = events_of(home)
    written = [event.seq for event in events if isinstance(event.fact, SampleGenerated)]
    assert [fact.sample for fact in facts_of(home, SampleScored)] == written
    asked = Counter(event.task for event in events if isinstance(event.fact, SampleGenerated))
    accepted = Counter(event.task for event in events if isinstance(event.fact, SampleScored) and event.fact.accepted)
    finished = {event.task: event.fact for event in events if isinstance(event.fact, TaskFinished)}
    for task, totals in finished.items():
        assert totals.requested == asked[task] == totals.accepted + totals.rejected + totals.failed
        assert totals.accepted == accepted[task]
        samples = [event.fact for event in events if event.task == task and isinstance(event.fact, SampleGenerated)]
        assert totals.tokens == sum(len(sample.token_ids) for sample in samples)


def test_causes_lead_back_to_where_an_event_came_from(whole: tuple[Path, RunReport]) -> None:
    events = events_of(whole[0])
    kinds = {event.seq: event.kind for event in events}
    expected = {
        "task_arrived": {"run_started"},
        "sample_generated": {"prompts_planned", "policy_served"},
        "sample_scored": {"sample_generated"},
        "set_scored": {"prompts_planned"},
        "policy_updated": {"set_scored"},
        "experience_learned": {"task_arrived"},
        "experience_credited": {"set_scored", "experience_learned"},
        "dataset_delivered": {"task_arrived"},
        "task_finished": {"task_arrived"},
    }
    for event in events:
        assert all(cause < event.seq for cause in event.causes)
        if event.kind in expected:
            assert {kinds[cause] for cause in event.causes} <= expected[event.kind]
            assert event.causes


def test_real_test_data_never_enter_a_prompt_or_the_log(whole: tuple[Path, RunReport], stream: Path) -> None:
    hidden = [row["text"] for row in map(eval, (stream.parent / "test.jsonl").read_text().splitlines())]
    prompts: list[PlannedPrompt] = [p for fact in facts_of(whole[0], PromptsPlanned) for p in fact.prompts]
    assert not any(text in prompt.text + prompt.prefix for prompt in prompts for text in hidden)
    for fact in facts_of(whole[0], TaskArrived):
        assert not any(text in str(fact.card) for text in hidden)


def test_an_engine_without_weights_skips_learning_and_says_so(whole: tuple[Path, RunReport]) -> None:
    updates = facts_of(whole[0], PolicyUpdated)
    assert {fact.algorithm for fact in updates} == {"eft", "grpo"}
    assert {fact.skipped for fact in updates} == {"the scripted engine has no weights to train"}
    assert {fact.adapter for fact in updates} == {""}


# ---- experience ----------------------------------------------------------------------------------------------


def test_a_finished_home_runs_a_second_stream_and_recalls_what_the_first_taught(tmp_path: Path) -> None:
    home = tmp_path / "home"
    # Enough prompts that a strategy is learnt, and that some of the second run's are sure to use it.
    settings = (*SHORT, "loop.prompts=8")
    first = run(home, write_stream(tmp_path / "a", "one"), settings=settings)
    assert [fact.chosen for fact in facts_of(home, ExperienceRecalled)] == [[]] * 3
    learnt = {fact.item.id for fact in facts_of(home, ExperienceLearned)}
    second = run(
        home, write_stream(tmp_path / "b", "two", description="A short remark again."), seed=4, settings=settings
    )
    assert second.run_id != first.run_id
    recalled = facts_of(home, ExperienceRecalled)[3:]
    assert all(set(fact.chosen) <= learnt for fact in recalled)
    assert any(fact.chosen for fact in recalled)
    credited = [fact for fact in facts_of(home, ExperienceCredited) if fact.family.startswith("task:two:")]
    used = [p for fact in facts_of(home, PromptsPlanned) for p in fact.prompts if p.experience]
    assert len([fact for fact in credited if fact.used]) == len(used) > 0
    assert {fact.arm for fact in credited} <= {"memory", "control"}
    assert [fact.used for fact in credited if fact.used] == [prompt.experience for prompt in used]


@pytest.mark.parametrize("name", ["distilled", "feedback", "import"])
def test_a_task_may_be_named_as_memory_names_its_families(tmp_path: Path, name: str) -> None:
    """A task named `distilled` never came to an end: its credits were taken for those of distilling."""
    report = run(tmp_path / "home", write_stream(tmp_path, "one", name))
    assert [task.name for task in report.tasks] == ["one", name]
    assert any(fact.family.startswith(f"task:{name}:") for fact in facts_of(tmp_path / "home", ExperienceCredited))


def test_recall_can_be_switched_off(tmp_path: Path, stream: Path) -> None:
    run(tmp_path / "home", stream, settings=[*SHORT, "memory.k=0"])
    assert facts_of(tmp_path / "home", ExperienceRecalled) == []
    assert {tuple(p.experience) for f in facts_of(tmp_path / "home", PromptsPlanned) for p in f.prompts} == {()}


# ---- kinds ---------------------------------------------------------------------------------------------------


def test_a_stream_of_all_kinds_runs_and_a_card_without_test_has_no_student(tmp_path: Path) -> None:
    report = run(
        tmp_path / "home", write_mixed_stream(tmp_path), engine=versatile(), settings=[*SHORT, "loop.fill_rounds=4"]
    )
    assert [(task.name, task.student is None) for task in report.tasks] == [
        ("topics", False),
        ("pairs", True),
        ("sums", True),
    ]
    assert all(task.delivered for task in report.tasks)
    assert report.tasks[0].student is not None
    assert report.tasks[0].student.reference.real is None


def test_fields_keep_their_order_through_the_log(tmp_path: Path) -> None:
    """The log sorts keys: `answer` came before `question` in every prompt, and had to be written first."""
    run(tmp_path / "home", write_mixed_stream(tmp_path), engine=versatile())
    events = [event for event in events_of(tmp_path / "home") if event.task == "sums"]
    prompts: list[PlannedPrompt] = [p for e in events if isinstance(e.fact, PromptsPlanned) for p in e.fact.prompts]
    assert prompts
    assert all(prompt.prefix.endswith("Word problem:") for prompt in prompts)
    with Agent.open(tmp_path / "home", embedder=HashEmbedder()) as agent:
        rows = delivered_rows(agent.memory._home.log, "sums").rows
    assert {tuple(row) for row in rows} == {("question", "answer")}
