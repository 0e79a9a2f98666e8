"""How far a walk is, and what it has seen of the present window."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray


class WalkProgress(msgspec.Struct):
    """How far a walk is; what a checkpoint holds beside tensors.

    windows            that were trained on
    file, line         the number of the file (from 0) and of its lines that were taken
    lines, late, timeless  as WindowCutter counts them
    short, long        rows of the present file with a wrong width
    trained, left_out  lines that were trained on, and those of the same windows that were not
    scored, size       lines with scores, and the bytes of their file
    epochs, seconds    of the last training, and of all
    """

    windows: int = 0
    file: int = 0
    line: int = 0
    lines: int = 0
    late: int = 0
    timeless: int = 0
    short: int = 0
    long: int = 0
    trained: int = 0
    left_out: int = 0
    scored: int = 0
    size: int = 0
    seconds: float = 0.0
    epochs: list[dict[str, Any]] = []


class ScoreSummary:
    """The number, the sum and the largest of a window's scores."""

    def __init__(self) -> None:
        self.count, self.total, self.largest = 0, 0.0, -np.inf

    def add(self, scores: NDArray[np.float32]) -> None:
        """Takes in some scores."""
        self.count += len(scores)
        self.total += float(scores.sum(dtype=np.float64))
        self.largest = max(self.largest, float(scores.max()))

    def __str__(self) -> str:
        if not self.count:
            return "not scored, nothing was learnt before"
        return f"mean score {self.total / self.count:.3g}, largest {self.largest:.3g}"
