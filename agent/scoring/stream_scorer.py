"""Lines in their streams to scores: windows, what the model carries, and what is relative to the stream."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.bundle.manifest import Relative, Tensor, Window
from agent.scoring.features import Features, features_of
from agent.scoring.model import ScoringModel
from agent.scoring.relative import apply, carried_row
from agent.scoring.scorers import SCORERS, CarryingScorer, Scorer
from agent.scoring.streams import Streams, Windowed
from agent.text.text_table import TextTable


@dataclass(frozen=True)
class Piece:
    """Consecutive lines with their scores; valid until the next piece is taken.

    rows      which of the lines that were pushed
    scores    float32 [lines]; NaN while a window warms up
    raw       float32 [lines]: the scores before they are told relative to their stream's
    before    what the model carried before each line, one array [lines, ...] for each of its state tensors
    """

    rows: slice
    windowed: Windowed
    scores: NDArray[np.float32]
    raw: NDArray[np.float32]
    before: list[NDArray[Any]]


class StreamScorer:
    """Scores lines as they come, each in its stream; the result does not depend on how many come at once.

    Another `relative` of the same kind may be set between lines.
    """

    def __init__(
        self,
        scorer: Scorer,
        window: Window,
        state: Sequence[Tensor] = (),
        relative: Relative | None = None,
        features: Features | None = None,
        most: int = 65536,
        sizes: Callable[[], NDArray[np.int64]] | None = None,
    ) -> None:
        """features: what the scorer wants of lines. most: the largest number of streams. sizes: as in Streams."""
        self.scorer, self.features, self.relative = scorer, features, relative
        self._window, self._state = window, len(state)
        shapes: list[NDArray[Any]] = [np.zeros((1, *tensor.lengths()), tensor.dtype) for tensor in state]
        carried = shapes if relative is None else [*shapes, carried_row(relative)]
        self.streams = Streams(window.size, features.width if features else 0, most, carried, sizes)

    def push(
        self, source: str, keys: Sequence[bytes], ids: NDArray[np.int32], features: NDArray[np.float32] | None = None
    ) -> Iterator[Piece]:
        """Adds lines in order; yields them with their scores, in as many pieces as `Streams.push`."""
        for rows, windowed in self.streams.push(source, keys, ids, features):
            scores, before = self._score(windowed)
            raw = scores
            if self.relative is not None:
                scores = apply(self.relative, raw, windowed.slots, self.streams.carried[-1])
            yield Piece(rows, windowed, scores, raw, before)

    def _score(self, windowed: Windowed) -> tuple[NDArray[np.float32], list[NDArray[Any]]]:
        if self._state:
            assert isinstance(self.scorer, CarryingScorer)
            return self.scorer.advance(windowed.ids[:, -1], windowed.slots, self.streams.carried[: self._state])
        if self._window.pad or self._window.size == 1:
            return self.scorer.score(windowed.ids, windowed.features), []
        full = windowed.counts >= self._window.size
        features = None if windowed.features is None else windowed.features[full]
        scores = np.full(len(full), np.nan, np.float32)
        scores[full] = self.scorer.score(windowed.ids[full], features)
        return scores, []


def build_stream_scorer(
    model: ScoringModel, texts: TextTable, *, most: int = 65536, cache: bool = True
) -> StreamScorer:
    """The scorer of a model with the streams that its lines come in, at most so many; all of them follow `texts`."""
    manifest = model.manifest
    scorer = SCORERS[manifest.scorer](model, texts, cache)
    features = features_of(model, texts)
    lines = StreamScorer(scorer, manifest.window, manifest.state, manifest.relative, features, most, texts.sizes)
    texts.subscribe(lines.streams)
    return lines
