"""Settings: what `--set` changes, what it refuses, and what differs between two runs."""

import json

import pytest

from synlearner.agent.config import Settings, differences, parse_settings
from synlearner.errors import ConfigError, SynLearnerError


def test_without_assignments_the_settings_are_the_defaults() -> None:
    assert parse_settings([]) == Settings()


def test_an_assignment_changes_its_field_and_nothing_else() -> None:
    settings = parse_settings(["loop.rounds=7"])
    assert settings.loop.rounds == 7
    assert settings.model_copy(update={"loop": Settings().loop}) == Settings()
    assert settings.loop.model_copy(update={"rounds": Settings().loop.rounds}) == Settings().loop


def test_the_last_of_two_assignments_holds() -> None:
    assert parse_settings(["loop.rounds=7", "loop.rounds=2"]).loop.rounds == 2


def test_values_are_yaml() -> None:
    settings = parse_settings(
        [
            " policy.model = a model",
            "memory.mirror=no",
            "students.families=[tfidf]",
            "learning.kl=0.5",
            "policy.rank=0x10",
        ]
    )
    assert settings.policy.model == "a model"
    assert settings.memory.mirror is False
    assert settings.students.families == ("tfidf",)
    assert settings.learning.kl == 0.5
    assert settings.policy.rank == 16


def test_a_value_may_hold_equals_signs_and_dots() -> None:
    assert parse_settings(["policy.model=/a.b/c=d"]).policy.model == "/a.b/c=d"


def test_assignments_change_the_settings_of_a_recorded_run() -> None:
    recorded = json.loads(parse_settings(["loop.rounds=7", "policy.rank=4"]).model_dump_json())
    settings = parse_settings(["loop.rounds=1"], base=recorded)
    assert (settings.loop.rounds, settings.policy.rank) == (1, 4)
    assert recorded["loop"]["rounds"] == 7, "what was recorded is left as it was"


REFUSED = {
    "loop.rounds": "--set 'loop.rounds' is not PART.FIELD=VALUE, like loop.rounds=2",
    "rounds=2": "--set 'rounds=2' is not PART.FIELD=VALUE",
    "=": "is not PART.FIELD=VALUE",
    "loop.round=2": "--set 'loop.round' is no setting; known: policy.model, policy.device",
    "lop.rounds=2": "--set 'lop.rounds' is no setting",
    "loop.rounds.x=2": "--set 'loop.rounds.x' is no setting",
    "model_config.x=2": "--set 'model_config.x' is no setting",
    "loop.rounds=[": "--set 'loop.rounds=[': the value is not YAML",
    "loop.rounds=2024-13-45": "the value is not YAML",
    "loop.rounds=!!bool x": "the value is not YAML",
    "loop.rounds=" + "[" * 5000: "the value is not YAML",
    "loop.rounds=": "loop.rounds=None: input should be a valid integer",
    "loop.rounds=two": "loop.rounds='two': input should be a valid integer",
    "loop.rounds=-1": "loop.rounds=-1: input should be greater than or equal to 0",
    "loop.group=1": "loop.group=1: input should be greater than or equal to 2",
    "loop.group=65": "loop.group=65: input should be less than or equal to 64",
    "loop.oversample=0.5": "loop.oversample=0.5: input should be greater than or equal to 1",
    "learning.kl=.nan": "learning.kl=nan: input should be a finite number",
    "reward.gain=.inf": "reward.gain=inf: input should be a finite number",
    "reward.floor=0": "reward.floor=0: input should be greater than 0",
    "reward.min_fidelity=-2": "reward.min_fidelity=-2: input should be greater than or equal to -1",
    "policy.dtype=int8": "policy.dtype='int8': input should be 'float32', 'mixed', 'bfloat16' or 'float16'",
    "learning.kl_to=somewhere": "learning.kl_to='somewhere': input should be 'task' or 'base'",
    "students.families=[]": "students.families=[]: tuple should have at least 1 item",
    "students.families=[bert]": "students.families.0='bert': input should be 'embedding', 'tfidf' or 'transformer'",
    "students.bootstrap=10": "students.bootstrap=10: input should be greater than or equal to 100",
    "memory.k=17": "memory.k=17: input should be less than or equal to 16",
}


@pytest.mark.parametrize("assignment", REFUSED, ids=lambda text: text[:30])
def test_a_wrong_assignment_is_refused_with_the_value_and_the_rule(assignment: str) -> None:
    with pytest.raises(SynLearnerError) as caught:
        parse_settings([assignment])
    assert type(caught.value) is ConfigError
    assert REFUSED[assignment] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ("learning.loss=gspo", "learning.loss=gspo clips finer than policy.dtype=mixed rounds: take float32"),
        ("policy.engine=vllm", "policy: policy.dtype=mixed is for policy.engine=transformers alone"),
    ],
)
def test_mixed_is_refused_where_it_would_not_work(other: str, why: str) -> None:
    assert parse_settings(["policy.dtype=mixed"]).policy.dtype == "mixed"
    with pytest.raises(ConfigError) as caught:
        parse_settings(["policy.dtype=mixed", other])
    assert str(caught.value).startswith(why)


def test_settings_cannot_be_changed_after_they_are_made() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().loop.rounds = 3


def test_settings_come_back_from_json_as_they_went() -> None:
    settings = parse_settings(["students.families=[tfidf]", "learning.grpo_rate=3e-5"])
    assert Settings.model_validate(json.loads(settings.model_dump_json())) == settings


def test_differences_name_what_changed_with_the_old_and_the_new_value() -> None:
    old = {"loop": {"rounds": 2, "group": 4}, "gone": {"x": 1}}
    new = {"loop": {"rounds": 3, "group": 4}, "policy": {"rank": 8}}
    assert differences(old, new) == {"gone.x": (1, None), "loop.rounds": (2, 3), "policy.rank": (None, 8)}


def test_equal_settings_have_no_differences() -> None:
    dumped = Settings().model_dump(mode="json")
    assert differences(dumped, json.loads(json.dumps(dumped))) == {}
