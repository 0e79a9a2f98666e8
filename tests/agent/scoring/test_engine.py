"""Blocks into scores and alerts: the result depends on the lines alone, not on cuts, caches or restarts."""

import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from helpers.made_up import ODD, made_up_lines, odd_text
from helpers.pipelines import make_pipeline
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.alerting.alert import Alert
from agent.alerting.echo_guard import EchoGuard
from agent.alerting.pipeline import Changes, Pipeline
from agent.bundle.bundle import Bundle
from agent.bundle.known_texts import Known
from agent.bundle.manifest import Threshold
from agent.scorefile.writer import line_records
from agent.scoring.engine import ScoringEngine
from agent.scoring.reasons import DistanceReason
from agent.scoring.settings import ScoringSettings
from agent.scoring.threshold import Limits
from agent.text.canonical import MAX_TEXT
from agent.text.lines import Block, LineSplitter
from agent.text.records import Records

READ = datetime(2026, 3, 10, 12, tzinfo=UTC)
NORMAL = made_up_lines(48, seed=1)
UNSEEN_EVENT = [
    b"\n",
    b"\r\n",
    b" \t \n",
    b"\0\0\0\n",
    b"Mar  9 00:00:00 web1 shopd[1]: req-7 \xff\xfe br\xc3\xb6ken\r\n",
    b"Mar  9 00:00:00 web1 shopd[1]: req-1003 get nothing, for once\n",
    f"Mar  9 00:00:00 web1 {ODD}\n".encode(),
    b"no header at all \x1b[31m\xe2\x80\xae\n",
    b"x" * 3000 + b"\n",
]
KINDS = ("bundle", "padded_bundle", "timed_bundle", "codebook_bundle")


@pytest.fixture(scope="session")
def bundles(bundle, padded_bundle, timed_bundle, codebook_bundle) -> dict[str, Bundle]:
    """One bundle of each kind, opened."""
    return dict(zip(KINDS, map(Bundle.load, (bundle, padded_bundle, timed_bundle, codebook_bundle)), strict=True))


@st.composite
def logs(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """A log, normal for stretches and strange in between, and where it is cut."""
    parts = draw(
        st.lists(
            st.one_of(
                st.sampled_from(UNSEEN_EVENT),
                st.tuples(st.integers(0, 40), st.integers(1, 8)).map(lambda at: b"".join(NORMAL[at[0] : sum(at)])),
            ),
            max_size=12,
        )
    )
    data = b"".join(parts) + draw(st.sampled_from([b"", b"Mar  9 00:00:00 web1 sshd[1]: the last"]))
    return data, sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))


def blocks(data: bytes, cuts: Iterable[int] = (), source: str = "log") -> Iterable[Block]:
    splitter, bounds = LineSplitter(source), [0, *cuts, len(data)]
    for start, end in pairwise(bounds):
        if block := splitter.feed(data[start:end]):
            yield block
    if block := splitter.finish():
        yield block


class Outcome:
    """What a pipeline made of some blocks."""

    def __init__(self) -> None:
        self.scores, self.limits = np.zeros((2, 0), np.float32)
        self.alerts: list[Alert] = []

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Outcome)
        return (
            np.array_equal(self.scores, other.scores, equal_nan=True)
            and np.array_equal(self.limits, other.limits, equal_nan=True)
            and self.alerts == other.alerts
        )

    def __repr__(self) -> str:
        return f"{self.scores} {self.limits} {[(alert.line, alert.count, alert.context) for alert in self.alerts]}"


def take(pipeline: Pipeline, block: Block, outcome: Outcome) -> Changes:
    done = pipeline.process(block, "1:2:abc", READ)
    outcome.scores = np.concatenate([outcome.scores, done.scored.scores])
    outcome.limits = np.concatenate([outcome.limits, done.scored.limits])
    outcome.alerts += done.alerts
    return done.changes


def run(pipeline: Pipeline, some: Iterable[Block]) -> Outcome:
    outcome = Outcome()
    for block in some:
        take(pipeline, block, outcome)
    return outcome


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=logs(), cache=st.booleans())
def test_neither_cuts_nor_caches_change_anything(bundles, kind, log, cache):
    data, cuts = log
    whole = run(make_pipeline(bundles[kind]), blocks(data))
    assert run(make_pipeline(bundles[kind], cache=cache), blocks(data, cuts)) == whole
    assert len(whole.scores) == data.count(b"\n") + (not data.endswith(b"\n") and len(data) > 0)


class Kept:
    """What a state keeps of the changes: the streams in the order of their last writing, and the named blobs."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, bytes], bytes] = {}
        self._blobs: dict[str, bytes] = {}

    def commit(self, changes: Changes) -> None:
        for stream in changes.ended:
            self._streams.pop(stream, None)
        for source, key, blob in changes.streams:
            self._streams.pop((source, key), None)
            self._streams[source, key] = blob
        self._blobs |= dict(changes.blobs)

    def restore(self, pipeline: Pipeline) -> Pipeline:
        streams = [(key, blob) for (source, key), blob in self._streams.items() if source == "log"]
        assert pipeline.restore("log", streams, self._blobs.get) == len(streams)
        return pipeline


def run_restarted(make: Callable[[], Pipeline], some: Iterable[Block], restarts: set[int]) -> Outcome:
    """As `run`, but before some of the blocks the pipeline is replaced by one that knows what was committed alone."""
    outcome, kept, pipeline = Outcome(), Kept(), make()
    for number, block in enumerate(some):
        if number in restarts:
            pipeline = kept.restore(make())
        kept.commit(take(pipeline, block, outcome))
    return outcome


RULES = [None, Threshold("sigma", k=1.0, window=5), Threshold("fixed", value=0.5)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", RULES, ids=["quantile", "sigma", "fixed"])
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=logs(), restarts=st.sets(st.integers(0, 8)), gap=st.sampled_from([0, 3, 1000]))
def test_a_restart_changes_nothing(bundles, kind, rule, log, restarts, gap):
    data, cuts = log

    def make() -> Pipeline:
        return make_pipeline(bundles[kind], threshold=rule, fold_lines=gap)

    assert run_restarted(make, blocks(data, cuts), restarts) == run(make(), blocks(data))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.integers(0, 12), min_size=1, max_size=60),
    restarts=st.sets(st.integers(0, 8)),
    cuts=st.lists(st.integers(0, 3000), max_size=8),
)
def test_streams_leave_in_the_same_order_after_a_restart(bundles, numbers, restarts, cuts):
    data = b"".join(b"Mar  9 00:00:00 web1 shopd[1]: req-%d get /items/1\n" % number for number in numbers)

    def make() -> Pipeline:
        return make_pipeline(bundles["padded_bundle"], max_streams=8)

    restarted = run_restarted(make, blocks(data, sorted(min(cut, len(data)) for cut in cuts)), restarts)
    assert np.array_equal(restarted.scores, run(make(), blocks(data)).scores)


def test_the_stream_that_was_silent_longest_leaves_also_after_a_restart(bundles):
    numbers = [3, 1, 4, 0, 5, 2, 6, 7, 8, 3, 1, 4, 0, 5, 2, 6, 7]
    lines = [b"Mar  9 00:00:00 web1 shopd[1]: req-%d get /items/1\n" % number for number in numbers]

    def make() -> Pipeline:
        return make_pipeline(bundles["padded_bundle"], max_streams=8)

    data, first = b"".join(lines), len(b"".join(lines[:8]))
    assert np.array_equal(run_restarted(make, blocks(data, [first]), {1}).scores, run(make(), blocks(data)).scores)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=logs())
def test_forgetting_texts_changes_nothing(bundles, kind, log):
    data, cuts = log
    whole = run(make_pipeline(bundles[kind]), blocks(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.scoring.engine.MAX_TEXTS", 3)
        pipeline = make_pipeline(bundles[kind])
        assert run(pipeline, blocks(data, cuts)) == whole


def test_texts_are_forgotten(bundles, monkeypatch):
    monkeypatch.setattr("agent.scoring.engine.MAX_TEXTS", 20)
    pipeline = make_pipeline(bundles["bundle"])
    for number in range(100):
        word = bytes([97 + number // 26, 97 + number % 26])
        take(pipeline, next(iter(blocks(b"Mar  9 00:00:00 web1 app: word " + word + b"\n"))), Outcome())
    assert len(pipeline.engine.normalizer.texts) <= 22


def odd_log(*places: int, count: int = 60) -> bytes:
    return b"".join(made_up_lines(count, seed=5, odd=places))


def alerts_of(bundle: Bundle, data: bytes, **options: object) -> list[Alert]:
    return run(make_pipeline(bundle, **options), blocks(data)).alerts


def test_the_fields_of_an_alert(bundles):
    data, opened = odd_log(30), bundles["bundle"]
    outcome = run(make_pipeline(opened), blocks(data))
    alert, scale = outcome.alerts[0], opened.manifest.scale
    lines = data.decode().splitlines()
    assert (alert.line, alert.offset) == (31, data.index(ODD[:20].encode()) - len("Mar  9 00:05:00 web1 "))
    assert (alert.host, alert.program, alert.source, alert.stream) == ("web1", "shopd", "log", "")
    assert alert.time == alert.first_seen == alert.last_seen == "2026-03-09T00:05:00+00:00"
    assert alert.message == odd_text(30).partition(": ")[2] and alert.context == lines[27:30]
    assert np.float32(alert.score) == outcome.scores[30] > np.float32(alert.threshold) == outcome.limits[30]
    assert alert.p_value == 1 / (scale.lines + 1), "above every normal score"
    assert alert.severity == "critical" and (alert.score - scale.mean) / scale.std > 10
    assert (alert.bundle, alert.count, type(alert.reason)) == ("bundle", 1, DistanceReason)
    assert alert.reason.new_text and alert.reason.unknown_words[:4] == ["panic", "lost", "the", "vault"]
    assert (alert.reason.distance, alert.reason.threshold) == (alert.score, alert.threshold)


def shown_texts(opened: Bundle) -> set[str]:
    vocabulary = opened.tokenizer.vocabulary
    return {"".join(vocabulary[token] for token in row[row != 0]) for row in opened.known.tokens}


def test_the_reason_names_known_texts(bundles):
    opened = bundles["bundle"]
    alerts = alerts_of(opened, odd_log(30))
    for alert in alerts:
        expected = alert.reason.expected.text.replace(" ", "")
        assert expected in shown_texts(opened) and alert.reason.expected.distance <= alert.score
    assert alerts[0].reason.expected.text.startswith("sshd: accepted publickey for deploy from")
    assert alerts[0].reason.nearest.text.replace(" ", "") in shown_texts(opened)
    known = [alert for alert in alerts[1:] if not alert.reason.new_text]
    assert known, "the lines after the odd one are known, but not there"
    assert all(alert.reason.nearest is None and not alert.reason.unknown_words for alert in known)


def test_a_bundle_that_shows_no_text_explains_without(bundle):
    opened = Bundle.load(bundle)
    opened.known = Known(opened.known.hashes, opened.known.tokens[:0])
    reason = alerts_of(opened, odd_log(30))[0].reason
    assert reason.nearest is None and reason.expected is None and reason.new_text


def test_a_message_is_escaped_and_cut(bundles):
    hard = b"Mar  9 00:00:05 web1 shopd[1]: \x1b[2J\xff\0\xe2\x80\xae" + b"br\xc3\xb6ken " * 1000
    alert = alerts_of(bundles["bundle"], b"".join(NORMAL[:9]) + hard + b"\r\n")[0]
    assert alert.message.startswith(r"\x1b[2J\xff\x00\u202ebröken bröken") and alert.message.isprintable()
    assert 2000 < len(alert.message.encode()) <= 2048 and alert.message.endswith("...")


def test_the_context_is_of_the_same_stream(bundles):
    steps = [b"req-%d get /items/%d" % (1 + number % 2, number) for number in range(12)]
    data = b"".join(b"Mar  9 00:00:00 web1 shopd[1]: %b\n" % step for step in steps)
    odd = b"Mar  9 00:00:01 web1 shopd[1]: req-2 melts down, runs away and never comes back\n"
    outcome = run(make_pipeline(bundles["padded_bundle"]), blocks(data + odd, [len(data) - 100, len(data) - 20]))
    (alert,) = (alert for alert in outcome.alerts if alert.line == 13)
    assert alert.stream == "req-2" and alert.context == [
        f"Mar  9 00:00:00 web1 shopd[1]: req-2 get /items/{n}" for n in (7, 9, 11)
    ]


def test_the_name_of_an_alert_is_that_of_its_line(bundles):
    data, opened = odd_log(20, 40), bundles["bundle"]
    first = alerts_of(opened, data)
    assert [alert.id for alert in alerts_of(opened, data)] == [alert.id for alert in first]
    assert len({alert.id for alert in first}) == len(first) > 1
    other = make_pipeline(opened).process(next(iter(blocks(data))), "1:3:abc", READ).alerts
    assert not {alert.id for alert in other} & {alert.id for alert in first}, "another file"
    assert not {alert.id for alert in alerts_of(bundles["timed_bundle"], data)} & {alert.id for alert in first}


def test_repeats_are_folded(bundles):
    repeated = b"Mar  9 00:00:00 web1 shopd[1]: panic: lost the vault of user mallory\n" * 25
    outcome = run(make_pipeline(bundles["bundle"], threshold=Threshold("fixed", value=0.0)), blocks(repeated))
    assert [(alert.line, alert.count) for alert in outcome.alerts] == [(4, 1), (13, 10)]
    assert len(alerts_of(bundles["bundle"], repeated, threshold=Threshold("fixed", value=0.0), fold_lines=0)) == 22


def own_lines(guard: EchoGuard, count: int) -> list[bytes]:
    sealed = guard.seal("critical anomaly: shopd: panic | why: never seen")
    return [f"Mar  9 00:00:00 web1 oddline[{n}]: {sealed}\n".encode() for n in range(count)]


def test_alerts_of_ours_are_neither_scored_nor_kept(bundles):
    guard, lines = EchoGuard(bytes(32)), odd_log(20, 40).splitlines(keepends=True)
    mixed = []
    for number, line in enumerate(lines):
        mixed += [*own_lines(guard, number % 3), line]
    own = np.array([b"oddline[" in line for line in mixed])
    alone = run(make_pipeline(bundles["bundle"]), blocks(b"".join(lines)))
    pipeline = make_pipeline(bundles["bundle"], guard=guard)
    outcome = run(pipeline, blocks(b"".join(mixed), [100, 555, 2000]))
    assert pipeline.totals.own_lines == own.sum() == 60
    assert np.isnan(outcome.scores[own]).all() and np.array_equal(outcome.scores[~own], alone.scores, equal_nan=True)
    assert [alert.context for alert in outcome.alerts] == [alert.context for alert in alone.alerts]
    assert [alert.message for alert in outcome.alerts] == [alert.message for alert in alone.alerts]


def test_lines_that_only_look_like_ours_are_scored_and_told_in_measure(bundles):
    lines = [
        f"Mar  9 00:00:00 web1 oddline[1]: #0123456789abcdef anomaly {chr(97 + n)}{chr(97 + n)} is forged\n".encode()
        for n in range(20)
    ]
    pipeline = make_pipeline(bundles["bundle"], guard=EchoGuard(bytes(32)), threshold=Threshold("fixed", value=0.0))
    outcome = run(pipeline, blocks(b"".join(lines)))
    assert np.isfinite(outcome.scores[3:]).all() and pipeline.totals.own_lines == 0
    assert (len(outcome.alerts), pipeline.totals.forged, pipeline.totals.held_back) == (11, 17, 6)


def test_primed_lines_are_context_and_window(bundles):
    data = odd_log(30)
    lines = data.splitlines(keepends=True)
    whole, pipeline = run(make_pipeline(bundles["bundle"]), blocks(data)), make_pipeline(bundles["bundle"])
    pipeline.prime(next(iter(blocks(b"".join(lines[27:30])))))
    outcome = run(pipeline, blocks(b"".join(lines[30:])))
    assert np.array_equal(outcome.scores, whole.scores[30:])
    assert outcome.alerts[0].context == whole.alerts[0].context


def test_line_ends_make_no_difference(bundles):
    data = odd_log(30)
    unix, windows = (
        run(make_pipeline(bundles["bundle"]), blocks(text)) for text in (data, data.replace(b"\n", b"\r\n"))
    )
    assert np.array_equal(unix.scores, windows.scores, equal_nan=True)
    assert [alert.message for alert in unix.alerts] == [alert.message for alert in windows.alerts]


@pytest.mark.parametrize("kind", ["bundle", "timed_bundle"])
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=logs(), cache=st.booleans())
def test_nor_do_they_with_records(bundles, kind, log, cache):
    data, cuts = log
    records = Records(["at", "rest"], time="at", delimiter=":")
    whole = run(make_pipeline(bundles[kind], header=records), blocks(data))
    assert run(make_pipeline(bundles[kind], header=records, cache=cache), blocks(data, cuts)) == whole


def test_an_alert_about_a_record_has_its_time_and_the_whole_row(bundles):
    data = b"".join(b"%d,ann,h%d\n" % (86400 + at, at % 2) for at in range(9)) + b'2026-03-09T10:00:00,"x,\x1b","q"\n'
    pipeline = make_pipeline(bundles["timed_bundle"], header=Records(["at", "user", "host"], time="at"))
    engine = pipeline.engine
    engine.limits = Limits(Threshold("fixed", value=0.0), engine.bundle.manifest.scale)
    alerts = run(pipeline, blocks(data)).alerts
    assert (alerts[0].time, alerts[-1].time) == ("1970-01-02T00:00:03+00:00", "2026-03-09T10:00:00+00:00")
    assert (alerts[-1].message, alerts[-1].program) == (r'2026-03-09T10:00:00,"x,\x1b","q"', "")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cache", [True, False])
def test_lines_that_the_model_reads_in_part_are_counted_each_once(bundles, kind, cache):
    head, most = b"Mar  9 00:00:00 web1 shopd[1]: ", bundles[kind].tokenizer.max_tokens
    long, wordy, both = b"x" * 2000 + b"\n", b"zz " * (most + 1) + b"\n", b"spam eggs " * 300 + b"\n"
    assert 3 * (most + 1) < MAX_TEXT < len(long), "of `wordy` only the tokens are too many"
    data = b"".join([*NORMAL[:5], *(head + text for text in (long, wordy, both, both)), NORMAL[5]])
    for cuts in ([], range(0, len(data), 500)):
        pipeline = make_pipeline(bundles[kind], cache=cache)
        run(pipeline, blocks(data, cuts))
        assert pipeline.totals.shortened_lines == 4
        pipeline.take_warnings()
        run(pipeline, blocks(data, cuts))
        assert pipeline.totals.shortened_lines == 8


def test_a_line_of_ten_megabytes(bundles):
    data = b"".join(NORMAL[:9]) + b"Mar  9 00:00:00 web1 shopd[1]: " + b"spam eggs " * 1_000_000 + b"\n" + NORMAL[9]
    outcome = run(make_pipeline(bundles["bundle"]), blocks(data, [5_000_000]))
    assert len(outcome.scores) == 11 and np.isfinite(outcome.scores[3:]).all()
    assert outcome.alerts[0].line == 10 and len(outcome.alerts[0].message) <= 2048


def test_an_empty_log_has_no_block():
    assert list(blocks(b"")) == []


def test_a_source_whose_name_is_no_text(bundles):
    name = os.fsdecode(b"/var/log/\xff\xfe\n.log")
    (block,) = blocks(odd_log(30), source=name)
    pipeline = make_pipeline(bundles["bundle"])
    done = pipeline.process(block, "1:2:abc", READ)
    alerts = done.alerts
    assert {alert.source for alert in alerts} == {r"/var/log/\udcff\udcfe\n.log"}
    assert msgspec.json.decode(msgspec.json.encode(alerts))[0]["source"] == alerts[0].source
    records = list(line_records(done.scored, pipeline.engine.header, READ))
    assert msgspec.json.decode(msgspec.json.encode(records))[0]["source"] == alerts[0].source
    kept = Kept()
    kept.commit(done.changes)
    assert next(iter(kept._streams))[0] == name, "the state keeps the name itself"


def test_what_streams_take_is_bounded_said_once_and_the_same_however_lines_are_cut(bundle):
    lines = [b"sshd[%d]: %s %d\n" % (n % 50, "\U0001f600".encode() * 200, n % 7) for n in range(600)]
    settings = ScoringSettings(stream=r"\[(\d+)\]", header="none")
    scores = []
    for size in (1, 600, 37):
        engine, splitter = ScoringEngine(Bundle.load(bundle), settings), LineSplitter("log")
        engine.streams.most_bytes = 40_000
        parts = [b"".join(lines[at : at + size]) for at in range(0, len(lines), size)]
        scores.append(np.concatenate([engine.score(splitter.feed(part)).scores for part in parts]))
        assert engine.streams.bytes <= 40_000 and len(engine.streams) < 50
        (said,) = (word for word in engine.take_warnings() if "forgotten" in word)
        assert "streams were forgotten, since the last lines of all take more than" in said
        assert not any("forgotten" in word for word in engine.take_warnings())
    for other in scores[1:]:
        np.testing.assert_array_equal(scores[0], other)
