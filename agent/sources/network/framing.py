"""Syslog messages as they come from the network, and how each becomes one line as a syslog daemon writes it to a file.

Messages come as datagrams (RFC 5426), or in a stream by octet counting or line feeds (RFC 6587 3.4.1 and 3.4.2).
"""

import re
from collections.abc import Callable

from agent.sources.network.frame_search import FrameSearch

Message = tuple[bytes, int]
"""The head of a message, and how many bytes after it were left out."""

MOST_COUNTED = 1 << 24  # bytes that an octet count may announce
SPARE = 8  # bytes kept of a message above those of a line: its PRI is no part of the line
_NUMBER = re.compile(rb"(\d{1,20}) (?=<(?:\d\d?|1[0-8]\d|19[01])>)")
_MAYBE_NUMBER = re.compile(rb"\d{1,20}(?: (?:<\d{0,3})?)?")
_END = re.compile(rb"[\n\0]")
_ENDS, _PRI_START = b"\n\r\0", ord("<")
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

    Octet counting is taken for what begins with a number, a space and a whole PRI, as every syslog message does; all
    else ends at its line feed or NUL, so that raw lines, which may begin with a number, can be sent too. A count is
    wrong where two messages that follow each other by their counts stand in its message, or where neither a count nor
    a `<` follows it. Then the framing is found again at the second of two such messages, or at a line's end.
    `most`: bytes that are kept of a message. `complain` is told of counts that are wrong.
    """

    def __init__(self, most: int, complain: Callable[[str], None]) -> None:
        self._most, self._complain = most, complain
        self._data, self._at = b"", 0  # what came and is not taken yet begins at `at`
        self._head, self._left_out = bytearray(), 0
        self._missing = 0  # bytes of a counted message
        self._search: FrameSearch | None = None  # none before the first count
        self._origin = 0  # where in what the search was fed the message begins
        self._after_count = self._is_lost = False  # right behind a counted message; since a wrong count
        self._step: Callable[[list[Message]], bool] = self._begin

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages that `chunk` completes."""
        self._data, self._at = self._data[self._at :] + chunk, 0
        messages: list[Message] = []
        while self._at < len(self._data) and self._step(messages):
            pass
        return messages

    def finish(self) -> Message | None:
        """What there is of the last message where its end has not come, or None."""
        self._take(len(self._data))
        self._data, self._at, self._step = b"", 0, self._begin
        return self._complete() if self._head else None

    @property
    def partial(self) -> int:
        """Bytes of the incomplete last message received so far."""
        return len(self._data) - self._at + len(self._head) + self._left_out

    @property
    def held(self) -> int:
        """Bytes of it that are kept."""
        return len(self._data) - self._at + len(self._head)

    # Each step takes what it can of the data; False where more has to come first.

    def _begin(self, messages: list[Message]) -> bool:
        if self._after_count and self._search and self._data[self._at] in _ENDS:
            self._search.feed(self._data[self._at : self._at + 1])
            self._at += 1
            return True
        number = _NUMBER.match(self._data, self._at)
        if number is None and _MAYBE_NUMBER.fullmatch(self._data, self._at):
            return False
        if number and 0 < int(number[1]) <= MOST_COUNTED:
            self._at = number.end()
            skipped = self._search.skipped(number[1]) if self._search else 0
            before = self._search.last_digits + number[1][:skipped] if self._search else b""
            self._count(number[1][skipped:], before)
            return True
        if number:
            self._lose(f"a message of {int(number[1])} bytes is announced, which cannot be")
        elif self._data[self._at] == _PRI_START:
            self._is_lost = False
        elif self._after_count:
            self._lose("a message is longer or shorter than its count")
        self._origin, self._after_count = self._search.size if self._search else 0, False
        self._step = self._keep_line
        return True

    def _lose(self, why: str) -> None:
        """Goes on without a count, since one was wrong."""
        if not self._is_lost:
            self._complain(f"{why}; what follows is read up to a line feed or to counts that are right")
        self._is_lost, self._search = True, self._search or FrameSearch(b"")

    def _count(self, digits: bytes, before: bytes = b"", read: bytes = b"") -> None:
        """Begins a message. before: the digits before its count. read: what of it was taken already."""
        self._search, self._origin = FrameSearch(digits, before), 0
        self._search.feed(read)
        self._head, self._left_out, self._missing = bytearray(read), 0, int(digits) - len(read)
        self._step, self._is_lost = self._keep_counted, False

    def _keep_counted(self, messages: list[Message]) -> bool:
        piece = self._data[self._at : self._at + self._missing]
        if not self._give_back(piece, messages):
            self._take(self._at + len(piece))
            self._missing -= len(piece)
        if not self._missing:
            messages.append(self._complete())
            self._after_count, self._step = True, self._begin
        return True

    def _keep_line(self, messages: list[Message]) -> bool:
        end = _END.search(self._data, self._at)
        if self._give_back(self._data[self._at : end.end() if end else None], messages):
            return True
        self._take(end.start() if end else len(self._data))
        if end:
            self._at, self._step = end.end(), self._begin
            messages.append(self._complete())
        return True

    def _give_back(self, piece: bytes, messages: list[Message]) -> bool:
        """Looks for messages in what has no count or a wrong one: they are handed out but for the last one, which is
        gone on with. Whether there are any.
        """
        size = self._search.size if self._search else 0
        swallowed = self._search.feed(piece) if self._search else None
        if swallowed is None:
            return False
        if not self._is_lost:
            self._complain("a message is shorter or longer than its count; those that follow are read by their own")
        self._take(self._at + swallowed.end - size)
        parts = [(self._origin, swallowed.second)]
        if swallowed.first >= self._origin:
            parts = [(self._origin, swallowed.first), (swallowed.text, swallowed.second)]
        messages += [self._part(start, end) for start, end in parts if start < end]
        self._count(b"%d" % swallowed.announced, read=swallowed.pri)
        return True

    def _part(self, start: int, end: int) -> Message:
        """What was kept of the message between two places."""
        kept = bytes(self._head[start - self._origin : end - self._origin])
        return kept, end - start - len(kept)

    def _take(self, end: int) -> None:
        """Takes the data up to an index."""
        kept = self._data[self._at : min(end, self._at + self._most - len(self._head))]
        self._head += kept
        self._left_out += end - self._at - len(kept)
        self._at = end

    def _complete(self) -> Message:
        message = bytes(self._head), self._left_out
        self._head, self._left_out = bytearray(), 0
        return message
