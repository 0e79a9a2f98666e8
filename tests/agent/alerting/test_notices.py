"""What the agent tells the sinks about itself, and how often."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.alerting.alert import Alert
from agent.alerting.notices import BLOB, DAY, Notices
from agent.scoring.reasons import NoticeReason

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.fixture
def notices() -> Notices:
    return Notices("web1")


def texts(taken: tuple[list[Alert], list[tuple[str, bytes]]]) -> list[tuple[str, int]]:
    return [(notice.message, notice.count) for notice in taken[0]]


def test_the_first_is_told_at_once_and_says_what_it_is(notices):
    notices.post("loss", "/var/log/syslog", "12 bytes are lost", NOON)
    (notice,), blobs = notices.take(NOON)
    assert (notice.kind, notice.source, notice.host, notice.program) == ("notice", "/var/log/syslog", "web1", "oddline")
    assert (notice.score, notice.threshold, notice.p_value) == (None, None, None)
    assert notice.reason == NoticeReason("loss", 1)
    assert [name for name, _ in blobs] == [BLOB]
    assert notices.take(after(1)) == ([], [])


def test_those_of_an_hour_are_told_together_with_the_last_text(notices):
    notices.post("loss", "log", "first", NOON)
    for second in range(1, 100):
        notices.post("loss", "log", f"loss {second}", after(second))
    assert texts(notices.take(after(3599))) == [("first", 1)]
    assert texts(notices.take(after(3600))) == [("loss 99", 99)]
    assert texts(notices.take(after(9999))) == []
    notices.post("loss", "log", "again", after(9999))
    assert texts(notices.take(after(9999))) == [("again", 1)]


def test_kinds_and_sources_do_not_share_their_hour(notices):
    for kind, source in (("loss", "a"), ("loss", "b"), ("breaker", "a")):
        notices.post(kind, source, f"{kind} of {source}", NOON)
    taken, _ = notices.take(NOON)
    assert len({notice.id for notice in taken}) == 3


def test_what_is_told_once_a_day_waits_a_day(notices):
    for hour in range(30):
        notices.post("forged", "", f"hour {hour}", after(3600 * hour), every=DAY)
    assert texts(notices.take(after(3600 * 30))) == [("hour 0", 1), ("hour 24", 24)]


def test_a_clock_that_was_set_back_silences_nothing(notices):
    notices.post("loss", "log", "late", after(10 * DAY))
    notices.post("loss", "log", "early", NOON)
    assert texts(notices.take(NOON)) == [("late", 1), ("early", 1)]


def test_hostile_sources_and_texts_are_bounded(notices):
    for number in range(5000):
        notices.post("loss", f"{number} \u202e\udcff" + 9999 * "x", 9999 * "y\n", NOON)
    taken, ((_, blob),) = notices.take(NOON)
    assert len(taken) <= 201 and len(blob) < 400_000
    assert all(notice.source.isprintable() and notice.message.isprintable() for notice in taken)
    (rest,), _ = notices.take(after(3600))
    assert rest.source == "" and rest.count == 4799


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 20_000)), max_size=60), st.integers(0, 60))
def test_a_restart_changes_nothing_and_an_hour_has_one_notice_at_most(posts, cut):
    def run(at: int) -> list[tuple[str, str, int]]:
        notices, blob, told = Notices("web1"), None, []
        for number, (source, second) in enumerate(sorted(posts, key=lambda post: post[1])):
            if number == at:
                notices = Notices("web1", blob)
            notices.post("loss", source, "x", after(second))
            taken, blobs = notices.take(after(second))
            blob = blobs[0][1] if blobs else blob
            told += [(notice.source, notice.time, notice.count) for notice in taken]
        return told

    whole = run(-1)
    assert run(cut) == whole
    for source in "ab":
        times = [datetime.fromisoformat(time) for name, time, _ in whole if name == source]
        assert all(later - early >= timedelta(hours=1) for early, later in pairwise(times))


@pytest.mark.parametrize("blob", [b"", b"\xc1", b"\x91" * 100_000, b"\x80", b"\x81\xa1x\x01"])
def test_what_cannot_be_read_of_before_is_told_anew(blob):
    notices = Notices("web1", blob)
    notices.post("loss", "log", "x", NOON)
    assert texts(notices.take(NOON)) == [("x", 1)]
