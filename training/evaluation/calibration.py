"""The scale of normal scores, from the lines that a training held out."""

import numpy as np
from numpy.typing import NDArray

from agent.bundle.manifest import Scale
from agent.errors import ConfigError
from agent.scoring.features import Features
from training.data.corpus import Corpus
from training.fitting.run_folder import Run

QUANTILES = (
    *(step / 100 for step in range(100)),
    *(0.99 + step / 1000 for step in range(1, 10)),
    *(0.999 + step / 10000 for step in range(1, 10)),
    0.99995, 0.99999, 1.0,
)  # fmt: skip


def held_out(run: Run) -> Corpus:
    """The validation lines that a run kept."""
    ids, streams, numbers = (run.heldout[name] for name in ("ids", "streams", "numbers"))
    labels = np.zeros(len(ids), np.int8)
    return Corpus(run.texts, ids, streams, labels, numbers if len(numbers) else None, None, [], [], None)


def normal_scores(scores: NDArray[np.float32], corpus: Corpus, features: Features | None) -> NDArray[np.float32]:
    """float32: the scores that the scale is made of: of lines that have one and whose event training saw.

    An event that it did not see is odd by itself. A threshold that lay among such lines would tell none of them.
    """
    keep = ~np.isnan(scores)
    if features is not None and corpus.numbers is not None:
        keep &= ~features.unseen(corpus.numbers, corpus.ids)
    return scores[keep]


def scale_of(scores: NDArray[np.float32]) -> Scale:
    """The table of quantiles of scores, dense in the tail; a ConfigError where there is none."""
    if not len(scores):
        raise ConfigError(
            "there is no line to calibrate with: every stream is shorter than the window; give --calibrate LOG"
        )
    values = np.quantile(scores.astype(np.float64), QUANTILES)
    quantiles = [round(quantile, 6) for quantile in QUANTILES]
    exact = scores.astype(np.float64)
    return Scale(len(scores), float(exact.mean()), float(exact.std()), quantiles, values.tolist())
