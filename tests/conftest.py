"""Hypothesis profiles, and fixtures that several folders use."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from worlds import tiny_model

settings.register_profile("dev", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

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
