"""The scores of a file as arrays, a row a line or a stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.scorefile.reader import LineScore, SessionScore, choose_score, count_lines, read_records

MAX_DETAILS = 20_000  # anomalous lines whose reason, message and context are kept: those with the highest scores


@dataclass(frozen=True)
class ScoreTable:
    """The scores of a file, a row a line or a stream, in its order.

    scope      "line" or "session"
    source     int32 [rows], into `sources`
    stream     int32 [rows], into `streams`, which are texts alone: two sources may share one
    line       int64 [rows], from 1; of a session its first
    time       float64 [rows], seconds since 1970 UTC; NaN where the line shows none
    score      float32 [rows]; NaN where the window was warming up
    threshold  float32 [rows]; NaN where there was none
    anomaly    bool [rows]
    details    by row, what else an odd one's record holds: severity, program, message, reason, context; of sessions
               lines, last_line
    warnings    what was damaged, missing or left out
    """

    scope: str
    sources: list[str]
    streams: list[str]
    source: NDArray[np.int32]
    stream: NDArray[np.int32]
    line: NDArray[np.int64]
    time: NDArray[np.float64]
    score: NDArray[np.float32]
    threshold: NDArray[np.float32]
    anomaly: NDArray[np.bool_]
    details: dict[int, dict[str, Any]]
    warnings: list[str]


def read_scores(path: Path) -> ScoreTable:
    """Reads a score file, plain or gzip; `-` is standard input. Damaged lines are left out and counted in the warnings.

    A SourceError where it cannot be read, holds no score, or is of another version or another kind of file.
    """
    warnings: list[str] = []
    table = score_table(read_records(path, choose_score, warnings), warnings)
    anomalous = int(table.anomaly.sum())
    if anomalous > len(table.details):
        warnings.append(f"reason and context are kept of the {MAX_DETAILS:,} highest of {anomalous:,} odd lines")
    return table


@dataclass
class _Columns:
    """The columns of a score file, as they grow by blocks."""

    sources: dict[str, int] = field(default_factory=dict)
    streams: dict[str, int] = field(default_factory=dict)
    parts: list[tuple[NDArray[Any], ...]] = field(default_factory=list)
    details: dict[int, tuple[float, LineScore | SessionScore]] = field(default_factory=dict)
    rows: int = 0
    untimed: int = 0  # records of versions without times

    def add(self, records: Sequence[LineScore | SessionScore]) -> None:
        """Takes in a block."""
        sources, streams = self.sources, self.streams
        source = np.array([sources.setdefault(record.source, len(sources)) for record in records], np.int32)
        stream = np.array([streams.setdefault(record.stream, len(streams)) for record in records], np.int32)
        line = np.array([record.first_line for record in records], np.int64)
        time = np.array([record.moment for record in records], np.float64)
        score = _floats([record.score for record in records])
        threshold = _floats([record.threshold for record in records])
        anomaly = np.array([record.anomaly for record in records], bool)
        self.parts.append((source, stream, line, time, score, threshold, anomaly))
        self.untimed += sum(not record.is_timed for record in records)
        self._keep(records, np.flatnonzero(anomaly).tolist(), score)
        self.rows += len(records)

    def _keep(
        self, records: Sequence[LineScore | SessionScore], anomalous: list[int], score: NDArray[np.float32]
    ) -> None:
        for index in anomalous:
            self.details[self.rows + index] = float(np.nan_to_num(score[index])), records[index]
        if len(self.details) > 2 * MAX_DETAILS:
            self.trim()

    def trim(self) -> None:
        """Leaves the details of the highest scores."""
        if len(self.details) > MAX_DETAILS:
            best = sorted(self.details, key=lambda row: self.details[row][0], reverse=True)[:MAX_DETAILS]
            self.details = {row: self.details[row] for row in sorted(best)}


def score_table(blocks: Iterator[Sequence[LineScore | SessionScore]], warnings: list[str]) -> ScoreTable:
    """The table of records that were read from a file; `warnings` is taken over and filled to its end."""
    first = next(blocks)
    columns = _Columns()
    for records in chain([first], blocks):
        columns.add(records)
    columns.trim()
    if columns.untimed:
        warnings.append(f"{count_lines(columns.untimed)} come from a version that did not tell times")
    source, stream, line, time, score, threshold, anomaly = (
        np.concatenate(part) for part in zip(*columns.parts, strict=True)
    )
    return ScoreTable(
        first[0].scope,
        list(columns.sources),
        list(columns.streams),
        source,
        stream,
        line,
        time,
        score,
        threshold,
        anomaly,
        {row: record.details() for row, (_, record) in columns.details.items()},
        warnings,
    )


def _floats(values: list[float | None]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.array(values, np.float64).astype(np.float32)
