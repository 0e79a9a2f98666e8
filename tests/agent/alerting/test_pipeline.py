"""What the state holds of a source that cannot be understood: it begins anew, in words, and nothing ends."""

from datetime import UTC, datetime

import pytest
from helpers.made_up import made_up_lines
from helpers.pipelines import make_pipeline
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.bundle.bundle import Bundle
from agent.text.lines import LineSplitter

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
NAMES = ("fold:log", "breaker:log", "walk:log", "limits:log")


@pytest.fixture(scope="module")
def opened(bundle) -> Bundle:
    return Bundle.load(bundle)


@settings(max_examples=60, deadline=None)
@given(damage=st.binary(max_size=40), name=st.sampled_from([*NAMES, "stream"]), at=st.integers(0, 1000))
def test_any_damage_of_what_was_stored_of_a_source_is_no_hindrance(opened, damage, name, at):
    lines = b"".join(made_up_lines(40))
    first = make_pipeline(opened)
    changes = first.process(LineSplitter("log").feed(lines), "1:2", NOON).changes
    blobs = dict(changes.blobs)
    streams = [(key, blob) for _, key, blob in changes.streams]
    whole = blobs.get(name, b"") if name != "stream" else streams[0][1]
    cut = at % (len(whole) + 1)
    broken = whole[:cut] + damage + whole[cut + len(damage) :]
    if name == "stream":
        streams[0] = (streams[0][0], broken)
    else:
        blobs[name] = broken
    again = make_pipeline(opened)
    again.restore("log", streams, blobs.get)
    done = again.process(LineSplitter("log").feed(lines), "1:2", NOON)
    assert len(done.scored.scores) == 40
