"""Training examples: texts one by one, and the lines of streams a few at a time."""

from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.corpus import Corpus
from training.models.base import TrainingData


class TextExamples:
    """Texts, each with a weight; a batch holds a text once, with the sum of its weights."""

    def __init__(self, data: TrainingData, texts: NDArray[np.int32], weights: NDArray[np.int64]) -> None:
        self._data, self._texts, self._weights = data, texts, weights

    def __len__(self) -> int:
        return len(self._texts)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """ids int64 [B, T], lengths int64 [B], weights float32 [B]."""
        texts, inverse = np.unique(self._texts[rows], return_inverse=True)
        weights = np.bincount(inverse, self._weights[rows]).astype(np.float32)
        return *token_tensors(self._data, texts), torch.from_numpy(weights)


class StreamSteps:
    """Steps along streams: up to `lines` consecutive lines of one, in the order of the corpus.

    A stream of more than `most` steps counts as several, of which each begins from nothing: else the few longest
    streams go on in batches of their own when all others have ended.
    """

    def __init__(self, data: TrainingData, corpus: Corpus, lines: int, most: int | None = None) -> None:
        parts = corpus.streams if most is None else _parts(corpus.streams, lines * most)
        order = np.argsort(parts, kind="stable")
        streams, first, counts = np.unique(parts[order], return_index=True, return_counts=True)
        steps = -(-counts // lines)
        self._data = data
        self._stream = np.repeat(streams, steps)
        self._starts = np.cumsum(steps) - steps
        self._ends = self._starts + steps
        step = np.arange(steps.sum()) - np.repeat(self._starts, steps)
        self._fresh = step == 0
        rows = (np.repeat(first, steps) + lines * step)[:, None] + np.arange(lines)
        within = rows < np.repeat(first + counts, steps)[:, None]
        self._texts = np.where(within, corpus.ids[order[np.minimum(rows, len(order) - 1)]], 0) if len(order) else rows
        self.streams = int(streams.max(initial=0))

    def __len__(self) -> int:
        return len(self._stream)

    def plan(self, size: int, draw: np.random.Generator | None) -> list[NDArray[np.int64]]:
        """Batches of at most `size` steps that take every stream from its first step to its last, one step of a stream
        in a batch; as one ends, the next begins. The order of the streams is drawn, or the corpus's.
        """
        order = np.arange(len(self._starts)) if draw is None else draw.permutation(len(self._starts))
        waiting: deque[int] = deque(order.tolist())
        going: list[tuple[int, int]] = []
        batches: list[NDArray[np.int64]] = []
        ends = self._ends.tolist()
        while going or waiting:
            while waiting and len(going) < size:
                stream = waiting.popleft()
                going.append((stream, int(self._starts[stream])))
            batches.append(np.array([step for _, step in going], np.int64))
            going = [(stream, step + 1) for stream, step in going if step + 1 < ends[stream]]
        return batches

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """ids int64 [B, K, T], lengths int64 [B, K] (0: no line), streams int64 [B], fresh bool [B]."""
        texts = self._texts[rows]
        ids, lengths = token_tensors(self._data, texts.ravel())
        lengths = torch.where(torch.from_numpy(texts.ravel() > 0), lengths, 0).reshape(texts.shape)
        ids = ids.reshape(*texts.shape, -1)
        return ids, lengths, torch.from_numpy(self._stream[rows].astype(np.int64)), torch.from_numpy(self._fresh[rows])


def _parts(streams: NDArray[np.int32], most: int) -> NDArray[np.int64]:
    """int64 [lines]: the streams numbered anew, with another number after every `most` lines of one."""
    order = np.argsort(streams, kind="stable")
    _, first, counts = np.unique(streams[order], return_index=True, return_counts=True)
    part = np.empty(len(streams), np.int64)
    part[order] = (np.arange(len(streams)) - np.repeat(first, counts)) // most
    return np.unique(np.stack([streams, part], axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def token_tensors(data: TrainingData, texts: NDArray[np.integer]) -> tuple[Tensor, Tensor]:
    """ids int64 [texts, T] and lengths int64 [texts] of texts, padded to the longest."""
    longest = int(data.lengths[texts].max(initial=1))
    return torch.from_numpy(data.tokens[texts, :longest].astype(np.int64)), torch.from_numpy(data.lengths[texts])
