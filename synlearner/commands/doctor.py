"""What works here, and how fast: tried, not guessed."""

from argparse import Namespace
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from synlearner.commands.result import Result
from synlearner.errors import SynLearnerError

if TYPE_CHECKING:
    from synlearner.agent import Settings
    from synlearner.agent.policy import Policy

PACKAGES = ("synlearner", "torch", "transformers", "peft", "numpy", "llguidance", "chromadb", "vllm", "trl")
TEXT, PREFIX = "Write short remarks about the weather.", "1. It rained all day.\n2."
GROUP, TOKENS = 8, 24


@dataclass
class _Findings:
    """What was found, by part, and what is wrong."""

    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def doctor(args: Namespace) -> Result:
    """Report versions, machine, engines, determinism, agreement and speed; exit code 1 if a run would not work."""
    from synlearner.agent import parse_settings  # noqa: PLC0415

    settings = parse_settings(args.settings)
    found = _Findings()
    found.parts["versions"] = _versions()
    found.parts["machine"] = _machine(settings)
    found.parts["engines"] = _engines(settings)
    try:
        _try_policy(settings, found)
    except SynLearnerError as error:
        found.problems.append(str(error))
    from synlearner.agent.training import fingerprint  # noqa: PLC0415

    found.parts["determinism"] = {**found.parts.get("determinism", {}), "inside": fingerprint()}
    data = {"ok": not found.problems, "problems": found.problems, **found.parts}
    return Result(data, _text(found), 1 if found.problems else 0)


def _versions() -> dict[str, Any]:
    import platform  # noqa: PLC0415
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    found: dict[str, Any] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _machine(settings: "Settings") -> dict[str, Any]:
    import os  # noqa: PLC0415

    import torch  # noqa: PLC0415

    from synlearner.agent.build import limit_threads  # noqa: PLC0415

    limit_threads(settings.policy.threads)
    page = os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "threads": settings.policy.threads,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * page / 2**30, 1),
        "free_gib": round(os.sysconf("SC_AVPHYS_PAGES") * page / 2**30, 1),
    }


def _engines(settings: "Settings") -> dict[str, Any]:
    """Return for each engine `works`, or what it lacks; the configured one is tried below."""
    from importlib.util import find_spec  # noqa: PLC0415

    from synlearner.policies.fetch import MODELS, is_fetched  # noqa: PLC0415

    model, url = settings.policy.model, settings.policy.base_url
    missing = model in MODELS and not is_fetched(model)
    return {
        "transformers": f"{model} is not fetched yet: run `synlearner fetch` once" if missing else "works",
        "vllm": "installed" if find_spec("vllm") else "not installed: pip install 'synlearner[vllm]'",
        "openai": f"server at {url}" if url else "no server named: --set policy.engine=openai policy.base_url=URL",
        "scripted": "works (a fake for tests; it learns nothing)",
    }


def _try_policy(settings: "Settings", found: _Findings) -> None:
    """Load the policy, let the canary look at it, write, learn twice."""
    import time  # noqa: PLC0415

    from synlearner.agent.build import build_policy  # noqa: PLC0415

    name = settings.policy.engine
    begun = time.perf_counter()
    policy = build_policy(settings, 0)
    try:
        policy.serve("", lambda _: b"")
    except SynLearnerError as error:
        found.parts["engines"][name] = f"does not work: {error}"
        raise
    found.parts["engines"][name] = "works"
    found.parts["policy"] = {"engine": name, "base_model": policy.engine.base_model, "learns": policy.model is not None}
    found.parts["agreement"] = {"probed": policy.model is not None, **policy.observed}
    found.parts["speed"] = {"load_s": round(time.perf_counter() - begun, 1)}
    _measure(policy, settings, found)


def _measure(policy: "Policy", settings: "Settings", found: _Findings) -> None:
    import resource  # noqa: PLC0415
    import time  # noqa: PLC0415

    from synlearner.events.types import Decoding  # noqa: PLC0415
    from synlearner.policies.engine import Request  # noqa: PLC0415

    decoding = Decoding(temperature=1.0, min_p=0.05, max_new_tokens=TOKENS)
    begun = time.perf_counter()
    (group,) = policy.engine.generate([Request(TEXT, PREFIX, "", decoding, tuple(range(GROUP)))])
    written = sum(len(sample.token_ids) for sample in group)
    speed = found.parts["speed"]
    speed["tokens_per_s"] = round(written / (time.perf_counter() - begun), 1)
    if policy.model is not None:
        from synlearner.policies.learner import StepSettings, Trained, TrainedGroup, learn  # noqa: PLC0415

        half = len(group) // 2
        trained = [Trained(s.token_ids, s.logprobs, 0.5 if i < half else -0.5) for i, s in enumerate(group)]
        groups = [TrainedGroup(TEXT, PREFIX, decoding, trained)]
        step = StepSettings("grpo", 1e-4, micro_batch=settings.policy.micro_batch)
        begun = time.perf_counter()
        first, second = (learn(policy.model, groups, step, adapter=None, optimizer=None, reference=None) for _ in "ab")
        group_s = (time.perf_counter() - begun) / 2
        loop = settings.loop
        speed["learning_s_per_group"] = round(group_s, 2)
        speed["expected_s_per_round"] = round(
            loop.prompts
            * (loop.group * written / GROUP / max(speed["tokens_per_s"], 0.1) + group_s * loop.group / GROUP),
            1,
        )
        same = first == second
        found.parts["determinism"] = {"class": "equal bits" if same else "NOT repeatable"}
        if not same:
            found.problems.append("the same learning step gave other bits: replay --verify will report differences")
    speed["peak_gib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def _text(found: _Findings) -> str:
    from synlearner.tables import table  # noqa: PLC0415

    rows = [
        [part if place == 0 else "", name, "-" if value is None else str(value)]
        for part, values in found.parts.items()
        for place, (name, value) in enumerate(values.items())
    ]
    verdict = "\n".join(f"PROBLEM: {problem}" for problem in found.problems) or "all that was tried works"
    return f"{table(['part', 'what', 'found'], rows)}\n{verdict}"
