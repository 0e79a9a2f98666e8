"""The raw lines before a line, stream by stream."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from agent.text.escape import escape
from agent.text.lines import Block

_MAX_BYTES = 256  # kept of each line

Stream = tuple[str, bytes]


class Contexts:
    """The last `lines` raw lines of each stream, cut to 256 bytes each."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._kept: dict[Stream, list[bytes]] = {}

    def remember(self, block: Block, keys: list[bytes], rows: NDArray[np.int64]) -> None:
        """Takes in the lines of a block at these rows; `keys` holds the stream key of every line."""
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
        self._kept[stream] = (self._kept.get(stream, []) + lines)[-self._lines :]

    def before(self, block: Block, keys: list[bytes], rows: NDArray[np.int64], index: int) -> list[str]:
        """The lines before the one at `index` in its stream, escaped, oldest first; call it before `remember`."""
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
        self._kept[stream] = lines

    def forget(self, stream: Stream) -> None:
        """Drops a stream."""
        self._kept.pop(stream, None)
