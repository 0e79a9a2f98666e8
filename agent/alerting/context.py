"""The raw lines before a line, stream by stream."""

from collections import deque

import numpy as np

from agent.bundle.manifest import Window
from agent.scoring.engine import KeyedBlock
from agent.text.escape import escape
from agent.text.lines import Block

_LINES = 9  # where the model looks at single lines
_MAX_BYTES = 256  # kept of each line
_MOST = 16 << 20  # bytes of all
_LINE, _STREAM = 41, 300  # bytes that Python takes for a line and a stream besides

Stream = tuple[str, bytes]


class Contexts:
    """The last raw lines of each stream, cut to 256 bytes each: as many as a window has before its own line.

    Where all take more than 16 MiB, those of the streams that were quiet longest are forgotten.
    """

    def __init__(self, window: Window) -> None:
        self._lines = window.size - 1 or _LINES
        self._kept: dict[Stream, list[bytes]] = {}
        self._bytes = 0

    def remember(self, keyed: KeyedBlock) -> None:
        """Takes in the lines of a block that count."""
        block, keys, rows = keyed.block, keyed.keys, keyed.rows
        if keys and keys.count(keys[0]) == len(keys):
            self._extend((block.source, keys[0]), block, rows[-self._lines :].tolist())
            return
        last: dict[bytes, deque[int]] = {}
        for row in rows.tolist():
            last.setdefault(keys[row], deque(maxlen=self._lines)).append(row)
        for key, some in last.items():
            self._extend((block.source, key), block, list(some))

    def _extend(self, stream: Stream, block: Block, rows: list[int]) -> None:
        lines = [block.line(row)[:_MAX_BYTES] for row in rows]
        self.restore(stream, (self._kept.get(stream, []) + lines)[-self._lines :])

    def before(self, keyed: KeyedBlock, index: int) -> list[str]:
        """The lines before the one at `index` in its stream, escaped, oldest first; call it before `remember`."""
        block, keys, rows = keyed.block, keyed.keys, keyed.rows
        found: list[bytes] = []
        for row in rows[: np.searchsorted(rows, index)][::-1].tolist():
            if len(found) == self._lines:
                break
            if keys[row] == keys[index]:
                found.append(block.line(row)[:_MAX_BYTES])
        lines = self.of((block.source, keys[index])) + found[::-1]
        return [escape(line) for line in lines[-self._lines :]]

    def of(self, stream: Stream) -> list[bytes]:
        """The lines kept of a stream."""
        return self._kept.get(stream, [])

    def restore(self, stream: Stream, lines: list[bytes]) -> None:
        """Sets the lines kept of a stream."""
        self.forget(stream)
        self._kept[stream] = lines
        self._bytes += _size(stream, lines)
        while self._bytes > _MOST and len(self._kept) > 1:
            self.forget(next(iter(self._kept)))

    def forget(self, stream: Stream) -> None:
        """Drops a stream."""
        lines = self._kept.pop(stream, None)
        if lines is not None:
            self._bytes -= _size(stream, lines)


def _size(stream: Stream, lines: list[bytes]) -> int:
    return _STREAM + len(stream[1]) + sum(map(len, lines)) + _LINE * len(lines)
