"""Blocks are made so small that none is in hand for long."""

from typing import ClassVar

import pytest

from agent.app import ingest
from agent.app.batch_size import BatchSize
from agent.app.service import Service
from agent.config import AgentConfig


@pytest.mark.parametrize("rate", [2e3, 3e4, 2e5, 1e9])
def test_blocks_come_to_take_half_a_second_or_are_as_large_as_helps(rate):
    batch_size = BatchSize()
    for _ in range(20):
        batch_size.adapt(batch_size.limit, batch_size.limit / rate)
    assert batch_size.limit / rate <= 0.5 or batch_size.limit == 1 << 12
    assert batch_size.limit / rate >= 0.25 or batch_size.limit == 1 << 17


def test_a_storm_makes_blocks_smaller_at_once_and_its_end_larger_again():
    batch_size = BatchSize()
    batch_size.adapt(1 << 17, 5.0)
    assert batch_size.limit == (1 << 17) // 10
    for _ in range(10):
        batch_size.adapt(batch_size.limit, 0.01)
    assert batch_size.limit == 1 << 17


def test_short_blocks_tell_nothing_of_what_long_ones_take():
    batch_size = BatchSize()
    batch_size.adapt(1 << 17, 5.0)
    small = batch_size.limit
    for _ in range(10):
        batch_size.adapt(100, 0.001)
    assert batch_size.limit == small


def test_what_is_read_at_once_follows_how_long_blocks_take(tmp_path, monkeypatch):
    class Slow(BatchSize):
        sizes: ClassVar[list[int]] = []

        def adapt(self, size: int, seconds: float) -> None:
            self.sizes.append(size)
            super().adapt(size, size / 1e4)

    monkeypatch.setattr(ingest, "BatchSize", Slow)
    log = tmp_path / "some.log"
    log.write_text("".join(f"line {number} of the log\n" for number in range(20_000)))
    config = AgentConfig(sources=[str(log)], sinks=[f"jsonl:{tmp_path}/alerts"], start="start")
    Service(lambda: config, once=True).run()
    assert sum(Slow.sizes) == log.stat().st_size
    assert Slow.sizes[0] > 1 << 13 and max(Slow.sizes[1:]) < 6000
