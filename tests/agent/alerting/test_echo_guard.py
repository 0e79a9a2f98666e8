"""The seal on our own alerts."""

import time
from datetime import UTC, datetime

import pytest

from agent.alerting.echo_guard import EchoGuard, looks_sealed, new_key
from agent.text.headers import parse_header
from agent.text.lines import LineSplitter


def own(guard: EchoGuard, *lines: str) -> list[int]:
    return guard.own(LineSplitter("log").feed(("\n".join(lines) + "\n").encode())).tolist()


@pytest.fixture
def guard() -> EchoGuard:
    return EchoGuard(new_key())


def test_own_alerts_are_recognised_in_every_form_a_daemon_writes(guard):
    sealed = guard.seal('high anomaly: kernel: böse \\x0a "quoted" ] | why: never seen')
    assert own(
        guard,
        "Jan  1 10:00:00 web1 cron[1]: a line of somebody else",
        f"Jan  1 10:00:00 web1 oddline[77]: {sealed}",
        f"2026-01-01T10:00:00.1+01:00 web1 oddline[77]: {sealed}",
        f"2026-01-01T10:00:00.1+01:00 web1 oddline:  {sealed} ",
        f"Jan  1 10:00:00 web1 oddline[77]: <4>{sealed}",
        f'<28>1 2026-01-01T10:00:00Z web1 oddline 77 anomaly [oddline@32473 id="x"] {sealed}',
        "Jan  1 10:00:00 web1 cron[1]: a line of somebody else",
    ) == [1, 2, 3, 4, 5]


def test_the_tag_alone_hides_nothing(guard):
    assert (
        own(
            guard,
            "Jan  1 10:00:00 web1 oddline[77]: intruder",
            "Jan  1 10:00:00 web1 oddline: #0123456789abcdef intruder",
        )
        == []
    )


def test_a_seal_that_was_seen_hides_nothing(guard):
    sealed = guard.seal("low anomaly: x")
    mark = sealed.split()[0]
    assert (
        own(
            guard,
            f"Jan  1 10:00:00 web1 oddline[77]: {mark} intruder",
            f"Jan  1 10:00:00 web1 oddline[77]: {sealed} intruder",
            f"Jan  1 10:00:00 web1 sh[1]: intruder oddline[77]: {sealed}",
            f"intruder oddline[77]: {sealed}",
        )
        == []
    )


def test_alerts_of_before_a_restart_are_recognised():
    key = new_key()
    sealed = EchoGuard(key).seal("low anomaly: x")
    assert own(EchoGuard(key), f"Jan  1 10:00:00 web1 oddline[1]: {sealed}") == [0]
    assert own(EchoGuard(new_key()), f"Jan  1 10:00:00 web1 oddline[1]: {sealed}") == []


@pytest.mark.parametrize("text", ["oddline ", "oddline #0123456789abcdef ", "#0123456789abcdef ", "<4>#", "oddline: #"])
def test_a_long_line_of_marks_takes_no_longer_than_its_length(guard, text):
    def seconds(size: int) -> float:
        block = LineSplitter("log").feed(b"Jan  1 10:00:00 web1 oddline: " + (text.encode() * size)[:size] + b"\n")
        began = time.perf_counter()
        guard.own(block)
        return time.perf_counter() - began

    short = max(min(seconds(8_000) for _ in range(5)), 1e-4)
    assert min(seconds(64_000) for _ in range(3)) < 30 * short


def test_what_only_looks_sealed_is_told_from_the_rest(guard):
    other = EchoGuard(new_key()).seal("low anomaly: x")
    lines = [f"oddline[1]: {other}", f"oddline[1]: <4>{other}", "oddline[1]: no seal", f"sshd[1]: {other}"]
    headers = [parse_header(f"Jan  1 10:00:00 web1 {line}".encode(), "auto", datetime.now(UTC)) for line in lines]
    assert [looks_sealed(header) for header in headers] == [True, True, False, False]
