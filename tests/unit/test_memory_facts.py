"""`Memory` as the agent uses it: facts out, events in."""

from pathlib import Path
from typing import Any

from synlearner.events.home import Home
from synlearner.events.types import Draft, ExperienceRecalled, RunFinished
from synlearner.memory import HashEmbedder, Memory, RecallSettings, new_item

SLANG = "Ask for short reviews with slang."
LENGTH = "Vary the length of the sentences."


def test_the_agent_appends_the_facts_and_the_recall_can_be_recomputed(tmp_path: Path) -> None:
    settings = RecallSettings(gate=0.0)
    with Home.open(tmp_path / "home", write=True, create=True) as home:
        memory = Memory(home, HashEmbedder(), mirror=False, settings=settings)

        def append(*facts: Any) -> None:
            drafts = [Draft(fact=fact, id=f"{home.log.head().seq}.{place}") for place, fact in enumerate(facts)]
            for event in home.log.append(drafts, expected_seq=home.log.head().seq):
                memory.apply(event)

        for text in (SLANG, LENGTH, "Name no label."):
            append(memory.learned(new_item(text, type="strategy")))
        fact = memory.recall("short reviews", k=2, seed=5, round=0)
        assert isinstance(fact, ExperienceRecalled)
        assert len(fact.chosen) == 2
        assert memory.check_recall(fact, memory.state)
        append(RunFinished(tasks=0, delivered=0), fact, memory.credited(0.4, "mr", []))
        append(memory.credited(0.9, "mr", fact.chosen))
        assert memory.state.record(fact.chosen[0]).mean > 0
        assert not memory.check_recall(fact, memory.state), "the memory has changed since"
        fresh = Memory(home, HashEmbedder(), mirror=False, settings=settings)
        assert fresh.digest() == memory.digest()


def test_a_gap_in_what_the_agent_hands_over_is_read_from_the_log(tmp_path: Path) -> None:
    with Home.open(tmp_path / "home", write=True, create=True) as home:
        memory = Memory(home, HashEmbedder(), mirror=False)
        facts = [memory.learned(new_item(text)) for text in (SLANG, LENGTH)]
        events = home.log.append([Draft(fact=fact, id=fact.item.id) for fact in facts], expected_seq=0)
        memory.apply(events[1])
        assert (memory.state.seq, len(memory.state.records)) == (2, 2)
        memory.apply(events[0])
        assert memory.state.seq == 2


def test_an_item_that_is_learnt_again_for_another_occasion_is_found_by_that_one_alone(tmp_path: Path) -> None:
    with Home.open(tmp_path / "home", write=True, create=True) as home:
        memory = Memory(home, HashEmbedder(), mirror=False)
        for seq, when in enumerate(["film reviews", "bread recipes"]):
            fact = memory.learned(new_item(SLANG, when=when))
            home.log.append([Draft(fact=fact, id=str(seq))], expected_seq=seq)
        results = memory.search(f"film reviews\n{SLANG}")["results"]
        assert [result["when"] for result in results] == ["bread recipes"]
        assert memory.search(f"bread recipes\n{SLANG}", explain=True)["results"][0]["explain"]["similarity"] > 0.999


def test_a_recall_that_was_tampered_with_is_found_out(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "home", embedder=HashEmbedder(), mirror=False) as memory:
        for text in (SLANG, LENGTH):
            memory.add(text)
        fact = memory.recall(SLANG, k=1, seed=5, round=0)
        assert memory.check_recall(fact, memory.state)
        worse = ExperienceRecalled(**{name: getattr(fact, name) for name in fact.__struct_fields__} | {"chosen": ["x"]})
        assert not memory.check_recall(worse, memory.state)


def test_k_0_recalls_nothing_and_is_still_a_fact(tmp_path: Path) -> None:
    with Memory.open(tmp_path / "home", embedder=HashEmbedder(), mirror=False) as memory:
        memory.add(SLANG)
        fact = memory.recall(SLANG, k=0, seed=5, round=0)
        assert (fact.chosen, fact.candidates) == ([], [])
        assert memory.check_recall(fact, memory.state)
