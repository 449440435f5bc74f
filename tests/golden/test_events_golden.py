"""Logs of every released version open, verify and keep their digest for ever. They are added, never regenerated."""

import json
from pathlib import Path
from typing import get_args

import pytest
from shapes import shape

from synlearner.events import AnyFact, Fact, Home, export, import_, verify

FOLDER = Path(__file__).parent
DIGESTS = {
    "events_v1.jsonl": (21, "2e74e0d44b45e545477a2dc1604dd2bb91ca828cf4da394323b64c43a22e335c"),
    "synthesis_v1.jsonl": (3, "e57ec91dfc45eff2d6b90a0c8b7c90d494cb5439448a97cd0394e392b07e76b3"),
    "policy_v1.jsonl": (1, "05c79d584c0b809f8daeba4304a674027b973fe3856f626dc0ff266bf8fe9cf9"),
    "policy_v2.jsonl": (1, "67740f0f67d07f50746cb73b9741ce36cf6cbe18f0183fae9220b6d23841c5a8"),
    "planning_v2.jsonl": (3, "c2d8b695f17cd52d3f1b7a6c761e4382d942f58eb3736458bf60916a0d4f9d3a"),
    "scores_v2.jsonl": (1, "83920c98b537731e795ec72bd8062e7680b97d57f604be611ae885ab89c34feb"),
    "rewards_v1.jsonl": (1, "bbd710e2b5fe94746231fd6d73a86ff7ad265b064e2d66564093d949ba186860"),
    "judges_v1.jsonl": (1, "e2b1352eea4396a919d554b2a832afba4c5876a1d3107e496fe714b747fb202a"),
    "memory_v2.jsonl": (14, "ffee297b0303e208d8aa152114a76af3d042251b3e801cb878d639ed4bf121bc"),
}
SHAPES = FOLDER / "events_shapes.json"


@pytest.mark.parametrize("name", DIGESTS)
def test_a_released_log_opens_verifies_and_keeps_its_digest(name: str, tmp_path: Path) -> None:
    events, digest = DIGESTS[name]
    with Home.open(tmp_path / "home", create=True) as home:
        assert import_(FOLDER / name, home) == events
        assert home.log.head().hash == digest
    report = verify(tmp_path / "home")
    assert report.problems == []
    assert (report.events, report.digest) == (events, digest)


@pytest.mark.parametrize("name", DIGESTS)
def test_a_released_log_is_exported_as_it_was(name: str, tmp_path: Path) -> None:
    with Home.open(tmp_path / "home", create=True) as home:
        import_(FOLDER / name, home)
        export(home.log, tmp_path / name, blobs=home.blobs)
    assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()


def test_every_kind_in_every_version_stands_in_a_released_log() -> None:
    # Not `splitlines`: it would also cut at U+2028, which stands in a text here.
    lines = [line for name in DIGESTS for line in (FOLDER / name).read_text(encoding="utf-8").strip().split("\n")]
    released = {(event["kind"], event["version"]) for event in map(json.loads, lines)}
    assert {(cls.kind, version) for cls in get_args(AnyFact) for version in range(1, cls.version + 1)} == released


@pytest.mark.parametrize("cls", get_args(AnyFact))
def test_a_shape_never_changes_without_a_new_version(cls: type[Fact]) -> None:
    shapes = json.loads(SHAPES.read_text(encoding="utf-8"))
    assert shapes[f"{cls.kind} {cls.version}"] == shape(cls), (
        f"{cls.kind} has another shape: raise its version, write an upcaster for the old one and a golden log of the new"
    )
