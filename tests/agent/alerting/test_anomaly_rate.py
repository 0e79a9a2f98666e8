"""The alarm that too many of the last lines are odd, told once until it is over, also over a restart."""

from datetime import UTC, datetime

import pytest
from helpers.pipelines import make_pipeline
from hypothesis import given
from hypothesis import strategies as st

from agent.alerting.anomaly_rate import LINES, AnomalyRate
from agent.alerting.message import alert_text
from agent.bundle.bundle import Bundle
from agent.bundle.manifest import Threshold
from agent.errors import BundleError
from agent.scoring.reasons import SlowWalkReason
from agent.text.lines import LineSplitter

NOW = datetime(2026, 3, 9, tzinfo=UTC)


def walk(flags, share=0.025, restart=()):
    """The numbers of the lines at which the alarm is told, and its counts."""
    alarm, told = AnomalyRate(share), []
    for number, odd in enumerate(flags, 1):
        alarm.advance("log", 1)
        if odd and (count := alarm.alarm("log")):
            told.append((number, count))
        if number in restart:
            blob, alarm = alarm.blob("log"), AnomalyRate(share)
            alarm.restore("log", blob)
    return told


def test_the_alarm_is_told_when_the_share_is_passed_and_again_only_after_it_fell():
    odd, quiet = [True], [False] * 30
    slow = (quiet + odd) * 40
    assert walk(slow) == [(26 * 31, 26)]
    assert [number for number, _ in walk(slow + [False] * LINES + slow)] == [806, len(slow) + LINES + 806]


def test_few_odd_lines_are_no_walk():
    assert walk(([False] * 40 + [True]) * 200) == []
    assert walk([True] * 5000, share=0) == []


@given(st.lists(st.integers(0, 60), min_size=1, max_size=120), st.sets(st.integers(1, 4000), max_size=5))
def test_it_counts_the_last_thousand_lines_and_a_restart_changes_nothing(gaps, restarts):
    flags = [flag for gap in gaps for flag in [False] * gap + [True]]
    armed, expected = True, []
    for number, odd in enumerate(flags, 1):
        if odd:
            count = sum(flags[max(0, number - LINES) : number])
            armed = armed or count - 1 <= 5
            if armed and count > 10:
                armed = False
                expected.append((number, count))
    assert walk(flags, 0.01, restarts) == walk(flags, 0.01) == expected


def block(lines, splitter):
    return splitter.feed("".join(f"Mar  9 10:00:00 web1 app[1]: {line}\n" for line in lines).encode())


def test_the_alarm_is_an_alert_of_its_own_beside_repeats_and_the_breaker(bundle):
    settings = {"threshold": Threshold("fixed", -1.0), "slow_walk_share": 0.01}
    pipeline = make_pipeline(Bundle.load(bundle), **settings, max_alert_share=0.5, max_alert_burst=3)
    splitter, alerts = LineSplitter("log"), []
    for start in range(0, 60, 7):
        some = block([f"step {number}" for number in range(start, start + 7)], splitter)
        done = pipeline.process(some, "file", NOW)
        alerts += done.alerts
        blobs = dict(done.changes.blobs)
    slow = [alert for alert in alerts if isinstance(alert.reason, SlowWalkReason)]
    (alarm,) = slow
    assert alarm.reason == SlowWalkReason(odd=11, lines=LINES)
    assert "11 of the last 1000 lines are odd; this is one of them" in alert_text(alarm)
    assert len({alert.id for alert in alerts}) == len(alerts)
    again = make_pipeline(Bundle.load(bundle), **settings)
    again.restore("log", [], blobs.get)
    assert again.policy.anomaly_rate.blob("log") == pipeline.policy.anomaly_rate.blob("log")
    assert not [
        alert
        for alert in again.process(block(["step 99"] * 30, splitter), "file", NOW).alerts
        if isinstance(alert.reason, SlowWalkReason)
    ]
    assert again.forget("log").count("walk:log") == 1


@pytest.mark.parametrize("share", [None, 0])
def test_without_a_share_nothing_of_it_is_stored(bundle, share):
    pipeline = make_pipeline(Bundle.load(bundle), slow_walk_share=share)
    done = pipeline.process(block(["step"] * 20, LineSplitter("log")), "file", NOW)
    assert "walk:log" not in dict(done.changes.blobs)


def test_lines_read_while_it_is_off_count_when_it_is_on_again(bundle):
    on = make_pipeline(Bundle.load(bundle), threshold=Threshold("fixed", -1.0), slow_walk_share=0.5)
    splitter = LineSplitter("log")

    def blobs(pipeline, lines):
        return dict(pipeline.process(block(lines, splitter), "file", NOW).changes.blobs)

    stored = blobs(on, ["step"] * 400)
    off = make_pipeline(Bundle.load(bundle), threshold=Threshold("fixed", 1e9), slow_walk_share=0)
    off.restore("log", [], stored.get)
    stored |= blobs(off, ["step"] * LINES)
    again = make_pipeline(Bundle.load(bundle), threshold=Threshold("fixed", -1.0), slow_walk_share=0.5)
    again.restore("log", [], stored.get)
    again.policy.anomaly_rate.advance("log", 1)
    again.policy.anomaly_rate.alarm("log")
    assert again.policy.anomaly_rate.blob("log") == b"\x93\xcd\x05\x79\x91\xcd\x05\x79\xc3"


@pytest.mark.parametrize("share", ["x", None, True, 7, -0.1])
def test_a_share_that_is_none_is_refused_of_any_bundle(bundle, share):
    loaded = Bundle.load(bundle)
    loaded.manifest.settings["slow_walk_share"] = share
    with pytest.raises(BundleError, match="slow_walk_share"):
        make_pipeline(loaded)
