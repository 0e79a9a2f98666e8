"""The lines before a line: bounded in bytes, those of streams that were quiet longest first."""

import pytest

import agent.alerting.context
from agent.alerting.context import Contexts
from agent.bundle.manifest import Window


@pytest.fixture
def contexts(monkeypatch) -> Contexts:
    monkeypatch.setattr(agent.alerting.context, "_MOST", 10_000)
    return Contexts(Window(10))


def test_the_contexts_of_streams_that_were_quiet_longest_are_forgotten(contexts):
    for number in range(100):
        contexts.restore(("log", b"%d" % number), [b"x" * 256] * 9)
        contexts.restore(("log", b"busy"), [b"y"])
    assert contexts.of(("log", b"busy")) == [b"y"] and contexts.of(("log", b"99"))
    assert contexts.of(("log", b"0")) == []
    for number in range(100):
        contexts.forget(("log", b"%d" % number))
    assert contexts.of(("log", b"busy")) == [b"y"]


def test_one_that_is_set_anew_counts_once(contexts):
    contexts.restore(("log", b"other"), [b"z"])
    for _ in range(1000):
        contexts.restore(("log", b""), [b"x" * 256] * 9)
    assert contexts.of(("log", b"other")) == [b"z"]
