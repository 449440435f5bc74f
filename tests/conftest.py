"""Hypothesis profiles, and fixtures that several folders use."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Ran, Run, quick_settings
from engines import model, served, vllm, wide  # noqa: F401 - fixtures
from hypothesis import HealthCheck, Phase, settings
from servers import binaries, private_server
from worlds import tiny_model, write_stream

from synlearner.cli import main

settings.register_profile(  # the same examples in every run: what is red is red again, and green stays green
    "repeatable", max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(  # `make explore`: other examples in every run
    "explore", max_examples=200, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(  # `tests/mutants`: the same examples for each, and a failure is enough
    "mutants",
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

SHARED = Path(__file__).parents[2] / "shared"
"""Real data beside the checkout, where there is any."""


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal language model with random weights, saved as any model is."""
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and streams; the test skips where it is missing."""
    if not (SHARED / "streams").is_dir():
        pytest.skip(f"no real data at {SHARED}: the tests that use it are skipped")
    return SHARED


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL database, without a schema: `SYNLEARNER_TEST_POSTGRES`, or a server of our own."""
    given = os.environ.get("SYNLEARNER_TEST_POSTGRES")
    if given:
        yield given
    elif binaries():
        with private_server() as url:
            yield url
    else:
        pytest.skip("no PostgreSQL here (initdb, pg_ctl): install it or set SYNLEARNER_TEST_POSTGRES to a URL")


_numbers = itertools.count(1)


@pytest.fixture
def home_url(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a home that does not exist yet."""
    monkeypatch.setenv("SYNLEARNER_CACHE", str(tmp_path / "cache"))
    return f"{server}{'&' if '?' in server else '?'}schema=test_{os.getpid()}_{next(_numbers)}"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process."""

    def perform(*arguments: object) -> Ran:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return perform


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> tuple[Path, Path]:
    """A home with a finished run, and the stream's file."""
    folder = tmp_path_factory.mktemp("done")
    stream = write_stream(folder / "s", "topics", "again", samples=6)
    assert (
        main(["run", str(stream), "--home", str(folder / "h"), "--json", "--quiet", *quick_settings(tiny_folder)]) == 0
    )
    return folder / "h", stream
