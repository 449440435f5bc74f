"""A frozen causal language model with one LoRA adapter on it: what the engine samples from and the learner moves.

Base weights are never changed and never merged. An adapter is safetensors bytes of the LoRA tensors; None is the
untrained policy (LoRA off). LoRA: Hu et al. 2021, arXiv:2106.09685, by way of peft.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch
import transformers
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer

from synlearner.errors import EngineError, ModelError
from synlearner.policies.fetch import find
from synlearner.policies.llama import Llama, is_llama


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model, and how the adapter sits on it."""

    model: str
    """A default's name, a local folder or a Hugging Face name."""
    device: str
    """`auto` (CUDA if there is one), `cpu`, `cuda` …"""
    dtype: str
    rank: int
    alpha: int
    seed: int
    """Of LoRA's random half."""


class PolicyModel:
    """Base model, tokenizer and adapter. Built by `PolicyModel.load`."""

    def __init__(self, base: Any, tokenizer: Any, settings: ModelSettings) -> None:
        self.base_digest = _digest(base.state_dict())
        self.tokenizer = tokenizer
        self._config = base.config
        self.scale = settings.alpha / settings.rank
        """What the adapter's product is multiplied by."""
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network: Any = get_peft_model(base, config)
        self.network.eval()
        self._pieces: dict[int, str] = {}
        self._written_by: tuple[object, Llama] | None = None
        self._fresh = {name: p.detach().clone() for name, p in self.parameters().items()}
        self.load_adapter(None)
        self.end_tokens = _end_tokens(base, tokenizer)
        self.pad_token: int = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(self.end_tokens)

    @classmethod
    def load(cls, settings: ModelSettings) -> Self:
        """Load a model and its tokenizer from safetensors; no code from the model's folder is run.

        Raises:
            ModelError: If it cannot be found or read.
        """
        transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # they leave it untyped
        transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        device = settings.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            source = find(settings.model)
            tokenizer = transformers.AutoTokenizer.from_pretrained(source)
            base = _read_base(source, settings.dtype)
            base.to(device)
        except ModelError:
            raise
        except Exception as error:  # what transformers raises over a strange file can be anything
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelError(
                f"cannot load the model {settings.model!r}: {reason}. "
                "Pass policy.model=NAME_OR_FOLDER of a causal language model in safetensors with its tokenizer",
            ) from error
        return cls(base, tokenizer, settings)

    def measure_base(self) -> str:
        """Return the digest of the base weights as they are now, whatever sits on them: `base_digest`, or they moved."""
        state = self.network.get_base_model().state_dict()
        return _digest({k.replace(".base_layer.", "."): t for k, t in state.items() if ".lora_" not in k})

    # ---- the adapter -----------------------------------------------------------------------------------------

    def parameters(self) -> dict[str, Tensor]:
        """Return the LoRA tensors by name, sorted."""
        return {name: p for name, p in sorted(self.network.named_parameters()) if "lora_" in name}

    def adapter(self) -> bytes:
        """Return the adapter as safetensors bytes: equal tensors give equal bytes."""
        return safetensors.torch.save({name: p.detach().cpu().contiguous() for name, p in self.parameters().items()})

    def load_adapter(self, adapter: bytes | None) -> None:
        """Put *adapter* on the base model, or turn LoRA off for None. All tensors are checked before any is copied.

        Raises:
            EngineError: If the adapter does not fit. The old one stays.
        """
        if adapter is None:
            tensors = self._fresh
        else:
            try:
                tensors = safetensors.torch.load(adapter)
            except SafetensorError as error:
                raise EngineError(f"the adapter is not safetensors: {error}") from error
        parameters = self.parameters()
        shapes = {name: tuple(p.shape) for name, p in parameters.items()}
        given = {name: tuple(t.shape) for name, t in tensors.items()}
        if shapes != given:
            wrong = sorted(name for name in shapes.keys() | given.keys() if shapes.get(name) != given.get(name))
            raise EngineError(
                f"the adapter does not fit this model: {wrong[0]} is {given.get(wrong[0])}, not {shapes.get(wrong[0])}. "
                "Use the base model and policy.rank that it was trained with",
            )
        with torch.no_grad():
            for name, parameter in parameters.items():
                if not torch.equal(parameter, tensors[name]):  # else what was laid out for writing is still good
                    parameter.copy_(tensors[name])
        self.switch(on=adapter is not None)

    def switch(self, *, on: bool) -> None:
        """Turn the adapter on or off. Off is the base model, bit for bit, and faster."""
        layers = self.network.base_model
        (layers.enable_adapter_layers if on else layers.disable_adapter_layers)()

    def written_by(self, *, mixed: bool = False) -> Llama | None:
        """Return the weights as they are now, laid out for writing; None where that does not help.

        *mixed*: with products in bfloat16 (`synlearner.policies.half`).

        They are kept until weights, LoRA's switches or its scales change, whoever changes them: torch counts writes to
        a tensor, and the count is looked at. `rest` lets go of them.
        """
        stamp: list[tuple[object, ...]] = [(mixed,)]
        stamp += [(p.data_ptr(), p._version) for p in self.network.parameters()]  # noqa: SLF001 - torch's own count
        stamp += [(m.merged, m.disable_adapters, *m.scaling.values()) for m in self._lora()]
        if self._written_by is None or self._written_by[0] != stamp:
            self._written_by = None  # before the next one, so that there are never two
            self._written_by = (stamp, Llama(self.network, mixed=mixed)) if is_llama(self.network) else None
        return self._written_by[1] if self._written_by else None

    def rest(self) -> None:
        """Let go of what `written_by` keeps, as large as the model in float32: learning needs the memory."""
        self._written_by = None

    def _lora(self) -> Iterator[LoraLayer]:
        return (module for module in self.network.modules() if isinstance(module, LoraLayer))

    @contextmanager
    def checkpointing(self, *, on: bool) -> Iterator[None]:
        """Keep only the inputs of the layers for the backward pass, if *on*; the model stays in `eval` mode.

        Raises:
            EngineError: If the model's layers cannot do that.
        """
        layers = [module for module in self.network.modules() if isinstance(module, GradientCheckpointingLayer)]
        if not on:
            layers = []
        elif not layers:
            raise EngineError("this model's layers cannot be checkpointed: use policy.checkpointing=false")
        else:
            self.network.get_base_model().gradient_checkpointing_enable({"use_reentrant": False})
        for layer in layers:
            layer.training = True  # of the layer itself, not of what is in it: transformers looks there
        try:
            yield
        finally:
            for layer in layers:
                layer.training = False
            if on:
                self.network.get_base_model().gradient_checkpointing_disable()

    # ---- tokens and logits -----------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.network.device
        return device

    def prompt_tokens(self, text: str, prefix: str) -> list[int]:
        """Return the ids of a user's turn and of how the answer begins, in the model's chat template if it has one."""
        if self.tokenizer.chat_template:
            turn = [{"role": "user", "content": text}]
            prompt = self.tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        else:
            prompt = f"{text}\n\n"
        ids: list[int] = self.tokenizer(prompt + prefix, add_special_tokens=not self.tokenizer.chat_template)[
            "input_ids"
        ]
        return ids

    def answer_tokens(self, text: str, prefix: str, answer: str) -> list[int]:
        """Return the ids of *answer* where it goes on from a prompt's *prefix*."""
        before, whole = self.prompt_tokens(text, prefix), self.prompt_tokens(text, prefix + answer)
        if whole[: len(before)] == before:
            return whole[len(before) :]
        # A token would reach across the seam, and what is sampled begins behind it.
        ids: list[int] = self.tokenizer(answer, add_special_tokens=False)["input_ids"]
        return ids

    def decode(self, token_ids: list[int]) -> str:
        """Return the text of *token_ids*."""
        text: str = self.tokenizer.decode(token_ids, skip_special_tokens=True)
        return text

    def piece(self, token: int) -> str:
        """Return the text of one token, which is decoded once."""
        if token not in self._pieces:
            self._pieces[token] = self.decode([token])
        return self._pieces[token]

    @property
    def _limit(self) -> int | None:
        limit: int | None = getattr(self._config, "max_position_embeddings", None)
        return limit

    def fits(self, tokens: int) -> bool:
        """Tell whether the model reads so many."""
        return not self._limit or tokens <= self._limit

    def check_fits(self, tokens: int) -> None:
        """Refuse a prompt that cannot be answered within the model's context.

        Raises:
            EngineError: With the numbers and the way out.
        """
        if not self.fits(tokens):
            raise EngineError(
                f"prompt and answer need {tokens} tokens but the model reads {self._limit}: "
                "shorten the card's description and seeds, or take a model with a longer context",
            )

    def hidden(self, ids_B_L: Tensor, mask: Tensor | None, position_B_L: Tensor) -> Tensor:
        """Return the hidden states that the output embedding reads, `(B, L, D)`."""
        base = self.network.get_base_model()
        states: Tensor = getattr(base, base.base_model_prefix)(
            input_ids=ids_B_L, attention_mask=mask, position_ids=position_B_L, use_cache=False
        ).last_hidden_state
        return states

    @cached_property
    def plain_head(self) -> torch.nn.Linear | None:
        """The output embedding, if logits are its product with the hidden states and nothing else; tried once."""
        head = self.network.get_output_embeddings()
        if not isinstance(head, torch.nn.Linear) or any(p.requires_grad for p in head.parameters()):
            return None
        ids_1_L = torch.tensor([[0, 1, 2]], device=self.device)
        positions_1_L = torch.arange(3, device=self.device)[None]
        with torch.no_grad():
            try:
                found = head(self.hidden(ids_1_L, None, positions_1_L))
            except (AttributeError, TypeError):  # built in another way than most
                return None
            logits = self.network(input_ids=ids_1_L, position_ids=positions_1_L, use_cache=False).logits
        return head if torch.equal(found, logits) else None

    def forward(self, ids_B_T: Tensor, mask_B_S: Tensor | None, position_B_T: Tensor, cache: Any) -> Tensor:
        """Return the logits after the last token, `(B, V)`, and let *cache* grow."""
        logits: Tensor = self.network(
            input_ids=ids_B_T,
            attention_mask=mask_B_S,
            position_ids=position_B_T,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return logits[:, -1]


def _read_base(source: str | Path, dtype: str) -> Any:
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
        source, dtype=getattr(torch, dtype), use_safetensors=True, output_loading_info=True
    )
    base, report = loaded
    if report["missing_keys"]:  # transformers has made them up, at random
        raise ValueError(f"its file has no weights for {min(report['missing_keys'])}")
    return base


def _digest(state: dict[str, Tensor]) -> str:
    hasher = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        hasher.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return f"sha256:{hasher.hexdigest()}"


def _end_tokens(base: Any, tokenizer: Any) -> frozenset[int]:
    named = [tokenizer.eos_token_id, base.config.eos_token_id]
    named.append(base.generation_config.eos_token_id if base.generation_config else None)
    # Each names one, several or none.
    ends = {e for entry in named for e in (entry if isinstance(entry, list) else [entry]) if isinstance(e, int)}
    if not ends:
        raise ModelError("the model names no end-of-sequence token: set eos_token in its tokenizer")
    return frozenset(ends)
