"""Facts of about 1 KB to measure a log with: in the proportions of a real run, mostly text; or samples, mostly numbers."""

import random

from synlearner.events import AnyFact, FeedbackGiven, SampleGenerated, SampleScored, SetScored


def samples(count: int) -> list[AnyFact]:
    """Return facts of one kind, 950 bytes on average: 40 token ids, 40 log-probabilities and a text."""
    rng = random.Random(0)
    return [_sample(rng, i, words=20, tokens=40) for i in range(count)]


def mixed(count: int) -> list[AnyFact]:
    """Return facts of 1,020 bytes on average: 7 of 16 are samples and 7 scores, as in a run; most of it is text."""
    rng = random.Random(0)
    return [_fact(rng, i) for i in range(count)]


def _fact(rng: random.Random, i: int) -> AnyFact:
    match i % 16:
        case 14:
            return FeedbackGiven(target=f"sample:{i}", score=0.5, text=_text(rng, 140), source="person")
        case 15:
            gains = [rng.random() for _ in range(24)]
            seqs = list(range(i, i + 24))
            return SetScored(round=i, samples=seqs, embeddings=f"{i:064x}", diversity={"vendi": 1.5}, gains=gains)
        case place if place % 2:
            parts = {name: rng.random() for name in ("fidelity", "quality", "attributes", "gain")}
            fields = {"text": _text(rng, 110)}
            return SampleScored(sample=i, accepted=True, reason="", fields=fields, parts=parts, total=rng.random())
    return _sample(rng, i, words=94, tokens=12)


def _sample(rng: random.Random, i: int, *, words: int, tokens: int) -> SampleGenerated:
    return SampleGenerated(
        round=1,
        prompt=i % 8,
        index=i % 6,
        text=_text(rng, words),
        token_ids=[rng.randrange(49152) for _ in range(tokens)],
        logprobs=[round(-rng.random() * 5, 6) for _ in range(tokens)],
        finish="stop",
        policy="0" * 64,
        engine="transformers",
    )


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice("abcdefgh") * 6 for _ in range(words))
