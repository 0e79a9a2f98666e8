"""What tests need of other packages, which may be left out on purpose."""

import importlib
import os
from types import ModuleType

import pytest


def require_module(name: str) -> ModuleType:
    """A module that needs torch or comes with it; where it is missing the test fails.

    With ODDLINE_WITHOUT_TORCH=1, as in `make test-agent`, it is left out on purpose and the test skips.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if os.environ.get("ODDLINE_WITHOUT_TORCH") == "1":
            pytest.skip(f"{error.name} is left out: ODDLINE_WITHOUT_TORCH=1")
        pytest.fail(f"{error.name} is not installed; ODDLINE_WITHOUT_TORCH=1 says that it is left out on purpose")
