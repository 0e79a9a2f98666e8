"""From what journalctl shows, one JSON object a line, to entries, and what of it cannot be had as entries."""

from typing import NamedTuple

from agent.sources.journal.entries import Entry, decode_entry

_MOST_ENTRY = 1 << 24  # bytes of an entry as JSON


class Unreadable(NamedTuple):
    """What stands in the place of an entry that is left out: its bytes, and why."""

    size: int
    reason: str


class EntrySplitter:
    """Makes entries of the pieces in which a journalctl's output comes; of one entry a bounded part is held."""

    def __init__(self) -> None:
        self._rest = bytearray()  # of an entry that is not complete
        self._skipped = 0  # bytes of an entry that is too large

    @property
    def partial(self) -> int:
        """Bytes that are held of an incomplete last entry."""
        return len(self._rest)

    def feed(self, piece: bytes) -> list[Entry | Unreadable]:
        """What a piece completes, in order."""
        *whole, rest = piece.split(b"\n")
        found = []
        for part in whole:
            self._rest += part
            if (entry := self._complete()) is not None:
                found.append(entry)
        self._rest += rest
        if len(self._rest) > _MOST_ENTRY or self._skipped:
            self._skipped += len(self._rest)
            self._rest.clear()
        return found

    def _complete(self) -> Entry | Unreadable | None:
        """The entry whose last byte has come; None for what is said beside entries, such as `-- No entries --`."""
        raw, skipped = bytes(self._rest), self._skipped
        self._rest.clear()
        self._skipped = 0
        if skipped:
            size = skipped + len(raw)
            return Unreadable(size, f"an entry of {size} bytes is too large")
        if not raw.startswith(b"{"):
            return None
        try:
            return decode_entry(raw)
        except ValueError as error:
            return Unreadable(len(raw), f"an entry of {len(raw)} bytes cannot be understood ({error})")
