"""Blocks of complete lines, cut from the bytes of one source."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

MAX_LINE = 65536
_NEWLINE, _RETURN = 10, 13


@dataclass(frozen=True)
class Block:
    """Consecutive complete lines of one source.

    data     the lines, each ended by a line feed
    offsets  int64 [lines], where each line starts in the source, in bytes
    first    the number of the first line in its source, from 1
    end      the offset in the source that follows the last line
    """

    source: str
    data: bytes
    offsets: NDArray[np.int64]
    first: int
    end: int

    def __len__(self) -> int:
        return len(self.offsets)

    @cached_property
    def bytes(self) -> NDArray[np.uint8]:
        """The data as uint8 [bytes], without a copy."""
        return np.frombuffer(self.data, np.uint8)

    @cached_property
    def _feeds(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.bytes == _NEWLINE)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """int64 [lines]: the index in `data` of the first byte of each line."""
        starts = np.empty(len(self), np.int64)
        starts[:1] = 0
        starts[1:] = self._feeds[:-1] + 1
        return starts

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """int64 [lines]: the index in `data` that follows each line's last byte, without its line end (LF or CR LF)."""
        ends = self._feeds.copy()
        ends -= (ends > self.starts) & (self.bytes[ends - 1] == _RETURN)
        return ends

    def line(self, index: int) -> bytes:
        """The bytes of one line, without its line end."""
        return self.data[self.starts[index] : self.ends[index]]

    def lines(self) -> Iterator[bytes]:
        """Every line's bytes, without line ends."""
        return map(self.data.__getitem__, map(slice, self.starts.tolist(), self.ends.tolist()))


class LineSplitter:
    """Cuts the chunks of one source into blocks; the result does not depend on where the chunks were cut.

    Of a line longer than `max_line` bytes the head is kept; `cut_lines` and `cut_bytes` count what was left out.
    `offset` is where the first incomplete line starts: reading may go on from there after a restart.
    """

    def __init__(self, source: str, offset: int = 0, line: int = 1, max_line: int = MAX_LINE) -> None:
        self.source = source
        self.offset = offset
        self.line = line
        self.max_line = max_line
        self.cut_lines = 0
        self.cut_bytes = 0
        self._head = b""  # of the incomplete line, at most max_line bytes
        self._pending = 0  # bytes of the incomplete line seen so far

    @property
    def partial(self) -> int:
        """Bytes of the incomplete last line read so far."""
        return self._pending

    def feed(self, chunk: bytes) -> Block | None:
        """The lines that `chunk` completes, or None."""
        last = chunk.rfind(b"\n") + 1
        if not last:
            self._keep(chunk)
            return None
        left_out = self._pending - len(self._head)
        if left_out:
            first = chunk.find(b"\n")
            left_out += first
            data = self._head + chunk[first:last]
        else:
            data = self._head + chunk[:last]
        self._head, self._pending = b"", 0
        block = self._block(data, left_out)
        self._keep(chunk[last:])
        return block

    def finish(self) -> Block | None:
        """The last line where no line feed ends it, or None."""
        if not self._pending:
            return None
        data, left_out = self._head + b"\n", self._pending - len(self._head)
        self._head, self._pending = b"", 0
        return self._block(data, left_out, closed=False)

    def _keep(self, rest: bytes) -> None:
        self._head += rest[: self.max_line - len(self._head)]
        self._pending += len(rest)

    def _block(self, data: bytes, left_out: int, closed: bool = True) -> Block:
        """A block of `data`, whose first line lacks `left_out` bytes; closed: in the source too a line feed ends it."""
        feeds = np.flatnonzero(np.frombuffer(data, np.uint8) == _NEWLINE)
        kept = np.diff(feeds, prepend=-1) - 1
        if kept.max() > self.max_line:
            data = self._cut(data, feeds, kept)
        lengths = kept
        lengths[0] += left_out
        over = lengths[lengths > self.max_line] - self.max_line
        self.cut_lines += len(over)
        self.cut_bytes += int(over.sum())
        offsets = self.offset + np.cumsum(lengths + 1) - (lengths + 1)
        end = int(offsets[-1] + lengths[-1]) + closed
        block = Block(self.source, data, offsets, self.line, end)
        self.offset = end
        self.line += len(block)
        return block

    def _cut(self, data: bytes, feeds: NDArray[np.int64], kept: NDArray[np.int64]) -> bytes:
        starts = feeds - kept
        stops = starts + np.minimum(kept, self.max_line)
        return b"".join(data[start:stop] + b"\n" for start, stop in zip(starts.tolist(), stops.tolist(), strict=True))
