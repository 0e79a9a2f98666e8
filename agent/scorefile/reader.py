"""Reads the records of score files: what `agent score` and `agent tail --scores` wrote."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
import numpy as np

from agent.errors import SourceError
from agent.host.progress import Advance, nowhere
from agent.scoring.reasons import decode_reason
from agent.sources.decoding.whole_file import read_log
from agent.text.lines import LineSplitter
from agent.text.times import iso_time

T = TypeVar("T")
_LONGEST = 1 << 24  # bytes of one record
_TRIES = 100  # damaged lines before a file is taken for none of ours
_DAMAGE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_HINT = "score the log again with this version"

Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Absent = msgspec.UnsetType


@lru_cache(maxsize=1024)
def seconds(time: str | Absent | None) -> float:
    """Seconds since 1970; UTC where the text names no zone, NaN where it is no time of the years 1 to 9999 of UTC."""
    moment = iso_time(time) if isinstance(time, str) else None
    return moment.timestamp() if moment else np.nan


class LineScore(msgspec.Struct):
    """One line as agent.scorefile.writer.line_records tells it; `time` is missing in files of earlier versions."""

    scope: ClassVar[str] = "line"

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

    @property
    def first_line(self) -> int:
        """The number of the line."""
        return self.line

    @property
    def moment(self) -> float:
        """Its time in seconds since 1970, or NaN."""
        return seconds(self.time)

    @property
    def is_timed(self) -> bool:
        """Whether it comes from a version that tells times."""
        return self.time is not msgspec.UNSET

    def details(self) -> dict[str, Any]:
        """What is told of an anomalous line alone."""
        fields = {name: getattr(self, name) for name in ("severity", "program", "message", "reason", "context")}
        return {name: value for name, value in fields.items() if value is not msgspec.UNSET}


class SessionScore(msgspec.Struct):
    """One stream as agent.scorefile.writer.Sessions tells it."""

    scope: ClassVar[str] = "session"
    moment: ClassVar[float] = np.nan
    is_timed: ClassVar[bool] = True  # no version tells times of sessions

    source: str
    stream: str
    lines: Number
    first_line: Number
    last_line: Number
    score: float | None
    threshold: float | None
    anomaly: bool

    def details(self) -> dict[str, Any]:
        """What else is told of a session."""
        return {"lines": self.lines, "last_line": self.last_line}


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
    warnings: list[str],
    advance: Advance = nowhere,
) -> Iterator[list[T]]:
    """The records of a file of JSON lines, in pieces that are not empty.

    choose: gives their type by the file's name and its first record. What is damaged is told in `warnings` at the end.
    A SourceError where no line is a record, or one is a record of another type.
    """
    name = "standard input" if path == Path("-") else str(path)
    decoder: msgspec.json.Decoder[T] | None = None
    number = damaged = 0
    for data in _blocks(path, warnings, advance):
        if decoder is None and (first := _first_object(data)) is not None:
            decoder = msgspec.json.Decoder(choose(name, first), dec_hook=decode_reason)
        records, bad = ([], data.count(b"\n")) if decoder is None else _decode(decoder, data, name, number)
        number, damaged = number + data.count(b"\n"), damaged + bad
        if decoder is None and damaged >= _TRIES:
            break
        if records:
            yield records
    if decoder is None:
        raise SourceError(_nothing(name, number))
    if damaged:
        warnings.append(f"{count_lines(damaged)} of the file {'is' if damaged == 1 else 'are'} damaged and left out")


def _nothing(name: str, number: int) -> str:
    if not number:
        return f"{name} is empty: it holds no score; name a file that agent score wrote"
    return f"{name} is no score file: its lines are no JSON objects; name a file that agent score wrote"


def count_lines(count: int) -> str:
    """A number of lines in words."""
    return "1 line" if count == 1 else f"{count:,} lines"


def _blocks(path: Path, warnings: list[str], advance: Advance) -> Iterator[bytes]:
    """Whole lines; a packed file that ends early or is damaged is a warning where something could be read of it."""
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
        warnings.append(str(error))
    if block := splitter.finish():
        yield block.data
    if splitter.zero_bytes:
        warnings.append(f"{splitter.zero_bytes:,} NUL bytes, as a crash leaves them, were skipped")


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
            raise SourceError(f"{name} is not of this version: line {number}: {_wording(error)}; {_HINT}") from None
        except _DAMAGE:
            bad += 1
    return records, bad


def _wording(error: msgspec.ValidationError) -> str:
    """What is wrong with a record, in lower case and without the marks of the library."""
    text = str(error).replace("`", "'").replace("$.", "")
    return text[:1].lower() + text[1:]
