"""Times at the ends of what a clock can show."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.text.headers import line_times, parse_header
from agent.text.lines import LineSplitter
from agent.text.record_reader import RecordReader
from agent.text.records import Records
from agent.text.times import iso_time

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
NEAR_THE_ENDS = st.one_of(
    st.datetimes(max_value=datetime(1, 1, 3)), st.datetimes(min_value=datetime(9999, 12, 30)), st.datetimes()
)
STAMPS = st.builds(lambda time, zone: time.replace(tzinfo=zone).isoformat(), NEAR_THE_ENDS, ZONES)
NOW = datetime(2026, 3, 10, tzinfo=UTC)


@given(STAMPS)
@example("0001-01-01T00:00:00+14:00")
@example("9999-12-31T23:59:59-14:00")
@example("9999-12-31T23:59:59.999999+00:00")
@example("0001-01-01T00:00:00+00:00")
def test_a_time_of_a_line_can_be_shown_in_every_zone_or_is_none(stamp):
    text = f"{stamp} web1 app[1]: hi".encode()
    block = LineSplitter("log").feed(b"%b\n<34>1 %b web1 app - - - hi\n" % (text, stamp.encode()))
    times = {parse_header(line, "auto", NOW).time for line in block.lines()}
    assert line_times(block, "auto", NOW) == [None if time is None else time.isoformat() for time in [*times] * 2]
    records = RecordReader(Records(["time", "x"], time="time"))
    assert records.time(f"{stamp},1".encode()) in times
    (time,) = times
    exact = datetime.fromisoformat(stamp)
    assert time in (exact, None)
    if time is not None:
        assert abs(datetime.fromtimestamp(time.timestamp(), UTC) - exact) < timedelta(seconds=1)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2016-12-31 23:59:60.5+00:00", datetime(2016, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC)),
        ("2016-12-31T23:59:61Z", None),
        ("2016-12-31T23:60:00Z", None),
        ("9999-12-31T23:59:59-00:01", None),
        ("0001-01-01T00:00:00+00:01", None),
        ("9999-12-31T23:59:59+14:00", datetime(9999, 12, 31, 9, 59, 59, tzinfo=UTC)),
    ],
)
def test_a_leap_second_is_the_one_before_it_and_what_lies_outside_is_no_time(text, time):
    assert iso_time(text) == time
