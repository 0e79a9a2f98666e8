"""When the sources are polled without an event, and when new files are searched for."""

import pytest
from helpers.manual_clock import ManualClock
from hypothesis import given
from hypothesis import strategies as st

from agent.app.schedule import Poll, Schedule

SECONDS = st.integers(0, 80).map(lambda eighths: eighths / 8)


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock(1000.0)


@given(waits=st.lists(SECONDS, max_size=30))
def test_sources_are_polled_every_second_and_all_of_them_every_ten(clock, waits):
    plan = Schedule(clock)
    assert (plan.pause(), plan.start_poll()) == (0.0, Poll.ALL)
    polled = full = clock.monotonic()
    for wait in waits:
        clock.sleep(wait)
        assert plan.pause() == max(0.0, polled + 1.0 - clock.monotonic())
        wanted = (
            Poll.NONE
            if clock.monotonic() < polled + 1.0
            else Poll.UNSETTLED
            if clock.monotonic() < full + 10.0
            else Poll.ALL
        )
        assert plan.start_poll() is wanted
        polled = polled if wanted is Poll.NONE else clock.monotonic()
        full = clock.monotonic() if wanted is Poll.ALL else full


def test_a_poll_can_be_had_at_once(clock):
    plan = Schedule(clock)
    plan.start_poll()
    plan.poll_now()
    assert (plan.pause(), plan.start_poll(), plan.start_poll()) == (0.0, Poll.UNSETTLED, Poll.NONE)
    plan.poll_all_now()
    assert (plan.pause(), plan.start_poll(), plan.start_poll()) == (0.0, Poll.ALL, Poll.NONE)


@given(took=SECONDS, waits=st.lists(st.tuples(SECONDS, st.booleans()), max_size=30))
def test_a_search_takes_a_tenth_of_the_time_at_most_and_without_an_event_follows_after_ten_seconds(clock, took, waits):
    plan = Schedule(clock)
    assert plan.is_search_due(has_event=False)
    with plan.searching():
        clock.sleep(took)
    searched, heard = clock.monotonic(), False
    for wait, hears in waits:
        clock.sleep(wait)
        heard |= hears
        early, due = searched + 9 * took, searched + 10.0
        assert plan.is_search_due(hears) == (clock.monotonic() >= (min(early, due) if heard else due))
