"""Judges: how far a vector is from what was expected in its place, by one prediction or by a codebook of them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agent.errors import BundleError

Judge = Callable[[NDArray[np.float32], NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Windows float32 [batch, lines, width + features] and the vectors that follow, float32 [batch, width + features] ->
scores float32 [batch] and the vectors that were expected, float32 [batch, width or more]."""


def euclidean(predicted: NDArray[np.float32], actual: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [batch]: the root of the sum of squares."""
    distances: NDArray[np.float32] = np.sqrt(np.square(predicted - actual).sum(axis=1))
    return distances


def manhattan(predicted: NDArray[np.float32], actual: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [batch]: the sum of absolute differences."""
    distances: NDArray[np.float32] = np.abs(predicted - actual).sum(axis=1)
    return distances


def cosine(predicted: NDArray[np.float32], actual: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [batch]: 1 - p.a / (|p| |a|); a vector of zeros is at distance 1 from all."""
    norms = np.sqrt(np.square(predicted).sum(axis=1) * np.square(actual).sum(axis=1))
    products = (predicted * actual).sum(axis=1)
    distances: NDArray[np.float32] = 1 - np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    return distances


DISTANCES = {"euclidean": euclidean, "manhattan": manhattan, "cosine": cosine}


def by_distance(predict: Callable[[NDArray[np.float32]], NDArray[np.float32]], distance: str) -> Judge:
    """Scores by the distance from one predicted vector; a BundleError where the distance is unknown."""
    if distance not in DISTANCES:
        raise BundleError(f"unknown distance {distance!r}; this version knows {', '.join(DISTANCES)}")
    measure = DISTANCES[distance]

    def judge(
        windows: NDArray[np.float32], actual: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        predicted = predict(windows)
        return measure(predicted, actual), predicted

    return judge


def by_codebook(
    detect: Callable[[NDArray[np.float32], NDArray[np.float32]], list[NDArray[np.float32]]], width: int
) -> Judge:
    """Scores by a graph that computes the surprise itself, of vectors of this width without features."""

    def judge(
        windows: NDArray[np.float32], actual: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scores, expected = detect(windows, np.ascontiguousarray(actual[:, :width]))
        return scores, expected

    return judge
