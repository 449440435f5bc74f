"""Runs with a reward of the user's own: it steers, it fails as configured, it is replayed without being called."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from commands import Run, one_line, quick_settings
from runs import APART, StopAfter, Stopped, events_of, facts_of, rewrite
from runs import run as run_scripted
from worlds import scripted, write_stream

from synlearner.agent import Agent
from synlearner.agent.forking import fork_home
from synlearner.agent.rebuilding import rebuild
from synlearner.agent.user_reward import RewardedSample
from synlearner.agent.verifying import Verification, verify_run
from synlearner.errors import ConfigError, RewardError
from synlearner.events import Home, RewardFailed, SampleGenerated, SampleScored, export, import_
from synlearner.memory import HashEmbedder

EXAMPLES = Path(__file__).parents[2] / "examples"
OWN = (*APART, "user_reward.function=own_reward:score", "reward.user=0.5")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)


@pytest.fixture
def unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the module of the example cannot be imported, and nobody has imported it."""
    monkeypatch.setattr(sys, "path", [path for path in sys.path if Path(path) != EXAMPLES])
    monkeypatch.delitem(sys.modules, "own_reward", raising=False)


def verify(home: Path) -> Verification:
    with Home.open(home, write=True) as found:
        return verify_run(found, engine=scripted(), embedder=HashEmbedder())


def run_with(
    home: Path, stream: Path, reward: Callable[[Sequence[RewardedSample]], list[float]], *settings: str
) -> Any:
    with Agent.open(home, engine=scripted(), embedder=HashEmbedder(), reward=reward) as agent:
        return agent.run(stream, settings=[*APART, *settings])


def length(samples: Sequence[RewardedSample]) -> list[float]:
    return [len(sample.fields["text"]) / 100 for sample in samples]


class Fragile:
    """Fails from its *fails*-th call on, *times* times."""

    def __init__(self, fails: int, times: int = 1000) -> None:
        self.calls, self.fails, self.times = 0, fails, times

    def __call__(self, samples: Sequence[RewardedSample]) -> list[float]:
        self.calls += 1
        if self.fails <= self.calls < self.fails + self.times:
            raise ValueError(f"call {self.calls}")
        return length(samples)


@pytest.mark.usefixtures("example")
def test_the_example_scores_every_sample_that_passes_the_gates(tmp_path: Path) -> None:
    stream = write_stream(tmp_path)
    report = run_scripted(tmp_path / "home", stream, settings=OWN)
    found = [fact.parts for fact in facts_of(tmp_path / "home", SampleScored) if fact.parts]
    assert len(found) > 5
    assert all(0 <= parts["user"] <= 1 for parts in found)
    again = run_scripted(tmp_path / "again", stream, settings=OWN)
    assert again.digest == report.digest


@pytest.mark.usefixtures("unknown")
def test_a_replayed_verified_or_imported_log_never_imports_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = write_stream(tmp_path)
    with monkeypatch.context() as known:
        known.syspath_prepend(EXAMPLES)
        run_scripted(tmp_path / "home", stream, settings=OWN)
    monkeypatch.delitem(sys.modules, "own_reward")
    found = verify(tmp_path / "home")
    assert found.first_difference is None
    assert found.unchecked == ["the values of the reward 'own_reward:score', which are taken as recorded"]
    with Home.open(tmp_path / "home", write=True) as home:
        export(home.log, tmp_path / "log.jsonl", blobs=home.blobs)
        rebuild(home)
    with Home.open(tmp_path / "copy", create=True) as home:
        import_(tmp_path / "log.jsonl", home)
    assert verify(tmp_path / "copy").first_difference is None
    assert "own_reward" not in sys.modules


def test_a_changed_value_or_total_is_found(tmp_path: Path) -> None:
    run_with(tmp_path / "home", write_stream(tmp_path), length)
    prompts: dict[int, tuple[int, int]] = {}
    groups: dict[tuple[int, int], list[tuple[float, int]]] = {}
    members: dict[tuple[int, int], set[int]] = {}
    for event in events_of(tmp_path / "home"):
        if isinstance(event.fact, SampleGenerated):
            prompts[event.seq] = (event.fact.round, event.fact.prompt)
        elif isinstance(event.fact, SampleScored):
            prompt = prompts[event.fact.sample]
            members.setdefault(prompt, set()).add(
                event.seq
            )  # gated ones too: their totals are below the worst of the group
            if "user" in event.fact.parts:
                groups.setdefault(prompt, []).append((event.fact.parts["user"], event.seq))
    # One that another of its group is above: as the largest of two it would stand where it stood before.
    prompt, group = next((prompt, group) for prompt, group in groups.items() if min(group)[0] < max(group)[0])
    chosen = min(group)[1]

    def edit(event: Any) -> Any:
        if event.seq != chosen:
            return event.fact
        return msgspec.structs.replace(event.fact, parts=event.fact.parts | {"user": 3.0})

    rewrite(tmp_path / "home", tmp_path / "edited", edit)
    difference = verify(tmp_path / "edited").first_difference
    assert difference is not None
    assert difference.path == "$.payload.total", "totals do not follow from the values"
    assert difference.seq in members[prompt]


def test_where_it_fails_the_run_stops_and_goes_on_when_it_is_mended(tmp_path: Path) -> None:
    stream = write_stream(tmp_path)
    fragile = Fragile(2, times=2)
    for call in (2, 3):
        with pytest.raises(
            RewardError, match=rf"Fragile' failed in task 'topics', round \d: it raised ValueError \(call {call}\)"
        ):
            run_with(tmp_path / "home", stream, fragile)
    report = run_with(tmp_path / "home", stream, fragile)
    assert report.tasks[0].delivered
    (first, second) = facts_of(tmp_path / "home", RewardFailed)
    assert (
        first
        == second
        == RewardFailed(round=first.round, function=f"{__name__}:Fragile", reason="it raised ValueError")
    )
    assert verify(tmp_path / "home").first_difference is None
    assert all("user" in fact.parts for fact in facts_of(tmp_path / "home", SampleScored) if fact.parts)


def test_where_it_is_to_be_skipped_the_task_goes_on_without_it(tmp_path: Path) -> None:
    fragile = Fragile(2)
    report = run_with(tmp_path / "home", write_stream(tmp_path, "one", "two"), fragile, "user_reward.on_error=skip")
    assert all(task.delivered for task in report.tasks)
    assert [fact.reason for fact in facts_of(tmp_path / "home", RewardFailed)] == ["it raised ValueError"] * 2
    assert fragile.calls == 3, "one round of the first task, and one try in each after it failed"
    with_user = [
        e.task for e in events_of(tmp_path / "home") if isinstance(e.fact, SampleScored) and "user" in e.fact.parts
    ]
    assert set(with_user) == {"one"}
    assert verify(tmp_path / "home").first_difference is None


def test_a_run_that_is_killed_after_a_failure_ends_as_one_that_was_not(tmp_path: Path) -> None:
    stream = write_stream(tmp_path)
    whole = run_with(tmp_path / "whole", stream, Fragile(1), "user_reward.on_error=skip")
    broken = Fragile(1)
    with Agent.open(tmp_path / "home", engine=scripted(), embedder=HashEmbedder(), reward=broken) as agent:
        stop = StopAfter(lambda _, action: type(action).__name__ == "Score")
        settings = [*APART, "user_reward.on_error=skip"]
        with pytest.raises(Stopped):
            agent.run(stream, settings=settings, watcher=stop)
    assert run_with(tmp_path / "home", stream, Fragile(1), "user_reward.on_error=skip").digest == whole.digest


@pytest.mark.usefixtures("unknown")
def test_a_forked_run_needs_the_name_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = write_stream(tmp_path)
    with monkeypatch.context() as known:
        known.syspath_prepend(EXAMPLES)
        run_scripted(tmp_path / "home", stream, settings=OWN)
    monkeypatch.delitem(sys.modules, "own_reward")
    fork_home(tmp_path / "home", 40, tmp_path / "fork", [])
    with pytest.raises(ConfigError, match="name it again with --set user_reward"):
        run_scripted(tmp_path / "fork", stream, settings=())
    assert "own_reward" not in sys.modules
    with monkeypatch.context() as known:
        known.syspath_prepend(EXAMPLES)
        assert (
            run_scripted(tmp_path / "fork", stream, settings=["user_reward.function=own_reward:score"])
            .tasks[0]
            .delivered
        )
    fork_home(tmp_path / "home", 40, tmp_path / "without", ["user_reward.function=''"])
    assert run_scripted(tmp_path / "without", stream, settings=()).tasks[0].delivered


def test_the_command_line_refuses_before_it_makes_a_home(run: Run, tmp_path: Path) -> None:
    stream = write_stream(tmp_path)
    for name, words in {
        "my_rewards:score": "there is no module 'my_rewards'",
        "my_rewards": "string should match",
    }.items():
        ran = run("run", stream, "--home", tmp_path / "home", "--set", f"user_reward.function={name}")
        assert ran.code == 1
        one_line(ran, "user_reward.function", words)
        assert not (tmp_path / "home").exists()


@pytest.mark.slow
def test_the_command_line_finds_a_module_where_it_is_called(
    run: Run, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reward_of_this_folder.py").write_text("def score(samples):\n    return [0.25 for _ in samples]\n")
    stream = write_stream(tmp_path, samples=4)
    own = ("--set", "user_reward.function=reward_of_this_folder:score", "--set", "delivery.untrained=false")
    ran = run("run", stream, "--home", tmp_path / "home", "--quiet", *quick_settings(tiny_folder), *own)
    assert ran.code == 0, ran.err
    found = [fact.parts for fact in facts_of(tmp_path / "home", SampleScored) if fact.parts]
    assert found
    assert {parts["user"] for parts in found} == {0.25}
