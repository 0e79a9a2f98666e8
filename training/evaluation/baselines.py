"""The simple detectors that a model has to beat, on sequences of text ids.

After M. Landauer, F. Skopik, M. Wurzenberger: A critical review of common log data sets used for evaluation of
sequence-based anomaly detection techniques, FSE 2024 (new events, lengths, count vectors, n-grams). They know the
training part alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from agent.text.text_table import PADDING
from training.data.corpus import Corpus
from training.data.windows import Windows

Progress = Callable[[int, int], None]
"""Takes how many of how many steps are done."""
_CELLS = 1 << 22  # of the table of distances that is held at once


@dataclass(frozen=True)
class Items:
    """What gets a score: lines, each seen as the window that ends in it, or sessions.

    whole    whether these are sessions
    ids      int32 [entries]: the text ids of one item after the other; a session begins and ends with 0, and 0 stands
             for the missing lines of a window
    starts   int64 [items + 1]: where each begins in `ids`
    lengths  int64 [items]: lines of a session, words of a line
    """

    whole: bool
    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    def subset(self, rows: NDArray[np.int64]) -> "Items":
        """Some of the items."""
        sizes = np.diff(self.starts)[rows]
        starts = np.append(0, np.cumsum(sizes))
        index = np.arange(starts[-1]) + np.repeat(self.starts[rows] - starts[:-1], sizes)
        return Items(self.whole, self.ids[index], starts, self.lengths[rows])

    def owners(self) -> NDArray[np.int64]:
        """int64 [entries]: the item of each entry."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def events(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Items and text ids: every line of a session, a line alone."""
        if not self.whole:
            return np.arange(len(self)), self.ids[self.starts[1:] - 1]
        real = self.ids != PADDING
        return self.owners()[real], self.ids[real]

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Items and pairs of successive text ids, each as one number.

        A session has all of its pairs, begin and end included; a line the one of the line before it and itself.
        """
        ends = self.starts[1:] - 1
        if not self.whole:
            return np.arange(len(self)), _pair(self.ids[ends - 1], self.ids[ends])
        second = np.ones(len(self.ids), bool)
        second[self.starts[:-1]] = False
        at = np.flatnonzero(second)
        return self.owners()[at], _pair(self.ids[at - 1], self.ids[at])


def _pair(first: NDArray[np.integer], second: NDArray[np.integer]) -> NDArray[np.int64]:
    return first.astype(np.int64) << 32 | second


def line_items(corpus: Corpus, rows: NDArray[np.int64], size: int, word_counts: NDArray[np.int64]) -> Items:
    """Lines of a corpus as windows of `size` lines, their own last. word_counts int64 [texts]."""
    ids = Windows(corpus, size, pad=True, end=False).ids(rows)
    return Items(False, ids.ravel(), np.arange(len(rows) + 1) * size, word_counts[ids[:, -1]])


def session_items(corpus: Corpus) -> Items:
    """The sessions of a corpus, in the order of their streams' numbers."""
    order = np.argsort(corpus.streams, kind="stable")
    _, first, counts = np.unique(corpus.streams[order], return_index=True, return_counts=True)
    starts = np.append(0, np.cumsum(counts + 2))
    ids = np.zeros(starts[-1], np.int32)
    ids[np.arange(len(order)) + 1 + 2 * np.repeat(np.arange(len(first)), counts)] = corpus.ids[order]
    return Items(True, ids, starts, counts)


class Baseline(Protocol):
    """A detector: the higher the score, the odder the item."""

    def fit(self, items: Items) -> None:
        """Learns from normal items."""
        ...

    def score(self, items: Items, progress: Progress) -> NDArray[np.float64]:
        """float64 [items]."""
        ...


class NewEvent:
    """How many different texts of an item were never seen in training."""

    def fit(self, items: Items) -> None:
        """Keeps the texts."""
        self._known = np.unique(items.events()[1])

    def score(self, items: Items, progress: Progress) -> NDArray[np.float64]:
        """float64 [items]: for a line 0 or 1."""
        owners, ids = items.events()
        new = ~np.isin(ids, self._known)
        different = np.unique(_pair(owners[new], ids[new])) >> 32
        return np.bincount(different, minlength=len(items)).astype(np.float64)


class Length:
    """The rarity of a session's number of lines, of a line's number of words."""

    def fit(self, items: Items) -> None:
        """Counts the lengths."""
        self._rarity = Rarity(items.lengths)

    def score(self, items: Items, progress: Progress) -> NDArray[np.float64]:
        """float64 [items]."""
        return self._rarity.of(items.lengths)


class TwoGram:
    """Successive texts that never followed each other in training; a session's begin and end count as texts.

    A session's score is the number of such pairs in it; a line's is the rarity of its text, 0 where its pair is known.
    This is the STIDE of S. Forrest et al., A sense of self for Unix processes, 1996, with n = 2.
    """

    def fit(self, items: Items) -> None:
        """Keeps the pairs and counts the texts."""
        self._known = np.unique(items.pairs()[1])
        self._rarity = Rarity(items.events()[1])

    def score(self, items: Items, progress: Progress) -> NDArray[np.float64]:
        """float64 [items]."""
        owners, pairs = items.pairs()
        new = ~np.isin(pairs, self._known)
        weights = None if items.whole else self._rarity.of(items.events()[1][new])
        return np.bincount(owners[new], weights, minlength=len(items)).astype(np.float64)


class Rarity:
    """The negative logarithm of the frequency of integers; 1 is added to each count, and to that of all never seen."""

    def __init__(self, values: NDArray[np.integer]) -> None:
        self._values, counts = np.unique(values, return_counts=True)
        self._rarity = -np.log(np.append(counts + 1, 1) / (len(values) + len(counts) + 1))

    def of(self, values: NDArray[np.integer]) -> NDArray[np.float64]:
        """float64 [values]: above 0."""
        at = np.minimum(np.searchsorted(self._values, values), len(self._values) - 1)
        return self._rarity[np.where(self._values[at] == values, at, -1)]


class CountVector:
    """How far the shares of the texts in an item are from those of the nearest training item.

    The distance of shares p and q is the total variation, half the sum of |p - q|: 0 for the same, 1 where no text is
    in both. It ranks as that of the paper's authors for normalised vectors, the sum of |p - q| over that of max(p, q).
    """

    def fit(self, items: Items) -> None:
        """Keeps the different vectors."""
        self._vectors, _ = _shares(items)

    def score(self, items: Items, progress: Progress) -> NDArray[np.float64]:
        """float64 [items]."""
        vectors, inverse = _shares(items)
        return _nearest(vectors, self._vectors, progress)[inverse]


def _shares(items: Items) -> tuple[csr_array, NDArray[np.int64]]:
    """[different vectors, texts]: the share of each text in an item, and int64 [items], the vector of each."""
    real = items.ids != PADDING
    owners, ids = items.owners()[real], items.ids[real]
    counts = csr_array((np.ones(len(ids)), (owners, ids)), shape=(len(items), int(ids.max(initial=0)) + 1))
    counts.sum_duplicates()
    counts.data /= np.repeat(counts.sum(axis=1), np.diff(counts.indptr))
    rows: dict[bytes, int] = {}
    inverse = np.empty(len(items), np.int64)
    first: list[int] = []
    for row, (start, end) in enumerate(zip(counts.indptr[:-1].tolist(), counts.indptr[1:].tolist(), strict=True)):
        key = counts.indices[start:end].tobytes() + counts.data[start:end].tobytes()
        inverse[row] = number = rows.setdefault(key, len(rows))
        if number == len(first):
            first.append(row)
    return counts[first], inverse


def _nearest(vectors: csr_array, known: csr_array, progress: Progress) -> NDArray[np.float64]:
    """float64 [vectors]: the total variation distance of each from the nearest known one, 1 - the sum of min(p, q)."""
    columns = csc_array(known)
    step = max(1, _CELLS // known.shape[0])
    distances = np.empty(vectors.shape[0])
    for start in range(0, len(distances), step):
        block = csc_array(vectors[start : start + step])
        distances[start : start + step] = 1 - _overlap(block, columns).max(axis=0)
        progress(min(start + step, len(distances)), len(distances))
    return np.maximum(distances, 0)


def _overlap(block: csc_array, known: csc_array) -> NDArray[np.float64]:
    """float64 [known, block]: the sum of min(p, q) of each pair of vectors; only texts that are in both count."""
    overlap = np.zeros((known.shape[0], block.shape[0]))
    for text in np.flatnonzero(np.diff(block.indptr)[: known.shape[1]]).tolist():
        ours, theirs = (slice(matrix.indptr[text], matrix.indptr[text + 1]) for matrix in (block, known))
        if theirs.start < theirs.stop:
            shared = np.minimum.outer(known.data[theirs], block.data[ours])
            overlap[np.ix_(known.indices[theirs], block.indices[ours])] += shared
    return overlap


BASELINES: dict[str, Callable[[], Baseline]] = {
    "new event": NewEvent,
    "length": Length,
    "count vector": CountVector,
    "2-gram": TwoGram,
}
