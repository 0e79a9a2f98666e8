"""The scores of a walk as gzip-compressed CSV, and the columns that stand beside them."""

import csv
import gzip
import io
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError
from agent.scorefile.writer import score_json, writing
from agent.text.headers import Format, Header, parse_header
from agent.text.lines import Block
from agent.text.record_reader import RecordReader
from agent.text.records import Records

_OF_HEADERS = ("time", "host", "program", "pid")
_LEVEL = 6  # of the compression


def choose_columns(header: Format, names: str | None) -> list[str]:
    """The columns that --columns names, by default the time of records; a ConfigError where one is unknown."""
    records = header if isinstance(header, Records) else None
    if names is None:
        return [records.time] if records and records.time else []
    known = records.columns if records else _OF_HEADERS
    chosen = [name.strip() for name in names.split(",")] if names.strip() else []
    for name in chosen:
        if name not in known:
            raise ConfigError(f"--columns: {name!r} is no column of these logs; choose from {', '.join(known)}")
    return chosen


class LineColumns:
    """What lines say of themselves: their times, where these are asked for, and the values of columns."""

    def __init__(self, header: Format, records: RecordReader | None, columns: Sequence[str], timed: bool) -> None:
        self._header, self._records, self._columns, self._timed = header, records, columns, timed

    def read(self, block: Block, reference: datetime) -> tuple[NDArray[np.float64] | None, list[list[str]]]:
        """float64 [lines], seconds since 1970, NaN for none, or None; and the values of the columns of each line.

        `reference` is the newest time possible, for times without a year.
        """
        if self._records is not None:
            times = self._records.times(block) if self._timed else None
            return times, self._values(self._records, block)
        if not self._timed and not self._columns:
            return None, [[] for _ in range(len(block))]
        headers = [parse_header(line, self._header, reference) for line in block.lines()]
        times = np.array([np.nan if one.time is None else one.time.timestamp() for one in headers])
        return times, [[_field(one, name) for name in self._columns] for one in headers]

    def _values(self, records: RecordReader, block: Block) -> list[list[str]]:
        if not self._columns:
            return [[] for _ in range(len(block))]
        rows = map(records.fields, block.lines())
        return [[row[name] for name in self._columns] for row in rows]


def _field(header: Header, name: str) -> str:
    if name == "time":
        return "" if header.time is None else header.time.isoformat()
    value: str = getattr(header, name)
    return value


class ScoreFile:
    """source, line, window, the columns, score: a gzip member for each window, which is on the disk when it has ended.

    `size` is that of the whole members in bytes; whatever follows them is removed on opening and on leaving. A
    SinkError says that the file cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str], size: int) -> None:
        self._name, self._columns, self.size = str(path), columns, size
        with writing(self._name):
            self._file = path.open("r+b" if path.exists() else "w+b")
            if self._file.seek(0, os.SEEK_END) < size:
                self._file.close()
                raise ConfigError(f"{path} is shorter than the walk has left it; give --overwrite to start anew")
            self._file.truncate(size)
            self._file.seek(size)
        self._text: io.TextIOWrapper | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._text is not None:
            with suppress(OSError):
                self._text.close()
        with writing(self._name):
            self._file.truncate(self.size)
            self._file.close()

    def begin(self) -> None:
        """Begins a window's member; the first one has the header line."""
        compressed = gzip.GzipFile("", "wb", _LEVEL, self._file, 0)
        self._text = io.TextIOWrapper(compressed, "utf-8", "backslashreplace", newline="")
        self._writer = csv.writer(self._text, lineterminator="\n")
        if not self.size:
            self._writer.writerow(["source", "line", "window", *self._columns, "score"])

    def write(self, block: Block, window: str, values: Iterable[list[str]], scores: NDArray[np.float32]) -> None:
        """Writes the lines of a block with their scores."""
        rows = zip(values, scores.tolist(), strict=True)
        with writing(self._name):
            self._writer.writerows(
                [block.source, block.first + index, window, *row, score_json(score)]
                for index, (row, score) in enumerate(rows)
            )

    def end(self) -> None:
        """Ends the window's member; then it is on the disk."""
        if self._text is None:
            return
        with writing(self._name):
            self._text.close()
            self._text = None
            self._file.flush()
            os.fsync(self._file.fileno())
            self.size = self._file.tell()
