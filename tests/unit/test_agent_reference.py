"""Samples of the untrained policy: judged as all are, and paid nothing."""

from collections.abc import Sequence

from pieces import EMBEDDER, checked, planned, pooled, vectors_of, written
from worlds import card, rows

from synlearner.agent.config import RewardSettings
from synlearner.agent.features import Matrix
from synlearner.agent.judge import make_judge
from synlearner.agent.scoring import judge_reference, score_round

TOPICS = checked(card(seeds=rows(8)))


def test_samples_of_the_untrained_policy_are_judged_as_all_are_and_paid_nothing() -> None:
    """Gated, refused and accepted; what can be read has a vector, whatever became of it."""
    texts = [
        "my cat likes your dog",
        "",
        "my cat likes your dog",
        "the snow and the storm came",
        "rain in pets",
    ]
    samples = list(enumerate((written(text, index=i) for i, text in enumerate(texts)), start=10))
    judge, strict = make_judge(TOPICS, vectors_of(TOPICS, TOPICS.seeds)), RewardSettings(min_fidelity=0.1)
    asked: list[int] = []

    def embed(read: Sequence[dict[str, str]]) -> Matrix:
        asked.append(len(read))
        return vectors_of(TOPICS, read)

    scored, vectors = judge_reference(TOPICS, [planned("pets")], samples, (), judge, embed, strict)
    assert [s.reason for s in scored] == ["", "gate:format", "gate:copy_of_sample", "fidelity", "gate:label_leak"]
    assert [s.accepted for s in scored] == [True, False, False, False, False]
    assert [bool(s.parts) for s in scored] == [True, False, False, True, False]
    assert (asked, len(vectors)) == ([4], 4), "in one batch"
    alone = (
        score_round(
            TOPICS,
            [planned("pets")],
            samples[:1],
            (),
            vectors_of(TOPICS, []),
            judge=judge,
            embedder=EMBEDDER,
            settings=strict,
        )
        .scored[0]
        .parts
    )
    assert scored[0].parts == {name: alone[name] for name in ("fidelity", "quality")}
    assert {s.total for s in scored} == {0.0}
    again, _ = judge_reference(
        TOPICS, [planned("pets")], samples[:1], (pooled(3, text=texts[0], worth=1.0),), judge, embed, strict
    )
    assert again[0].reason == "gate:copy_of_sample", "an earlier round has said it"
