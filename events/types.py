"""What can happen: one frozen class per fact, named in the past tense. The log outlives the code.

`kind` and `version` are stored names, ours and not Python's. A shape never changes: a new shape is a new version,
and `synlearner.events.codec.UPCASTERS` lifts the old one. Payloads hold no clock and no machine detail: those go
into the envelope's `observed`, outside the hash, so that two equal runs have equal digests.

Samples are named by the `seq` of their `sample_generated` event, experience items by their `id`.
"""

from typing import Any, ClassVar

import msgspec


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every payload. Subclasses name their stored `kind` and `version`."""

    kind: ClassVar[str]
    version: ClassVar[int] = 1


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the records inside payloads."""


# ---- runs and tasks ------------------------------------------------------------------------------------------


class RunStarted(Fact, frozen=True):
    """A stream began."""

    kind: ClassVar[str] = "run_started"
    stream: str
    stream_digest: str
    """SHA-256 of the canonical stream: its cards with the rows and digests of their files, no paths."""
    tasks: list[str]
    settings: dict[str, Any]
    """The whole configuration, nested as `synlearner.agent.config.Settings`."""
    seed: int
    base_model: str
    """Digest of the base weights (`sha256:…`), or the engine's own name for a model that is not here."""


class RunFinished(Fact, frozen=True):
    """All tasks of the stream are done."""

    kind: ClassVar[str] = "run_finished"
    tasks: int
    delivered: int


class HistoryForked(Fact, frozen=True):
    """The home took over another home's history up to here, and goes on by itself."""

    kind: ClassVar[str] = "history_forked"
    parent_seq: int
    parent_hash: str
    changes: dict[str, Any]
    """Dotted settings that differ from here on."""


class DataFile(Part, frozen=True):
    """A file that a card names."""

    sha256: str
    rows: int


class TaskArrived(Fact, frozen=True):
    """A task began."""

    kind: ClassVar[str] = "task_arrived"
    index: int
    """Place in the stream, from 0."""
    card: dict[str, Any]
    """The whole card: paths are replaced by rows (seeds) or left out (test, real_train)."""
    files: dict[str, DataFile]


class TaskFinished(Fact, frozen=True):
    """A task is done. Of each count the conservation law holds: requested = accepted + rejected + failed."""

    kind: ClassVar[str] = "task_finished"
    requested: int
    accepted: int
    rejected: int
    failed: int
    delivered: int
    tokens: int


# ---- planning and sampling -----------------------------------------------------------------------------------


class Candidate(Part, frozen=True):
    """An experience item that recall considered, with every term of its score (`synlearner.memory.recall`)."""

    item: str
    similarity: float
    """Cosine to the query, clamped to [0, 1]."""
    lexical: float
    """BM25 as a share of the most that the query could give, in [0, 1]."""
    dense_rank: int
    lexical_rank: int
    """Places by similarity and by BM25 among all that may be recalled, from 1; 0 without a common word."""
    relevance: float
    """Similarity or lexical share, lifted by both ranks; in [0, 1]."""
    utility: float
    """Posterior mean of the gain it brings."""
    deviation: float
    """Posterior standard deviation."""
    draw: float
    """The seeded Thompson draw around `utility`."""
    score: float
    overlap: float
    """Largest cosine to an item that was chosen before it, clamped to [0, 1]."""
    tokens: int
    """About what it takes in a prompt."""
    propensity: float
    """Share of seeded repetitions of the draws in which it is chosen; 0 where nothing was drawn."""
    chosen: bool
    reason: str
    """Why it was not chosen: `harms`, `lowers`, `budget`, `worse`; empty when it was."""


class ExperienceRecalled(Fact, frozen=True):
    """Memory was asked. Together with the memory of then, this is all that the answer follows from."""

    kind: ClassVar[str] = "experience_recalled"
    version: ClassVar[int] = 2
    round: int
    query: str
    query_vector: str
    """Blob: float32 matrix `(1, dimension)`, unit length."""
    scope: str
    filters: dict[str, Any]
    k: int
    settings: dict[str, float]
    """`synlearner.memory.recall.RecallSettings`; empty in recalls of version 1, which did not record them."""
    control: float
    """Share of prompts that are planned without what was recalled."""
    candidates: list[Candidate]
    chosen: list[str]
    seed: int


class Decoding(Part, frozen=True):
    """How tokens are drawn. The kept set is cut in this order: grammar, temperature, min-p, top-k, top-p."""

    temperature: float
    min_p: float
    """Kept is `probability >= min_p x the largest probability`; 0 keeps everything."""
    max_new_tokens: int
    top_k: int = 0
    """The so many most likely tokens; 0 keeps everything."""
    top_p: float = 1.0
    """The most likely tokens that hold this mass; 1 keeps everything."""
    grammar: str = ""
    """JSON Schema that the sample follows, as text (`synlearner.policies.grammar`); empty for none."""


class PlannedPrompt(Part, frozen=True):
    """One prompt and the group of samples asked of it."""

    strategy: str
    label: str
    attributes: dict[str, str]
    exemplars: list[int]
    """Rows of the card's seeds that the prompt shows."""
    experience: list[str]
    """Experience items that shaped the prompt."""
    text: str
    """The user's turn."""
    prefix: str
    """How the answer must begin; part of the prompt, not of the sample."""
    stop: str
    """A sample ends before this text; empty for the model's own end alone."""
    samples: int
    decoding: Decoding
    seed: int


class PromptsPlanned(Fact, frozen=True):
    """Diversity-aware initialisation has chosen what to ask."""

    kind: ClassVar[str] = "prompts_planned"
    version: ClassVar[int] = 2
    round: int
    purpose: str
    """`learn`: the policy learns from it; `fill`: only the data set grows; `reference`: the untrained policy;
    `propose`: topics for prompts to come."""
    prompts: list[PlannedPrompt]


class Proposal(Part, frozen=True):
    """A value that was proposed for an attribute."""

    label: str
    value: str
    source: str
    """`policy`, or the experience item that it comes from."""
    relevance: float
    """Cosine to the mean of its label's seeds, as a share of the seeds' own."""
    novelty: float
    """1 less the largest cosine to a value that was kept before it."""
    reason: str
    """Why it was refused: `form`, `relevance`, `label`, `novelty`, `enough`; empty when it was kept."""


class AttributesProposed(Fact, frozen=True):
    """Values were proposed for an attribute that the card does not give."""

    kind: ClassVar[str] = "attributes_proposed"
    attribute: str
    proposals: list[Proposal]


class PolicyServed(Fact, frozen=True):
    """A round's samples were about to be written: the receipt of who wrote them, and how. They name it as a cause."""

    kind: ClassVar[str] = "policy_served"
    version: ClassVar[int] = 2
    round: int
    engine: str
    base_model: str
    """Digest of the base weights, or the engine's name for weights that are not here."""
    adapter: str
    """Digest of the adapter; empty for the untrained policy."""
    scale: float
    """What the adapter's product is multiplied by; 0 where no weights are here."""
    tokenizer: str
    """SHA-256 of vocabulary, merges, template and end tokens; empty where the engine keeps its own."""
    sampler: str
    """SHA-256 of the way tokens are drawn and of every prompt's decoding."""
    grammars: list[str]
    """SHA-256 of each prompt's grammar; empty for none."""
    probed: bool
    """Whether the canary has compared engine and trainer on this adapter (`synlearner.policies.canary`)."""
    dtype: str
    """What the engine computed in, as `policy.dtype` calls it; empty where it is not known."""


class SampleGenerated(Fact, frozen=True):
    """An engine returned one sample."""

    kind: ClassVar[str] = "sample_generated"
    round: int
    prompt: int
    """Place in the round's prompts."""
    index: int
    """Place in the prompt's group."""
    text: str
    token_ids: list[int]
    logprobs: list[float]
    """Nats, one per token, over the kept set at the sampling temperature."""
    finish: str
    """`stop`: it ended by itself; `length`: it was cut off; `error`: the engine failed, `text` says how."""
    policy: str
    """Digest of the adapter that wrote it; empty for the untrained policy."""
    engine: str


# ---- feedback ------------------------------------------------------------------------------------------------


class SampleScored(Fact, frozen=True):
    """Feedback on one sample. A gated sample has no parts but its reason."""

    kind: ClassVar[str] = "sample_scored"
    version: ClassVar[int] = 2
    sample: int
    accepted: bool
    reason: str
    """Why it was rejected (`gate:copy`, `label`); empty when accepted."""
    fields: dict[str, str]
    """The parsed sample; empty when it could not be parsed."""
    parts: dict[str, float]
    """Raw, unweighted: `fidelity`, `quality`, `attributes`, `gain`, each dimensionless; `user`, of the user's own reward;
    `surprise`, in nats per token, which quality follows from."""
    total: float
    """What the policy learns from, after standardising and weighting."""
    label: str = ""
    """What it is accepted as, where another label was asked for: `parts` then has its fidelity to it as `likeliest`."""
    trimmed: bool = False
    """Whether `fields` is what was written up to the last whole sentence that there was room for."""


class RewardFailed(Fact, frozen=True):
    """The user's own reward gave no values for a round: the run stops, or the task goes on without it."""

    kind: ClassVar[str] = "reward_failed"
    round: int
    function: str
    """As it was configured. A name for people: nothing that reads a log calls or imports it."""
    reason: str


class SetScored(Fact, frozen=True):
    """Feedback on the round's set of valid samples."""

    kind: ClassVar[str] = "set_scored"
    round: int
    samples: list[int]
    embeddings: str
    """Blob: float32 matrix `(samples, dimension)` in the order of `samples`; empty when there are none."""
    diversity: dict[str, float]
    gains: list[float]
    """Leave-one-out contribution of each sample to quality-weighted log-det diversity."""


class StudentScored(Fact, frozen=True):
    """A student was trained on `source` and scored on `split`."""

    kind: ClassVar[str] = "student_scored"
    family: str
    """`embedding` or `tfidf`, each with logistic regression; `transformer`, fine-tuned."""
    source: str
    """`accepted`, `delivered`, `seeds`, `seeds_and_delivered`, `untrained`, `real`; `curve`: so many of the delivered."""
    split: str
    """`seeds` (may steer the loop) or `test` (for reporting alone)."""
    samples: list[int]
    trained_on: int
    scored_on: int
    accuracy: float
    macro_f1: float
    interval: tuple[float, float]
    """95 %, by bootstrap over the scored rows."""


class ConstraintsAdjusted(Fact, frozen=True):
    """Floors were compared with what was measured, and their multipliers moved."""

    kind: ClassVar[str] = "constraints_adjusted"
    round: int
    compared: int
    """Samples on each side, labels in equal shares."""
    values: dict[str, float]
    """`diversity`: Vendi score of the newest accepted samples; `fidelity`: mean over all samples of the round."""
    floors: dict[str, float]
    """The same of the untrained policy, times the setting."""
    multipliers: dict[str, float]
    """In force from the next round on."""


class JudgesCompared(Fact, frozen=True):
    """A judge that no reward sees looked at a round's accepted samples, beside the judge of fidelity."""

    kind: ClassVar[str] = "judges_compared"
    round: int
    compared: int
    """Accepted samples."""
    untrained: int
    """Samples of the untrained policy that would have been accepted."""
    training: float
    """Mean fidelity of the accepted samples by the judge that the reward knows …"""
    held_out: float
    """… and by the one that it does not."""
    untrained_training: float
    untrained_held_out: float
    """The same of the untrained policy's."""
    gap: float
    """By how much more the judges differ than they do on the untrained policy's samples."""
    deviation: float
    """Standard error of the gap."""
    alarm: bool


class FeedbackGiven(Fact, frozen=True):
    """A person or another program judged something."""

    kind: ClassVar[str] = "feedback_given"
    target: str
    """A sample (`sample:SEQ`), an experience item (`item:ID`) or a task's data set (`task:NAME`)."""
    score: float
    """-1 (harmful) to 1 (as good as it gets)."""
    text: str
    source: str


# ---- learning ------------------------------------------------------------------------------------------------


class PolicyUpdated(Fact, frozen=True):
    """The weights moved, or could not (`skipped` says why, and `adapter` is `parent`)."""

    kind: ClassVar[str] = "policy_updated"
    round: int
    algorithm: str
    """`seeds`: from the card's, so there are no `samples`; `eft` or `grpo`."""
    parent: str
    adapter: str
    """Blob of LoRA tensors; empty for the untrained policy."""
    optimizer: str
    """Blob of AdamW state; empty before the first step."""
    samples: list[int]
    advantages: list[float]
    loss: float
    kl: float
    grad_norm: float
    skipped: str


class AdaptersMerged(Fact, frozen=True):
    """The policy became the mean of the adapters that tasks ended with. Base weights stay as they are."""

    kind: ClassVar[str] = "adapters_merged"
    parents: list[str]
    adapter: str


class ExperienceItem(Part, frozen=True):
    """What was learnt, for next time."""

    id: str
    type: str
    """`strategy`, `pitfall`, `case` or `lesson`."""
    title: str
    when: str
    content: str
    """At most three sentences."""
    polarity: int
    """1: do it, -1: avoid it."""
    scope: str
    """Who may recall it; empty for everybody in the home."""
    metadata: dict[str, Any]
    evidence: list[int]


class ExperienceLearned(Fact, frozen=True):
    """An item entered memory, or a new text of it (`supersedes`) did."""

    kind: ClassVar[str] = "experience_learned"
    version: ClassVar[int] = 2
    item: ExperienceItem
    embedder: str
    """Fingerprint of the embedder that made the vector."""
    vector: str
    """Blob: float32 matrix `(1, dimension)`, unit length."""
    supersedes: str
    """Item that it replaces; one of opposite polarity was contradicted, any other reworded."""
    parents: list[str]
    """Items that were in use where it was learnt: they share, discounted, in what it brings."""


class Credit(Part, frozen=True):
    """An item's posterior after an outcome."""

    item: str
    mean: float
    variance: float
    depth: int
    """0: estimated from the outcomes; n: moved as an ancestor, n steps along provenance."""


class ExperienceCredited(Fact, frozen=True):
    """An outcome was attributed to all items that were used together."""

    kind: ClassVar[str] = "experience_credited"
    version: ClassVar[int] = 2
    family: str
    """What the baseline is of: outcomes are compared within it."""
    outcome: float
    baseline: float
    """Mean outcome of the family before this one."""
    noise: float
    """Variance of an outcome that is an observation of the gain itself; 0 for an ordinary one."""
    arm: str
    """`memory`, `control` (planned without what was recalled), or empty outside of the experiment."""
    used: list[str]
    credits: list[Credit]
    """Of the used items, of those that were used beside them before, and of ancestors."""


class ExperienceMerged(Fact, frozen=True):
    """An item said what another one says, and stands for it from now on. `experience_split` takes it back."""

    kind: ClassVar[str] = "experience_merged"
    item: str
    into: str
    similarity: float
    mean: float
    variance: float
    """Posterior of the one that stays, after it took in what the other's use has shown."""


class ExperienceSplit(Fact, frozen=True):
    """A merge was taken back."""

    kind: ClassVar[str] = "experience_split"
    item: str
    out_of: str
    mean: float
    variance: float
    """Posterior of the one that stayed, without what the other had brought."""


class ExperienceDecayed(Fact, frozen=True):
    """What was not asked for in a long time is believed less firmly."""

    kind: ClassVar[str] = "experience_decayed"
    credits: list[Credit]


class ExperienceReembedded(Fact, frozen=True):
    """Items got vectors of another embedder. With the last page the new generation replaces the old one."""

    kind: ClassVar[str] = "experience_reembedded"
    embedder: str
    vectors: dict[str, str]
    """Item to blob."""
    last: bool


class ExperienceRetired(Fact, frozen=True):
    """An item left memory."""

    kind: ClassVar[str] = "experience_retired"
    item: str
    reason: str


class PayloadRedacted(Fact, frozen=True):
    """A payload was taken out for good. The chain holds its digest, so the event still stands there, without content."""

    kind: ClassVar[str] = "payload_redacted"
    target: int
    """Seq of the event."""
    target_kind: str
    digest: str
    """SHA-256 of the payload, which the chain commits to."""
    reason: str
    items: list[str]
    """Experience items that go with it: no earlier text of them may come back in its place."""


class DatasetDelivered(Fact, frozen=True):
    """A task's data set is final. The counts tell what happened to every sample that was asked for."""

    kind: ClassVar[str] = "dataset_delivered"
    samples: list[int]
    requested: int
    accepted: int
    rejected: dict[str, int]
    failed: int
    left_out: dict[str, int]
    """Accepted samples that are not in it, by reason: `near_duplicate` (of meaning), `near_copy` (of wording), `test`
    (shares its wording with the reporting data), `spare`."""


AnyFact = (
    RunStarted | RunFinished | HistoryForked | TaskArrived | TaskFinished | ExperienceRecalled | PromptsPlanned
    | AttributesProposed | PolicyServed | SampleGenerated | SampleScored | SetScored | StudentScored | ConstraintsAdjusted
    | RewardFailed | JudgesCompared | FeedbackGiven | PolicyUpdated | AdaptersMerged
    | ExperienceLearned | ExperienceCredited | ExperienceMerged | ExperienceSplit | ExperienceDecayed
    | ExperienceReembedded | ExperienceRetired | DatasetDelivered | PayloadRedacted
)  # fmt: skip
"""Every fact. `typing.get_args(AnyFact)` lists the classes."""


# ---- the envelope --------------------------------------------------------------------------------------------


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A fact on its way into the log."""

    fact: AnyFact
    id: str
    """Derived from run, decision, purpose and attempt (`synlearner.events.chance.event_id`): a repeat is recognised."""
    run_id: str = ""
    task: str = ""
    causes: tuple[int, ...] = ()
    """Seqs of the events that led to it."""
    observed: dict[str, Any] = {}
    """Latency, host, numeric fingerprint and the like: kept, but outside the hash. The log adds `time`."""


class Redacted(msgspec.Struct, frozen=True):
    """What is read in the place of a payload that was taken out. Folds skip it; nobody can append it."""

    kind: str
    """Of the event."""
    redacted: str
    """SHA-256 of the payload that stood here."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A fact in the log."""

    seq: int
    """1, 2, 3 … without a gap."""
    id: str
    kind: str
    version: int
    """The version it was stored with. `fact` has already been lifted to the newest."""
    run_id: str
    task: str
    causes: tuple[int, ...]
    fact: AnyFact | Redacted
    observed: dict[str, Any]
    hash: str
    """SHA-256, hex. The digest of a history is the hash of its last event."""


class Head(msgspec.Struct, frozen=True):
    """The end of a history."""

    seq: int
    hash: str


EMPTY = Head(0, "0" * 64)
"""The head of a history without events."""
