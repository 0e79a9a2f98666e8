"""Blocks are made so small that none is in hand for long."""

from typing import ClassVar

import pytest

from agent.app import ingest as reader
from agent.app.batch_size import Pace
from agent.app.service import Service
from agent.config import AgentConfig


@pytest.mark.parametrize("rate", [2e3, 3e4, 2e5, 1e9])
def test_blocks_come_to_take_half_a_second_or_are_as_large_as_helps(rate):
    pace = Pace()
    for _ in range(20):
        pace.took(pace.most, pace.most / rate)
    assert pace.most / rate <= 0.5 or pace.most == 1 << 12
    assert pace.most / rate >= 0.25 or pace.most == 1 << 17


def test_a_storm_makes_blocks_smaller_at_once_and_its_end_larger_again():
    pace = Pace()
    pace.took(1 << 17, 5.0)
    assert pace.most == (1 << 17) // 10
    for _ in range(10):
        pace.took(pace.most, 0.01)
    assert pace.most == 1 << 17


def test_short_blocks_tell_nothing_of_what_long_ones_take():
    pace = Pace()
    pace.took(1 << 17, 5.0)
    small = pace.most
    for _ in range(10):
        pace.took(100, 0.001)
    assert pace.most == small


def test_what_is_read_at_once_follows_how_long_blocks_take(tmp_path, monkeypatch):
    class Slow(Pace):
        sizes: ClassVar[list[int]] = []

        def took(self, size: int, seconds: float) -> None:
            self.sizes.append(size)
            super().took(size, size / 1e4)

    monkeypatch.setattr(reader, "Pace", Slow)
    log = tmp_path / "some.log"
    log.write_text("".join(f"line {number} of the log\n" for number in range(20_000)))
    config = AgentConfig(sources=[str(log)], sinks=[f"jsonl:{tmp_path}/alerts"], start="start")
    Service(lambda: config, once=True).run()
    assert sum(Slow.sizes) == log.stat().st_size
    assert Slow.sizes[0] > 1 << 13 and max(Slow.sizes[1:]) < 6000
