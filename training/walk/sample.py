"""An even sample of the lines of a window, drawn while they pass."""

import numpy as np
from numpy.typing import NDArray

from training.data.corpus import NORMAL, Corpus


class LineSample:
    """At most `most` of the lines that pass, each as likely as any other, in their order.

    Every line draws a number, and those with the smallest are kept; so the sample does not depend on how the lines are
    cut into blocks. It holds each line's text id, the key of its stream and its score (NaN for none).
    """

    def __init__(self, most: int, seed: tuple[int, ...]) -> None:
        """All that is drawn depends on `seed` alone."""
        self.most, self.lines = most, 0
        self._draw = np.random.default_rng(seed)
        self._ranks = np.zeros(0)
        self.ids = np.zeros(0, np.int32)
        self.scores = np.zeros(0, np.float32)
        self._keys: list[bytes] = []

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, keys: list[bytes], ids: NDArray[np.int32], scores: NDArray[np.float32]) -> None:
        """Lets lines pass."""
        self.lines += len(ids)
        self._ranks = np.append(self._ranks, self._draw.random(len(ids)))
        self.ids, self.scores = np.append(self.ids, ids), np.append(self.scores, scores)
        self._keys += keys
        if len(self.ids) > self.most:
            keep = np.sort(np.argsort(self._ranks, kind="stable")[: self.most])
            self._ranks, self.ids, self.scores = self._ranks[keep], self.ids[keep], self.scores[keep]
            self._keys = [self._keys[index] for index in keep.tolist()]

    def renumber(self, moved: NDArray[np.int32]) -> None:
        """Follows `TextTable.compact`."""
        self.ids = moved[self.ids]

    def corpus(self, texts: list[str]) -> Corpus:
        """The lines as a corpus, without times; `texts` are what the ids are of."""
        streams: dict[bytes, int] = {}
        numbers = np.array([streams.setdefault(key, len(streams)) for key in self._keys], np.int32)
        labels = np.full(len(self), NORMAL, np.int8)
        return Corpus(texts, self.ids, numbers, labels, None, None, list(streams), [], None)
