"""Alerts are held back while too many lines of a sender are odd."""

from datetime import UTC, datetime

import msgspec
import pytest
from helpers.made_up import made_up_lines
from helpers.pipelines import make_pipeline
from hypothesis import given
from hypothesis import strategies as st

from agent.alerting.breaker import Breaker, Candidate, sender_of
from agent.bundle.bundle import Bundle
from agent.bundle.manifest import Threshold
from agent.text.lines import LineSplitter

READ = datetime(2026, 3, 10, 12, tzinfo=UTC)
SHARES = st.floats(0, 1, exclude_min=True)


def candidate(sender: str = "app", score: float = 1.0, text: str = "x", now: float = 0.0) -> Candidate:
    return Candidate(sender, score, text, now)


def told(breaker: Breaker, odd: list[bool], source: str = "log") -> list[int]:
    """The lines whose alerts may be told, of a source with these odd lines, all of one sender and equally odd."""
    passed = []
    for number, is_odd in enumerate(odd):
        breaker.advance(source, 1, 0.0)
        if is_odd and breaker.may_alert(source, candidate()):
            passed.append(number)
    return passed


def words(breaker: Breaker) -> list[str]:
    events = breaker.take_events()
    return [*events.opened, *events.closed]


def test_few_alerts_all_pass():
    breaker = Breaker(0.1, 5)
    odd = [number % 10 == 0 for number in range(10_000)]
    assert len(told(breaker, odd)) == 1000 and not breaker.held_back and not words(breaker)


def test_a_storm_is_cut_told_once_and_ends():
    breaker = Breaker(0.1, 100)
    storm = told(breaker, [True] * 600)
    assert storm == list(range(111)) and breaker.held_back == 600 - 111
    (word,) = words(breaker)
    assert word.startswith("the alerts of log are held back, since more than 1 line in 10 of log is odd")
    assert told(breaker, [False] * 11 + [True]) == [11]
    (word,) = words(breaker)
    assert word == "the alerts of log leave again; 489 were held back; the worst scored 1: x"


def flood(breaker: Breaker, sender: str = "made up", lines: int = 300) -> None:
    for number in range(lines):
        breaker.advance("log", 1, 0.0)
        breaker.may_alert("log", candidate(f"{sender}{number}", 2.0, now=0.0))


def test_a_flood_under_names_that_are_made_up_mutes_no_usual_sender():
    breaker = Breaker(0.01, 50)
    for _ in range(2):
        breaker.observe("log", "sshd")
    flood(breaker)
    assert not breaker.may_alert("log", candidate("never seen"))
    assert [breaker.may_alert("log", candidate("sshd")) for _ in range(51)] == [True] * 50 + [False]
    assert "the alerts of sshd in log are held back" in words(breaker)[-1]


def test_a_flood_of_one_usual_sender_mutes_no_other():
    breaker = Breaker(0.01, 50)
    for sender in ("sshd", "cron", "sshd", "cron"):
        breaker.observe("log", sender)
    assert sum(breaker.may_alert("log", candidate("cron")) for _ in range(300)) == 50
    assert breaker.may_alert("log", candidate("sshd")) and breaker.may_alert("log", candidate("new"))


def test_what_is_worse_than_all_before_passes_in_measure():
    breaker = Breaker(0.01, 50)
    flood(breaker)
    assert not breaker.may_alert("log", candidate(score=2.0))
    passed = [breaker.may_alert("log", candidate(score=3.0 + number)) for number in range(30)]
    assert passed == [True] * 10 + [False] * 20


def test_it_closes_by_the_clock_and_tells_the_worst_line_that_it_held_back():
    breaker = Breaker(0.01, 50)
    flood(breaker)
    breaker.may_alert("log", candidate(score=1.5, text="less"))
    held = breaker.held_back
    breaker.advance("log", 1, 599.0)
    assert len(words(breaker)) == 1
    breaker.advance("log", 1, 600.0)
    (word,) = words(breaker)
    assert word == f"the alerts of log leave again; {held} were held back; the worst scored 2: x"
    assert sum(breaker.may_alert("log", candidate(now=600.0)) for _ in range(20)) == 5


def test_lines_under_our_own_name_have_few_alerts_whoever_sent_them():
    breaker = Breaker(0.1, 1000)
    senders = [sender_of(f"192.0.2.{number}", "oddline") for number in range(40)]
    assert sum(breaker.may_alert("log", candidate(sender)) for sender in senders) == 10
    assert breaker.may_alert("log", candidate("app"))


def test_the_senders_that_are_known_are_bounded_and_the_usual_ones_stay():
    breaker = Breaker(0.1, 5)
    for _ in range(16):
        breaker.observe("log", "sshd")
    for number in range(10_000):
        breaker.observe("log", f"made up {number}")
        breaker.may_alert("log", candidate(f"made up {number}"))
    assert len(breaker.blob("log")) < 4000
    assert sum(breaker.may_alert("log", candidate("sshd")) for _ in range(9)) == 5


def test_sources_do_not_share_a_bucket():
    breaker = Breaker(0.5, 1)
    assert len(told(breaker, [True] * 9, "a")) < 9
    assert told(breaker, [True], "b") == [0]
    breaker.forget("a")
    assert told(breaker, [True], "a") == [0]


@given(
    st.lists(st.booleans(), max_size=300),
    st.integers(0, 300),
    st.sampled_from([1.0, 0.9, 0.7, 0.5, 0.4, 1 / 3, 0.15, 0.1, 0.01]) | SHARES,
    st.integers(1, 20),
)
def test_a_restart_changes_nothing_and_the_share_holds(odd, cut, share, burst):
    whole = Breaker(share, burst)
    expected = told(whole, odd)
    first = Breaker(share, burst)
    passed = told(first, odd[:cut])
    second = Breaker(share, burst)
    second.restore("log", first.blob("log"))
    passed += [len(odd[:cut]) + number for number in told(second, odd[cut:])]
    assert passed == expected
    assert first.held_back + second.held_back == whole.held_back == sum(odd) - len(expected)
    assert len(expected) <= burst + share * len(odd) + 1e-6


@pytest.mark.parametrize("share", [0.95, 0.7, 0.65, 0.4, 1 / 3, 0.15, 0.003])
def test_of_nothing_but_odd_lines_the_share_is_told(share):
    lines, burst = 20_000, 5
    passed = told(Breaker(share, burst), [True] * lines)
    assert share * lines - 2 < len(passed) <= share * lines + burst


@pytest.mark.parametrize(
    ("share", "word"), [(0.7, "more than 70% of the lines of log are odd"), (0.4, "more than 40%")]
)
def test_what_is_a_little_below_the_share_is_told_and_what_is_a_little_above_is_cut(share, word):
    def of(part: float) -> Breaker:
        breaker = Breaker(share, 10)
        told(breaker, [int(part * (number + 1)) > int(part * number) for number in range(5000)])
        return breaker

    below, above = of(share - 0.01), of(share + 0.01)
    assert not below.held_back and not words(below)
    assert above.held_back and words(above)[0].partition("since ")[2].startswith(word)


@given(st.lists(st.integers(0, 50), max_size=50), SHARES)
def test_it_does_not_matter_how_lines_are_counted(steps, share):
    whole, pieces = Breaker(share, 20), Breaker(share, 20)
    for breaker in (whole, pieces):
        told(breaker, [True] * 60)
    whole.advance("log", sum(steps), 0.0)
    for step in steps:
        pieces.advance("log", step, 0.0)
    assert whole.blob("log") == pieces.blob("log")


@pytest.mark.parametrize(("share", "cost"), [(0.7, 1), (0.4, 2), (1 / 3, 3), (0.1, 10)])
def test_a_memory_of_an_earlier_version_keeps_its_alerts(share, cost):
    """It counts in lines, of which the nearest whole number paid for an alert."""
    breaker = Breaker(share, 1000)
    breaker.restore("log", msgspec.msgpack.encode((500 * cost, False, 0)))
    assert sum(breaker.may_alert("log", candidate()) for _ in range(600)) == 500
    breaker.restore("log", msgspec.msgpack.encode((0, True, 7)))
    breaker.advance("log", 5000, 0.0)
    assert words(breaker)[-1].startswith("the alerts of log leave again; 7 were held back")


@pytest.mark.parametrize("share", [5e-324, 1e-12, 0.123456789, 1.0])
@pytest.mark.parametrize("burst", [1, 10**12, 10**30])
def test_no_share_and_no_burst_is_too_extreme_to_be_kept(share, burst):
    first, second = Breaker(share, burst), Breaker(share, burst)
    assert told(first, [True]) == [0]
    second.restore("log", first.blob("log"))
    assert second.blob("log") == first.blob("log")
    assert told(second, [True] * 3) == ([] if burst == 1 and share < 1 else [0, 1, 2])


def test_what_echoes_dies_out():
    """Every alert comes back as an odd line: without the breaker that would never end."""
    breaker, waiting, lines = Breaker(0.1, 50), 1000, 0
    while waiting and lines < 100_000:
        breaker.advance("log", 1, 0.0)
        waiting += breaker.may_alert("log", candidate()) - 1
        lines += 1
    assert lines < 2000


def test_the_pipeline_tells_the_same_however_it_is_cut_and_restarted(bundle):
    opened, data = Bundle.load(bundle), b"".join(made_up_lines(400))
    options = {"threshold": Threshold(kind="fixed", value=-1.0), "fold_lines": 0}

    def run(lines: list[bytes]) -> list[int]:
        pipeline, blobs, splitter, numbers = None, {}, LineSplitter("log"), []
        for piece in lines:
            pipeline = pipeline if len(lines) == 1 else None
            if pipeline is None:
                pipeline = make_pipeline(opened, max_alert_share=0.1, max_alert_burst=5, **options)
                pipeline.restore("log", blobs.pop("streams", []), blobs.get)
            done = pipeline.process(splitter.feed(piece), "1:2", READ)
            numbers += [alert.line for alert in done.alerts]
            blobs |= dict(done.changes.blobs) | {"streams": [(key, blob) for _, key, blob in done.changes.streams]}
        return numbers

    whole = run([data])
    assert 5 < len(whole) < 60
    assert run([data[:9000], data[9000:9500], data[9500:]]) == whole


def test_a_sender_is_named_by_what_is_known_of_it():
    assert [sender_of(*one) for one in (("192.0.2.7", "sshd"), ("192.0.2.7", ""), ("", "sshd"), ("", ""))] == [
        "192.0.2.7 sshd",
        "192.0.2.7",
        "sshd",
        "(none)",
    ]
