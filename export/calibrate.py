"""The scale of a bundle: the scores of held-out normal lines, computed as the agent computes them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.bundle import Bundle, Scale
from agent.errors import ConfigError
from agent.headers import time_features
from agent.scorers import SCORERS
from agent.streams import Streams
from training.corpus import Corpus, read_corpus
from training.run import Run

QUANTILES = (
    *(step / 100 for step in range(100)),
    *(0.99 + step / 1000 for step in range(1, 10)),
    *(0.999 + step / 10000 for step in range(1, 10)),
    0.99995, 0.99999, 1.0,
)  # fmt: skip
_AT_ONCE = 65536


def held_out(run: Run) -> Corpus:
    """The validation lines that a run kept."""
    ids, streams, seconds = (run.heldout[name] for name in ("ids", "streams", "seconds"))
    marks = np.zeros(len(ids), np.int8)
    return Corpus(run.texts, ids, streams, marks, seconds if len(seconds) else None, None, [], [], None)


def read_logs(run: Run, logs: list[Path]) -> Corpus:
    """Other normal lines, read as the run read its own."""
    config = run.config
    seconds = bool(getattr(config, "time_of_day", False))
    return read_corpus(logs, config.header, config.masks, config.stream, seconds=seconds)


def score_lines(bundle: Bundle, corpus: Corpus) -> NDArray[np.float32]:
    """float32: the scores of the lines that have one, with the agent's windows and scorer."""
    window, timed = bundle.manifest.window, corpus.seconds is not None
    scorer = SCORERS[bundle.manifest.scorer](bundle, corpus.texts.__getitem__, True)
    most = int(corpus.streams.max(initial=0)) + 1
    streams = Streams(window.size, 2 if timed else 0, most)
    keys = [b"%d" % stream for stream in range(most)]
    scores = []
    for start in range(0, len(corpus), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        features = time_features(corpus.seconds[part]) if timed else None
        names = [keys[stream] for stream in corpus.streams[part].tolist()]
        for _, lines in streams.push("", names, corpus.ids[part], features):
            full = slice(None) if window.pad else lines.counts >= window.size
            scores.append(scorer.score(lines.ids[full], None if lines.features is None else lines.features[full]))
    return np.concatenate(scores) if scores else np.zeros(0, np.float32)


def scale_of(scores: NDArray[np.float32]) -> Scale:
    """The table of quantiles of scores, dense in the tail; a ConfigError where there is none."""
    if not len(scores):
        raise ConfigError("there is no line to calibrate with: every stream is shorter than the window; give --calibrate LOG")
    values = np.quantile(scores.astype(np.float64), QUANTILES)
    quantiles = [round(quantile, 6) for quantile in QUANTILES]
    exact = scores.astype(np.float64)
    return Scale(len(scores), float(exact.mean()), float(exact.std()), quantiles, values.tolist())
