"""Deciding: a pure function of the state. States made by hand, and the walk of a whole run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pieces import STORY, checked, judged, planned, pooled, task_of, written
from worlds import QUICK, card, scripted, write_stream

from synlearner.agent import Agent, parse_settings
from synlearner.agent.decide import (
    Action,
    ArriveTask,
    Check,
    Compare,
    CreditExperience,
    Deliver,
    Evaluate,
    FinishRun,
    FinishTask,
    Generate,
    Learn,
    Plan,
    Recall,
    Score,
    decide,
)
from synlearner.agent.state import RoundState, RunState, TaskState, TaskSummary, apply
from synlearner.agent.watcher import Silent
from synlearner.events.types import (
    Event,
    ExperienceRecalled,
    PlannedPrompt,
    PromptsPlanned,
    RunStarted,
    StudentScored,
    TaskFinished,
)
from synlearner.memory import HashEmbedder

TOPICS = checked(card(samples=4))
RECALLED = ExperienceRecalled(
    round=1,
    query="q",
    query_vector="",
    scope="",
    filters={},
    k=4,
    settings={},
    control=0.0,
    candidates=[],
    chosen=[],
    seed=1,
)
TESTED = StudentScored(
    family="tfidf", source="delivered", split="test", samples=[], trained_on=1, scored_on=1, accuracy=1.0, macro_f1=1.0,
    interval=(0.0, 1.0),
)  # fmt: skip


UNBOUND = ("constraints.diversity=0", "constraints.fidelity=0", "delivery.untrained=false")
"""No floors: the untrained policy writes only where there is something to report."""


def running(task: TaskState | None = None, *assignments: str, tasks: int = 2, done: int = 0) -> RunState:
    """Return the state of a run of so many tasks, so many of them done, with *task* at hand."""
    settings = parse_settings(["loop.rounds=2", "loop.student_every=1", *UNBOUND, *assignments]).model_dump(mode="json")
    started = RunStarted(
        stream="s", stream_digest="", tasks=[f"t{i}" for i in range(tasks)], settings=settings, seed=0, base_model="b"
    )
    summaries = tuple(TaskSummary(f"t{i}", 1, ()) for i in range(done))
    return RunState(seq=9, run_id="r", started=started, settings=settings, finished=False, task=task, done=summaries)


def round_of(
    purpose: str = "learn", *, samples: int = 2, prompts: Sequence[PlannedPrompt] = (), **changes: Any
) -> RoundState:
    """Return a round with a plan of one prompt for two samples, so many of them written."""
    plan = PromptsPlanned(round=1, purpose=purpose, prompts=list(prompts) or [planned(samples=2)])
    facts = tuple((10 + i, written("my cat sat down", index=i)) for i in range(samples))
    return RoundState(1, plan=plan, plan_seq=5, samples=facts, **changes)


def scored(**changes: Any) -> RoundState:
    return round_of(scores=(judged(10), judged(11)), set_seq=14, **changes)


FULL = tuple(pooled(i, label) for i in range(10) for label in ("pets", "weather"))


def at_end(**changes: Any) -> TaskState:
    """Return a task whose rounds are over, with all samples that it needs."""
    values: dict[str, Any] = {"learn_rounds": 2, "pool": FULL, "round": scored(updated=True, checked=2, compared=True)}
    return task_of(TOPICS, **(values | changes))


def test_the_held_out_judge_looks_at_a_round_once_where_there_is_something_to_compare() -> None:
    done = scored(updated=True, checked=2)
    untrained = (pooled(1), pooled(2, "weather"))
    assert decide(running(at_end(round=done, reference=untrained))) == Compare()
    assert decide(running(at_end(round=done))) == Deliver()
    assert decide(running(at_end(round=done, reference=untrained), "judges.held_out=false")) == Deliver()
    assert decide(running(at_end(round=replace(done, compared=True), reference=untrained))) == Deliver()
    refused = replace(done, scores=(judged(10, accepted=False), judged(11, accepted=False)))
    assert decide(running(at_end(round=refused, reference=untrained))) == Deliver()


# ---- runs and tasks ------------------------------------------------------------------------------------------


def test_without_a_run_there_is_nothing_to_do() -> None:
    assert decide(RunState()) is None
    assert decide(replace(running(), finished=True)) is None


def test_tasks_arrive_one_after_the_other_and_then_the_run_is_finished() -> None:
    assert [decide(running(done=done)) for done in (0, 1, 2)] == [ArriveTask(0), ArriveTask(1), FinishRun()]


# ---- within a round ------------------------------------------------------------------------------------------

ROUNDS: dict[str, tuple[RoundState, Action]] = {
    "a plan without samples": (round_of(samples=0), Generate()),
    "a plan with some of its samples": (round_of(samples=1), Generate()),
    "samples without scores": (round_of(), Score()),
    "scores of samples without those of the set": (round_of(scores=(judged(10),)), Score()),
    "a scored round": (scored(), Learn("grpo")),
    "a scored round with experience": (scored(prompts=[planned(samples=2, experience=["x"])]), CreditExperience()),
    "experience of one prompt credited": (
        scored(prompts=[planned(samples=1, experience=["x"]), planned(samples=1, experience=["x", "y"])], credited=1),
        CreditExperience(),
    ),
    "experience of all prompts credited": (
        scored(prompts=[planned(samples=1, experience=["x"]), planned(samples=1)], credited=2),
        Learn("grpo"),
    ),
    "a round that was learnt from": (scored(updated=True), Check()),
    "a round that is done": (scored(updated=True, checked=2), Recall()),
    "a filling round that is scored": (scored(purpose="fill"), Recall()),
    "a round in which memory was asked": (RoundState(1, recalled=RECALLED), Plan("learn")),
}


@pytest.mark.parametrize("case", ROUNDS)
def test_a_round_gets_what_it_still_lacks(case: str) -> None:
    now, action = ROUNDS[case]
    task = task_of(TOPICS, learn_rounds=1, round=now, pool=(pooled(1),))
    assert decide(running(task, "loop.eft_rounds=0")) == action


@pytest.mark.parametrize(("done", "algorithm"), [(1, "eft"), (2, "eft"), (3, "grpo")])
def test_the_first_rounds_fine_tune_and_the_others_learn_from_rewards(done: int, algorithm: str) -> None:
    task = task_of(TOPICS, learn_rounds=done, round=scored())
    assert decide(running(task, "loop.eft_rounds=2", "loop.rounds=5")) == Learn("eft" if algorithm == "eft" else "grpo")


@pytest.mark.parametrize(("every", "rounds", "checks"), [(0, 2, False), (2, 1, False), (2, 2, True), (1, 1, True)])
def test_students_are_trained_every_so_many_rounds(every: int, rounds: int, checks: bool) -> None:
    task = task_of(TOPICS, learn_rounds=rounds, round=scored(updated=True), pool=(pooled(1),))
    assert (decide(running(task, f"loop.student_every={every}", "loop.rounds=9")) == Check()) is checks


def test_without_accepted_samples_or_labels_no_student_is_trained() -> None:
    """A check without anything to train led to no event and was decided again, for ever."""
    task = task_of(TOPICS, learn_rounds=1, round=scored(updated=True))
    assert decide(running(task)) == Recall()
    story = task_of(checked(STORY), learn_rounds=1, round=scored(updated=True), pool=(pooled(1, ""),))
    assert decide(running(story)) == Recall()


def test_where_they_are_asked_to_the_seeds_teach_once_before_the_first_round_that_is_for_learning() -> None:
    taught, fresh = task_of(TOPICS, seeded=True), task_of(TOPICS)
    asked = ("memory.k=0", "seeds.epochs=1")
    assert decide(running(fresh, *asked)) == Learn("seeds")
    assert decide(running(taught, *asked)) == Plan("learn")
    assert decide(running(fresh, "memory.k=0")) == Plan("learn")
    assert decide(running(task_of(TOPICS, learn_rounds=1), *asked)) == Plan("learn"), "a fork asks for it too late"
    assert decide(running(fresh, *asked, "stream.adapter=none")) == Plan("learn")
    assert decide(running(fresh, *asked, "loop.rounds=0")) == Plan("fill")
    assert decide(running(fresh, *asked, "delivery.untrained=true", "constraints.fidelity=1")) == Plan("reference")


def test_without_recall_a_plan_comes_at_once() -> None:
    assert decide(running(task_of(TOPICS))) == Recall()
    assert decide(running(task_of(TOPICS), "memory.k=0")) == Plan("learn")


# ---- after the learning rounds -------------------------------------------------------------------------------


def test_rounds_that_only_fill_come_while_samples_lack_and_no_longer_than_allowed() -> None:
    lacking = at_end(pool=FULL[:3])
    assert decide(running(lacking, "memory.k=0")) == Plan("fill")
    assert decide(running(replace(lacking, fill_rounds=12), "memory.k=0")) == Deliver()
    assert decide(running(at_end(), "memory.k=0")) == Deliver()
    one_sided = at_end(pool=tuple(pooled(i, "pets") for i in range(20)))
    assert decide(running(one_sided, "memory.k=0")) == Plan("fill"), "of weather there is none"


def test_without_learning_rounds_filling_begins_at_once() -> None:
    assert decide(running(task_of(TOPICS), "memory.k=0", "loop.rounds=0")) == Plan("fill")


def test_the_untrained_policy_is_asked_where_there_is_something_to_compare() -> None:
    files = {"test": "0" * 64}
    assert decide(running(at_end(files=files))) == Plan("reference")
    enough = tuple(pooled(i) for i in range(4))
    assert decide(running(at_end(files=files, reference=enough))) == Deliver()
    assert decide(running(at_end(files=files, reference_rounds=3))) == Deliver(), "it has had its tries"
    assert decide(running(at_end(files={"real_train": "0" * 64}))) == Deliver()
    assert decide(running(at_end(files=files, round=round_of("reference", set_seq=3)))) == Plan("reference")


def test_a_delivered_task_is_evaluated_once_and_finished() -> None:
    files = {"test": "0" * 64}
    assert decide(running(at_end(delivered=(), files=files))) == Evaluate()
    assert decide(running(at_end(delivered=(), files=files, students=(TESTED,)))) == FinishTask()
    assert decide(running(at_end(delivered=()))) == FinishTask()
    story = task_of(checked(STORY), learn_rounds=2, fill_rounds=12, delivered=(), files=files)
    assert decide(running(story)) == FinishTask()


# ---- the walk of a whole run ---------------------------------------------------------------------------------


class Walk(Silent):
    """Writes down every action with the state before it and the events that it led to."""

    def __init__(self) -> None:
        self.steps: list[tuple[RunState, Action, Sequence[Event], RunState]] = []
        self._before = RunState()

    def begins(self, state: RunState, action: Action) -> None:
        self._before = state

    def ends(self, state: RunState, action: Action, events: Sequence[Event]) -> None:
        self.steps.append((self._before, action, list(events), state))


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    folder = tmp_path_factory.mktemp("walk")
    found = Walk()
    with Agent.open(folder / "home", engine=scripted(), embedder=HashEmbedder()) as agent:
        agent.run(write_stream(folder, "one", "two"), settings=QUICK, watcher=found)
    return found


def test_a_run_is_this_walk(walk: Walk) -> None:
    names = [type(action).__name__ for _, action, _, _ in walk.steps]
    reference, learning = ["Plan", "Generate", "Score"], ["Recall", "Plan", "Generate", "Score", "Learn"]
    purposes = [action.purpose for _, action, _, _ in walk.steps if isinstance(action, Plan)]
    tries = purposes.index("learn")
    assert tries >= 1, "the untrained policy comes first: the floors are its figures"
    learning += ["Balance", "Compare"]
    opening = ["ArriveTask", *reference * tries, *learning, *learning, "Check"]
    assert names[: len(opening)] == opening
    assert names[-4:] == ["Deliver", "Evaluate", "FinishTask", "FinishRun"]
    assert names.count("ArriveTask") == names.count("FinishTask") == names.count("Deliver") == 2
    assert names.count("Learn") == 4
    assert "CreditExperience" in names, "the second task recalls what the first one taught"
    assert purposes[tries : tries + 3] == ["learn", "learn", "fill"]


def test_deciding_is_a_function_of_the_state_alone_and_changes_nothing(walk: Walk) -> None:
    for before, action, _, _ in walk.steps:
        shown = repr(before)
        assert decide(before) == action
        assert decide(before) == action
        assert repr(before) == shown


def test_the_state_after_a_step_is_the_fold_of_its_events(walk: Walk) -> None:
    for (before, _, events, after), following in zip(walk.steps, [*walk.steps[1:], None], strict=True):
        state = before
        for event in events:
            state = apply(state, event)
        assert state == after
        assert following is None or following[0] == after
        assert events, "an action that leads to nothing would be decided for ever"


def test_at_every_step_the_samples_requested_are_accepted_rejected_or_failed(walk: Walk) -> None:
    seen = 0
    for _, _, events, after in walk.steps:
        if after.task:
            task = after.task
            assert task.requested == task.accepted + sum(task.rejected.values()) + task.failed
            seen = max(seen, task.requested)
        for event in events:
            if isinstance(event.fact, TaskFinished):
                totals = event.fact
                assert totals.requested == totals.accepted + totals.rejected + totals.failed > 0
                assert totals.delivered <= totals.accepted
    assert seen > 20


def test_a_run_in_which_nothing_passes_comes_to_its_end(tmp_path: Path) -> None:
    with Agent.open(tmp_path / "home", engine=scripted(junk=1.0), embedder=HashEmbedder()) as agent:
        report = agent.run(write_stream(tmp_path), settings=[*QUICK, "loop.student_every=1"])
    assert [task.delivered for task in report.tasks] == [0]
    assert report.tasks[0].student is None


# ---- the cap on tokens ---------------------------------------------------------------------------------------


def test_no_round_begins_once_the_tokens_are_written() -> None:
    def after(tokens: int, *settings: str, untrained: int = 0) -> Action | None:
        task = task_of(TOPICS, tokens=tokens, reference_tokens=untrained)
        return decide(running(task, "loop.tokens=100", "memory.k=0", *settings))

    assert after(99) == Plan("learn")
    assert after(100) == Deliver()
    assert after(5000, "loop.tokens=0") == Plan("learn")
    assert after(150, untrained=51) == Plan("learn"), "what is written to be reported alone is free"
    assert after(150, "constraints.diversity=1", "constraints.reference=0", untrained=51) == Deliver()
    assert after(150, "delivery.untrained=true", untrained=51) == Deliver(), "what may be delivered is not"
