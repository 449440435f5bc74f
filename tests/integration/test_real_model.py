"""The embedded policy on real input: what tiny random models cannot show. Slow, and the point of it all."""

from pathlib import Path

import pytest
import safetensors.torch

from synlearner.agent import Agent, parse_settings
from synlearner.agent.cards import Stream, load_stream
from synlearner.agent.datasets import delivered_rows
from synlearner.agent.verifying import verify_run
from synlearner.demo import stream_path
from synlearner.events import Home, PolicyUpdated, PromptsPlanned, SampleGenerated, SampleScored
from synlearner.policies.canary import check_engine
from synlearner.policies.model import ModelSettings, PolicyModel
from synlearner.policies.transformers_engine import TransformersEngine

SETTINGS = parse_settings(
    ["loop.rounds=2", "loop.prompts=4", "loop.group=4", "loop.fill_rounds=2", "loop.oversample=1.0"]
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one task of the demo."""
    folder = tmp_path_factory.mktemp("real") / "home"
    whole = load_stream(stream_path())
    small = whole.tasks[1].card.model_copy(update={"samples": 8})
    task = type(whole.tasks[1])(small, whole.tasks[1].seeds_sha256, whole.tasks[1].test)
    with Agent.open(folder) as agent:
        agent.run(Stream("real", "", [task]), settings=SETTINGS)
    return folder


@pytest.mark.slow
def test_the_embedded_policy_delivers_a_data_set_of_distinct_rows(home: Path) -> None:
    with Home.open(home) as opened:
        rows = delivered_rows(opened.log, "film_remarks").rows
    assert len(rows) == 8
    assert {row["label"] for row in rows} == {"positive", "negative"}
    assert len({row["text"] for row in rows}) == 8


@pytest.mark.slow
def test_both_kinds_of_learning_move_the_weights(home: Path) -> None:
    with Home.open(home) as opened:
        updates = [e.fact for e in opened.log.read() if isinstance(e.fact, PolicyUpdated)]
    assert [update.algorithm for update in updates] == ["eft", "grpo"]
    assert all(update.adapter != update.parent and update.grad_norm > 0 for update in updates)


@pytest.mark.slow
def test_most_samples_of_the_best_frames_pass_the_gates(home: Path) -> None:
    with Home.open(home) as opened:
        events = list(opened.log.read())
    plans = {e.seq: e.fact.purpose for e in events if isinstance(e.fact, PromptsPlanned)}
    of = {e.seq: plans[e.causes[0]] for e in events if isinstance(e.fact, SampleGenerated)}
    scores = [e.fact for e in events if isinstance(e.fact, SampleScored) and of[e.fact.sample] != "reference"]
    passed = sum(not score.reason.startswith("gate:") for score in scores)
    assert len(of) > len(scores) > 0
    assert passed > len(scores) / 2


@pytest.mark.slow
def test_the_run_is_verified_from_its_log_weights_included(home: Path) -> None:
    with Home.open(home, write=True) as opened:
        found = verify_run(opened)
    assert found.first_difference is None
    assert found.checked > 0


@pytest.mark.slow
@pytest.mark.parametrize("lora", [1, 2, 3])
def test_products_in_bfloat16_are_not_taken_for_other_weights(lora: int) -> None:
    """Noise shows thirty times as well when it is twice as large, and rounding grows with it."""
    model = PolicyModel.load(ModelSettings("SmolLM2-135M-Instruct", "cpu", "float32", 8, 16, lora))
    engine = TransformersEngine(model, mixed=True)
    found = check_engine(model, engine, None)
    assert found.exact is not None
    assert found.exact < found.gap < found.moved / 10
    model.load_adapter(None)
    moved = {name: tensor + 0.02 for name, tensor in safetensors.torch.load(model.adapter()).items()}
    assert check_engine(model, engine, safetensors.torch.save(moved)).exact is not None
