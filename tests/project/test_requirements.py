"""What the tests do where torch, or what comes with it, is not installed."""

import json

import pytest
from helpers.requirements import require_module


def test_a_module_that_is_there_is_given(monkeypatch):
    monkeypatch.setenv("ODDLINE_WITHOUT_TORCH", "1")
    assert require_module("json") is json


@pytest.mark.parametrize("switch", [None, "", "0"])
def test_a_missing_module_fails(monkeypatch, switch):
    monkeypatch.delenv("ODDLINE_WITHOUT_TORCH", raising=False)
    if switch is not None:
        monkeypatch.setenv("ODDLINE_WITHOUT_TORCH", switch)
    with pytest.raises(pytest.fail.Exception, match="no_such_module is not installed"):
        require_module("no_such_module")


def test_a_module_that_is_left_out_on_purpose_skips(monkeypatch):
    monkeypatch.setenv("ODDLINE_WITHOUT_TORCH", "1")
    with pytest.raises(pytest.skip.Exception, match="no_such_module is left out"):
        require_module("no_such_module")
