"""Scorers: from windows of text ids to scores, one module for each kind of model."""

from collections.abc import Callable

from agent.bundle import Bundle
from agent.scorers.vectors import VectorScorer


def _vectors(bundle: Bundle, texts: Callable[[int], str], cache: bool) -> VectorScorer:
    return VectorScorer(
        lambda ids, lengths: bundle.run("encoder", ids=ids, lengths=lengths)[0],
        lambda windows: bundle.run("detector", windows=windows)[0],
        bundle.tokenizer,
        texts,
        bundle.manifest.settings["distance"],
        cache=cache,
    )


# By the name in the manifest: a function of the bundle, of the text of an id, and of whether caches are on.
SCORERS: dict[str, Callable[[Bundle, Callable[[int], str], bool], VectorScorer]] = {"vectors": _vectors}
