"""Settings of the judges that are there by choice, or that look on."""

from typing import Annotated

from pydantic import Field

from synlearner.agent.policy_settings import SettingsPart


class JudgeSettings(SettingsPart):
    """Judges that look on, to notice what no reward should be paid for. They change nothing but what is recorded."""

    held_out: bool = True
    """Whether a judge of fidelity that no reward sees looks at every round."""
    second_field: bool = True
    """Whether the probe of pairs' second fields looks at every round (`synlearner.agent.probe`)."""
    alarm: Annotated[float, Field(ge=0, le=2)] = 0.1
    """From which gap on, sure by two standard errors, there is an alarm (`synlearner.agent.comparing`)."""


class TuningSettings(SettingsPart):
    """How the encoder of the judge of fidelity learns a task's labels from its seeds (`synlearner.agent.tuning`)."""

    steps: Annotated[int, Field(ge=0, le=1000)] = 0
    """Optimiser steps, by choice (20 were measured: docs/LOG.md); 0: its vectors are those that students have."""
    rate: Annotated[float, Field(gt=0, le=1)] = 5e-5
    batch: Annotated[int, Field(ge=4, le=256)] = 32
    """Seeds of a step."""


class NliSettings(SettingsPart):
    """A judge of fidelity by choice: a model of natural language inference (`synlearner.agent.nli`)."""

    model: str = ""
    """A folder, or a hub name, of a sequence classifier in safetensors that has an 'entailment' class. Empty for none."""
    digest: str = ""
    """SHA-256 of its files: found and recorded when a run begins; given, no other model is taken."""
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Its share in fidelity, beside the judge of the seeds."""
    sentence: Annotated[str, Field(pattern=r"\{(label|meaning)\}")] = "This example is {label}: {meaning}."
    """What follows from a text of a label. Pairs whose labels are the model's own classes are read as they are."""
