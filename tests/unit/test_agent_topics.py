"""Topics: proposed by the policy and the memory, sifted by the seeds, drawn evenly."""

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pieces import checked, planned, pooled, task_of, written
from worlds import card, rows

from synlearner.agent.config import DaiSettings, Settings
from synlearner.agent.planning import Planner
from synlearner.agent.state import RoundState, TaskState
from synlearner.agent.topics import ASKED, judge_topics, keyword, plan_topics, topics_of
from synlearner.events.types import AttributesProposed, PromptsPlanned, Proposal

CARD = checked(card(seeds=rows(8)))


AXES = {"cat": 0, "dog": 0, "vets": 0, "rain": 1, "snow": 1, "clouds": 1, "tax": 3, "old": 4}


class ByWords:
    """One axis for each of a few words: a text's vector is the sum of the axes of its words."""

    name, dimension, fingerprint = "words", 6, "words"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), 6), np.float32)
        for place, text in enumerate(texts):
            for word in text.lower().split():
                vectors[place, AXES.get(word, 5)] += 1.0
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def proposing(**lists: str) -> TaskState:
    prompts = [planned(label, samples=1) for label in ("pets", "weather")]
    samples = tuple((10 + i, written(lists.get(p.label, ""), prompt=i)) for i, p in enumerate(prompts))
    plan = PromptsPlanned(round=1, purpose="propose", prompts=prompts)
    seeds = [
        {"text": f"my {word} {word} {word}", "label": label} for label, word in (("pets", "cat"), ("weather", "rain"))
    ]
    return task_of(checked(card(seeds=seeds)), round=RoundState(1, plan=plan, samples=samples))


def sift(task: TaskState, count: int = 8, **recalled: list[str]) -> dict[str, tuple[str, str]]:
    fact = judge_topics(task, recalled, ByWords(), DaiSettings(proposals=count, relevance=0.4))
    return {f"{p.label}:{p.value}": (p.source, p.reason) for p in fact.proposals}


def test_the_policy_goes_on_with_a_list_of_the_seeds_own_words() -> None:
    prompts = plan_topics(task_of(CARD), 3)
    assert [p.label for p in prompts] == ["pets", "weather"]
    assert {p.samples for p in prompts} == {ASKED}
    for prompt in prompts:
        listed = prompt.prefix.removeprefix("Topics: ").rstrip(",").split(", ")
        texts = " ".join(row["text"] for row in CARD.seeds if row["label"] == prompt.label)
        assert all(word in texts for word in listed)
        assert prompt.stop == "\n"
    assert plan_topics(task_of(CARD), 3) == prompts != plan_topics(task_of(CARD), 4)


def test_a_topic_is_near_its_seeds_and_not_nearer_to_another_labels() -> None:
    """Prototype: attributes that ignore the task hurt a small model."""
    found = sift(proposing(pets="vets cat, old cat, tax tax, rain cat rain, 7, a b c d e", weather="snow"))
    assert found["pets:vets cat"] == ("policy", "")
    assert found["pets:tax tax"] == ("policy", "relevance")
    assert found["pets:rain cat rain"] == ("policy", "label")
    assert found["pets:7"] == found["pets:a b c d e"] == ("policy", "form")
    assert found["weather:snow"] == ("policy", "")


def test_a_topic_says_something_new() -> None:
    found = sift(proposing(pets="cat, dog, old cat"))
    assert [reason for _, reason in found.values()] == ["", "novelty", ""]


def test_topics_of_the_memory_come_first_and_are_sifted_the_same() -> None:
    found = sift(proposing(pets="old dog"), i1=["vets", "tax", "clouds"])
    assert found["pets:vets"] == ("i1", "")
    assert found["pets:tax"] == ("i1", "relevance")
    assert found["weather:clouds"] == ("i1", "")
    assert found["pets:old dog"] == ("policy", "")


def test_there_are_no_more_topics_than_wanted() -> None:
    found = sift(proposing(pets="cat, old cat"), count=1)
    assert [reason for _, reason in found.values()] == ["", "enough"]


def with_topics(**changes: object) -> TaskState:
    kept = [
        Proposal(label=label, value=value, source=source, relevance=1.0, novelty=1.0, reason="")
        for label in CARD.labels
        for value, source in (("boats", "policy"), ("trains", "i1"), ("shops", "policy"))
    ]
    gone = Proposal(label="pets", value="tax", source="policy", relevance=0.0, novelty=1.0, reason="relevance")
    return task_of(CARD, proposed=AttributesProposed(attribute="topic", proposals=[*kept, gone]), **changes)


def test_prompts_take_the_topics_in_turn_and_name_the_item_that_gave_one() -> None:
    settings = Settings(dai=DaiSettings(attributes=("topic",), frames=("dashes",)))
    prompts = Planner(with_topics(), settings).learning(1)
    assert topics_of(with_topics(), "pets") == {"boats": "policy", "trains": "i1", "shops": "policy"}
    for label in CARD.labels:
        times = Counter(p.attributes["topic"] for p in prompts if p.label == label)
        assert set(times) == {"boats", "trains", "shops"}
        assert max(times.values()) - min(times.values()) <= 1
    for prompt in prompts:
        assert prompt.experience == (["i1"] if prompt.attributes["topic"] == "trains" else [])
        assert f"(about {prompt.attributes['topic']})" in prompt.prefix
    before = tuple((label, {"topic": topic}) for label in CARD.labels for topic in ("boats", "shops") for _ in range(9))
    later = Planner(with_topics(drawn=before), settings).learning(1)
    assert {p.attributes["topic"] for p in later} == {"trains"}, "what was had least often"


def test_without_topics_nobody_is_asked_to_write_about_one() -> None:
    settings = Settings(dai=DaiSettings(attributes=("topic",)))
    assert {p.attributes.get("topic") for p in Planner(task_of(CARD), settings).learning(1)} == {None}


def test_keywords_that_were_had_are_passed_over() -> None:
    rng = random.Random(1)  # noqa: S311
    assert {keyword("a parrot and a hamster", rng, ["parrot"]) for _ in range(9)} == {"hamster"}
    assert keyword("a parrot", rng, ["parrot"]) == "parrot", "rather again than none"
    pool = (pooled(1, "pets", text="an iguana"),)
    task = task_of(CARD, pool=pool)
    assert Planner(task, Settings(dai=DaiSettings(attributes=("keyword",)))).learning(1)
