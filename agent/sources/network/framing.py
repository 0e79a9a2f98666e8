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
_END = re.compile(rb"[\n\0]")
_END_OR_COUNT = re.compile(rb"[\n\0]|(\d{1,10}) <(?:\d\d?|1[0-8]\d|19[01])>")
_COUNT_AT_END = re.compile(rb"[1-9]\d{0,9} \Z")
_LONGEST_COUNT = 16  # bytes, with the PRI behind it
_TAIL = 8192  # bytes of a counted message in which the next one is looked for
_ENDS, _PRI_START, _ZERO = b"\n\r\0", ord("<"), ord("0")
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
    else ends at its line feed or NUL, so that raw lines, which may begin with a number, can be sent too. Behind a
    counted message another count or a `<` has to stand. Where it does not, a count was wrong: then the messages are cut
    at each number before a whole PRI, and a count is believed again at whose end another one stands. `most`: bytes that
    are kept of a message. `complain` is told of a count that cannot be meant.
    """

    def __init__(self, most: int, complain: Callable[[str], None]) -> None:
        self._most, self._complain = most, complain
        self._data, self._at = b"", 0  # what came and is not taken yet begins at `at`
        self._head, self._left_out = bytearray(), 0
        self._missing = 0  # bytes of a counted message
        self._tail = b""  # the last bytes of it
        self._sent = 0  # bytes from `at` on that were handed out already, with a message that was counted too long
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
        self._data, self._at, self._missing, self._step = b"", 0, 0, self._begin
        return self._complete() if self._head else None

    @property
    def partial(self) -> int:
        """Bytes of the incomplete last message received so far."""
        return len(self._data) - self._at - self._sent + len(self._head) + self._left_out

    # Each step takes what it can of the data; False where more has to come first.

    def _begin(self, messages: list[Message]) -> bool:
        counted = _COUNT.match(self._data, self._at)
        if counted is None and _MAYBE_COUNT.fullmatch(self._data, self._at):
            return False
        if counted is None:
            self._step = self._keep_line
        elif int(counted[1]) <= MOST_COUNTED:
            self._at, self._missing, self._step = counted.end(), int(counted[1]), self._keep_counted
        else:
            self._take(counted.end())
            self._step = self._keep_broken
            self._complain(
                f"a message of {int(counted[1])} bytes is announced, above {MOST_COUNTED}; it is read up to its line "
                "feed or the next count instead"
            )
        return True

    def _keep_counted(self, messages: list[Message]) -> bool:
        piece = self._data[self._at : self._at + self._missing]
        self._take(self._at + len(piece))
        self._tail = (self._tail + piece)[-_TAIL:]
        self._missing -= len(piece)
        if not self._missing:
            messages.append(self._complete())
            self._step = self._follow
        return True

    def _follow(self, messages: list[Message]) -> bool:
        """Looks whether a message may begin behind a counted one; if not, goes on with what that has swallowed."""
        counted = _COUNT.match(self._data, self._at)
        size = self._believed(counted, self._multibyte()) if counted else 0
        if size is None or (not counted and _MAYBE_COUNT.fullmatch(self._data, self._at)):
            return False
        if size and counted:
            self._at, self._missing, self._step = counted.end(), size, self._keep_counted
            self._complain("a message is longer than its count, which is one of characters; its last digits are lost")
        elif self._data[self._at] in _ENDS:
            self._at += 1
        elif counted or (self._data[self._at] == _PRI_START and not _COUNT_AT_END.search(self._tail)):
            self._step = self._begin
        else:
            self._complain("a message is longer or shorter than its count; the next count is looked for")
            self._data, self._at, self._sent = self._tail + self._data[self._at :], 0, len(self._tail)
            self._step = self._keep_broken
        if self._step != self._follow:
            self._tail = b""
        return True

    def _multibyte(self) -> int:
        """By how many bytes the last counted message was counted too short, where characters were counted."""
        return 0 if self._tail.isascii() else sum(byte & 0xC0 == 0x80 for byte in self._tail)

    def _keep_line(self, messages: list[Message]) -> bool:
        end = _END.search(self._data, self._at)
        self._take(end.start() if end else len(self._data))
        if end:
            self._at, self._step = end.end(), self._begin
            messages.append(self._complete())
        return True

    def _keep_broken(self, messages: list[Message]) -> bool:
        """Takes what has no count that can be meant, up to a line end or the next number before a PRI."""
        found = _END_OR_COUNT.search(self._data, self._at + bool(self._sent))
        while found and found[1] is None and found.start() < self._at + self._sent:
            found = _END_OR_COUNT.search(self._data, found.end())
        if found is None:
            rest = max(self._at, len(self._data) - _LONGEST_COUNT)
            is_new = rest > self._at
            self._take(rest)
            return is_new
        if found[1] is None:
            self._take(found.start())
            self._at, self._step = found.end(), self._begin
        else:
            size = self._believed(found)
            if size is None:
                return False
            self._take(found.end(1) - len(str(size)) if size else found.start(1))
            self._at = found.end(1) + 1
            if size:
                self._missing, self._step = size, self._keep_counted
        self._sent = 0
        if self._head:
            messages.append(self._complete())
        return True

    def _believed(self, found: re.Match[bytes], ending: int | None = None) -> int | None:
        """The count at whose end another one stands, of those that the digits before a PRI may be; 0 where none is.

        The first digits may end the message before: some of them or none, or with `ending` 1 to so many. None: more has
        to come before that can be told.
        """
        digits, start = found[1], found.end(1) + 1
        cuts = range(1, len(digits) + 1) if ending is None else range(max(1, len(digits) - ending), len(digits))
        for cut in cuts:
            size = int(digits[-cut:])
            if digits[-cut] == _ZERO or size > self._most:
                continue
            if _COUNT.match(self._data, start + size):
                return size
            if start + size >= len(self._data) or _MAYBE_COUNT.fullmatch(self._data, start + size):
                return None
        return 0

    def _take(self, end: int) -> None:
        """Takes the data up to an index, but for what was handed out already."""
        passed = min(self._sent, end - self._at)
        piece = self._data[self._at + passed : end]
        kept = piece[: self._most - len(self._head)]
        self._head += kept
        self._left_out += len(piece) - len(kept)
        self._at, self._sent = end, self._sent - passed

    def _complete(self) -> Message:
        message = bytes(self._head), self._left_out
        self._head, self._left_out = bytearray(), 0
        return message
