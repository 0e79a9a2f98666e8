"""Windows of time, or of a number of lines: where in a stream of lines one ends and the next begins."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError
from agent.text.headers import Format
from agent.text.lines import Block
from agent.text.records import Records

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH).total_seconds()


@dataclass(frozen=True)
class WindowLength:
    """How long a window is: a number of lines, or, `timed`, of seconds."""

    size: int
    timed: bool

    def label(self, window: float) -> str:
        """What a window is called: its beginning in ISO 8601, or its number from 1."""
        if not self.timed:
            return str(int(window) + 1)
        return (_EPOCH + timedelta(seconds=max(window * self.size, _FIRST))).isoformat()


def parse_every(text: str) -> WindowLength:
    """The value of --every: 5000 (lines), or 90s, 15m, 1h, 1d; a ConfigError for anything else."""
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
    if not found or not int(found[1]):
        raise ConfigError(
            f"--every {text!r}: write a number of lines, such as 5000, or a time in s, m, h or d, such as 15m"
        )
    return WindowLength(int(found[1]) * _UNITS.get(found[2], 1), bool(found[2]))


def check_times(header: Format, every: WindowLength) -> None:
    """Refuses windows of time where the header's format says that lines show none."""
    timeless = header.time is None if isinstance(header, Records) else header == "none"
    if every.timed and timeless:
        what = "the records name no column of the time" if isinstance(header, Records) else "the header is none"
        raise ConfigError(f"--every: {what}, so windows of time cannot be told; give a number of lines, such as 5000")


class WindowCutter:
    """Cuts lines, in order, into windows that never go back: a line older than the present window is taken with it, and
    so is a line without a time; lines before the first time are of its window.

    present   the number of the last line's window: the seconds since 1970, or the lines before it, divided by the
              window's and rounded down; NaN before there is one
    lines     how many lines were cut
    late      how many of them are older than the window that they were taken with
    timeless  how many show no time; 0 where windows are of lines
    """

    def __init__(self, every: WindowLength, lines: int = 0, late: int = 0, timeless: int = 0) -> None:
        self.every, self.present = every, np.nan
        self.lines, self.late, self.timeless = lines, late, timeless

    @property
    def label(self) -> str:
        """What the present window is called."""
        return self.every.label(self.present)

    def cut(self, count: int, times: NDArray[np.float64] | None) -> Iterator[slice | None]:
        """Slices of the next lines, each within a window; None where the present window is over. `times` are float64
        [count], seconds since 1970, NaN for none; needed where windows are of time.

        The counters and `present` are those after the slice that is yielded; at None they are those before the border.
        """
        windows = self._windows(count, times)
        assigned = np.fmax.accumulate(np.append(self.present, windows))
        borders = np.flatnonzero((assigned[1:] > assigned[:-1]) & ~np.isnan(assigned[:-1]))
        assigned, late, timeless = assigned[1:], windows < assigned[1:], np.isnan(windows)
        for start, end in pairwise(sorted({0, *borders.tolist(), count})):
            if start in borders:
                yield None
            piece = slice(start, end)
            self.present = float(assigned[end - 1])
            self.lines += end - start
            self.late += int(late[piece].sum())
            self.timeless += int(timeless[piece].sum())
            yield piece

    def _windows(self, count: int, times: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """float64 [count]: the window of each line, as its time or number says."""
        if not self.every.timed or times is None:
            return ((self.lines + np.arange(count)) // self.every.size).astype(np.float64)
        windows: NDArray[np.float64] = np.floor(times / self.every.size)
        return windows


def slice_block(block: Block, piece: slice) -> Block:
    """Some of the lines of a block, at least one."""
    start, stop, _ = piece.indices(len(block))
    if (start, stop) == (0, len(block)):
        return block
    last = stop == len(block)
    data = block.data[block.starts[start] : len(block.data) if last else block.starts[stop]]
    end = block.end if last else int(block.offsets[stop])
    return Block(block.source, data, block.offsets[start:stop], block.first + start, end)
