"""Folding repeats: of anomalous lines with the same text only the 1st, 10th, 100th, ... become alerts."""

import hashlib

import msgspec

from agent.text.stored import DamagedBlob, decode_stored

_MAX_ROWS = 1024


class _Rows(msgspec.Struct):
    """What is followed of one source. past: lines of the files before the present one. line: the last anomaly in it."""

    past: int = 0
    line: int = 0
    rows: dict[bytes, tuple[int, str, int]] = {}


class RepeatFolder:
    """Folds repeats: of anomalies with the same text the 1st, 10th, 100th, ... become alerts, with the count so far.

    A row of repeats ends when the text was not anomalous for `gap` lines of its source. That depends on the lines
    alone, not on the clock, so a restart changes nothing. At most 1,024 texts a source are followed, by their hashes,
    and those whose row has ended are forgotten. key: makes the hashes ones that nobody else can find a collision of.
    """

    def __init__(self, gap: int, key: bytes = b"") -> None:
        self._gap, self._key = gap, key
        self._sources: dict[str, _Rows] = {}
        self.folded = 0

    def count(self, source: str, text: str, line: int, seen: str) -> tuple[int, str] | None:
        """How often the text was anomalous in this row, and when first; None where this time is folded."""
        at, rows = self._position(source, line), self._sources[source].rows
        key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=self._key).digest()
        count, first, last = rows.pop(key, (0, seen, at))
        if at - last > self._gap or not self._gap:
            count, first = 0, seen
        rows[key] = (count + 1, first, at)
        self._forget_ended(rows, at)
        if str(count + 1).strip("0") != "1":
            self.folded += 1
            return None
        return count + 1, first

    def _position(self, source: str, line: int) -> int:
        """A line's number over all files of its source: in a new file the numbers begin again."""
        rows = self._sources.setdefault(source, _Rows())
        if line < rows.line:
            rows.past += rows.line
        rows.line = line
        return rows.past + line

    def _forget_ended(self, rows: dict[bytes, tuple[int, str, int]], at: int) -> None:
        """The rows are in the order of their last lines."""
        while len(rows) > _MAX_ROWS or at - rows[next(iter(rows))][2] > self._gap:
            del rows[next(iter(rows))]

    def blob(self, source: str) -> bytes:
        """What has to be kept of a source to go on after a restart."""
        return msgspec.msgpack.encode(self._sources.get(source, _Rows()))

    def restore(self, source: str, blob: bytes) -> None:
        """Sets what `blob` gave; what agents before state version 2 kept is forgotten."""
        try:
            self._sources[source] = decode_stored(blob, _Rows)
        except DamagedBlob:
            self._sources[source] = _Rows()

    def forget(self, source: str) -> None:
        """Forgets a source that is gone."""
        self._sources.pop(source, None)
