"""Redaction in a home that has run: what is gone is gone everywhere, and all that the home can do it still does."""

import json
import shutil
from pathlib import Path

import pytest
from runs import SHORT, StopAfter, Stopped, events_of, run
from worlds import scripted, write_stream

from synlearner.agent.datasets import delivered_rows
from synlearner.agent.loop import fold_run
from synlearner.agent.rebuilding import rebuild
from synlearner.agent.redacting import redact_events
from synlearner.agent.verifying import Verification, verify_run
from synlearner.errors import ConfigError
from synlearner.events import Home, Redacted, SampleGenerated, SampleScored, verify
from synlearner.events.redaction import REDACTABLE
from synlearner.memory import HashEmbedder, Memory


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("redacted")
    run(folder / "home", write_stream(folder, "one", "two"))
    return folder / "home"


@pytest.fixture
def home(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "home"))


def bytes_of(home: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(home.rglob("*")) if file.is_file())


def verified(home: Path) -> Verification:
    with Home.open(home, write=True) as found:
        return verify_run(found, engine=scripted(), embedder=HashEmbedder())


def delivered(home: Path, task: str) -> list[dict[str, str]]:
    with Home.open(home) as found:
        return list(delivered_rows(found.log, task).rows)


def test_a_sample_is_gone_from_every_byte_of_the_home_and_from_its_data_set(home: Path) -> None:
    texts = {e.seq: e.fact.text for e in events_of(home) if isinstance(e.fact, SampleGenerated)}
    with Home.open(home) as found:
        seqs = delivered_rows(found.log, "one").seqs
    # Not one that another sample holds within it: that other one stays.
    place, seq = next((i, s) for i, s in enumerate(seqs) if sum(texts[s] in text for text in texts.values()) == 1)
    text = texts[seq]
    before = delivered(home, "one")
    score = next(e.seq for e in events_of(home) if isinstance(e.fact, SampleScored) and e.fact.sample == seq)
    told = redact_events(home, [seq], "a person asked")
    assert told.echoes[score] == "sample_scored", "its fields stand in the score too, and that is said"
    redact_events(home, [score], "a person asked")
    assert json.dumps(text, ensure_ascii=False)[1:-1].encode() not in bytes_of(home)
    assert verify(home).problems == []
    assert delivered(home, "one") == before[:place] + before[place + 1 :]


def test_an_item_is_gone_from_memory_and_the_rest_stays(home: Path) -> None:
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        entries = memory.get_all()["results"]
    learned = next(e for e in events_of(home) if e.kind == "experience_learned")
    item = learned.fact.item.id  # type: ignore[union-attr]
    redact_events(home, [learned.seq], "it names somebody")
    with Memory.open(home, embedder=HashEmbedder()) as memory:
        left = memory.get_all()["results"]
        digest = memory.digest()
    assert [entry["id"] for entry in left] == [entry["id"] for entry in entries if entry["id"] != item]
    with Home.open(home, write=True) as found:
        assert rebuild(found).memory_digest == digest


def test_the_policy_and_the_tasks_are_what_they_were_whatever_is_redacted(home: Path) -> None:
    with Home.open(home) as found:
        before = fold_run(found.log)
    seqs = [event.seq for event in events_of(home) if event.kind in REDACTABLE]
    redact_events(home, seqs, "everything that can go")
    with Home.open(home) as found:
        after = fold_run(found.log)
        assert sum(isinstance(event.fact, Redacted) for event in found.log.read()) == len(seqs)
    assert after.policy_digest() == before.policy_digest()
    assert [(task.name, task.delivered) for task in after.done] == [(task.name, task.delivered) for task in before.done]
    assert verify(home).problems == []
    assert delivered(home, "one") == []
    run(home, home.parent / "s.yaml" if (home.parent / "s.yaml").exists() else write_stream(home.parent, "three"))
    assert verify(home).problems == []


def test_replay_says_what_it_cannot_check_and_finds_no_difference(home: Path) -> None:
    whole = verified(home)
    sample = next(e for e in events_of(home) if isinstance(e.fact, SampleGenerated) and e.task == "one")
    redact_events(home, [sample.seq], "asked")
    found = verified(home)
    assert found.first_difference is None
    assert found.unchecked == [
        f"what follows in task 'one' from event {sample.seq} (sample_generated), which was redacted"
    ]
    assert 0 < found.checked < whole.checked


def test_replay_goes_on_without_a_redacted_item(home: Path) -> None:
    learned = next(e for e in events_of(home) if e.kind == "experience_learned")
    redact_events(home, [learned.seq], "asked")
    found = verified(home)
    assert found.first_difference is None
    assert found.unchecked == [f"what follows from event {learned.seq} (experience_learned), which was redacted"]


def test_what_an_unfinished_task_may_still_look_at_is_not_redacted(tmp_path: Path) -> None:
    stream = write_stream(tmp_path, "one")
    with pytest.raises(Stopped):
        run(tmp_path / "home", stream, watcher=StopAfter(lambda state, _: bool(state.task and state.task.pool)))
    sample = next(e.seq for e in events_of(tmp_path / "home") if e.kind == "sample_generated")
    with pytest.raises(ConfigError, match="task 'one' is not finished"):
        redact_events(tmp_path / "home", [sample], "asked")
    run(tmp_path / "home", stream, settings=SHORT)
    redact_events(tmp_path / "home", [sample], "asked")
