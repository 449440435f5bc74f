"""Performs what `decide` asks for and returns the facts. Touches models and blobs; appends nothing itself.

An action is a function of the state (and of the stream's files): performed again it returns the same facts, which is
what resuming after a kill and `replay --verify` rest on.
"""

import time

from synlearner.agent import decide
from synlearner.agent.bandit import beliefs, in_control, shuffled, topics_held, weighed
from synlearner.agent.budget import reference_wanted
from synlearner.agent.cards import Stream
from synlearner.agent.config import Settings
from synlearner.agent.constraints import adjust
from synlearner.agent.delivery import deliver
from synlearner.agent.distilling import situation, teach
from synlearner.agent.evaluating import check, evaluate
from synlearner.agent.judging import Drafts, Scorer
from synlearner.agent.likelihood import MeasuredLikelihood
from synlearner.agent.nli import NliModel
from synlearner.agent.planning import Planner, plan_reference
from synlearner.agent.policy import Policy
from synlearner.agent.state import RunState, chance, current_plan, current_task, prompt_outcomes
from synlearner.agent.strategies import library
from synlearner.agent.surprise import Measured
from synlearner.agent.topics import judge_topics, plan_topics
from synlearner.agent.training import train
from synlearner.agent.user_reward import Reward
from synlearner.agent.vectors import Vectors
from synlearner.agent.watcher import Watcher
from synlearner.errors import ConfigError
from synlearner.events.blobs import BlobStore
from synlearner.events.chance import derive_seed, event_id
from synlearner.events.types import (
    AdaptersMerged,
    AnyFact,
    DataFile,
    DatasetDelivered,
    Draft,
    PromptsPlanned,
    RunFinished,
    SampleGenerated,
    TaskArrived,
    TaskFinished,
)
from synlearner.memory import Embedder, RecallSettings
from synlearner.memory.experience import Experience
from synlearner.policies.engine import Request
from synlearner.policies.merging import merge


class Executor:
    """Everything an action may touch."""

    def __init__(
        self,
        blobs: BlobStore,
        memory: Experience,
        embedder: Embedder,
        policy: Policy,
        stream: Stream | None,
        watcher: Watcher,
        reward: Reward | None = None,
        nli: NliModel | None = None,
    ) -> None:
        self._blobs = blobs
        self._memory = memory
        self._vectors = Vectors(blobs, embedder)
        self._embedder = embedder
        self._policy = policy
        self._stream = stream
        self._watcher = watcher
        surprise, likelihood = Measured(policy.surprises), MeasuredLikelihood(policy.surprises)
        self.scorer = Scorer(self._vectors, embedder, reward, surprise, likelihood, nli)

    def perform(self, state: RunState, action: decide.Action) -> list[Draft]:
        """Return the drafts that *action* leads to, in one batch."""
        perform = getattr(self, f"_{type(action).__name__}")
        begun = time.perf_counter()
        drafts: Drafts = perform(state, action)
        seconds = round(time.perf_counter() - begun, 3)
        name = type(action).__name__
        return [
            Draft(
                fact=fact,
                id=event_id(state.run_id, name, state.seq, place),
                run_id=state.run_id,
                task=_task_name(state, fact),
                causes=causes,
                observed=observed | ({"seconds": seconds} if not place else {}),
            )
            for place, (fact, causes, observed) in enumerate(drafts)
        ]

    # ---- tasks -----------------------------------------------------------------------------------------------

    def _ArriveTask(self, state: RunState, action: decide.ArriveTask) -> Drafts:  # noqa: N802 - named by the action
        task = self._need_stream().tasks[action.index]
        files = {"seeds": DataFile(sha256=task.seeds_sha256, rows=len(task.card.seeds))}
        files |= {name: DataFile(sha256=data.sha256, rows=len(data.rows)) for name, data in task.files().items()}
        fact = TaskArrived(index=action.index, card=task.card.record(), files=files)
        return [(fact, (state.started_seq,), {})]

    def _FinishTask(self, state: RunState, _: decide.FinishTask) -> Drafts:  # noqa: N802
        task, settings = current_task(state), Settings.model_validate(state.settings)
        lessons = teach(task, self._memory, state.seq, settings.students.utility)
        drafts: Drafts = [(fact, causes, {}) for fact, causes in lessons]
        counts = task.counts(untrained=settings.delivery.untrained)
        totals = TaskFinished(
            requested=counts.requested,
            accepted=counts.accepted,
            rejected=sum(counts.rejected.values()),
            failed=counts.failed,
            delivered=len(task.delivered or ()),
            tokens=task.tokens,
        )
        return [*drafts, (totals, (task.seq,), {})]

    def _FinishRun(self, state: RunState, _: decide.FinishRun) -> Drafts:  # noqa: N802
        self._policy.check_base()
        fact = RunFinished(tasks=len(state.done), delivered=sum(task.delivered for task in state.done))
        return [(fact, (state.started_seq,), {})]

    # ---- a round ---------------------------------------------------------------------------------------------

    def _Recall(self, state: RunState, _: decide.Recall) -> Drafts:  # noqa: N802
        task, settings = current_task(state), Settings.model_validate(state.settings)
        number = task.round.number + 1
        seed = chance(state, task, number, "recall")
        fact = self._memory.recall(
            situation(task.card),
            k=settings.memory.k,
            seed=seed,
            round=number,
            control=settings.memory.control,
            settings=RecallSettings(gate=settings.memory.gate, tokens=settings.memory.tokens),
        )
        return [(fact, (task.seq,), {})]

    def _Plan(self, state: RunState, action: decide.Plan) -> Drafts:  # noqa: N802
        task, settings = current_task(state), Settings.model_validate(state.settings)
        recalled = task.round.recalled if task.round.plan is None else None
        number = recalled.round if recalled else task.round.number + 1
        seed = chance(state, task, number, "plan")
        if action.purpose == "reference":
            prompts = plan_reference(task, reference_wanted(task, settings), seed)
        elif action.purpose == "propose":
            prompts = plan_topics(task, seed)
        else:
            records, control = self._memory.state.records, in_control(recalled)
            if settings.memory.shuffled:
                records = shuffled(recalled, records, library(task.card, settings.dai))
            outcomes = weighed(task.outcomes, task.utilities, settings.students.utility)
            arms = []
            for remembered in (recalled, None):
                planner = Planner(task, settings, *beliefs(outcomes, remembered, records))
                arms.append(planner.learning(seed) if action.purpose == "learn" else planner.filling(seed))
            prompts = [plain if control(i) else steered for i, (steered, plain) in enumerate(zip(*arms, strict=True))]
        causes = (state.seq,) if recalled else (task.seq,)
        return [(PromptsPlanned(round=number, purpose=action.purpose, prompts=prompts), causes, {})]

    def _Generate(self, state: RunState, _: decide.Generate) -> Drafts:  # noqa: N802
        now, plan = current_task(state).round, current_plan(state)
        adapter = "" if plan.purpose == "reference" else state.adapter
        self._policy.serve(adapter, self._blobs.get)
        requests = [
            Request(p.text, p.prefix, p.stop, p.decoding, tuple(derive_seed(p.seed, i) for i in range(p.samples)))
            for p in plan.prompts
        ]
        engine = self._policy.engine
        groups = engine.generate(
            requests, progress=lambda tokens, ended: self._watcher.goes_on(ended, now.requested, tokens)
        )
        receipt = self._policy.receipt(now.number, adapter, [prompt.decoding for prompt in plan.prompts])
        drafts: Drafts = [(receipt, (now.plan_seq,), dict(self._policy.observed))]
        for prompt, group in enumerate(groups):
            for index, sample in enumerate(group):
                fact = SampleGenerated(
                    round=now.number,
                    prompt=prompt,
                    index=index,
                    text=sample.text,
                    token_ids=sample.token_ids,
                    logprobs=sample.logprobs,
                    finish=sample.finish,
                    policy=adapter,
                    engine=engine.name,
                )
                drafts.append((fact, (now.plan_seq, state.seq + 1), {}))
        return drafts

    def _Score(self, state: RunState, _: decide.Score) -> Drafts:  # noqa: N802
        return self.scorer.score(current_task(state), current_plan(state), Settings.model_validate(state.settings))

    def _Propose(self, state: RunState, _: decide.Propose) -> Drafts:  # noqa: N802
        task, settings = current_task(state), Settings.model_validate(state.settings)
        held = topics_held(task.round.recalled, self._memory.state.records)
        return [(judge_topics(task, held, self._embedder, settings.dai), (task.round.plan_seq,), {})]

    def _Balance(self, state: RunState, _: decide.Balance) -> Drafts:  # noqa: N802
        task, settings = current_task(state), Settings.model_validate(state.settings)
        pool = self._vectors.of_pool(task.pool, task.card)
        untrained = self._vectors.of_pool(task.reference, task.card)
        judge = self.scorer.judge(task, settings)
        reference = task.reference
        opinion = judge.fidelity(
            untrained, [sample.label for sample in reference], [sample.row for sample in reference]
        )
        return [(adjust(task, pool, untrained, opinion.tolist(), settings.constraints), (task.round.set_seq,), {})]

    def _Compare(self, state: RunState, _: decide.Compare) -> Drafts:  # noqa: N802
        return self.scorer.compare(current_task(state), Settings.model_validate(state.settings))

    def _CreditExperience(self, state: RunState, _: decide.CreditExperience) -> Drafts:  # noqa: N802
        task, plan = current_task(state), current_plan(state)
        place = task.round.credited
        prompt = plan.prompts[place]
        arm = "control" if in_control(task.round.recalled)(place) else "memory"
        value = round(prompt_outcomes(task.round)[place], 6)
        # The word before keeps a task named "distilled" apart from what distilling teaches.
        family = f"task:{task.card.name}:{prompt.label}"
        return [(self._memory.credited(value, family, prompt.experience, arm=arm), (task.round.set_seq,), {})]

    # ---- learning --------------------------------------------------------------------------------------------

    def _Learn(self, state: RunState, action: decide.Learn) -> Drafts:  # noqa: N802
        task, settings = current_task(state), Settings.model_validate(state.settings)
        from_seeds = action.algorithm == "seeds"
        fact, observed = train(
            state,
            task,
            action.algorithm,
            settings,
            self._policy,
            self._blobs,
            seed=chance(state, task, task.round.number, "seeds" if from_seeds else "learn"),
            progress=lambda done, of: self._watcher.goes_on(done, of, 0),
        )
        return [(fact, (task.seq if from_seeds else task.round.set_seq,), observed)]

    def _MergeAdapters(self, state: RunState, _: decide.MergeAdapters) -> Drafts:  # noqa: N802
        parents = [task.adapter for task in state.done if task.adapter]
        mean = merge([self._blobs.get(digest) for digest in parents])
        return [(AdaptersMerged(parents=parents, adapter=self._blobs.put(mean)), (state.started_seq,), {})]

    def _Check(self, state: RunState, _: decide.Check) -> Drafts:  # noqa: N802
        return [(fact, (current_task(state).round.set_seq,), {}) for fact in check(state, self._vectors)]

    # ---- the data set ----------------------------------------------------------------------------------------

    def _Deliver(self, state: RunState, _: decide.Deliver) -> Drafts:  # noqa: N802
        task, settings = current_task(state), Settings.model_validate(state.settings)
        data = self._need_stream().tasks[task.index]
        reporting = [row for file in data.files().values() for row in file.rows]
        candidates, counts = task.candidates, task.counts(untrained=settings.delivery.untrained)
        reference = self._vectors.of_pool(task.reference, task.card)
        vectors = self._vectors.of_pool(candidates, task.card)
        places, left_out = deliver(task, candidates, vectors, reference, reporting, settings)
        fact = DatasetDelivered(
            samples=[candidates[i].seq for i in places],
            requested=counts.requested,
            accepted=counts.accepted,
            rejected=counts.rejected,
            failed=counts.failed,
            left_out=dict(sorted(left_out.items())),
        )
        return [(fact, (task.seq,), {})]

    def _Evaluate(self, state: RunState, _: decide.Evaluate) -> Drafts:  # noqa: N802
        data = self._need_stream().tasks[current_task(state).index]
        report = evaluate(state, data, self._vectors, lambda done, of: self._watcher.goes_on(done, of, 0))
        return [(fact, (current_task(state).seq,), {}) for fact in report]

    # ---- small helpers ---------------------------------------------------------------------------------------

    def _need_stream(self) -> Stream:
        if self._stream is None:
            raise ConfigError("the stream's files are not at hand: pass the stream that the run was started with")
        return self._stream


def _task_name(state: RunState, fact: AnyFact) -> str:
    if isinstance(fact, TaskArrived):
        return str(fact.card["name"])
    return state.task.card.name if state.task else ""
