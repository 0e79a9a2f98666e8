"""Fixtures of bundles that these tests trained, with their log and their run beside them, for a conftest to import."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bundle(trained: Callable[[str], Path]) -> Path:
    return trained("two-stage")


@pytest.fixture(scope="session")
def padded_bundle(trained: Callable[[str], Path]) -> Path:
    return trained("padded")


@pytest.fixture(scope="session")
def timed_bundle(trained: Callable[[str], Path]) -> Path:
    return trained("timed")


@pytest.fixture(scope="session")
def codebook_bundle(trained: Callable[[str], Path]) -> Path:
    return trained("codebook")


@pytest.fixture(scope="session")
def sequence_bundle(trained: Callable[[str], Path]) -> Path:
    """Of a small sequence autoencoder; `later` and its `labels` lie beside it, which have a burst of unseen events."""
    return trained("sequence")
