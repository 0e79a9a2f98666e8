"""Delimited records (CSV): which columns a row has, which of them are its text, and how rows are read.

A row is one line: a quoted value holds delimiters and quotes, but no line feed.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from operator import itemgetter

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.text.lines import Block

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _END = datetime.min.replace(tzinfo=UTC).timestamp(), datetime.max.replace(tzinfo=UTC).timestamp()


class Split(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A field's parts: cut at `at` into at most as many as `into` names; the last keeps the rest, missing ones are
    empty.
    """

    at: str
    into: list[str]


class Records(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True, dict=True):
    """The columns of delimited records, and which of them are the text of a line; a ValueError where they do not fit.

    fields  the columns that are the text, in this order; null: all but the time's
    time    the column of the time: a number is seconds since 1970 UTC, anything else ISO 8601
    split   parts of a field, by its name
    """

    columns: list[str]
    fields: list[str] | None = None
    time: str | None = None
    delimiter: str = ","
    split: dict[str, Split] = {}

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("columns: none is named; list those of a row, in their order")
        _refuse_double("columns", self.columns)
        mark = self.delimiter
        if len(mark) != 1 or not (mark.isprintable() or mark == "\t") or mark == '"':
            raise ValueError(f"delimiter: {mark!r} is no tab and no single printable character other than a quote")
        _refuse_strangers("fields", self.fields or [], self.columns)
        _refuse_strangers("time", [] if self.time is None else [self.time], self.columns)
        if not self.selected:
            raise ValueError(f"fields: none is named; choose some of {', '.join(self.columns)}")
        _refuse_strangers("split", self.split, self.selected)
        for name, split in self.split.items():
            if not split.at or not split.into:
                raise ValueError(f"split.{name}: {'into' if split.at else 'at'} is empty; it needs both")
        _refuse_double("fields and parts", self.parts())

    @cached_property
    def selected(self) -> list[str]:
        """The columns that are the text of a line, in order."""
        return [name for name in self.columns if name != self.time] if self.fields is None else self.fields

    @cached_property
    def _splits(self) -> list[Split | None]:
        return [self.split.get(name) for name in self.selected]

    def parts(self) -> list[str]:
        """The names of the parts of a row's text, in order: a split field gives its own parts' names."""
        splits = zip(self.selected, self._splits, strict=True)
        return [part for name, split in splits for part in ([name] if split is None else split.into)]

    def row(self, text: str) -> list[str]:
        """The values of `parts()` in a canonical text: always as many, missing ones empty, ones too many left out."""
        values, most = split_row(text, self.delimiter), len(self.selected)
        if len(values) != most:
            values = (values + [""] * most)[:most]
        if not self.split:
            return values
        parts: list[str] = []
        for value, split in zip(values, self._splits, strict=True):
            if split is None:
                parts.append(value)
            else:
                found = value.split(split.at, len(split.into) - 1)
                parts += found + [""] * (len(split.into) - len(found))
        return parts

    def __str__(self) -> str:
        count = f"{len(self.columns)} column{'s' if len(self.columns) > 1 else ''}"
        return f"csv: {count}, text {' '.join(self.selected)}" + (f", time {self.time}" if self.time else "")


def _refuse_double(what: str, names: list[str]) -> None:
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ValueError(f"{what}: {double!r} is listed twice; names must differ")


def _refuse_strangers(key: str, names: Sequence[str] | dict[str, Split], allowed: list[str]) -> None:
    strange = next((name for name in names if name not in allowed), None)
    if strange is not None:
        raise ValueError(f"{key}: {strange!r} is none of its columns; choose from {', '.join(allowed)}")


@cache
def _values(delimiter: str) -> re.Pattern[str]:
    """A delimiter and the value after it: the inside of quotes, and what follows them or stands without."""
    mark = re.escape(delimiter)
    return re.compile(rf'{mark}(?:"([^"]*+(?:""[^"]*+)*+)(?:"|\Z))?([^{mark}]*+)')


def split_row(text: str, delimiter: str) -> list[str]:
    """The values of a row as the csv module reads them; a quote that nothing ends holds until the end of the row."""
    if '"' not in text:
        return text.split(delimiter)
    found = _values(delimiter).findall(delimiter + text)
    return [quoted.replace('""', '"') + rest for quoted, rest in found]


def _quote(value: str, delimiter: str) -> str:
    return '"' + value.replace('"', '""') + '"' if '"' in value or delimiter in value else value


class RecordReader:
    """Reads rows, each line on its own. `short` and `long` count the rows seen by `keys` that have fewer or more fields
    than columns.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self.short = self.long = 0
        self._width = len(records.columns)
        self._delimiter = records.delimiter.encode()
        self._padding = [b" " + self._delimiter, self._delimiter + b" ", b" \n", b" \r\n", b"\n "]
        self._take = _taker([records.columns.index(name) for name in records.selected])
        self._time = None if records.time is None else records.columns.index(records.time)

    def keys(self, block: Block) -> list[bytes]:
        """One canonical row a line: the fields of the text without the spaces around them, joined by the delimiter,
        quoted where they hold a delimiter or a quote. Missing fields are empty.
        """
        lines = _lines(block)
        rows = self._rows(lines)
        self._fit(rows, lines)
        values = map(self._take, rows)
        if block.data.startswith(b" ") or any(mark in block.data for mark in self._padding):
            values = ([value.strip(b" ") for value in row] for row in values)
        return list(map(self._delimiter.join, values))

    def _rows(self, lines: list[bytes]) -> list[list[bytes]]:
        mark, most = self._delimiter, self._width
        return [self._quoted(line) if b'"' in line else line.split(mark, most) for line in lines]

    def _quoted(self, line: bytes) -> list[bytes]:
        """The values of a row with quotes, without the spaces around them, quoted again where needed."""
        mark, values = self.records.delimiter, [value.strip(" ") for value in self._parse(line)]
        joined = mark.join(values)
        if '"' not in joined and joined.count(mark) < len(values):
            return joined.encode("utf-8", "surrogateescape").split(self._delimiter)
        return [_quote(value, mark).encode("utf-8", "surrogateescape") for value in values]

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
        mark, values = self.records.delimiter, split_row(text, self.records.delimiter)
        shown = ("".join(c if c.isprintable() else " " for c in value).strip(" ") for value in values)
        return mark.join(_quote(value, mark) for value in shown)

    def shorten(self, text: str, most: int) -> str:
        """A canonical text of at most about `most` characters, in which every field has its share."""
        mark, values = self.records.delimiter, split_row(text, self.records.delimiter)
        share = max(1, most // len(values) - 1)
        return mark.join(_quote(value[:share], mark) for value in values)

    def column(self, block: Block, name: str) -> list[bytes]:
        """One value a line, of this column, without the spaces around it and without quotes; empty where it lacks."""
        place = self.records.columns.index(name)
        return [self._value(line, place) for line in _lines(block)]

    def _value(self, line: bytes, place: int) -> bytes:
        if b'"' in line:
            row = [value.encode("utf-8", "surrogateescape") for value in self._parse(line)]
        else:
            row = line.split(self._delimiter, place + 1)
        return row[place].strip(b" ") if len(row) > place else b""

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
        """float32 [lines, 2]: the whole second of the day and the day of the month on each row's own clock, UTC's for
        numbers; NaN where none.
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
        seconds[~((seconds >= _FIRST) & (seconds < _END))] = np.nan
        return seconds

    def report(self) -> list[str]:
        """What there is to say of rows of a wrong width since the last call; the counters start again."""
        columns = f"the {self._width} declared column{'s' if self._width > 1 else ''}"
        said = [
            f"{count} {'rows have' if count > 1 else 'row has'} {what}"
            for count, what in (
                (self.long, f"more fields than {columns}; those were left out"),
                (self.short, f"fewer fields than {columns}; the missing ones were taken as empty"),
            )
            if count
        ]
        self.short = self.long = 0
        return said


def _lines(block: Block) -> list[bytes]:
    """The lines of a block without their line ends."""
    data = block.data.replace(b"\r\n", b"\n") if b"\r\n" in block.data else block.data
    lines = data.split(b"\n")
    lines.pop()
    return lines


def _taker(places: list[int]) -> Callable[[list[bytes]], Sequence[bytes]]:
    """A function from a row to its values at these places."""
    if len(places) == 1:
        return lambda row: (row[places[0]],)
    return itemgetter(*places)


def _number(cell: bytes, since: Callable[[datetime], float]) -> float:
    try:
        return float(cell)
    except ValueError:
        time = _iso(cell)
        return np.nan if time is None else since(time)


def _iso(cell: bytes) -> datetime | None:
    """The time in ISO 8601; None where it is none, or lies before or after the years 1 to 9999 of UTC."""
    try:
        time = datetime.fromisoformat(cell.decode("utf-8", "replace").strip())
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return time
