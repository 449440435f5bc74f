"""The agent as a library: open a home, run streams, synthesise a data set, search its memory, give feedback."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from synlearner.agent.build import build_policy
from synlearner.agent.cards import Row, Stream, load_stream, make_task
from synlearner.agent.config import Settings, parse_settings
from synlearner.agent.datasets import delivered_rows
from synlearner.agent.execute import Executor
from synlearner.agent.feedback import give_feedback
from synlearner.agent.finetuning import encoder_folder
from synlearner.agent.loop import begin, check_base_model, check_resumable, go_on
from synlearner.agent.nli import settle_nli
from synlearner.agent.presets import preset as settings_of
from synlearner.agent.reports import RunReport, report
from synlearner.agent.snapshot import RUN
from synlearner.agent.user_reward import Function, settle
from synlearner.agent.watcher import Silent, Watcher
from synlearner.errors import ConfigError
from synlearner.events.checkpoints import Checkpoint, together
from synlearner.events.home import Home
from synlearner.memory import Embedder, Memory, default_embedder
from synlearner.memory.snapshot import MEMORY
from synlearner.policies.engine import Engine


class Agent:
    """An agent in its home. Only one process may hold a home open for writing.

    ```python
    with Agent.open("home") as agent:
        report = agent.run("stream.yaml")
        rows = agent.synthesize(card, 50)
    ```
    """

    def __init__(
        self,
        home: Home,
        *,
        engine: Engine | None = None,
        embedder: Embedder | None = None,
        reward: Function | None = None,
    ) -> None:
        self._home = home
        self._reward = reward
        self._engine = engine
        self._embedder = embedder
        self._memory: Memory | None = None

    @classmethod
    def open(
        cls,
        home: str | Path,
        *,
        engine: Engine | None = None,
        embedder: Embedder | None = None,
        reward: Function | None = None,
        create: bool = True,
    ) -> Self:
        """Open the home at *home*, or start one there.

        Args:
            home: A folder.
            engine: Writes instead of the model that the settings name; it does not learn.
            embedder: Instead of MiniLM. A home keeps to one.
            reward: A reward of your own beside the built-in parts: see `synlearner.agent.user_reward`.
            create: Whether to start a home where there is none.

        Raises:
            ConfigError: If there is no home, or something else stands there.
            HomeLocked: If another process writes to it.
            CorruptLog: If its log is not what was written.
        """
        return cls(Home.open(home, write=True, create=create), engine=engine, embedder=embedder, reward=reward)

    def close(self) -> None:
        """Let go of the home. May be called twice."""
        try:
            if self._memory is not None:
                self._memory.close()
        finally:
            self._home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def memory(self) -> Memory:
        """What the agent has learnt: search it, add to it, judge it."""
        if self._memory is None:
            self._memory = Memory(self._home, self._embedder)
        return self._memory

    def run(
        self,
        stream: str | Path | Stream,
        *,
        seed: int | None = None,
        settings: Settings | Sequence[str] = (),
        preset: str | None = None,
        watcher: Watcher | None = None,
    ) -> RunReport:
        """Run a stream to its end, or go on with the home's unfinished run of it.

        Args:
            stream: A stream file, or a loaded stream.
            seed: Of all chance; 0 if it is not given. A forked run keeps its parent's.
            settings: All of them, or `part.field=value` changes of the preset (of a forked run's own settings).
            preset: `improved` (the defaults) or `faithful`: see `synlearner.agent.presets`.
            watcher: Sees it work.

        Raises:
            ConfigError: If the stream is wrong, the reward cannot be found, or the unfinished run is of another stream,
                configuration, seed or base model. Nothing has run then.
            RewardError: If the user's own reward failed, and the run is to stop then. Run again, it goes on.
            ModelError: If the policy's model or that of `nli.model` cannot be loaded, or a transformer student's encoder
                is not there.
        """
        source = "" if isinstance(stream, Stream) else str(Path(stream).resolve())
        loaded = stream if isinstance(stream, Stream) else load_stream(stream)
        checkpoint = Checkpoint(self._home, RUN)
        # The memory goes on from its own checkpoint when it is opened: one reading of the log serves both.
        state = together([checkpoint] if self._memory else [checkpoint, Checkpoint(self._home, MEMORY)])[0]
        forked = state.fork > 0 and not state.finished and state.started is not None
        named = isinstance(settings, Settings) or any(key.startswith("user_reward.function=") for key in settings)
        settings, reward = settle(
            _settled(settings, preset, state.settings if forked else None), self._reward, named=named or not forked
        )
        if seed is None:
            seed = state.started.seed if forked and state.started else 0
        settings, nli = settle_nli(settings, [task.card for task in loaded.tasks])
        check_resumable(state, loaded, settings, seed, self._home.path)
        if "transformer" in settings.students.families:
            encoder_folder(settings.students.encoder)  # known now, not after hours
        embedder = self._ready_embedder()
        policy = build_policy(settings, seed, self._engine)
        base_model = policy.engine.base_model
        check_base_model(state, base_model, self._home.path)
        watcher = watcher or Silent()
        if state.finished:
            state = begin(state, self._home.log, self.memory, loaded, settings, seed, base_model, source)
        self.memory.mirror = settings.memory.mirror
        executor = Executor(self._home.blobs, self.memory, embedder, policy, loaded, watcher, reward, nli)
        try:
            state = go_on(state, self._home.log, self.memory, executor, watcher, checkpoint.keep)
            checkpoint.keep(state, every=1)
        finally:
            self.memory.flush()
        return report(state, self._home.log.head())

    def synthesize(
        self,
        card: Mapping[str, Any],
        n: int | None = None,
        *,
        folder: str | Path = ".",
        seed: int | None = None,
        settings: Settings | Sequence[str] = (),
        preset: str | None = None,
        watcher: Watcher | None = None,
    ) -> list[Row]:
        """Return *n* rows (or as many as the card says) for one card, as a stream of that task alone.

        Args:
            card: As in a stream file.
            n: Rows wanted. Fewer come back where the policy could not write enough that pass.
            folder: What the card's paths are relative to.
            seed: Of all chance.
            settings: Of the run.
            preset: What they change.
            watcher: Sees it work.
        """
        wanted = dict(card) | ({} if n is None else {"samples": n})
        task = make_task(wanted, Path(folder), f"card {wanted.get('name', '')!r}")
        self.run(Stream(task.card.name, "", [task]), seed=seed, settings=settings, preset=preset, watcher=watcher)
        return delivered_rows(self._home.log, task.card.name).rows

    def feedback(self, target: str, score: float, text: str = "", source: str = "user") -> dict[str, Any]:
        """Judge something from -1 (harmful) to 1 (as good as it gets); return what follows from it.

        Args:
            target: `item:ID` of memory, `sample:SEQ`, or `task:NAME` for its data set.
            score: The judgement.
            text: Why.
            source: Who.

        Raises:
            ConfigError: If there is no such target, or the score is out of range.
        """
        return give_feedback(self._home, self.memory, target, score, text, source)

    def _ready_embedder(self) -> Embedder:
        if self._embedder is None:
            self._embedder = default_embedder(self.memory.state.embedder)
        return self._embedder


def _settled(settings: Settings | Sequence[str], preset: str | None, parent: Mapping[str, Any] | None) -> Settings:
    """Return the settings of a run: whole ones as they are, else changes of the preset, or of the fork's *parent*."""
    if isinstance(settings, Settings):
        if preset is not None:
            raise ConfigError(f"preset {preset!r} and whole settings exclude each other: pass changes of the preset")
        return settings
    base = settings_of(preset).model_dump() if preset is not None else parent
    return parse_settings(settings, base=base)
