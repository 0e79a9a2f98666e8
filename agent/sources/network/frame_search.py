"""Looks for messages that follow each other by their octet counts, in what was counted wrongly or not at all."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_FRAME = re.compile(rb"(\d{1,8}) (<(?:\d\d?|1[0-8]\d|19[01])>)")
_LONGEST = 14  # bytes of the above
_MOST = 64  # ends that are waited for
_DIGITS = 8
_BEFORE, _DOUBTFUL = (-1, -1), (-2, -2)
_GAPS = (b"\n", b"\0")
_ZERO = ord("0")


class Swallowed(NamedTuple):
    """Two messages that follow each other: the first one's count ends where the second one's begins.

    first, text: where the count and the PRI of the first one begin, negative where that was before all. second: where
    the second one's count begins, which is `announced`. pri: its PRI, which ends at `end`.
    """

    first: int
    text: int
    second: int
    announced: int
    pri: bytes
    end: int


class FrameSearch:
    """Finds the first count that leads from one whole PRI to another, however the bytes are cut.

    count, before: the digits of a count that was believed, and those just before it. Where the latter belong to the
    count, or the count's first ones do not, it leads elsewhere.
    """

    def __init__(self, count: bytes, before: bytes = b"") -> None:
        self.size = 0
        self._tail = b""
        self._ends: dict[int, tuple[int, int]] = {}  # where a message would end, and where its count and PRI begin
        for cut in range(len(run := before + count)):
            if cut != len(before) and run[cut] != _ZERO and len(run) - cut <= _DIGITS:
                self._ends[int(run[cut:])] = _BEFORE if cut < len(before) else _DOUBTFUL

    @property
    def last_digits(self) -> bytes:
        """The digits with which what was fed ends."""
        return self._tail[len(self._tail.rstrip(b"0123456789")) :]

    def skipped(self, count: bytes) -> int:
        """How many digits of a count that follows now belong to what was fed, since a message ends behind them."""
        return next((cut for cut in range(len(count)) if count[cut] != _ZERO and self.size + cut in self._ends), 0)

    def feed(self, piece: bytes) -> Swallowed | None:
        """The messages in what was fed before and in `piece`, which follows it, where those end here."""
        data, start = self._tail + piece, self.size - len(self._tail)
        for found in _FRAME.finditer(data):
            if found.end() > len(self._tail):
                if swallowed := self._leads_here(found, start):
                    return swallowed
                self._expect(found, start)
        self.size += len(piece)
        self._tail = data[-_LONGEST:]
        return None

    def _leads_here(self, found: re.Match[bytes], start: int) -> Swallowed | None:
        for at, count in _counts(found):
            place, gap = start + at, found.string[max(0, at - 1) : at] in _GAPS
            begun = self._ends.get(place) or (self._ends.get(place - 1) if gap else None)
            if begun and count > len(found[2]) and (begun != _DOUBTFUL or at == found.start()):
                return Swallowed(*begun, place, count, found[2], start + found.end())
        return None

    def _expect(self, found: re.Match[bytes], start: int) -> None:
        text = start + found.start(2)
        for at, count in _counts(found):
            self._ends.setdefault(text + count, (start + at, text))
        while len(self._ends) > _MOST:
            del self._ends[next(iter(self._ends))]


def _counts(found: re.Match[bytes]) -> Iterator[tuple[int, int]]:
    """What the digits before a PRI may announce, since the first ones may belong to the message before, and where."""
    for at in range(found.start(), found.end(1)):
        if found.string[at] != _ZERO:
            yield at, int(found.string[at : found.end(1)])
