"""Scores as JSON, one object a line or one a stream, written to a file or to standard output."""

import gzip
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
import numpy as np

from agent.alerting.context import Contexts
from agent.errors import SinkError
from agent.host.atomic_file import closed_after, replacing
from agent.host.trust import open_to_append
from agent.scoring.engine import ScoredBlock, ScoringEngine
from agent.scoring.threshold import severity
from agent.text.escape import MAX_NAME, escape
from agent.text.headers import Format, line_times, parse_header
from agent.text.text_table import PADDING

_MAX_CONTEXTS = 1 << 16


def score_json(score: float) -> float | None:
    """A float32 score with the 9 digits that say it exactly; null for NaN."""
    return None if np.isnan(score) else float(f"{score:.9g}")


def line_records(
    scored: ScoredBlock, header: Format, read: datetime, explain: Callable[[int], dict[str, Any]] | None = None
) -> Iterator[dict[str, Any]]:
    """One object a line.

    header: how lines begin. read: when they were, aware, which gives the year where a line names none. explain: gives
    what is told beside of an odd line, by its index.
    """
    block, source = scored.block, escape(scored.block.source)
    times = line_times(block, header, read)
    rows = zip(block.offsets.tolist(), scored.keys, times, scored.scores.tolist(), scored.limits.tolist(), strict=True)
    for index, (offset, key, time, score, limit) in enumerate(rows):
        record = {
            "source": source,
            "line": block.number(index),
            "offset": offset,
            "stream": escape(key),
            "time": time,
            "score": score_json(score),
            "threshold": score_json(limit),
            "anomaly": index in scored.anomalies,
        }
        yield record if explain is None or index not in scored.anomalies else record | explain(index)


class Explanations:
    """What is told of odd lines as alerts tell it: severity, program, message, reason, context.

    The context is known of the 65,536 streams that were read last.
    """

    def __init__(self, engine: ScoringEngine) -> None:
        self._engine = engine
        self._contexts = Contexts(engine.bundle.manifest.window)
        self._streams: dict[tuple[str, bytes], None] = {}  # in the order of their last lines

    def of(self, scored: ScoredBlock, read: datetime, index: int) -> dict[str, Any]:
        """What is told of an odd line, by its index; `read` as of line_records."""
        header = parse_header(scored.block.line(index), self._engine.header, read)
        return {
            "severity": severity(float(scored.scores[index]), self._engine.bundle.manifest.scale),
            "program": escape(header.program, MAX_NAME),
            "message": escape(header.message),
            "reason": self._engine.reason(scored, index),
            "context": self._contexts.before(scored, index),
        }

    def remember(self, scored: ScoredBlock) -> None:
        """Takes in a block whose odd lines are told."""
        self._contexts.remember(scored)
        for key in dict.fromkeys(scored.keys):
            stream = scored.block.source, key
            self._streams.pop(stream, None)
            self._streams[stream] = None
        while len(self._streams) > _MAX_CONTEXTS:
            stream = next(iter(self._streams))
            del self._streams[stream]
            self._contexts.forget(stream)


@dataclass
class _Session:
    """One stream, as far as it was read."""

    first_line: int
    last_line: int = 0
    lines: int = 0
    score: float = float("nan")
    anomaly: bool = False


def _larger(one: float, other: float) -> float:
    """The larger of two scores; NaN is none."""
    return other if np.isnan(one) or other > one else one


class Sessions:
    """The largest score of each stream, its end counted as a line where the bundle says so."""

    def __init__(self, engine: ScoringEngine) -> None:
        self._engine = engine
        self._sessions: dict[tuple[str, bytes], _Session] = {}

    def add(self, scored: ScoredBlock) -> None:
        """Takes in a block."""
        block, source = scored.block, scored.block.source
        for index, score in zip(scored.rows.tolist(), scored.scores[scored.rows].tolist(), strict=True):
            number = block.number(index)
            session = self._sessions.setdefault((source, scored.keys[index]), _Session(number))
            session.lines += 1
            session.last_line = number
            session.score = _larger(session.score, score)
            session.anomaly |= index in scored.anomalies

    def records(self) -> Iterator[dict[str, Any]]:
        """One object a stream, in the order of their first lines."""
        limit = self._engine.limits.constant
        ends = self._ends() if self._engine.bundle.manifest.window.end else {}
        for (source, key), session in self._sessions.items():
            end = ends.get((source, key), float("nan"))
            yield {
                "source": escape(source),
                "stream": escape(key),
                "lines": session.lines,
                "first_line": session.first_line,
                "last_line": session.last_line,
                "score": score_json(_larger(session.score, end)),
                "threshold": score_json(limit),
                "anomaly": session.anomaly or bool(end > limit),
            }

    def _ends(self) -> dict[tuple[str, bytes], float]:
        streams = self._engine.streams
        present = {stream: slot for stream in self._sessions if (slot := streams.slot(*stream)) is not None}
        if not present:
            return {}
        tails = [streams.tail(slot) for slot in present.values()]
        windows = np.stack([np.append(ids, np.int32(PADDING)) for ids, _, _ in tails])
        features = np.stack([np.concatenate([some, np.zeros((1, streams.width), np.float32)]) for _, some, _ in tails])
        scores = self._engine.scorer.score(windows, features if streams.width else None)
        return dict(zip(present, scores.tolist(), strict=True))


class JsonLines:
    """Writes objects, one a line, as JSON."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._encoder = msgspec.json.Encoder()

    def write(self, records: Iterator[dict[str, Any]]) -> None:
        """Writes and flushes some objects; a SinkError where that is not possible."""
        lines = self._encoder.encode_lines(list(records))
        with writing(self._name):
            self._file.write(lines)
            self._file.flush()

    def fileno(self) -> int:
        """The descriptor of the file."""
        return self._file.fileno()


@contextmanager
def writing(name: str) -> Iterator[None]:
    """Makes a SinkError of an OSError, but for a reader that has left."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SinkError(f"{name} cannot be written: {error.strerror or error}; choose another file") from None


def _appending(target: str) -> AbstractContextManager[BinaryIO]:
    return closed_after(os.fdopen(open_to_append(target), "ab"))


@contextmanager
def open_output(target: str, live: bool = False) -> Iterator[JsonLines]:
    """A writer to `-` (standard output) or to a file, gzip where its name ends in .gz.

    A file appears when it is whole; with `live` it is appended to block by block.
    """
    if target == "-" and sys.stdout is None:
        raise SinkError("standard output is closed; redirect it to a file, or name a file")
    if target == "-":
        yield JsonLines(sys.stdout.buffer, "standard output")
        return
    with ExitStack() as stack:
        with writing(target):
            file = stack.enter_context(_appending(target) if live else replacing(target))
            if Path(target).suffix == ".gz":
                zipped = cast("BinaryIO", gzip.GzipFile(Path(target).name, "ab", fileobj=file))
                file = stack.enter_context(closed_after(zipped))
        yield JsonLines(file, target)
        with writing(target):
            stack.close()
