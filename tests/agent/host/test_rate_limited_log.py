"""What may happen often is logged once a minute."""

import logging

import pytest

from agent.host.rate_limited_log import RateLimitedLog


def test_what_happens_often_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    log = RateLimitedLog(logging.getLogger("rare"), lambda: now[0])
    for second in range(150):
        now[0] = float(second)
        log.warning("kind", "at %d", second)
    log.warning("other", "100 %s", "percent")
    held = "(59 more like this meanwhile)"
    assert caplog.messages == ["at 0", f"at 60 {held}", f"at 120 {held}", "100 percent"]


def test_kinds_that_are_remembered_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    log = RateLimitedLog(logging.getLogger("rare"), lambda: 0.0)
    for kind in range(1500):
        log.warning(str(kind), "once")
    log.warning("1499", "once")
    assert len(caplog.messages) == 1500
    log.warning("0", "again after all kinds were forgotten")
    assert len(caplog.messages) == 1501
