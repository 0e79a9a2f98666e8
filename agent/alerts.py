"""Alerts: what is told of an odd line, how it reads, and how repeats are folded."""

import hashlib
from typing import Any

import msgspec

MAX_MESSAGE = 2048  # bytes
SYSLOG_SEVERITY = {"critical": 2, "high": 3, "medium": 4, "low": 5}  # RFC 5424 table 2


class Alert(msgspec.Struct, forbid_unknown_fields=True):
    """One odd line, as it is kept in the outbox and sent as JSON.

    time, first_seen, last_seen: ISO 8601 with a zone: the line's own time, or when it was read where it has none.
    source, offset, line: the file, the byte and the line number (from 1). message, context: escaped and cut.
    p_value: the share of normal lines with such a score or a higher one. count: how often its text was odd in a row of repeats.
    """

    id: str
    time: str
    host: str
    source: str
    offset: int
    line: int
    stream: str
    program: str
    message: str
    score: float
    threshold: float
    p_value: float
    severity: str
    bundle: str
    reason: dict[str, Any]
    context: list[str]
    count: int
    first_seen: str
    last_seen: str


def alert_id(bundle: str, source: str, offset: int) -> str:
    """16 hexadecimal digits that name one line under one bundle, the same after a restart. `source` is a file's identity."""
    return hashlib.sha256(f"{bundle}\0{source}\0{offset}".encode()).hexdigest()[:16]


def escape(line: bytes | str, most: int = MAX_MESSAGE) -> str:
    r"""A line as printable text of at most `most` bytes: bytes that are no UTF-8 and characters that are not printable as \x, \u or \U.

    So no line feed, terminal sequence or bidirectional mark of a log reaches a terminal or splits a record.
    """
    text = line.decode("utf-8", "backslashreplace") if isinstance(line, bytes) else line
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) <= most:
        return text
    return encoded[: most - 3].decode("utf-8", "ignore") + "..."
