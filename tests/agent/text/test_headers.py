"""What is read from the headers of lines."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.text.headers import CHOICES, check_format, detect, line_times, parse_header, read_clocks
from agent.text.lines import LineSplitter

NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)

RFC3164 = "Dec 31 23:59:58 web1 sshd[12]: hello"
ISO = "2026-01-01T06:07:08.5+01:00 web1 sshd[12]: hello"
RFC5424 = '<165>1 2026-01-01T06:07:08Z web1 sshd 12 - [a@1 k="v"] hello'
HDFS = "081109 203530 147 INFO dfs.DataNode: hello"


def block(*lines: str):
    return LineSplitter("log").feed(("\n".join(lines) + "\n").encode())


@pytest.mark.parametrize(
    ("line", "time", "host", "program", "pid", "message"),
    [
        (RFC3164, "2025-12-31T23:59:58+00:00", "web1", "sshd", "12", "hello"),
        ("Jan  2 11:00:00 web1 kernel: up", "2026-01-02T11:00:00+00:00", "web1", "kernel", "", "up"),
        (
            "Jun  9 06:06:20 combo syslogd 1.4.1: restart.",
            "2025-06-09T06:06:20+00:00",
            "combo",
            "",
            "",
            "syslogd 1.4.1: restart.",
        ),
        ("Feb 29 10:00:00 web1 -- MARK --", "2024-02-29T10:00:00+00:00", "web1", "", "", "-- MARK --"),
        (ISO, "2026-01-01T06:07:08.500000+01:00", "web1", "sshd", "12", "hello"),
        (RFC5424, "2026-01-01T06:07:08+00:00", "web1", "sshd", "12", "hello"),
        ("<14>1 - - app - - - hi", None, "-", "app", "-", "hi"),
        (HDFS, "2008-11-09T20:35:30+00:00", "", "dfs.DataNode", "", "hello"),
        ("Jun 99 06:06:20 web1 cron: x", None, "web1", "cron", "", "x"),
        ("no header at all", None, "", "", "", "no header at all"),
        ("", None, "", "", "", ""),
    ],
)
def test_fields(line, time, host, program, pid, message):
    header = parse_header(line.encode(), "auto", NOW)
    assert (header.time.isoformat() if header.time else None) == time
    assert (header.host, header.program, header.pid, header.message) == (host, program, pid, message)


def test_a_given_format_is_the_only_one_tried():
    assert parse_header(RFC3164.encode(), "iso8601", NOW).program == ""
    assert parse_header(RFC3164.encode(), "none", NOW).message == RFC3164


def test_invalid_bytes_do_not_stop_it():
    assert parse_header(b"Dec 31 23:59:58 web1 app: \xff\0", "auto", NOW).message == "\\xff\0"


@pytest.mark.parametrize(
    ("line", "name"), [(RFC3164, "rfc3164"), (ISO, "iso8601"), (RFC5424, "rfc5424"), (HDFS, "hdfs"), ("x y", "none")]
)
def test_detection(line, name):
    assert detect(block(line, line, "a line of another kind")) == name
    assert detect(block(line, "other", "other", "other")) == "none"


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown header format 'syslog'; choose one of auto, rfc3164"):
        check_format("syslog")


def test_the_clock_and_the_day_of_the_month():
    lines = [
        RFC3164,
        ISO,
        RFC5424,
        HDFS,
        "<5>1 2026-01-01T00:00:01Z h a - - - x",
        "plain",
        "",
        "Dec 31 29:59:58 h p: x",
        "abc def 12:3x:00 x",
    ]
    expected = [86398, 22028, 22028, 74130, 1, np.nan, np.nan, np.nan, np.nan]
    days = [31, 1, 1, 9, 1, np.nan, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(read_clocks(block(*lines)), np.array([expected, days], np.float32).T)


def test_the_clock_is_read_within_the_line():
    clocks = read_clocks(block("Dec 31 23:", "59:58 web1 sshd: x"))
    assert np.isnan(clocks).all()


@pytest.mark.parametrize(
    ("line", "day"),
    [
        ("Mar  9 10:00:00 h p: x", 9),
        ("Mar 09 10:00:00 h p: x", 9),
        ("Mar 39 10:00:00 h p: x", np.nan),
        ("Mar  0 10:00:00 h p: x", np.nan),
        ("2026-02-28 10:00:00 h p: x", 28),
        ("2026-02-x8 10:00:00 h p: x", np.nan),
        ("<5>1 2026-01-17T00:00:01Z h a - - - x", 17),
    ],
)
def test_a_day_that_no_month_has_is_none(line, day):
    np.testing.assert_array_equal(read_clocks(block(line))[0, 1], np.float32(day))


HEADS = [
    "Dec 31 23:59:58 web1 ",
    "Feb 30 10:00:00 web1 a[1]: ",
    "2026-01-01T06:07:08.5+01:00 ",
    "2026-01-01 06:07:08,5 ",
]
HEADS += [
    "<165>1 2026-01-01T06:07:08Z web1 sshd 12 - ",
    "<14>1 - - app - - ",
    "081109 203530 147 INFO ",
    "9-9-9T9:9:9 ",
]
PIECES = st.sampled_from(
    ["web1", " ", "sshd[12]:", '[a@1 k="v"]', "dfs.DataNode:", "-", "Ä", "\udcff", "x" * 300, ":", "\t"]
)


@given(
    st.lists(st.tuples(st.sampled_from(["", *HEADS]), st.lists(PIECES)), min_size=1),
    st.sampled_from(["auto", *CHOICES]),
)
@settings(deadline=None)
@example([(head, []) for head in (ISO, RFC3164, "none", RFC5424, HDFS, ISO)], "auto")
def test_the_times_of_a_block_are_those_of_its_lines(rows, header):
    lines = [(head + "".join(pieces)).encode("utf-8", "surrogateescape") for head, pieces in rows]
    whole = LineSplitter("log").feed(b"\n".join(lines) + b"\n")
    times = [parse_header(line, header, NOW).time for line in lines]
    assert line_times(whole, header, NOW) == [time and time.isoformat() for time in times]
