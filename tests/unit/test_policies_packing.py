"""Packing: one sequence for a whole group gives the logits of separate sequences."""

from pathlib import Path

import pytest
import torch
from tiny import adapter, load, logits_of

from synlearner.policies.learner import token_logprobs
from synlearner.policies.logprobs import Support
from synlearner.policies.model import PolicyModel
from synlearner.policies.packing import Pack, pack
from synlearner.policies.sampler import kept_logprobs

CPU = torch.device("cpu")
PROMPT = [5, 9, 12, 40, 7]
GROUPS = {
    "one": [[11, 12, 13]],
    "ragged": [[11, 12, 13], [20], [30, 31], [40, 41, 42, 43, 44, 45]],
    "all of length one": [[11], [12], [11]],
    "equal": [[11, 12, 13], [11, 12, 13]],
    "beginning alike": [[11, 12, 13, 14], [11, 12, 99]],
}


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> PolicyModel:
    found = load(tiny_folder)
    found.load_adapter(adapter(found))
    return found


def packed_logits(model: PolicyModel, packed: Pack) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.network(
            input_ids=packed.ids_1_L, attention_mask=packed.sees_1_1_L_L, position_ids=packed.position_1_L,
            use_cache=False, logits_to_keep=packed.from_T,
        ).logits[0]  # fmt: skip
    return logits


@pytest.mark.parametrize("case", GROUPS)
def test_packed_logits_are_those_of_separate_sequences(model: PolicyModel, case: str) -> None:
    completions = GROUPS[case]
    together = packed_logits(model, pack(PROMPT, completions, CPU))
    alone = [logits_of(model, PROMPT + c)[len(PROMPT) - 1 : -1] for c in completions]
    assert together.shape == (sum(map(len, completions)), model.network.config.vocab_size)
    assert torch.allclose(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_a_prompt_of_one_token_is_enough(model: PolicyModel) -> None:
    together = packed_logits(model, pack([5], [[6, 7], [8]], CPU))
    assert torch.allclose(together[:2], logits_of(model, [5, 6, 7])[:-1], atol=1e-5, rtol=0)


def test_a_pack_by_hand() -> None:
    """Prompt a b; completions c d e and f: the last tokens e and f are only predicted, so a b c d is all there is."""
    packed = pack([1, 2], [[3, 4, 5], [6]], CPU)
    assert packed.ids_1_L.tolist() == [[1, 2, 3, 4]]
    assert packed.position_1_L.tolist() == [[0, 1, 2, 3]]
    assert packed.from_T.tolist() == [1, 2, 3, 1]
    assert packed.target_T.tolist() == [3, 4, 5, 6]
    assert packed.owner_T.tolist() == [0, 0, 0, 1]


def test_completions_stand_at_the_places_that_they_would_have_alone_and_see_no_neighbour() -> None:
    """Prompt a b; completions c d and e f: behind the prompt stand c and e, both at place 2, blind to each other."""
    packed = pack([1, 2], [[3, 4], [5, 6]], CPU)
    assert packed.position_1_L.tolist() == [[0, 1, 2, 2]]
    assert packed.sees_1_1_L_L[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]]


def test_a_neighbour_changes_nothing(model: PolicyModel) -> None:
    first = packed_logits(model, pack(PROMPT, [[11, 12, 13], [20, 21]], CPU))[:3]
    second = packed_logits(model, pack(PROMPT, [[11, 12, 13], [90, 91]], CPU))[:3]
    assert torch.equal(first, second)


@pytest.mark.parametrize("decoding", [(1.0, 0.0), (0.7, 0.0), (1.2, 0.1)])
def test_the_trainers_log_probabilities_are_the_samplers(model: PolicyModel, decoding: tuple[float, float]) -> None:
    """4.5.3 and 4.5.4: without the temperature ratios were off by e^-9, without the kept set by its mass."""
    temperature, min_p = decoding
    completions = [[11, 12, 13], [20]]
    packed = pack(PROMPT, completions, CPU)
    with torch.no_grad():
        kept_T, full_T = token_logprobs(model, packed, Support(temperature, min_p))
    logits = packed_logits(model, packed)
    rows = len(logits)
    sampled = kept_logprobs(logits, torch.full((rows,), temperature), torch.full((rows,), min_p))
    whole = torch.log_softmax(logits / temperature, -1)
    for i, token in enumerate(packed.target_T.tolist()):
        assert full_T[i].item() == pytest.approx(whole[i, token].item(), abs=1e-5)
        if torch.isfinite(sampled[i, token]):
            assert kept_T[i].item() == pytest.approx(sampled[i, token].item(), abs=1e-5)
        assert full_T[i] <= kept_T[i] + 1e-6


def test_a_token_just_outside_the_kept_set_counts_as_kept(model: PolicyModel) -> None:
    """Rounding may put a drawn token there: its log-probability is finite, and so is the loss."""
    packed = pack(PROMPT, [[int(logits_of(model, PROMPT)[-1].argmin())]], CPU)
    with torch.no_grad():
        kept_T, _ = token_logprobs(model, packed, Support(1.0, 0.99))
    assert torch.isfinite(kept_T).all()
