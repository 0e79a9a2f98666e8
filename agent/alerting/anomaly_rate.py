"""The alarm of a slow walk: too many of the last lines are anomalous, however little each is above its threshold."""

from collections import deque
from dataclasses import dataclass, field

import msgspec

from agent.text.stored import decode_stored

LINES = 1000
_REARM = 0.5  # of the share, to which it must fall before a further alarm


@dataclass
class _Recent:
    """line: lines of the source so far. anomalies: the numbers of the anomalous ones among the last LINES. armed: since
    they fell. restored: it was stored before.
    """

    line: int = 0
    anomalies: deque[int] = field(default_factory=deque)
    armed: bool = True
    restored: bool = False


class AnomalyRate:
    """Counts the anomalous lines among the last 1,000 of each source, by lines, so a restart changes nothing.

    After the later code of the source document of the sequence autoencoder, whose share is 2.5 %; 0 turns it off.
    """

    def __init__(self, share: float) -> None:
        self._limit = share * LINES if share else float("inf")
        self._sources: dict[str, _Recent] = {}

    def is_stored(self, source: str) -> bool:
        """Whether a source has to be stored: it is counted, or was, and the lines since then would be missing where
        counting is turned on again.
        """
        return self._limit < LINES or self._recent(source).restored

    def advance(self, source: str, lines: int) -> None:
        """Counts lines that were read."""
        self._recent(source).line += lines

    def alarm(self, source: str) -> int:
        """Counts the last line that was read as an anomaly; how many of the last 1,000 are where that is an alert of
        its own now, else 0.
        """
        recent = self._recent(source)
        while recent.anomalies and recent.anomalies[0] <= recent.line - LINES:
            recent.anomalies.popleft()
        recent.armed = recent.armed or len(recent.anomalies) <= _REARM * self._limit
        recent.anomalies.append(recent.line)
        if not recent.armed or len(recent.anomalies) <= self._limit:
            return 0
        recent.armed = False
        return len(recent.anomalies)

    def blob(self, source: str) -> bytes:
        """What has to be kept of a source to go on after a restart."""
        recent = self._recent(source)
        return msgspec.msgpack.encode((recent.line, list(recent.anomalies), recent.armed))

    def restore(self, source: str, blob: bytes) -> None:
        """Sets what `blob` gave; a DamagedBlob where that is something else."""
        line, anomalies, armed = decode_stored(blob, tuple[int, list[int], bool])
        self._sources[source] = _Recent(line, deque(anomalies), armed, True)

    def forget(self, source: str) -> None:
        """Forgets a source that is gone."""
        self._sources.pop(source, None)

    def _recent(self, source: str) -> _Recent:
        return self._sources.setdefault(source, _Recent())
