"""The awaited twin: the same answers, in the order of the calls, and an event loop that is never blocked."""

import asyncio
import inspect
from pathlib import Path

import pytest

from synlearner.errors import ConfigError
from synlearner.memory import AsyncMemory, HashEmbedder, Memory


def test_it_answers_as_the_memory_does(tmp_path: Path) -> None:
    async def use() -> None:
        async with await AsyncMemory.open(tmp_path / "h", embedder=HashEmbedder(), mirror=False) as memory:
            added = [memory.add(f"lesson {number} about films") for number in range(5)]
            found = memory.search("lesson 4 about films", k=1)
            *_, last, answer = await asyncio.gather(*added, found)
            assert answer["results"][0]["id"] == last["results"][0]["id"], "what was called first was done first"
            await memory.feedback(last["results"][0]["id"], 1.0)
            with pytest.raises(ConfigError, match="no item 'ghost'"):
                await memory.get("ghost")
            assert (await memory.call(lambda inner: inner.state.seq)) == 7
            await memory.close()
            await memory.close()

    asyncio.run(use())
    with Memory.open(tmp_path / "h", write=False, embedder=HashEmbedder()) as memory:
        assert memory.stats()["active"] == 5


def test_a_home_that_cannot_be_opened_is_refused_as_ever(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no home at"):
        asyncio.run(AsyncMemory.open(tmp_path / "none", write=False))


def test_every_public_verb_has_its_twin() -> None:
    own = {"open", "close", "list", "recall", "check_recall", "learned", "credited", "informed", "credited_since",
           "tidy", "apply", "digest", "flush", "rebuild_mirror", "put", "follow", "time_of", "passes"}  # fmt: skip
    public = {name for name, _ in inspect.getmembers(Memory, inspect.isfunction) if not name.startswith("_")}
    twins = {name for name in vars(AsyncMemory) if not name.startswith("_")} - {"open", "close", "call"}
    assert twins == public - own
    assert all(inspect.iscoroutinefunction(getattr(AsyncMemory, name)) for name in twins)
