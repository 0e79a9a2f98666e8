"""What is declared of delimited records (CSV): which columns a row has, and which of them are its text."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache, cached_property

import msgspec

MOST_COLUMNS = 4096  # and parts of columns
_SHOWN = 100  # of them in a message


class Split(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A field's parts, cut at `at` into at most as many as `into` names.

    The last keeps the rest, missing ones are empty.
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
        delimiter = self.delimiter
        if len(delimiter) != 1 or not (delimiter.isprintable() or delimiter == "\t") or delimiter == '"':
            raise ValueError(f"delimiter: {delimiter!r} is no tab and no single printable character other than a quote")
        _refuse_others("fields", self.fields or [], self.columns)
        _refuse_others("time", [] if self.time is None else [self.time], self.columns)
        if not self.selected:
            raise ValueError(f"fields: none is named; choose some of {', '.join(self.columns)}")
        _refuse_others("split", self.split, self.selected)
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
    if len(names) > MOST_COLUMNS:
        raise ValueError(f"{what}: {len(names)} are too many; the most are {MOST_COLUMNS}")
    counts = Counter(names)
    double = next((name for name in names if counts[name] > 1), None)
    if double is not None:
        raise ValueError(f"{what}: {double!r} is listed twice; names must differ")


def _refuse_others(key: str, names: Sequence[str] | dict[str, Split], allowed: list[str]) -> None:
    known = set(allowed)
    other = next((name for name in names if name not in known), None)
    if other is not None:
        raise ValueError(f"{key}: {other!r} is none of its columns; choose from {', '.join(allowed[:_SHOWN])}")


@cache
def _values(delimiter: str) -> re.Pattern[str]:
    """A delimiter and the value after it: the inside of quotes, and what follows them or stands without."""
    delimiter = re.escape(delimiter)
    return re.compile(rf'{delimiter}(?:"([^"]*+(?:""[^"]*+)*+)(?:"|\Z))?([^{delimiter}]*+)')


def split_row(text: str, delimiter: str) -> list[str]:
    """The values of a row as the csv module reads them; a quote that nothing ends holds until the end of the row."""
    if '"' not in text:
        return text.split(delimiter)
    found = _values(delimiter).findall(delimiter + text)
    return [quoted.replace('""', '"') + rest for quoted, rest in found]


def quote(value: str, delimiter: str) -> str:
    """A value as it stands in a row: in quotes where it holds a delimiter or a quote."""
    return '"' + value.replace('"', '""') + '"' if '"' in value or delimiter in value else value
