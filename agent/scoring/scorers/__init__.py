"""Scorers: from windows of text ids to scores, one module for each kind of model."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.bundle.bundle import Bundle
from agent.scoring.scorers.explain_reconstruction import ReconstructionExplainer
from agent.scoring.scorers.explain_surprise import SurpriseExplainer
from agent.scoring.scorers.explain_vectors import Explainer
from agent.scoring.scorers.reconstruction import ReconstructionScorer
from agent.scoring.scorers.surprise import SurpriseScorer
from agent.scoring.scorers.vectors import Judge, VectorScorer, by_distance


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


class Scorer(Protocol):
    """Scores windows of text ids; `cut_lines` counts the lines of which the model saw the head alone."""

    cut_lines: int

    def score(self, windows: NDArray[np.int32], features: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """float32 [lines]: windows int32 [lines, size] of text ids, features float32 [lines, size, width] or None."""
        ...

    def advance(
        self, ids: NDArray[np.int32], slots: NDArray[np.int64], carried: Sequence[NDArray]
    ) -> tuple[NDArray[np.float32], list[NDArray]]:
        """The same of a model that carries a state along each stream: of lines in order, int32 [lines], whose states
        are the rows `slots` of `carried`, which go on. Gives what was carried before each line too.
        """
        ...

    def is_cut(self, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool [ids]: of which of the texts of lines that were just scored the model saw the head alone."""
        ...

    def renumber(self, moved: NDArray[np.int32]) -> None:
        """Follows `Normalizer.compact`."""
        ...


# By the name in the manifest: a function of the bundle, of the text of an id, and of whether caches are on.
SCORERS: dict[str, Callable[[Bundle, Callable[[int], str], bool], Scorer]] = {
    "vectors": _vectors,
    "codebook": _codebook,
    "surprise": SurpriseScorer,
    "reconstruction": ReconstructionScorer,
}
# What explains their scores: of the scorer, the tokenizer and the known texts.
EXPLAINERS: dict[str, Any] = {
    "vectors": Explainer,
    "codebook": Explainer,
    "surprise": SurpriseExplainer,
    "reconstruction": ReconstructionExplainer,
}
