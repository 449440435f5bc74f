"""Settings: small frozen parts, checked before anything runs. `--set part.field=value` changes one of them."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from synlearner.agent.judge_settings import JudgeSettings, NliSettings, TuningSettings
from synlearner.agent.policy_settings import PolicySettings, ServerSettings, SettingsPart
from synlearner.errors import ConfigError

NOT_YAML = (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError)
"""What PyYAML raises: the last four for `2024-13-45`, `!!bool x`, `!!timestamp x` and deep nesting."""


Frame = Literal[
    "plain", "numbered", "dashes", "headed", "definition", "contrast", "shown", "quotes", "rewrite", "scenario",
    "attrprompt",
]  # fmt: skip
AttributePlan = Literal["none", "keyword", "length", "persona", "topic", "card"]
DecodingName = Literal["calm", "open", "bold", "paper"]
Family = Literal["embedding", "tfidf", "transformer"]


class LoopSettings(SettingsPart):
    """How long each task is worked on."""

    rounds: Annotated[int, Field(ge=0)] = 4
    """Rounds in which the policy learns."""
    eft_rounds: Annotated[int, Field(ge=0)] = 1
    """The first of them fine-tune on accepted samples, the others learn from rewards (GRPO)."""
    prompts: Annotated[int, Field(ge=1)] = 8
    """Prompts in a round."""
    group: Annotated[int, Field(ge=2, le=64)] = 6
    """Samples of each prompt, compared with one another."""
    fill_rounds: Annotated[int, Field(ge=0)] = 12
    """At most so many more rounds, without learning, until there is enough to choose from."""
    oversample: Annotated[float, Field(ge=1.0, le=10.0)] = 1.5
    """Accepted samples to choose from, per sample to deliver."""
    tokens: Annotated[int, Field(ge=0)] = 0
    """No round of a task begins once so many tokens are written for it, and the last has only as many prompts as there
    should be tokens for; 0 sets no cap. Those of the untrained policy count where they set floors or may be delivered,
    not where they are for reporting alone."""
    student_every: Annotated[int, Field(ge=0)] = 2
    """A student is trained on what is accepted after every so many rounds; 0 never."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Learning rounds end once so many checks in a row found no student better on the seeds than before; 0 never."""


class DaiSettings(SettingsPart):
    """Diversity-aware initialisation: which ways to ask there are to choose from (`synlearner.agent.strategies`)."""

    frames: Annotated[tuple[Frame, ...], Field(min_length=1)] = (
        "plain", "numbered", "dashes", "headed", "definition", "contrast", "shown", "quotes", "rewrite",
    )  # fmt: skip
    attributes: Annotated[tuple[AttributePlan, ...], Field(min_length=1)] = (
        "none", "keyword", "length", "persona", "card",
    )  # fmt: skip
    decodings: Annotated[tuple[DecodingName, ...], Field(min_length=1)] = ("calm", "open", "bold")
    exemplars: Annotated[int, Field(ge=1, le=16)] = 4
    """Most rows of the label that a prompt shows."""
    shots: Literal["seeds", "mixed", "best"] = "seeds"
    """Which rows: seeds; one accepted sample to three seeds; or the best accepted samples, and seeds where they are too few."""
    coverage: bool = True
    """Draw attribute values so that pairs of them are covered; false draws them independently."""
    at_once: Annotated[int, Field(ge=1, le=64)] = 4
    """Most of the card's attributes that a prompt states."""
    proposals: Annotated[int, Field(ge=0, le=32)] = 0
    """Topics that the policy and the memory propose for each label of a card without attributes; 0 asks for none."""
    relevance: Annotated[float, Field(ge=-1, le=1)] = 0.5
    """A topic is as near to its label's seeds as this share of what they are to each other, or it is refused."""


class StreamSettings(SettingsPart):
    """What goes along from task to task."""

    adapter: Literal["carry", "task", "merge", "none"] = "carry"
    """The weights go on; begin anew with each task; begin with the mean of all tasks' adapters; or never move."""
    replay: Annotated[int, Field(ge=0, le=256)] = 0
    """Accepted samples of earlier tasks that each fine-tuning step (EFT) learns from again."""


class ConstraintSettings(SettingsPart):
    """Floors under diversity and fidelity, held by multipliers (`synlearner.agent.constraints`)."""

    diversity: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Least Vendi score of accepted samples, as a share of the untrained policy's at equal n; 0 sets no floor."""
    fidelity: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Least label fidelity of all samples, as a share of the untrained policy's; 0 sets no floor."""
    rate: Annotated[float, Field(ge=0, le=100)] = 4.0
    """How much a multiplier rises for a floor that is missed by all of it."""
    most: Annotated[float, Field(ge=0, le=100)] = 4.0
    """No multiplier is larger."""
    heat: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share by which temperature rises for a unit of the diversity multiplier, and falls for one of fidelity's."""
    reference: Annotated[int, Field(ge=0, le=1024)] = 24
    """Samples of the untrained policy to measure the floors with, where a card has no test data."""

    @property
    def any(self) -> bool:
        """Tell whether there is a floor."""
        return bool(self.diversity or self.fidelity)


class LearningSettings(SettingsPart):
    """How the policy moves."""

    grpo_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    eft_rate: Annotated[float, Field(gt=0, le=1)] = 3e-4
    eft_epochs: Annotated[int, Field(ge=1, le=20)] = 2
    loss: Literal["grpo", "dr_grpo", "dapo", "bnpo", "gspo", "cispo"] = "dapo"
    """See the table in `synlearner.policies.losses`."""
    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """`gspo` wants about 3e-4."""
    clip_high: Annotated[float, Field(gt=0)] = 0.28
    """`gspo` wants about 4e-4, `cispo` about 4."""
    advantage_floor: Annotated[float, Field(gt=0)] | None = None
    """Divide advantages by the group's standard deviation, but by no less than this; null only centres them."""
    kl: Annotated[float, Field(ge=0)] = 0.02
    """Weight of KL to the reference policy; 0 saves a forward pass."""
    kl_to: Literal["task", "base"] = "task"
    """The policy at the start of the task (after its seeds have taught), or the untrained one."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    kl_ratio: bool = False
    """Multiply the estimate by the importance ratio: its gradient is then that of KL(policy || reference)."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0


class SeedSettings(SettingsPart):
    """What the policy learns from a card's seeds before it learns from its own samples (`synlearner.agent.demonstrations`)."""

    epochs: Annotated[int, Field(ge=0, le=20)] = 0
    """How often each seed is learnt, by choice (2 was measured: docs/LOG.md); 0 learns none."""
    rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    batch: Annotated[int, Field(ge=1, le=256)] = 8
    """Seeds of an optimiser step."""


class RewardSettings(SettingsPart):
    """What a sample is worth. Parts are standardised within the group before they are weighted."""

    fidelity: Annotated[float, Field(ge=0)] = 1.0
    quality: Annotated[float, Field(ge=0)] = 0.5
    attributes: Annotated[float, Field(ge=0)] = 0.25
    gain: Annotated[float, Field(ge=0)] = 1.0
    rke: Annotated[float, Field(ge=0)] = 0.0
    """Weight of what a sample adds to the RKE score of its label's set (`synlearner.agent.diversity`); 0 asks nobody."""
    floor: Annotated[float, Field(gt=0)] = 0.1
    """Least standard deviation to divide by: below it a spread is noise."""
    min_fidelity: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """Samples whose fidelity (0 is chance, 1 is certain) is below this are rejected."""
    min_quality: Annotated[float, Field(ge=0, le=1)] = 0.5
    meaning: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the labels' meanings in the judge of fidelity, where the card gives them; 0: the seeds alone."""
    student: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share in fidelity of a student of seeds and earlier rounds' accepted samples (`synlearner.agent.crossfit`)."""
    likelihood: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share in fidelity of how likely the untrained policy finds a text behind each label (`synlearner.agent.likelihood`)."""
    relation: Annotated[float, Field(ge=0)] = 0.0
    """Pairs: weight of how little the second field alone gives the label away (`synlearner.agent.probe`); 0 asks nobody."""
    utility: Annotated[float, Field(ge=0)] = 0.0
    """Weight of how much worse a student would know the seeds without the sample (`synlearner.agent.utility`); 0 asks nobody."""
    band: bool = False
    """Quality falls off where the untrained policy finds a text easier or harder than any seed (`synlearner.agent.surprise`)."""
    user: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the part that `user_reward.function` gives."""


class UserRewardSettings(SettingsPart):
    """A reward of your own beside the built-in parts (`synlearner.agent.user_reward`)."""

    function: Annotated[str, Field(pattern=r"^$|^[^:]+:[^:]+$")] = ""
    """`module:function`. Only who runs can name it: a log never does. Empty for none."""
    seconds: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """It has failed when it takes longer for a round."""
    on_error: Literal["stop", "skip"] = "stop"
    """`stop`: the run stops there, and goes on when it is mended; `skip`: it is left out for the rest of the task."""


class MemorySettings(SettingsPart):
    """How much earlier tasks steer this one."""

    k: Annotated[int, Field(ge=0, le=16)] = 4
    """Experience items recalled for a round; 0 switches recall off."""
    gate: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Least similarity of an item to the task."""
    control: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Share of prompts that are planned without what was recalled: they tell what memory is worth (`memory stats`)."""
    shuffled: bool = False
    """Believe what was recalled of another part of strategies, drawn by chance: a control for experiments."""
    tokens: Annotated[int, Field(ge=0, le=100_000)] = 600
    """Most that recalled items may take in a prompt."""
    mirror: bool = True
    """Keep the ChromaDB mirror of the vectors."""


Share = Annotated[float, Field(gt=0, le=1)]


class DeliverySettings(SettingsPart):
    """Which samples there are to choose from, and which of them are left out (`synlearner.agent.delivery`, `….overlap`)."""

    untrained: bool = True
    """Whether those of the untrained policy, written to compare with, may be delivered too, if gates and judge accept them."""
    rescue: bool = True
    """Whether samples that are not what was asked for are accepted, and never learnt from: of another label, as one of that;
    out of room or too long, up to the last whole sentence (`synlearner.agent.rescue`)."""
    near_meaning: Share | None = 0.95
    """Cosine of embeddings from which two samples of a label say the same; null keeps both."""
    near_wording: Share | None = 0.8
    """Jaccard index of character 5-grams from which they are worded the same; null keeps both."""
    leak_words: Annotated[int, Field(ge=3, le=50)] = 8
    """Words in a row that no sample may share with a row of the reporting data."""
    leak_wording: Share = 0.8
    """Jaccard index of character 5-grams from which a sample is such a row."""


class StudentSettings(SettingsPart):
    """Small models that tell whether the data are any good."""

    families: Annotated[tuple[Family, ...], Field(min_length=1)] = ("embedding", "tfidf")
    """The first one is the figure of the table and of `--json`. A `transformer` is fine-tuned: minutes a task."""
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = 1000
    curve: Annotated[int, Field(ge=0)] = 8
    """At the end students are also trained on so many delivered samples, twice as many, and so on; 0: on all alone."""
    utility: Annotated[float, Field(ge=0)] = 0.0
    """Weight of samples' utility to a student in what strategies are thought to bring, beside gains' 1; 0 asks nobody."""
    balanced: bool = True
    """Whether labels weigh the same in what they learn, however many samples of each could be had."""
    encoder: str = "minilm"
    """What a transformer student is made of: `minilm`, or a folder with a BERT-like encoder."""


class Settings(SettingsPart):
    """A whole run. Everything here is recorded in `run_started`."""

    policy: PolicySettings = PolicySettings()
    loop: LoopSettings = LoopSettings()
    dai: DaiSettings = DaiSettings()
    stream: StreamSettings = StreamSettings()
    constraints: ConstraintSettings = ConstraintSettings()
    seeds: SeedSettings = SeedSettings()
    learning: LearningSettings = LearningSettings()
    reward: RewardSettings = RewardSettings()
    user_reward: UserRewardSettings = UserRewardSettings()
    judges: JudgeSettings = JudgeSettings()
    tuning: TuningSettings = TuningSettings()
    nli: NliSettings = NliSettings()
    memory: MemorySettings = MemorySettings()
    delivery: DeliverySettings = DeliverySettings()
    students: StudentSettings = StudentSettings()
    server: ServerSettings = ServerSettings()

    @model_validator(mode="after")
    def _clips_more_than_rounding(self) -> Self:
        if self.policy.dtype == "mixed" and self.learning.loss == "gspo":
            raise PydanticCustomError(
                "server", "learning.loss=gspo clips finer than policy.dtype=mixed rounds: take float32 or another loss"
            )
        return self


def parse_settings(assignments: Sequence[str] = (), *, base: Mapping[str, Any] | None = None) -> Settings:
    """Return *base* (or the defaults) changed by `part.field=value` assignments, the values written as in YAML.

    Raises:
        ConfigError: Naming the assignment, the rule and the way out.
    """
    tree: dict[str, Any] = {
        part: dict(fields) for part, fields in Settings.model_validate(base or {}).model_dump().items()
    }
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        part, dot, field = key.strip().partition(".")
        if not equals or not dot:
            raise ConfigError(f"--set {assignment!r} is not PART.FIELD=VALUE, like loop.rounds=2")
        if part not in Settings.model_fields or field not in tree[part]:
            known = ", ".join(f"{p}.{f}" for p, fields in tree.items() for f in fields)
            raise ConfigError(f"--set {key.strip()!r} is no setting; known: {known}")
        try:
            tree[part][field] = yaml.safe_load(text)
        except NOT_YAML as error:
            raise ConfigError(f"--set {assignment[:80]!r}: the value is not YAML") from error
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(first_problem(error)) from error


def first_problem(error: ValidationError) -> str:
    """Return the first problem of a pydantic error on one line: where, what value, which rule."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] in {"secret", "server"}:  # the value must not be shown, or is everything
        return f"{where}: {problem['msg']}" if where else str(problem["msg"])
    return f"{where}={problem['input']!r}: {problem['msg'].lower()}"


def changed(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return dumped *settings* with `part.field -> value` *changes*."""
    tree = {part: dict(fields) for part, fields in settings.items()}
    for key, value in changes.items():
        part, _, field = key.partition(".")
        tree.setdefault(part, {})[field] = value
    return tree


def completed(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return dumped *settings* of any version: what it did not have is as if by default, what is not known here stays."""
    defaults = Settings().model_dump(mode="json")
    return {part: {**defaults.get(part, {}), **settings.get(part, {})} for part in {**defaults, **settings}}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return `part.field -> (old, new)` where two dumped settings differ."""
    flat = [{f"{p}.{f}": v for p, fields in tree.items() for f, v in fields.items()} for tree in (old, new)]
    keys = sorted(flat[0].keys() | flat[1].keys())
    return {key: (flat[0].get(key), flat[1].get(key)) for key in keys if flat[0].get(key) != flat[1].get(key)}
