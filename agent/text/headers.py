"""Header formats of log lines: what each looks like, and the time, host, program and message that it holds.

The patterns match raw lines and folded ones (canonical.fold) alike. With the format `auto` each line is matched on its
own, so a file that changes its format, as at an upgrade of the syslog daemon, stays readable.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError
from agent.text.lines import Block
from agent.text.record_reader import RecordReader
from agent.text.records import Records
from agent.text.times import iso_time

_TAG = r"(?:(?P<program>[^\s:\[]{1,128})(?:\[(?P<pid>[^\]\s]*)\])?: ?)?"
_ISO = r"(?P<time>\d+-\d+-\d+[T ]\d+:\d+:\d+(?:[.,]\d+)?(?:Z| ?[+-]\d+(?::\d+)?)?)"

FORMATS: dict[str, re.Pattern[str]] = {
    # RFC 3164 section 4.1 as syslog daemons write it to files: no PRI
    "rfc3164": re.compile(
        rf"(?P<time>[A-Z][a-z]{{2}} +\d+ \d+:\d+:\d+) (?P<host>\S+) {_TAG}(?P<message>.*)", re.DOTALL
    ),
    # the same with an ISO 8601 time stamp: rsyslog's RSYSLOG_FileFormat
    "iso8601": re.compile(rf"{_ISO} (?P<host>\S+) {_TAG}(?P<message>.*)", re.DOTALL),
    # RFC 5424 section 6
    "rfc5424": re.compile(
        rf"<\d+>\d+ (?:-|{_ISO}) (?P<host>\S+) (?P<program>\S+) (?P<pid>\S+) \S+ "
        r'(?:-|(?:\[[^\s\]"]+(?: [^\s=\]"]+="(?:[^"\\]|\\.)*")*\])+) ?(?P<message>.*)',
        re.DOTALL,
    ),
    # Hadoop: yymmdd HHMMSS thread LEVEL class: message
    "hdfs": re.compile(r"(?P<time>\d+ \d+) \d+ (?P<level>[A-Z]+) (?P<program>[^\s:]+): (?P<message>.*)", re.DOTALL),
}
# what has to match, as what follows always does
_HEADS = {
    name: re.compile(pattern.pattern.removesuffix("(?P<message>.*)").removesuffix(_TAG), re.DOTALL)
    for name, pattern in FORMATS.items()
}
CHOICES = ("auto", *FORMATS, "none")
Format = str | Records
"""How lines begin: one of CHOICES, or what is declared of delimited records."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Header:
    """What a line says of itself; an absent field is empty, an absent time None. Times are aware."""

    time: datetime | None
    host: str
    program: str
    pid: str
    message: str


def check_format(header: Format) -> Format:
    """`header` where it is a header format, else a ConfigError."""
    if not isinstance(header, Records) and header not in CHOICES:
        raise ConfigError(f"unknown header format {header[:60]!r}; choose one of {', '.join(CHOICES)}")
    return header


def _patterns(header: Format) -> list[tuple[str, re.Pattern[str]]]:
    check_format(header)
    return [(name, pattern) for name, pattern in FORMATS.items() if header in ("auto", name)]


def _match(text: str, patterns: list[tuple[str, re.Pattern[str]]]) -> tuple[str, dict[str, str | None]] | None:
    for name, pattern in patterns:
        found = pattern.match(text)
        if found:
            return name, found.groupdict()
    return None


def strip_header(header: Format) -> Callable[[str], str]:
    """A function from a line to `LEVEL program: message`; records stay as they are.

    What differs from host to host and from line to line is left out.
    """
    patterns = _patterns(header)

    def strip(text: str) -> str:
        found = _match(text, patterns)
        if not found:
            return text
        fields = found[1]
        level, program = fields.get("level"), fields.get("program")
        return (f"{level} " if level else "") + (f"{program}: " if program else "") + (fields["message"] or "")

    return strip


def parse_header(line: bytes, header: Format, reference: datetime) -> Header:
    """The fields of one raw line; of a record its time, and the whole line as the message.

    `reference` (aware) is the newest time possible: it gives the year where a line names none.
    """
    text = line.decode("utf-8", "backslashreplace")
    if isinstance(header, Records):
        return Header(RecordReader(header).time(line), "", "", "", text)
    found = _match(text, _patterns(header))
    if not found:
        return Header(None, "", "", "", text)
    name, fields = found
    time = _parse_time(name, fields.get("time") or "", reference)
    return Header(
        time, fields.get("host") or "", fields.get("program") or "", fields.get("pid") or "", fields["message"] or ""
    )


def line_times(block: Block, header: Format, reference: datetime) -> list[str | None]:
    """The time that each line shows, as `parse_header` gives it, in ISO 8601 with a zone; None where it shows none.

    Each stamp is parsed once.
    """
    if not isinstance(header, Records):
        return _stamps(block, header, reference)
    if header.time is None:
        return [None] * len(block)
    reader = RecordReader(header)
    cells = reader.column(block, header.time)
    known = {cell: _iso(reader.time(line)) for cell, line in dict(zip(cells, block.lines(), strict=True)).items()}
    return [known[cell] for cell in cells]


def _stamps(block: Block, header: Format, reference: datetime) -> list[str | None]:
    heads = {name: _HEADS[name] for name, _ in _patterns(header)}
    known: dict[tuple[str, str], str | None] = {}
    stamps: list[str | None] = []
    for line in block.lines():
        text = line.decode("utf-8", "backslashreplace")
        name, found = next(((name, found) for name, one in heads.items() if (found := one.match(text))), ("", None))
        if found is None:
            stamps.append(None)
            continue
        if next(iter(heads)) != name:
            heads = {name: heads[name]} | heads  # no line is of two formats; the next is most likely of the same
        stamp = name, found["time"] or ""
        if stamp not in known:
            known[stamp] = _iso(_parse_time(*stamp, reference))
        stamps.append(known[stamp])
    return stamps


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _parse_time(name: str, text: str, reference: datetime) -> datetime | None:
    try:
        if name == "rfc3164":
            return _year_less(text, reference)
        if name == "hdfs":
            return datetime.strptime(text, "%y%m%d %H%M%S").replace(tzinfo=UTC)
        return iso_time(text.replace(",", ".").replace(" +", "+").replace(" -", "-"), reference.tzinfo)
    except (ValueError, OverflowError):
        return None


def _year_less(text: str, reference: datetime) -> datetime | None:
    """A time without a year: the latest one that is not more than a day after `reference`."""
    month, day, clock = text.split()
    hour, minute, second = map(int, clock.split(":"))
    latest = reference + timedelta(days=1)
    for year in range(latest.year, latest.year - 9, -1):
        try:
            time = datetime(
                year, _MONTHS.index(month) + 1, int(day), hour, minute, min(second, 59), tzinfo=reference.tzinfo
            )
        except ValueError:  # 29 February in a common year
            continue
        if time <= latest:
            return time
    return None


def detect(block: Block, header: Format = "auto", most: int = 1000) -> str:
    """The format of most of the first lines of a block: `csv` for records, `none` where none holds for half of them."""
    if isinstance(header, Records):
        return "csv"
    patterns = _patterns(header)
    lines = [block.line(index).decode("utf-8", "replace") for index in range(min(len(block), most))]
    names = Counter(found[0] for found in (_match(line, patterns) for line in lines) if found)
    name, count = names.most_common(1)[0] if names else ("none", 0)
    return name if 2 * count >= len(lines) else "none"


_HEAD = 40  # bytes of a line in which the clock lies
_CLOCK = np.array([36000, 3600, 600, 60, 10, 1])


def read_clocks(block: Block, records: RecordReader | None = None) -> NDArray[np.float32]:
    """float32 [lines, 2]: the second of the day and the day of the month on each line's own clock.

    Of `records` the column of their time counts; NaN where a line shows none in a known place.
    """
    if records is not None:
        return records.clocks(block)
    width = np.arange(_HEAD)
    index = block.starts[:, None] + width
    head = np.where(index < block.ends[:, None], block.array[np.minimum(index, len(block.data) - 1)], 0)
    clocks = np.full((len(block), 2), np.nan, np.float32)
    rows = np.arange(len(block))
    _read_clock(head, clocks, rows[(head[:, 3] == 32) & (head[:, 6] == 32)], 7, ":")
    dated = (head[:, 4] == 45) & (head[:, 7] == 45)
    _read_clock(head, clocks, rows[dated], 11, ":")
    _read_clock(head, clocks, rows[(head[:, 6] == 32) & (head[:, 13] == 32) & ~dated], 7, "")
    for width_of_pri in (1, 2, 3):
        named = (head[:, 0] == ord("<")) & (head[:, width_of_pri + 1] == ord(">"))
        _read_clock(head, clocks, rows[named], width_of_pri + 4 + 11, ":")
    return clocks


def _read_clock(
    head: NDArray[np.uint8], clocks: NDArray[np.float32], rows: NDArray[np.int64], at: int, separator: str
) -> None:
    """Reads HHMMSS at column `at` of these rows, its pairs apart by `separator`, and the day, which ends before it."""
    step = 2 + len(separator)
    columns = at + np.array([0, 1, step, step + 1, 2 * step, 2 * step + 1])
    digits = head[np.ix_(rows, columns)].astype(np.int64) - ord("0")
    good = ((digits >= 0) & (digits <= 9)).all(axis=1)
    if separator:
        good &= (head[rows, at + 2] == ord(separator)) & (head[rows, at + 5] == ord(separator))
    good &= (digits @ _CLOCK < 86401) & np.isnan(clocks[rows, 0])
    rows = rows[good]
    clocks[rows, 0] = np.minimum(digits[good] @ _CLOCK, 86399)
    day = head[np.ix_(rows, at + np.array([-3, -2]))]
    day = np.where(day == ord(" "), ord("0"), day).astype(np.int64) - ord("0")
    number = day @ np.array([10, 1])
    clocks[rows, 1] = np.where(((day >= 0) & (day <= 9)).all(axis=1) & (number >= 1) & (number <= 31), number, np.nan)
