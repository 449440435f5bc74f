"""Feedback on the round at hand: the judges of its task, the user's own reward, and the facts that follow."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from synlearner.agent.cards import Card
from synlearner.agent.comparing import compare_judges
from synlearner.agent.config import Settings
from synlearner.agent.constraints import weighted
from synlearner.agent.crossfit import SharedJudge, StudentJudge, enough, newest
from synlearner.agent.features import Matrix, word_rows
from synlearner.agent.judge import Judge, make_judge
from synlearner.agent.likelihood import Likelihood
from synlearner.agent.nli import NliJudge, NliModel
from synlearner.agent.planning import pair_coverage
from synlearner.agent.probe import SecondFieldProbe, has_second, told_by_second
from synlearner.agent.rescue import is_rescued
from synlearner.agent.scoring import PoolSample, RoundScores, Utility, judge_reference, read_reference, score_round
from synlearner.agent.surprise import CannotTell, Surprise
from synlearner.agent.task_state import TaskState
from synlearner.agent.tuning import tuned_judge
from synlearner.agent.user_reward import Reward, RewardFailure
from synlearner.agent.utility import utilities
from synlearner.agent.vectors import Vectors
from synlearner.errors import ConfigError
from synlearner.events.types import AnyFact, PromptsPlanned, RewardFailed, SetScored
from synlearner.memory import Embedder

Drafts = list[tuple[AnyFact, tuple[int, ...], dict[str, Any]]]
"""(fact, causes, observed)."""


class Scorer:
    """Scores rounds. Judges are made once for what they learn from: a task's seeds, or seeds and accepted samples."""

    def __init__(
        self,
        vectors: Vectors,
        embedder: Embedder,
        reward: Reward | None,
        surprise: Surprise,
        likelihood: Likelihood,
        nli: NliModel | None,
    ) -> None:
        self._vectors = vectors
        self._embedder = embedder
        self.reward = reward
        """The user's own; when a run is verified, what the log holds of it."""
        self.surprise = surprise
        """By the policy's model; when a run is verified, what the log holds of it."""
        self.likelihood = likelihood
        """Likewise."""
        self._nli = nli
        self._judges: dict[str, tuple[tuple[int, ...], Judge]] = {}

    def judge(self, task: TaskState, settings: Settings) -> Judge:
        """Return the judge of fidelity of the round at hand: it has learnt from no sample of it."""

        def make() -> Judge:
            return self._with_nli(self._of_seeds(task.card, settings), task.card, settings)

        seeds = self._once("training", (task.seq,), make)
        earlier = _learnt_from(task)
        if not settings.reward.student or not enough([sample.label for sample in earlier], task.card.labels):
            return seeds
        # A sample may leave the pool by feedback between two actions of a round, so the key names all of them.
        key = (task.seq, *(sample.seq for sample in earlier))
        student = self._once("student", key, lambda: StudentJudge(task.card, *self._known(task, earlier)))
        return SharedJudge(seeds, student, settings.reward.student)

    def _of_seeds(self, card: Card, settings: Settings) -> Judge:
        """Return the judge that has learnt from the seeds, with an encoder that has too where it can."""
        found = tuned_judge(self._embedder, card, settings)
        if found is not None:
            return found
        share = settings.reward.meaning
        meanings = self._vectors.of_meanings(card) if share else None
        return make_judge(card, self._vectors.of_seeds(card), meanings, share)

    def _with_nli(self, judge: Judge, card: Card, settings: Settings) -> Judge:
        """Return *judge* with the say of a model of natural language inference, where one is named and there are labels."""
        if not settings.nli.model or not card.labels:
            return judge
        if self._nli is None:
            raise ConfigError(f"the model {settings.nli.model!r:.80} of nli.model is not at hand")
        return SharedJudge(judge, NliJudge(self._nli, card, settings.nli.sentence), settings.nli.share)

    def _known(self, task: TaskState, samples: Sequence[PoolSample]) -> tuple[Matrix, list[str]]:
        """Return vectors and labels of the seeds and of *samples*."""
        vectors = [self._vectors.of_seeds(task.card), self._vectors.of_pool(samples, task.card)]
        labels = [*(row["label"] for row in task.card.seeds), *(sample.label for sample in samples)]
        return np.concatenate(vectors), labels

    def held_out(self, task: TaskState) -> Judge:
        """Return the judge that no reward sees: it knows the seeds' words, and neither their order nor any meaning."""
        return self._once(
            "held out",
            (task.seq,),
            lambda: make_judge(task.card, word_rows(self._embedder, task.card, task.card.seeds)),
        )

    def _once(self, name: str, key: tuple[int, ...], make: Callable[[], Judge]) -> Judge:
        known, judge = self._judges.get(name) or ((), None)
        if judge is None or known != key:
            judge = make()
            self._judges[name] = (key, judge)
        return judge

    def score(self, task: TaskState, plan: PromptsPlanned, settings: Settings) -> Drafts:
        """Return the feedback on the round, or the failure of the user's reward alone where that stops the run."""
        if plan.purpose == "reference":
            return self._read_reference(task, plan, settings)
        drafts: Drafts = []
        chosen = settings.user_reward
        try:
            scores = self._scores(task, plan, settings, self._reward_of(task, settings))
        except RewardFailure as failure:
            failed = RewardFailed(round=task.round.number, function=chosen.function, reason=failure.reason)
            drafts.append((failed, (task.round.plan_seq,), {"detail": failure.detail} if failure.detail else {}))
            if chosen.on_error == "stop":
                return drafts
            scores = self._scores(task, plan, settings, None)
        drafts += [(fact, (fact.sample,), {}) for fact in scores.scored]
        fact = SetScored(
            round=task.round.number,
            samples=scores.valid,
            embeddings=self._vectors.store(scores.vectors) if scores.valid else "",
            diversity=scores.diversity
            | pair_coverage(task.card, task.drawn)
            | self._told(task, plan, scores, settings),
            gains=scores.gains,
        )
        unknown = {
            "no_band": self._surprise_of(task, settings)[1],
            "no_likelihood": self._likelihood_of(task, settings)[1],
        }
        return [*drafts, (fact, (task.round.plan_seq,), {name: why for name, why in unknown.items() if why})]

    def compare(self, task: TaskState, settings: Settings) -> Drafts:
        """Return what the training judge and the held-out one say of the round's accepted samples."""
        accepted = {score.sample for score in task.round.scores if score.accepted and not is_rescued(score)}
        mine = [sample for sample in task.pool if sample.seq in accepted]
        both = (self._both(task, mine, settings), self._both(task, task.reference, settings))
        fact = compare_judges(task.round.number, *both, settings.reward.min_fidelity, settings.judges)
        return [(fact, (task.round.set_seq,), {})]

    def _both(
        self, task: TaskState, samples: Sequence[PoolSample], settings: Settings
    ) -> tuple[list[float], list[float]]:
        """Return the fidelity of *samples* by the training judge, and by the held-out one."""
        labels = [sample.label for sample in samples]
        words = word_rows(self._embedder, task.card, [sample.row for sample in samples])
        vectors = self._vectors.of_pool(samples, task.card)
        training = self.judge(task, settings).fidelity(vectors, labels, [sample.row for sample in samples])
        return training.tolist(), self.held_out(task).fidelity(words, labels).tolist()

    def _reward_of(self, task: TaskState, settings: Settings) -> Reward | None:
        """Return the user's reward: none where it was not asked for, or has failed and is left out."""
        chosen = settings.user_reward
        if not chosen.function or (task.reward_failed and chosen.on_error == "skip"):
            return None
        if self.reward is None:
            raise ConfigError(
                f"the reward {chosen.function!r:.120} is not at hand: a log names it, and only who runs can"
            )
        return self.reward

    def _scores(self, task: TaskState, plan: PromptsPlanned, settings: Settings, reward: Reward | None) -> RoundScores:
        return score_round(
            task.card,
            plan.prompts,
            task.round.samples,
            task.pool,
            self._vectors.of_pool(task.pool, task.card),
            judge=self.judge(task, settings),
            embedder=self._embedder,
            settings=weighted(settings.reward, task.multipliers),
            reward=reward,
            probe=self._probe(task, settings),
            surprise=self._surprise_of(task, settings)[0],
            likelihood=self._likelihood_of(task, settings)[0],
            utility=self._utility(task, settings),
            rescue=settings.delivery.rescue,
        )

    def _utility(self, task: TaskState, settings: Settings) -> Utility | None:
        """Return who tells what samples are worth to a student of them and earlier ones, where that has a say."""
        if not (task.card.labels and (settings.reward.utility or settings.students.utility)):
            return None
        earlier = _learnt_from(task)
        known, names = self._vectors.of_pool(earlier, task.card), [sample.label for sample in earlier]
        seeds = self._vectors.of_seeds(task.card)

        def utility(vectors: Matrix, labels: Sequence[str], shown: Sequence[Sequence[int]]) -> list[float]:
            return utilities(task.card, np.concatenate([known, vectors]), [*names, *labels], seeds, shown)

        return utility

    def _probe(self, task: TaskState, settings: Settings) -> SecondFieldProbe | None:
        """Return the probe of earlier rounds and seeds, where it has a say and enough to learn from."""
        if not (settings.reward.relation and has_second(task.card)):
            return None
        known, labels = self._known(task, _learnt_from(task))
        return SecondFieldProbe(task.card, known, labels) if enough(labels, task.card.labels) else None

    def _told(self, task: TaskState, plan: PromptsPlanned, scores: RoundScores, settings: Settings) -> dict[str, float]:
        """Return how often the second field alone tells the label of accepted samples, those of this round among them."""
        if not (settings.judges.second_field and has_second(task.card)):
            return {}
        asked = {seq: plan.prompts[sample.prompt].label for seq, sample in task.round.samples}
        accepted = {score.sample for score in scores.scored if score.accepted}
        new = [place for place, seq in enumerate(scores.valid) if seq in accepted]
        named = {score.sample: score.label for score in scores.scored}
        taken = [named[scores.valid[place]] or asked[scores.valid[place]] for place in new]
        labels = [*(sample.label for sample in task.pool), *taken]
        vectors = np.concatenate([self._vectors.of_pool(task.pool, task.card), scores.vectors[new]])
        kept = newest(labels)
        seeds = [row["label"] for row in task.card.seeds]
        return told_by_second(
            task.card, vectors[kept], [labels[i] for i in kept], self._vectors.of_seeds(task.card), seeds
        )

    def _surprise_of(self, task: TaskState, settings: Settings) -> tuple[Surprise | None, str]:
        """Return who tells how surprising texts are: None where nobody is asked, or can tell, which is then said why."""
        if not settings.reward.band:
            return None, ""
        try:
            self.surprise.band(task.card)
        except CannotTell as unknown:
            return None, str(unknown)
        return self.surprise, ""

    def _likelihood_of(self, task: TaskState, settings: Settings) -> tuple[Likelihood | None, str]:
        """Return who tells how likely texts are behind each label: None as above."""
        if not (settings.reward.likelihood and task.card.labels):
            return None, ""
        try:
            self.likelihood.ready(task.card)
        except CannotTell as unknown:
            return None, str(unknown)
        return self.likelihood, ""

    def _read_reference(self, task: TaskState, plan: PromptsPlanned, settings: Settings) -> Drafts:
        """Read the untrained policy's samples; judge them too where they may be delivered, and not only compared with."""
        card, samples = task.card, task.round.samples
        embed = partial(self._vectors.embed, card)
        if settings.delivery.untrained:
            judge = self.judge(task, settings)
            scored, vectors = judge_reference(
                card,
                plan.prompts,
                samples,
                task.untrained,
                judge,
                embed,
                settings.reward,
                rescue=settings.delivery.rescue,
            )
        else:
            scored = read_reference(card, plan.prompts, samples)
            vectors = embed([score.fields for score in scored if score.fields])
        usable = [score for score in scored if score.fields]
        drafts: Drafts = [(score, (score.sample,), {}) for score in scored]
        fact = SetScored(
            round=task.round.number,
            samples=[score.sample for score in usable],
            embeddings=self._vectors.store(vectors) if usable else "",
            diversity={},
            gains=[],
        )
        return [*drafts, (fact, (task.round.plan_seq,), {})]


def _learnt_from(task: TaskState) -> list[PoolSample]:
    """Return the accepted samples of earlier rounds that judges learn from."""
    here = {score.sample for score in task.round.scores}
    earlier = [sample for sample in task.pool if sample.seq not in here]
    return [earlier[i] for i in newest([sample.label for sample in earlier])]
