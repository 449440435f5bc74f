"""The same memory for programs that await: every verb runs in one thread of its own, in the order it was called."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from synlearner.memory.memory import Memory

Given = ParamSpec("Given")
Found = TypeVar("Found")


def _twin(verb: Callable[Concatenate[Memory, Given], Found]) -> Any:
    async def perform(self: "AsyncMemory", *args: Given.args, **kwargs: Given.kwargs) -> Found:
        return await self.call(verb, *args, **kwargs)

    perform.__name__, perform.__doc__ = verb.__name__, verb.__doc__
    return perform


class AsyncMemory:
    """A `Memory` behind one thread: verbs return awaitables, and nothing blocks the event loop.

    ```python
    async with await AsyncMemory.open("home") as memory:
        await memory.add("Short prompts work.")
        found = await memory.search("prompts", k=2)
    ```

    The verbs and their arguments are those of `Memory`; `call` reaches everything else of it.
    """

    def __init__(self, memory: Memory, thread: ThreadPoolExecutor | None = None) -> None:
        self._memory = memory
        # One thread: a memory is for one at a time, and what was called first is done first.
        self._thread = thread or ThreadPoolExecutor(1, thread_name_prefix="memory")

    @classmethod
    async def open(cls, path: Path | str, **options: Any) -> Self:
        """Open the memory of the home at *path*; the options are those of `Memory.open`."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="memory")
        try:
            loop = asyncio.get_running_loop()
            return cls(await loop.run_in_executor(thread, partial(Memory.open, path, **options)), thread)
        except BaseException:
            thread.shutdown(wait=False)
            raise

    async def call(
        self, verb: Callable[Concatenate[Memory, Given], Found], *args: Given.args, **kwargs: Given.kwargs
    ) -> Found:
        """Return what a method of `Memory` returns: `await memory.call(Memory.stats)`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(verb, self._memory, *args, **kwargs))

    async def close(self) -> None:
        """Finish what was called, and let go of the memory. May be called twice."""
        if not self._thread._shutdown:  # noqa: SLF001 - the executor has no public way to ask
            await self.call(Memory.close)
            self._thread.shutdown()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    add = _twin(Memory.add)
    search = _twin(Memory.search)
    get = _twin(Memory.get)
    get_all = _twin(Memory.get_all)
    update = _twin(Memory.update)
    delete = _twin(Memory.delete)
    history = _twin(Memory.history)
    feedback = _twin(Memory.feedback)
    explain = _twin(Memory.explain)
    stats = _twin(Memory.stats)
    export = _twin(Memory.export)
    import_ = _twin(Memory.import_)
    block = _twin(Memory.block)
    merge = _twin(Memory.merge)
    split = _twin(Memory.split)
    tend = _twin(Memory.tend)
    reembed = _twin(Memory.reembed)
