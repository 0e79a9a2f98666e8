"""The windows of lines that models learn and that the evaluation scores."""

import numpy as np
from numpy.typing import NDArray

from training.data.corpus import Corpus


class Windows:
    """Windows of lines within their streams, gathered on demand; the same as those of agent.scoring.streams.Streams.

    `len` counts the places that are scored: each line (with `pad` also the first ones of a stream) and, with `end`, the
    place that follows a stream's last line. The lines come first, in the order of the corpus.

    lines   int64 [places]: the number of each place's line in the corpus, for an end that of the stream's last line
    is_end  bool [places]: the place follows a stream's last line
    """

    def __init__(self, corpus: Corpus, size: int, pad: bool, end: bool) -> None:
        tail = size - 1
        order = np.argsort(corpus.streams, kind="stable")
        _, first, counts = np.unique(corpus.streams[order], return_index=True, return_counts=True)
        group = np.repeat(np.arange(len(first)), counts)
        at = np.empty(len(order), np.int64)
        at[order] = np.arange(len(order)) + (group + 1) * tail + group * end
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order)) - first[group]
        self.size, self.is_end = size, np.repeat([False, True], [len(order), len(first) * end])
        last = order[first + counts - 1]
        self.lines, self._at = np.arange(len(order)), at
        if end:
            self.lines, self._at = np.append(self.lines, last), np.append(at, at[last] + 1)
            rank = np.append(rank, counts)
        self._ids = np.zeros(len(order) + len(first) * (tail + end), np.int32)
        self._ids[at] = corpus.ids
        self._numbers = None
        if corpus.numbers is not None:
            self._numbers = np.full((len(self._ids), corpus.numbers.shape[1]), np.nan)
            self._numbers[at] = corpus.numbers
        if not pad:
            full = rank >= tail
            self.lines, self._at, self.is_end = self.lines[full], self._at[full], self.is_end[full]

    def __len__(self) -> int:
        return len(self._at)

    def _index(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._at[rows][:, None] + np.arange(1 - self.size, 1)

    def ids(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """int32 [rows, size]: text ids, the place's own last; 0 where there is no line."""
        return self._ids[self._index(rows)]

    def numbers(self, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
        """float64 [rows, size, columns]: the lines' numbers, NaN where there is no line; None where the corpus has
        none.
        """
        return None if self._numbers is None else self._numbers[self._index(rows)]
