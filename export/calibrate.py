"""The scale of a bundle: the scores of held-out normal lines, computed as the agent computes them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.bundle.bundle import Bundle
from agent.scoring.stream_scorer import build_stream_scorer
from agent.text.text_table import TextTable
from training.data.corpus import Corpus, read_corpus
from training.evaluation.calibration import held_out, normal_scores, scale_of
from training.evaluation.model import score_in_order
from training.fitting.run_folder import Run

__all__ = ["held_out", "read_logs", "scale_of", "score_lines"]


def read_logs(run: Run, logs: list[Path]) -> Corpus:
    """Other normal lines, read as the run read its own."""
    config = run.config
    return read_corpus(logs, config.header, config.masks, config.stream, read=config.line_reader())


def score_lines(bundle: Bundle, corpus: Corpus) -> NDArray[np.float32]:
    """float32: the scores of the lines that the scale is made of, with the agent's streams and scorer."""
    streams = int(corpus.streams.max(initial=0)) + 1
    lines = build_stream_scorer(bundle, TextTable(corpus.texts), most=streams)
    return normal_scores(score_in_order(lines, corpus, lines.features), corpus, lines.features)
