"""Bundles that were trained by these tests, with their log and their run beside them."""

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
