"""Reads delimited records (CSV): the text, the columns and the time of each row.

A row is one line: a quoted value holds delimiters and quotes, but no line feed.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from agent.text.lines import Block
from agent.text.records import Records, quote, split_row
from agent.text.times import END, FIRST, iso_time

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RecordReader:
    """Reads rows, each line on its own.

    `short` and `long` count the rows seen by `keys` that have fewer or more fields than columns.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self.short = self.long = 0
        self._width = len(records.columns)
        self._delimiter = records.delimiter.encode()
        self._padding = [b" " + self._delimiter, self._delimiter + b" ", b" \n", b" \r\n", b"\n "]
        self._select = _selector([records.columns.index(name) for name in records.selected])
        self._time = None if records.time is None else records.columns.index(records.time)

    def keys(self, block: Block) -> list[bytes]:
        """One canonical row a line: the fields of the text, joined by the delimiter.

        The fields have no spaces around them and are quoted where they hold a delimiter or a quote; missing ones are
        empty.
        """
        lines = _lines(block)
        rows = self._rows(lines)
        self._fit(rows, lines)
        values: Iterable[Sequence[bytes]] = map(self._select, rows)
        if block.data.startswith(b" ") or any(delimiter in block.data for delimiter in self._padding):
            values = ([value.strip(b" ") for value in row] for row in values)
        return list(map(self._delimiter.join, values))

    def _rows(self, lines: list[bytes]) -> list[list[bytes]]:
        delimiter, most = self._delimiter, self._width
        return [self._quoted(line) if b'"' in line else line.split(delimiter, most) for line in lines]

    def _quoted(self, line: bytes) -> list[bytes]:
        """The values of a row with quotes, without the spaces around them, quoted again where needed."""
        delimiter, values = self.records.delimiter, [value.strip(" ") for value in self._parse(line)]
        joined = delimiter.join(values)
        if '"' not in joined and joined.count(delimiter) < len(values):
            return joined.encode("utf-8", "surrogateescape").split(self._delimiter)
        return [quote(value, delimiter).encode("utf-8", "surrogateescape") for value in values]

    def _parse(self, line: bytes) -> list[str]:
        return split_row(line.decode("utf-8", "surrogateescape"), self.records.delimiter)

    def _fit(self, rows: list[list[bytes]], lines: list[bytes]) -> None:
        """Counts rows of a wrong width, and fills short ones in place."""
        widths = np.fromiter(map(len, rows), np.int64, len(rows))
        short = np.flatnonzero(widths < self._width).tolist()
        for index in short:
            rows[index] += [b""] * (self._width - len(rows[index]))
        self.long += int((widths > self._width).sum())
        self.short += len(short) if self._width > 1 else lines.count(b"")

    def text(self, key: bytes) -> str:
        """The canonical text of a key: what is not printable in a field becomes a space."""
        text = key.decode("utf-8", "replace")
        if text.isprintable():
            return text
        delimiter, values = self.records.delimiter, split_row(text, self.records.delimiter)
        shown = ("".join(c if c.isprintable() else " " for c in value).strip(" ") for value in values)
        return delimiter.join(quote(value, delimiter) for value in shown)

    def shorten(self, text: str, most: int) -> str:
        """A canonical text of at most about `most` characters, in which every field has its share."""
        delimiter, values = self.records.delimiter, split_row(text, self.records.delimiter)
        share = max(1, most // len(values) - 1)
        return delimiter.join(quote(value[:share], delimiter) for value in values)

    def column(self, block: Block, name: str) -> list[bytes]:
        """One value a line, of this column, without the spaces around it and without quotes; empty where it lacks."""
        column = self.records.columns.index(name)
        return [self._value(line, column) for line in _lines(block)]

    def _value(self, line: bytes, column: int) -> bytes:
        if b'"' in line:
            row = [value.encode("utf-8", "surrogateescape") for value in self._parse(line)]
        else:
            row = line.split(self._delimiter, column + 1)
        return row[column].strip(b" ") if len(row) > column else b""

    def fields(self, line: bytes) -> dict[str, str]:
        """All columns of one raw row by name, without the spaces around them; missing ones are empty."""
        values = split_row(line.decode("utf-8", "replace"), self.records.delimiter)[: self._width]
        padded = values + [""] * (self._width - len(values))
        return {name: value.strip(" ") for name, value in zip(self.records.columns, padded, strict=True)}

    def time(self, line: bytes) -> datetime | None:
        """The time of one raw row, aware: UTC where it names no zone; None where it shows none."""
        if self._time is None:
            return None
        cell = self._cell(line)
        try:
            return _EPOCH + timedelta(seconds=float(cell))
        except OverflowError:
            return None
        except ValueError:
            return _iso(cell)

    def times(self, block: Block) -> NDArray[np.float64]:
        """float64 [lines]: seconds since 1970; NaN where a row shows no time."""
        return self._seconds(block, datetime.timestamp)

    def clocks(self, block: Block) -> NDArray[np.float32]:
        """float32 [lines, 2]: the whole second of the day and the day of the month on each row's own clock.

        It is UTC's for numbers; NaN where a row shows no time.
        """
        seconds = self._seconds(block, lambda time: time.replace(tzinfo=UTC, microsecond=0).timestamp())
        known = ~np.isnan(seconds)
        clocks = np.full((len(seconds), 2), np.nan, np.float32)
        clocks[known, 0] = np.floor(seconds[known] % 86400)
        dates = np.floor(seconds[known]).astype("datetime64[s]").astype("datetime64[D]")
        clocks[known, 1] = (dates - dates.astype("datetime64[M]")).astype(np.int64) + 1
        return clocks

    def _cell(self, line: bytes) -> bytes:
        """The value of the time's column."""
        assert self._time is not None
        return self._value(line, self._time)

    def _seconds(self, block: Block, since: Callable[[datetime], float]) -> NDArray[np.float64]:
        """float64 [lines]: numbers as they are, other times as `since` gives them, NaN for none and the impossible."""
        if self._time is None:
            return np.full(len(block), np.nan)
        cells = list(map(self._cell, _lines(block)))
        try:
            seconds = np.array(list(map(float, cells)))
        except ValueError:
            seconds = np.array([_number(cell, since) for cell in cells])
        seconds[~((seconds >= FIRST) & (seconds < END))] = np.nan
        return seconds

    def take_warnings(self) -> list[str]:
        """Warnings of rows of a wrong width since the last call; the counters start again."""
        columns = f"the {self._width} declared column{'s' if self._width > 1 else ''}"
        warnings = [
            f"{count} {'rows have' if count > 1 else 'row has'} {what}"
            for count, what in (
                (self.long, f"more fields than {columns}; those were left out"),
                (self.short, f"fewer fields than {columns}; the missing ones were taken as empty"),
            )
            if count
        ]
        self.short = self.long = 0
        return warnings


def _lines(block: Block) -> list[bytes]:
    """The lines of a block without their line ends."""
    data = block.data.replace(b"\r\n", b"\n") if b"\r\n" in block.data else block.data
    lines = data.split(b"\n")
    lines.pop()
    return lines


def _selector(columns: list[int]) -> Callable[[list[bytes]], Sequence[bytes]]:
    """A function from a row to its values at these columns."""
    if len(columns) == 1:
        return lambda row: (row[columns[0]],)
    return itemgetter(*columns)


def _number(cell: bytes, since: Callable[[datetime], float]) -> float:
    try:
        return float(cell)
    except ValueError:
        time = _iso(cell)
        return np.nan if time is None else since(time)


def _iso(cell: bytes) -> datetime | None:
    return iso_time(cell.decode("utf-8", "replace").strip())
