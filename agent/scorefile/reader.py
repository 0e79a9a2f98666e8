"""Score files: what `agent score` and `agent tail --scores` wrote, read back as arrays."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.errors import SourceError
from agent.host.progress import Advance, nowhere
from agent.sources.decoding.whole_file import read_log
from agent.text.lines import LineSplitter

T = TypeVar("T")
MAX_DETAILS = 20_000  # odd lines whose reason, message and context are kept: those with the highest scores
_LONGEST = 1 << 24  # bytes of one record
_TRIES = 100  # damaged lines before a file is taken for none of ours
_DAMAGE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_HINT = "score the log again with this version"

Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Absent = msgspec.UnsetType


class LineScore(msgspec.Struct):
    """One line as agent.scorefile.writer.line_records tells it; `time` is missing in files of earlier versions."""

    source: str
    line: Number
    stream: str
    score: float | None
    threshold: float | None
    anomaly: bool
    time: str | Absent | None = msgspec.UNSET
    severity: str | Absent = msgspec.UNSET
    program: str | Absent = msgspec.UNSET
    message: str | Absent = msgspec.UNSET
    reason: dict[str, Any] | Absent = msgspec.UNSET
    context: list[str] | Absent = msgspec.UNSET


class SessionScore(msgspec.Struct):
    """One stream as agent.scorefile.writer.Sessions tells it."""

    source: str
    stream: str
    lines: Number
    first_line: Number
    last_line: Number
    score: float | None
    threshold: float | None
    anomaly: bool


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
    remarks    what was damaged, missing or left out
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
    remarks: list[str]


def read_scores(path: Path) -> ScoreTable:
    """Reads a score file, plain or gzip; `-` is standard input. Damaged lines are left out and counted in the remarks.

    A SourceError where it cannot be read, holds no score, or is of another version or another kind of file.
    """
    remarks: list[str] = []
    table = score_table(read_records(path, choose_score, remarks), remarks)
    odd = int(table.anomaly.sum())
    if odd > len(table.details):
        remarks.append(f"reason and context are kept of the {MAX_DETAILS:,} highest of {odd:,} odd lines")
    return table


def choose_score(name: str, first: dict[str, Any]) -> type[LineScore] | type[SessionScore]:
    """The type of the records of a file by its first one; a SourceError where they are no scores."""
    if {"severity", "p_value"} <= first.keys():
        raise SourceError(f"{name} holds alerts, not scores; name a file that agent score wrote")
    if not first.keys() & {"score", "anomaly"}:
        raise SourceError(f"{name} is no score file: its records have no score; name a file that agent score wrote")
    return SessionScore if "first_line" in first else LineScore


def read_records(
    path: Path,
    choose: Callable[[str, dict[str, Any]], type[T]],
    remarks: list[str],
    advance: Advance = nowhere,
) -> Iterator[list[T]]:
    """The records of a file of JSON lines, in pieces that are not empty.

    choose: gives their type by the file's name and its first record. What is damaged is told in `remarks` at the end.
    A SourceError where no line is a record, or one is a record of another type.
    """
    name = "standard input" if path == Path("-") else str(path)
    decoder: msgspec.json.Decoder[T] | None = None
    number = damaged = 0
    for data in _blocks(path, remarks, advance):
        if decoder is None and (first := _first_object(data)) is not None:
            decoder = msgspec.json.Decoder(choose(name, first))
        records, bad = ([], data.count(b"\n")) if decoder is None else _decode(decoder, data, name, number)
        number, damaged = number + data.count(b"\n"), damaged + bad
        if decoder is None and damaged >= _TRIES:
            break
        if records:
            yield records
    if decoder is None:
        raise SourceError(_nothing(name, number, damaged))
    if damaged:
        remarks.append(f"{_lines(damaged)} of the file {'is' if damaged == 1 else 'are'} damaged and left out")


def _nothing(name: str, number: int, damaged: int) -> str:
    if not number:
        return f"{name} is empty: it holds no score; name a file that agent score wrote"
    return f"{name} is no score file: its lines are no JSON objects; name a file that agent score wrote"


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count:,} lines"


def _blocks(path: Path, remarks: list[str], advance: Advance) -> Iterator[bytes]:
    """Whole lines; a packed file that ends early or is damaged is a remark where something could be read of it."""
    splitter, seen = LineSplitter("", max_line=_LONGEST), False
    try:
        for chunk in read_log(path):
            advance(len(chunk))
            if block := splitter.feed(chunk):
                seen = True
                yield block.data
    except SourceError as error:
        if not seen:
            raise
        remarks.append(str(error))
    if block := splitter.finish():
        yield block.data
    if splitter.zero_bytes:
        remarks.append(f"{splitter.zero_bytes:,} NUL bytes, as a crash leaves them, were skipped")


def _first_object(data: bytes) -> dict[str, Any] | None:
    for line in data.split(b"\n", _TRIES)[:_TRIES]:
        try:
            return msgspec.json.decode(line, type=dict[str, Any])
        except _DAMAGE:
            continue
    return None


def _decode(decoder: msgspec.json.Decoder[T], data: bytes, name: str, before: int) -> tuple[list[T], int]:
    """The records of some lines, and how many were damaged. before: how many lines came before."""
    try:
        return decoder.decode_lines(data), 0
    except _DAMAGE:
        records, bad = [], 0
    for number, line in enumerate(data.split(b"\n"), before + 1):
        try:
            if line.strip():
                records.append(decoder.decode(line))
        except msgspec.ValidationError as error:
            raise SourceError(f"{name} is not of this version: line {number}: {_told(error)}; {_HINT}") from None
        except _DAMAGE:
            bad += 1
    return records, bad


def _told(error: msgspec.ValidationError) -> str:
    """What is wrong with a record, in lower case and without the marks of the library."""
    text = str(error).replace("`", "'").replace("$.", "")
    return text[:1].lower() + text[1:]


@dataclass
class _Columns:
    """The columns of a score file, as they grow by blocks."""

    sources: dict[str, int] = field(default_factory=dict)
    streams: dict[str, int] = field(default_factory=dict)
    parts: list[tuple[NDArray, ...]] = field(default_factory=list)
    details: dict[int, tuple[float, LineScore | SessionScore]] = field(default_factory=dict)
    rows: int = 0
    untold: int = 0  # records of versions without times

    def add(self, records: Sequence[LineScore] | Sequence[SessionScore]) -> None:
        """Takes in a block."""
        sources, streams, lined = self.sources, self.streams, isinstance(records[0], LineScore)
        source = np.array([sources.setdefault(record.source, len(sources)) for record in records], np.int32)
        stream = np.array([streams.setdefault(record.stream, len(streams)) for record in records], np.int32)
        line = np.array([record.line if lined else record.first_line for record in records], np.int64)
        time = np.array([seconds(record.time) for record in records]) if lined else np.full(len(records), np.nan)
        score = _floats([record.score for record in records])
        threshold = _floats([record.threshold for record in records])
        anomaly = np.array([record.anomaly for record in records], bool)
        self.parts.append((source, stream, line, time, score, threshold, anomaly))
        self.untold += sum(record.time is msgspec.UNSET for record in records) if lined else 0
        self._keep(records, np.flatnonzero(anomaly).tolist(), score)
        self.rows += len(records)

    def _keep(self, records: Sequence[LineScore] | Sequence[SessionScore], odd: list[int], score: NDArray) -> None:
        for index in odd:
            self.details[self.rows + index] = float(np.nan_to_num(score[index])), records[index]
        if len(self.details) > 2 * MAX_DETAILS:
            self.trim()

    def trim(self) -> None:
        """Leaves the details of the highest scores."""
        if len(self.details) > MAX_DETAILS:
            best = sorted(self.details, key=lambda row: self.details[row][0], reverse=True)[:MAX_DETAILS]
            self.details = {row: self.details[row] for row in sorted(best)}


def score_table(blocks: Iterator[list[LineScore]] | Iterator[list[SessionScore]], remarks: list[str]) -> ScoreTable:
    """The table of records that were read from a file; `remarks` is taken over and filled to its end."""
    first = next(blocks)
    columns = _Columns()
    for records in chain([first], blocks):
        columns.add(records)
    columns.trim()
    if columns.untold:
        remarks.append(f"{_lines(columns.untold)} come from a version that did not tell times")
    arrays = (np.concatenate(part) for part in zip(*columns.parts, strict=True))
    details = {row: _rest(record) for row, (_, record) in columns.details.items()}
    scope = "line" if isinstance(first[0], LineScore) else "session"
    return ScoreTable(scope, list(columns.sources), list(columns.streams), *arrays, details, remarks)


def _floats(values: list[float | None]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.array(values, np.float64).astype(np.float32)


@lru_cache(maxsize=1024)
def seconds(time: str | Absent | None) -> float:
    """Seconds since 1970; UTC where the text names no zone, NaN where it is no time."""
    if not isinstance(time, str):
        return np.nan
    try:
        moment = datetime.fromisoformat(time)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return np.nan


def _rest(record: LineScore | SessionScore) -> dict[str, Any]:
    """What a record holds beside what the table has."""
    if isinstance(record, SessionScore):
        return {"lines": record.lines, "last_line": record.last_line}
    told = {name: getattr(record, name) for name in ("severity", "program", "message", "reason", "context")}
    return {name: value for name, value in told.items() if value is not msgspec.UNSET}
