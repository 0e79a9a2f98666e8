"""Blocks of complete lines, cut from the bytes of one source."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property

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
    numbers  int64 [lines], where a line stands for several of its source: the number of the first of them
    """

    source: str
    data: bytes
    offsets: NDArray[np.int64]
    first: int
    end: int
    numbers: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.offsets)

    def number(self, index: int) -> int:
        """The number of a line in its source, from 1."""
        return self.first + index if self.numbers is None else int(self.numbers[index])

    def last(self, most: int) -> "Block | None":
        """The last lines, at most so many; None for none."""
        skip = max(0, len(self) - most)
        if skip == len(self):
            return None
        numbers = None if self.numbers is None else self.numbers[skip:]
        data = self.data[self.starts[skip] :]
        return Block(self.source, data, self.offsets[skip:], self.number(skip), self.end, numbers)

    @cached_property
    def array(self) -> NDArray[np.uint8]:
        """The data as uint8 [bytes], without a copy."""
        return np.frombuffer(self.data, np.uint8)

    @cached_property
    def _feeds(self) -> NDArray[np.int64]:
        return np.flatnonzero(self.array == _NEWLINE)

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
        ends -= (ends > self.starts) & (self.array[ends - 1] == _RETURN)
        return ends

    def line(self, index: int) -> bytes:
        """The bytes of one line, without its line end."""
        return self.data[self.starts[index] : self.ends[index]]

    def lines(self) -> Iterator[bytes]:
        """Every line's bytes, without line ends."""
        return self.cut(self.data)

    def cut(self, data: bytes) -> Iterator[bytes]:
        """What stands in `data`, as long as the block's own, where the lines are."""
        return map(data.__getitem__, map(slice, self.starts.tolist(), self.ends.tolist()))


@cache
def _zeros_after(feed: bytes) -> re.Pattern[bytes]:
    return re.compile(re.escape(feed) + rb"\0+")


class LineSplitter:
    """Cuts the chunks of one source into blocks; the result does not depend on where the chunks were cut.

    NUL bytes at the start of a line, which a crash of the writer leaves there in runs, are left out and counted by
    `zero_bytes`; the line's offset stays where they start. Of what then is longer than `max_line` bytes the head is
    kept; `cut_lines` and `cut_bytes` count what was left out, and `first_cut` is the number of the first such line with
    the bytes that were left out of it. A UTF-8 byte order mark at offset 0 is left out.
    `offset` is where the first incomplete line starts: reading may go on from there after a restart.
    """

    _feed = b"\n"

    def __init__(self, source: str, offset: int = 0, line: int = 1, max_line: int = MAX_LINE) -> None:
        self.source = source
        self.offset = offset
        self.line = line
        self.max_line = max_line
        self.cut_lines = self.cut_bytes = self.zero_bytes = 0
        self.first_cut: tuple[int, int] | None = None
        self._head = b""  # of the incomplete line, at most max_line bytes
        self._leading = 0  # NUL bytes before it
        self._pending = 0  # bytes of the incomplete line seen so far

    @property
    def partial(self) -> int:
        """Bytes of the incomplete last line read so far."""
        return self._pending

    def feed(self, chunk: bytes) -> Block | None:
        """The lines that `chunk` completes, or None."""
        last = self._after_last(chunk)
        if not last:
            self._keep(chunk)
            return None
        left_out = self._pending - self._leading - len(self._head)
        if left_out:
            first = self._find(chunk)
            left_out += first
            data = self._head + chunk[first:last]
        else:
            data = self._head + chunk[:last]
        block = self._block(data, left_out)
        self._keep(chunk[last:])
        return block

    def finish(self) -> Block | None:
        """The last line where no line feed ends it, or None, also where it is nothing but NUL bytes."""
        if not self._pending:
            return None
        if self._head:
            left_out = self._pending - self._leading - len(self._head)
            return self._block(self._head + self._feed, left_out, closed=False)
        self.zero_bytes += self._leading
        self.offset += self._pending
        self._leading = self._pending = 0
        return None

    def _after_last(self, chunk: bytes) -> int:
        return chunk.rfind(self._feed) + 1

    def _find(self, chunk: bytes) -> int:
        return chunk.find(self._feed)

    def _feeds(self, data: bytes) -> NDArray[np.int64]:
        """Where the line feeds begin."""
        return np.flatnonzero(np.frombuffer(data, np.uint8) == self._feed[0])

    def _text(self, data: bytes, feeds: NDArray[np.int64], cut: NDArray[np.bool_]) -> bytes:
        """Lines as UTF-8. feeds: where their line feeds begin; cut: which of them are the head of one."""
        return data

    def _keep(self, rest: bytes) -> None:
        text = rest
        if not self._head and rest.startswith(b"\0"):
            text = self._after_zeros(rest)
            self._leading += len(rest) - len(text)
        self._head += text[: self.max_line - len(self._head)]
        self._pending += len(rest)

    def _block(self, data: bytes, left_out: int, closed: bool = True) -> Block:
        """A block of `data`, whose first line lacks `left_out` bytes; closed: in the source too a line feed ends it."""
        data, zeros = self._without_zeros(data) if b"\0" in data else (data, None)
        width, feeds = len(self._feed), self._feeds(data)
        kept = np.diff(feeds, prepend=-width) - width
        if kept.max() > self.max_line:
            data = self._cut(data, feeds, kept)
            feeds = np.cumsum(np.minimum(kept, self.max_line) + width) - width
        lengths = kept
        lengths[0] += left_out
        cut = lengths > self.max_line
        self._count(np.flatnonzero(cut), lengths[cut] - self.max_line)
        text = self._text(data, feeds, cut)
        if self.offset == 0:
            text = text.removeprefix(codecs.BOM_UTF8)
        return self._block_at(text, lengths if zeros is None else lengths + zeros, closed)

    def _block_at(self, text: bytes, lengths: NDArray[np.int64], closed: bool) -> Block:
        """A block of lines that have so many bytes in the source, but for the NUL bytes before the first one."""
        self.zero_bytes += self._leading
        lengths[0] += self._leading
        ends = np.cumsum(lengths + len(self._feed))
        offsets = self.offset + ends - (lengths + len(self._feed))
        end = self.offset + int(ends[-1]) - (0 if closed else len(self._feed))
        block = Block(self.source, text, offsets, self.line, end)
        self.offset = end
        self.line += len(block)
        self._head, self._leading, self._pending = b"", 0, 0
        return block

    def _count(self, rows: NDArray[np.int64], over: NDArray[np.int64]) -> None:
        if len(rows) and self.first_cut is None:
            self.first_cut = self.line + int(rows[0]), int(over[0])
        self.cut_lines += len(over)
        self.cut_bytes += int(over.sum())

    def _after_zeros(self, data: bytes) -> bytes:
        return data.lstrip(b"\0")

    def _without_zeros(self, data: bytes) -> tuple[bytes, NDArray[np.int64] | None]:
        """Lines without the NUL bytes at their starts, and int64 [lines]: how many those were."""
        text = self._after_zeros(data)
        self._leading += len(data) - len(text)
        runs = list(_zeros_after(self._feed).finditer(text))
        if not runs:
            return text, None
        feeds = self._feeds(text)
        zeros = np.zeros(len(feeds), np.int64)
        zeros[np.searchsorted(feeds, [run.start() for run in runs]) + 1] = [len(run[0]) - 1 for run in runs]
        self.zero_bytes += int(zeros.sum())
        starts = [0, *(run.end() for run in runs)]
        stops = [*(run.start() + 1 for run in runs), len(text)]
        return b"".join(map(text.__getitem__, map(slice, starts, stops))), zeros

    def _cut(self, data: bytes, feeds: NDArray[np.int64], kept: NDArray[np.int64]) -> bytes:
        starts = feeds - kept
        stops = starts + np.minimum(kept, self.max_line)
        pieces = zip(starts.tolist(), stops.tolist(), strict=True)
        return b"".join(data[start:stop] + self._feed for start, stop in pieces)
