"""What every scorer, and what explains its scores, offers."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from agent.scoring.reasons import ModelReason


class Scorer(Protocol):
    """Scores windows of text ids; the same windows always get the same scores, whatever else comes with them.

    cut_lines  counts the lines of which the model saw the head alone
    """

    cut_lines: int

    def score(self, windows: NDArray[np.int32], features: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """float32 [lines]: windows int32 [lines, size] of text ids, features float32 [lines, size, width] or None."""
        ...

    def is_cut(self, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool [ids]: of which of the texts of lines that were just scored the model saw the head alone."""
        ...


@runtime_checkable
class CarryingScorer(Scorer, Protocol):
    """A scorer whose model may carry a state along each stream."""

    def advance(
        self, ids: NDArray[np.int32], slots: NDArray[np.int64], carried: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float32], list[NDArray[Any]]]:
        """float32 [lines]: the scores of lines in order, int32 [lines], and what was carried before each of them.

        The states of their streams are the rows `slots` of `carried`, which go on.
        """
        ...


class Explainer(Protocol):
    """Explains the scores of a scorer."""

    def reason(
        self,
        text: str,
        window: NDArray[np.int32],
        features: NDArray[np.float32] | None,
        before: Sequence[NDArray[Any]],
        score: float,
        limit: float,
    ) -> ModelReason:
        """The reason for the score of a line.

        text      the line's canonical text
        window    int32 [size]: text ids, the line's own last
        features  float32 [size, width], or None
        before    what its stream carried before it, an array for each tensor of the state
        limit     the threshold that the score is above
        """
        ...
