"""Scores relative to those of their own stream: a user whose lines are always odd is not odd for that.

After Tuor et al. 2018, who subtract the mean of a user's scores; here it is that of the lines before, so that a score
does not wait for later lines.
"""

import math

import numpy as np
from numpy.typing import NDArray

from agent.bundle.manifest import Relative
from agent.errors import BundleError

_LINES = 64  # whose median is taken
_PRIOR = 8  # lines that the prior counts as
_TO_DEVIATION = 1.4826  # a normal distribution's standard deviation by its MAD
_LEAST = 0.1  # of the prior's spread: a smaller one of a stream is taken as this


def check_relative(relative: Relative) -> Relative:
    """`relative` where its values are possible, else a BundleError."""
    if relative.kind not in _RULES:
        raise BundleError(f"relative.kind: {relative.kind!r} is unknown; this version knows {', '.join(_RULES)}")
    if not np.isfinite([relative.center, relative.spread]).all() or relative.spread < 0:
        raise BundleError(f"relative: a center of {relative.center} and a spread of {relative.spread} are not possible")
    return relative


def prior(kind: str, scores: NDArray[np.float32]) -> Relative:
    """What normal scores tell of a stream that has had no line."""
    exact = scores.astype(np.float64)
    if kind == "mean":
        return Relative(kind, float(exact.mean()), float(exact.std()))
    center = float(np.median(exact))
    return Relative(kind, center, float(_TO_DEVIATION * np.median(np.abs(exact - center))))


def carried_row(relative: Relative) -> NDArray[np.float64]:
    """An array whose row is what a stream carries for this: how many scores it has had, and their sum or the last."""
    return np.zeros((1, 2 if relative.kind == "mean" else 1 + _LINES))


def apply(
    relative: Relative, scores: NDArray[np.float32], slots: NDArray[np.int64], carried: NDArray[np.float64]
) -> NDArray[np.float32]:
    """float32 [lines]: the scores as they stand in their streams, line after line; `carried` [slots, ...] goes on.

    A score that is NaN stays so and counts for nothing.
    """
    rule, found = _RULES[relative.kind], np.full(len(scores), np.nan, np.float32)
    for index, (score, slot) in enumerate(zip(scores.tolist(), slots.tolist(), strict=True)):
        if not math.isnan(score):
            found[index] = rule(relative, score, carried[slot])
    return found


def _mean(relative: Relative, score: float, row: NDArray[np.float64]) -> float:
    expected = float((row[1] + _PRIOR * relative.center) / (row[0] + _PRIOR))
    row += (1, score)
    return score - expected


def _median(relative: Relative, score: float, row: NDArray[np.float64]) -> float:
    count = int(row[0])
    center, spread = relative.center, relative.spread
    if count >= _PRIOR:
        before = row[1 : 1 + min(count, _LINES)]
        center = float(np.median(before))
        spread = _TO_DEVIATION * float(np.median(np.abs(before - center)))
    row[1 + count % _LINES] = score
    row[0] += 1
    return (score - center) / max(spread, _LEAST * relative.spread, 1e-6)


_RULES = {"mean": _mean, "median": _median}
