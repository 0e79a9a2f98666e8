"""Entries of the journal as `journalctl -o json` shows them, and the line that each becomes."""

from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from agent.sources.network.framing import escape_controls

Entry = dict[str, Any]
CURSOR = "__CURSOR"
_TIMES = ("_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP")  # microseconds; the sender's where it is known
_CONTENT = ("MESSAGE", *_TIMES)
FIELDS = (
    *("_HOSTNAME", "_TRANSPORT", "_PID", "_UID", "_GID", "_COMM", "_EXE", "_CMDLINE", "_BOOT_ID", "_MACHINE_ID"),
    *("_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT", "_SYSTEMD_SLICE", "UNIT", "MESSAGE_ID", "ERRNO"),
    *("PRIORITY", "SYSLOG_IDENTIFIER", "SYSLOG_PID", "SYSLOG_FACILITY", "CODE_FILE", "CODE_LINE", "CODE_FUNC"),
)
"""The fields that are kept beside a line (systemd.journal-fields(7))."""
OUTPUT_FIELDS = ",".join((*_CONTENT, *FIELDS))
_LONGEST = 1024  # characters of a field that is kept
_LEFT_OUT = b"(message left out by journalctl)"


def decode_entry(raw: bytes) -> Entry:
    """An entry from its JSON; a ValueError says why it is none."""
    try:
        entry = msgspec.json.decode(raw, type=Entry)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(entry.get(CURSOR), str):
        raise ValueError("it has no cursor")
    return entry


def line_of(entry: Entry) -> bytes:
    """`TIME host identifier[pid]: message` with a line feed, the time as of RFC 3339 with microseconds.

    As journalctl's short form, but one line: control characters become `#` and three octal digits.
    """
    name = _word(entry, "SYSLOG_IDENTIFIER") or _word(entry, "_COMM") or b"unknown"
    pid = _word(entry, "_PID") or _word(entry, "SYSLOG_PID")
    message = _LEFT_OUT if is_left_out(entry) else _bytes(entry.get("MESSAGE", "")).rstrip(b"\n")
    tag = b"%b[%b]" % (name, pid) if pid else name
    host = _word(entry, "_HOSTNAME") or b"-"
    return b"%b %b %b: %b\n" % (_time(entry), host, tag, escape_controls(message))


def is_left_out(entry: Entry) -> bool:
    """Whether journalctl shows that there is a message but not what it says."""
    return "MESSAGE" in entry and entry["MESSAGE"] is None


def fields_of(entry: Entry) -> dict[str, str]:
    """The kept fields of an entry and its cursor, as text of at most 1024 characters each."""
    present = (name for name in (CURSOR, *FIELDS) if entry.get(name) is not None)
    return {name: _bytes(entry[name]).decode("utf-8", "backslashreplace")[:_LONGEST] for name in present}


def _bytes(value: object) -> bytes:
    """A field's value: text, the numbers of its bytes where it is none, or a list of several values."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace")
    if not isinstance(value, list):
        return b"" if value is None else str(value).encode()
    if value and all(isinstance(item, int) and 0 <= item < 256 for item in value):
        return bytes(value)
    return b"\n".join(_bytes(item) for item in value)


def _word(entry: Entry, name: str) -> bytes:
    """A field as one word of a header; empty where there is none."""
    return b"_".join(_bytes(entry.get(name)).replace(b"\0", b" ").split())


def _time(entry: Entry) -> bytes:
    for name in _TIMES:
        try:
            second, fraction = divmod(int(entry[name]), 1_000_000)
            clock, zone = _clock(second)
        except (KeyError, TypeError, ValueError, OverflowError, OSError):  # of a damaged journal
            continue
        return b"%b.%06d%b" % (clock, fraction, zone)
    return b"1970-01-01T00:00:00.000000+00:00"


@lru_cache(maxsize=64)
def _clock(second: int) -> tuple[bytes, bytes]:
    """The local time of a second, and the offset of its zone."""
    text = datetime.fromtimestamp(second).astimezone().isoformat().encode()
    return text[:19], text[19:]
