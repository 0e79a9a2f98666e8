"""Score files with their labels, as pictures take them."""

import logging
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from agent.errors import ConfigError
from agent.scorefile.table import ScoreTable, read_scores
from training.data.corpus import ANOMALOUS, LEFT_OUT
from training.data.labels import read_labels
from training.data.logs import read_whole
from training.plot.style import clean

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledScores:
    """Scores, and int8 [rows] the labels: 0 normal, 1 anomalous, -1 leave out; None without labels.

    score  float32 [rows]: what cannot be drawn, beyond float32, at the highest and the lowest that can; NaN for none
    """

    path: Path
    table: ScoreTable
    score: NDArray[np.float32]
    labels: NDArray[np.int8] | None

    @property
    def title(self) -> str:
        """The base name of the first source as it can be drawn, and how many more there are."""
        names = [Path(source).name or source for source in self.table.sources]
        return clean(names[0], 60) + (f" and {len(names) - 1:,} more" if len(names) > 1 else "")

    def count(self, rows: int) -> str:
        """So many lines, or sessions."""
        return f"{rows:,} {self.table.scope}{'' if rows == 1 else 's'}"

    @property
    def summary(self) -> str:
        """How many rows there are, odd, without a score, labelled and left out."""
        anomalies, without = int(self.table.anomaly.sum()), int(np.isnan(self.score).sum())
        text = f"{self.count(len(self.score))}, {anomalies:,} {'anomaly' if anomalies == 1 else 'anomalies'}"
        text += f", {without:,} without a score" if without else ""
        if self.labels is None:
            return text
        left_out = int((~self.judged).sum())
        return f"{text}; {int(self.positive.sum()):,} labelled anomalous" + (
            f", {left_out:,} left out" * (left_out > 0)
        )

    @property
    def threshold(self) -> float | None:
        """The threshold where it is one and the same for all rows."""
        known = np.unique(self.table.threshold[np.isfinite(self.table.threshold)])
        return float(known[0]) if len(known) == 1 else None

    @property
    def judged(self) -> NDArray[np.bool_]:
        """bool [rows]: the label leaves the row not out; all rows without labels."""
        return np.ones(len(self.score), bool) if self.labels is None else self.labels != LEFT_OUT

    @property
    def positive(self) -> NDArray[np.bool_]:
        """bool [rows]: labelled anomalous."""
        return np.zeros(len(self.score), bool) if self.labels is None else self.labels == ANOMALOUS


def read_labelled_scores(path: Path, labels: Path | None = None) -> LabelledScores:
    """Reads a score file and its labels; what was damaged in it is told on standard error.

    A SourceError where it holds no records, a ConfigError where none has a score or the labels do not fit.
    """
    console = Console(stderr=True)
    with console.status(f"reading {escape(clean(path.name))}") if console.is_terminal else nullcontext():
        table = read_scores(path)
    for warning in table.warnings:
        _LOG.warning("%s: %s", path, warning)
    if np.isnan(table.score).all():
        raise ConfigError(
            f"{path}: no score to draw, all {len(table.score):,} are null; score a log that is longer than the model's "
            "window"
        )
    limit = np.finfo(np.float32).max
    score = np.clip(table.score, -limit, limit)
    return LabelledScores(path, table, score, None if labels is None else _read_labels(labels, table))


def _read_labels(path: Path, table: ScoreTable) -> NDArray[np.int8]:
    """int8 [rows]. A label a line is for the lines of all sources one after the other, in the order of their rows."""
    pattern = None if table.streams == [""] else "of the scores"
    keys = [stream.encode() for stream in table.streams]
    if table.scope == "session":
        if b"," not in read_whole(path, "labels").split(b"\n", 1)[0]:
            raise ConfigError(f"labels {path}: scores of sessions need labels by stream; give a CSV: stream,label")
        return read_labels(path, table.stream, keys, pattern)
    sizes = np.zeros(len(table.sources), np.int64)
    np.maximum.at(sizes, table.source, table.line)
    lines = (np.cumsum(sizes) - sizes)[table.source] + table.line - 1
    streams = np.zeros(int(sizes.sum()), np.int32)
    streams[lines] = table.stream
    labels: NDArray[np.int8] = read_labels(path, streams, keys, pattern)[lines]
    return labels
