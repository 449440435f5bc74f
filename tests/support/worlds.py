"""Small worlds for tests: a stream that needs no model, an engine that follows a script, a model with random weights."""

# ruff: noqa: PLC0415, S106, S311 - torch is loaded where it is needed; tokens are no passwords; chance is seeded

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

from synlearner.policies.scripted import ScriptedEngine

TOPICS = {
    "pets": ["cat", "dog", "rabbit", "parrot", "hamster", "goldfish", "puppy", "kitten"],
    "weather": ["rain", "snow", "storm", "sunshine", "fog", "wind", "thunder", "hail"],
}
"""Label to words that only its texts use."""

SAYS = ["i saw the {} today near the river", "my sister talked about {} all evening", "they say {} is what we need now",
        "nobody here likes {} very much", "we wrote a long letter about {} yesterday"]  # fmt: skip


def text_of(label: str, number: int) -> str:
    """Return the text with this number: a few words about the label's topic."""
    words, say = TOPICS[label], SAYS[number % len(SAYS)]
    return say.format(words[(number // len(SAYS)) % len(words)]) + ("" if number < 40 else f" again {number}")


def rows(count: int, start: int = 0) -> list[dict[str, str]]:
    """Return *count* rows for each label."""
    return [{"text": text_of(label, start + i), "label": label} for label in TOPICS for i in range(count)]


def card(name: str = "topics", **changes: Any) -> dict[str, Any]:
    """Return a card with inline seeds."""
    return {
        "name": name,
        "kind": "classification",
        "description": "A short remark.",
        "fields": {"text": {"description": "one remark", "words": [3, 14]}},
        "labels": {"pets": "about animals at home", "weather": "about the sky"},
        "seeds": rows(4),
        "samples": 10,
        **changes,
    }


def write_stream(folder: Path, *names: str, **changes: Any) -> Path:
    """Write a stream file with one card per name, with test and train data, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, start in (("test", 10), ("train", 20)):
        lines = (json.dumps(row) + "\n" for row in rows(8, start))
        (folder / f"{part}.jsonl").write_text("".join(lines), encoding="utf-8")
    tasks = [card(name, test="test.jsonl", real_train="train.jsonl", **changes) for name in names or ("topics",)]
    file = folder / "stream.yaml"
    file.write_text(json.dumps({"stream": "small", "description": "for tests", "tasks": tasks}), encoding="utf-8")
    return file


def lines(file: Path) -> list[str]:
    """Return the lines of a JSONL file. Not `splitlines`: what a random model writes may hold U+0085 or U+2028."""
    return file.read_text(encoding="utf-8").strip("\n").split("\n")


def scripted(*, junk: float = 0.25) -> ScriptedEngine:
    """Return an engine that writes about what the prompt asks for; a share of its samples is junk."""

    def reply(text: str, seed: int) -> str:
        rng = random.Random(hashlib.sha256(f"{text}{seed}".encode()).digest())
        if rng.random() < junk:
            return rng.choice(["", "Sure! Here is one.", "rain rain rain rain rain rain rain", "x"])
        asked = [label for label in TOPICS if f"Kind: {label}" in text or f"'{label}'" in text]
        return text_of(rng.choice(asked or list(TOPICS)), rng.randrange(30, 400))

    return ScriptedEngine(reply)


QUICK = ("loop.rounds=2", "loop.prompts=4", "loop.group=3", "loop.fill_rounds=3", "students.bootstrap=100")
"""Settings for runs that last a second."""


def tiny_model(folder: Path, *, hidden: int = 32) -> Path:
    """Save a Llama with random weights and a byte-level tokenizer; return its folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([row["text"] + "\n" for row in rows(40)], trainer)
    fast: Any = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")  # type: ignore[no-untyped-call]
    fast.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id, bos_token_id=fast.convert_tokens_to_ids("<|im_start|>"), tie_word_embeddings=True,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(int(os.environ.get("TINY_MODEL_SEED", "0")))
        model: Any = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    disable_progress_bar()  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
