"""When the sources are looked at without an event, and when new files are looked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.app import schedule
from agent.app.schedule import Look, Schedule

SECONDS = st.integers(0, 80).map(lambda eighths: eighths / 8)


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def clock() -> Clock:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedule, "time", clock)
        yield clock


@given(waits=st.lists(SECONDS, max_size=30))
def test_sources_are_looked_at_every_second_and_all_of_them_every_ten(clock, waits):
    plan = Schedule()
    assert (plan.pause(), plan.look()) == (0.0, Look.FULL)
    looked = full = clock.now
    for wait in waits:
        clock.now += wait
        assert plan.pause() == max(0.0, looked + 1.0 - clock.now)
        wanted = Look.NONE if clock.now < looked + 1.0 else Look.UNSETTLED if clock.now < full + 10.0 else Look.FULL
        assert plan.look() is wanted
        looked = looked if wanted is Look.NONE else clock.now
        full = clock.now if wanted is Look.FULL else full


def test_a_look_can_be_had_at_once(clock):
    plan = Schedule()
    plan.look()
    plan.look_soon()
    assert (plan.pause(), plan.look(), plan.look()) == (0.0, Look.UNSETTLED, Look.NONE)
    plan.hurry()
    assert (plan.pause(), plan.look(), plan.look()) == (0.0, Look.FULL, Look.NONE)


@given(took=SECONDS, waits=st.lists(st.tuples(SECONDS, st.booleans()), max_size=30))
def test_a_search_takes_a_tenth_of_the_time_at_most_and_without_an_event_follows_after_ten_seconds(clock, took, waits):
    plan = Schedule()
    assert plan.is_search_due(hears=False)
    with plan.searching():
        clock.now += took
    searched, heard = clock.now, False
    for wait, hears in waits:
        clock.now += wait
        heard |= hears
        early, due = searched + 9 * took, searched + 10.0
        assert plan.is_search_due(hears) == (clock.now >= (min(early, due) if heard else due))
