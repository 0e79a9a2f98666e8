"""Syslog messages as they come from the network, and how each becomes one line as a syslog daemon writes it to a file.

Messages come as datagrams (RFC 5426), or in a stream by octet counting or line feeds (RFC 6587 3.4.1 and 3.4.2).
"""

import re
from collections.abc import Callable

Message = tuple[bytes, int]
"""The head of a message, and how many bytes after it were left out."""

MOST_COUNTED = 1 << 24  # bytes that an octet count may announce
SPARE = 8  # bytes kept of a message above those of a line: its PRI is no part of the line
_COUNT = re.compile(rb"([1-9]\d{0,9}) (?=<)")
_MAYBE_COUNT = re.compile(rb"[1-9]\d{0,9} ?")
_PRI = re.compile(rb"<(?:\d\d?|1[0-8]\d|19[01])>")
_VERSION = re.compile(rb"[1-9]\d{0,2} (?:- |\d{4}-\d\d-\d\dT)")  # RFC 5424 6.2
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_NO_HOST = re.compile(
    rb"((?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\S+) )[^\s:\[]+(?:\[[^\]\s]*\])?:(?: |$)"
)


def one_line(message: Message, host: bytes, most: int) -> Message:
    """A message as one line of at most `most` bytes, and how many bytes it lacks; empty where there is nothing in it.

    As rsyslog does: the PRI of RFC 3164 is dropped, `host` stands in where such a message names none, and a control
    character becomes `#` and its number in octal, such as `#012` for a line feed. RFC 5424 stays as it is.
    """
    text, left_out = message
    text = _without_pri(text.rstrip(b"\r\n\0"), host)
    text = escape_controls(text)
    return text[:most], left_out + max(0, len(text) - most)


def escape_controls(text: bytes) -> bytes:
    """`text` with each control character as `#` and three octal digits."""
    return _CONTROL.sub(lambda found: b"#%03o" % found[0][0], text)


def _without_pri(text: bytes, host: bytes) -> bytes:
    pri = _PRI.match(text)
    if pri and _VERSION.match(text, pri.end()):
        return text
    text = text[pri.end() :] if pri else text
    time = _NO_HOST.match(text)
    return text[: time.end(1)] + host + b" " + text[time.end(1) :] if time else text


class Framer:
    """Cuts the bytes of one connection into messages, whose framing is recognised for each anew.

    Octet counting is taken for what begins with a number, a space and `<`, with which every syslog message begins; all
    else ends at its line feed, so that raw lines, which may begin with a number, can be sent too. `most`: bytes that
    are kept of a message. `complain` is told of a count that cannot be meant.
    """

    def __init__(self, most: int, complain: Callable[[str], None]) -> None:
        self._most, self._complain = most, complain
        self._start = b""  # of a message whose framing is not known yet
        self._head, self._left_out = bytearray(), 0
        self._missing = 0  # bytes of a counted message
        self._in_line = False

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that `chunk` completes."""
        data, at = self._start + chunk, 0
        messages: list[Message] = []
        self._start = b""
        while at < len(data):
            if not self._missing and not self._in_line:
                at = self._begin(data, at)
            elif self._missing:
                at = self._keep_counted(data, at, messages)
            else:
                at = self._keep_line(data, at, messages)
        return messages

    def finish(self) -> Message | None:
        """What there is of the last message where its end has not come, or None."""
        self._keep(self._start)
        self._start, self._missing, self._in_line = b"", 0, False
        return self._complete() if self._head else None

    @property
    def partial(self) -> int:
        """Bytes of the incomplete last message received so far."""
        return len(self._start) + len(self._head) + self._left_out

    def _begin(self, data: bytes, at: int) -> int:
        counted = _COUNT.match(data, at)
        if counted and int(counted[1]) <= MOST_COUNTED:
            self._missing = int(counted[1])
            return counted.end()
        if counted:
            self._complain(
                f"a message of {int(counted[1])} bytes is announced, above {MOST_COUNTED}; it is read up to its line "
                "feed instead"
            )
        elif _MAYBE_COUNT.fullmatch(data, at):
            self._start = data[at:]
            return len(data)
        self._in_line = True
        return at

    def _keep_counted(self, data: bytes, at: int, messages: list[Message]) -> int:
        piece = data[at : at + self._missing]
        self._keep(piece)
        self._missing -= len(piece)
        if not self._missing:
            messages.append(self._complete())
        return at + len(piece)

    def _keep_line(self, data: bytes, at: int, messages: list[Message]) -> int:
        end = data.find(b"\n", at)
        self._keep(data[at:] if end < 0 else data[at:end])
        if end < 0:
            return len(data)
        messages.append(self._complete())
        self._in_line = False
        return end + 1

    def _keep(self, piece: bytes) -> None:
        kept = piece[: self._most - len(self._head)]
        self._head += kept
        self._left_out += len(piece) - len(kept)

    def _complete(self) -> Message:
        message = bytes(self._head), self._left_out
        self._head, self._left_out = bytearray(), 0
        return message
