"""The scale of a bundle: the scores of held-out normal lines, computed as the agent computes them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.bundle import Bundle
from agent.headers import time_features
from agent.scorers import SCORERS
from agent.streams import Streams
from training.calibration import held_out, scale_of
from training.corpus import Corpus, read_corpus
from training.run import Run

__all__ = ["held_out", "read_logs", "scale_of", "score_lines"]
_AT_ONCE = 65536


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
