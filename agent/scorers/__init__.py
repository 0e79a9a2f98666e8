"""Scorers: from windows of text ids to scores, one module for each kind of model."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agent.bundle import Bundle
from agent.scorers.vectors import Judge, VectorScorer, by_distance


def _vectors(bundle: Bundle, texts: Callable[[int], str], cache: bool) -> VectorScorer:
    """The distance from one predicted vector."""
    judge = by_distance(
        lambda windows: bundle.run("detector", windows=windows)[0], bundle.manifest.settings["distance"]
    )
    return _scorer(bundle, judge, texts, cache)


def _codebook(bundle: Bundle, texts: Callable[[int], str], cache: bool) -> VectorScorer:
    """The surprise at a vector among predicted ones; the graph itself computes it, of vectors without features."""
    width = bundle.manifest.settings["width"]

    def judge(
        windows: NDArray[np.float32], actual: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scores, expected = bundle.run("detector", windows=windows, actual=np.ascontiguousarray(actual[:, :width]))
        return scores, expected

    return _scorer(bundle, judge, texts, cache)


def _scorer(bundle: Bundle, judge: Judge, texts: Callable[[int], str], cache: bool) -> VectorScorer:
    return VectorScorer(
        lambda ids, lengths: bundle.run("encoder", ids=ids, lengths=lengths)[0], judge, bundle.tokenizer, texts, cache
    )


# By the name in the manifest: a function of the bundle, of the text of an id, and of whether caches are on.
SCORERS: dict[str, Callable[[Bundle, Callable[[int], str], bool], VectorScorer]] = {
    "vectors": _vectors,
    "codebook": _codebook,
}
