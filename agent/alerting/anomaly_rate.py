"""The alarm of a slow walk: too many of the last lines are above the threshold, however little."""

from collections import deque
from dataclasses import dataclass, field

import msgspec

LINES = 1000
_REARM = 0.5  # of the share, to which it must fall before a further alarm


@dataclass
class _Walk:
    """line: lines of the source so far. odd: the numbers of the odd ones among the last LINES. armed: since it fell.
    restored: it was stored before.
    """

    line: int = 0
    odd: deque[int] = field(default_factory=deque)
    armed: bool = True
    restored: bool = False


class AnomalyRate:
    """Counts the odd lines among the last 1,000 of each source. It goes by lines, so a restart changes nothing.

    After the later code of the source document of the sequence autoencoder, whose share is 2.5 %; 0 turns it off.
    """

    def __init__(self, share: float) -> None:
        self._most = share * LINES if share else float("inf")
        self._walks: dict[str, _Walk] = {}

    def stored(self, source: str) -> bool:
        """Whether the memory of a source has to be stored: it may tell something, or the lines since it was stored
        would be missing from it where it is turned on again.
        """
        return self._most < LINES or self._walk(source).restored

    def advance(self, source: str, lines: int) -> None:
        """Counts lines that were read."""
        self._walk(source).line += lines

    def alarm(self, source: str) -> int:
        """Counts the last line that was read as an odd one; how many of the last 1,000 are where that is to be told
        now, else 0.
        """
        walk = self._walk(source)
        while walk.odd and walk.odd[0] <= walk.line - LINES:
            walk.odd.popleft()
        walk.armed = walk.armed or len(walk.odd) <= _REARM * self._most
        walk.odd.append(walk.line)
        if not walk.armed or len(walk.odd) <= self._most:
            return 0
        walk.armed = False
        return len(walk.odd)

    def memory(self, source: str) -> bytes:
        """What has to be kept of a source to go on after a restart."""
        walk = self._walk(source)
        return msgspec.msgpack.encode((walk.line, list(walk.odd), walk.armed))

    def restore(self, source: str, memory: bytes) -> None:
        """Sets what `memory` gave."""
        line, odd, armed = msgspec.msgpack.decode(memory, type=tuple[int, list[int], bool])
        self._walks[source] = _Walk(line, deque(odd), armed, True)

    def forget(self, source: str) -> None:
        """Forgets a source that is gone."""
        self._walks.pop(source, None)

    def _walk(self, source: str) -> _Walk:
        return self._walks.setdefault(source, _Walk())
