"""Sources whose lines get no score: told where streams are too short, and never while windows warm up."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import numpy as np
import pytest

from agent.alerting.pipeline import Pipeline
from agent.alerting.unscored import UnscoredLines
from agent.bundle.bundle import Bundle
from agent.scoring.engine import ScoredBlock
from agent.scoring.settings import ScoringSettings
from agent.text.lines import Block, LineSplitter

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SIZE = 10


def scored(positions: Iterable[int], numbers: bool = True) -> ScoredBlock:
    at = np.fromiter(positions, np.int64)
    block = Block("log", b"\n" * len(at), np.arange(len(at)), 1, len(at))
    scores = np.where((at >= SIZE) & numbers, np.float32(0), np.float32("nan"))
    return ScoredBlock(block, np.arange(len(at)), [b""] * len(at), scores, scores, {}, at)


def in_turn(streams: int, lines: int) -> Iterator[int]:
    """The place of each line in its stream where as many streams take turns."""
    return (line // streams + 1 for line in range(lines))


def said(positions: Iterable[int], cut: int = 100, **more: bool) -> list[str]:
    unscored, every = UnscoredLines(SIZE), list(positions)
    told = [unscored.observe(scored(every[at : at + cut], **more)) for at in range(0, len(every), cut)]
    return list(filter(None, told))


@pytest.mark.parametrize("length", [1, 3, 9])
@pytest.mark.parametrize("cut", [1, 100, 7000])
def test_streams_shorter_than_the_window_are_told(length, cut):
    told = said((line % length + 1 for line in range(14_000)), cut)
    assert told and f"its streams are shorter: they have {length}." in told[0]
    assert "windows have 10 lines" in told[0] and "window.pad" in told[0]


@pytest.mark.parametrize("streams", [1, 100, 200, 500, 1000, 1500])
def test_nothing_is_told_while_windows_warm_up(streams):
    assert said(in_turn(streams, 3 * SIZE * streams)) == []


def test_nothing_is_told_of_few_lines_or_where_one_in_fifty_has_a_score():
    assert said([1] * 1900) == []
    assert said(SIZE if line % 50 == 0 else 1 for line in range(20_000)) == []


def test_a_model_that_gives_no_number_is_told():
    told = said(in_turn(1, 5000), numbers=False)
    assert told and "the model gives no number" in told[0]


def test_a_restart_changes_nothing_and_a_source_that_gets_scores_again_is_well():
    unscored = UnscoredLines(SIZE)
    for _ in range(30):
        unscored.observe(scored([1] * 100))
        blob = unscored.blob("log")
        unscored = UnscoredLines(SIZE)
        unscored.restore("log", blob)
    assert unscored.lines("log") == 3000
    assert not any(unscored.observe(scored([SIZE] * 1000)) for _ in range(2))
    assert (unscored.lines("log"), unscored.blob("log")) == (0, b"")
    unscored.restore("log", b"damaged")
    assert unscored.lines("log") == 0


@pytest.fixture
def trained(bundle) -> Bundle:
    return Bundle.load(bundle)


@pytest.mark.parametrize(("stream", "told"), [(r"\[(\d+)\]", True), (None, False)])
def test_the_sinks_are_told_once_an_hour(trained, stream, told):
    pipeline = Pipeline(trained, ScoringSettings(stream=stream))
    splitter = LineSplitter("log")
    for number in range(0, 5000, 500):
        lines = (b"Mar 10 12:00:00 web1 sshd[%d]: session closed\n" % pid for pid in range(number, number + 500))
        pipeline.process(splitter.feed(b"".join(lines)), "", NOW)
    notices, _ = pipeline.policy.notices.take(NOW)
    found = [notice.reason.name for notice in notices]
    assert found == (["unscored source"] if told and not trained.manifest.window.pad else [])
