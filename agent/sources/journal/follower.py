"""The journal of systemd, read through journalctl, which runs beside the agent and is started anew when it ends.

Where to go on is a cursor. It is always asked for with its own entry, so that an entry that is gone (rotated away and
vacuumed) is noticed: `--after-cursor` would not tell, and before systemd 256 leaves out the entry that follows.
"""

import select
import time
from collections.abc import Callable
from typing import Literal

import msgspec

from agent.errors import SourceError
from agent.sources.decoding.line_reader import PLAIN, Reading
from agent.sources.journal.entries import CURSOR, Entry, decode_entry, fields_of, is_left_out, line_of
from agent.sources.journal.journalctl import LEAVE, Journalctl, ask, cannot_merge, command_of, follow_options
from agent.sources.live import LiveSource, Place, Seldom, plain, recall
from agent.text.lines import Block, LineSplitter

_PIECE = 1 << 16  # bytes of one read
_MOST_ENTRY = 1 << 24  # bytes of an entry as JSON
_PAUSES = 1.0, 60.0  # seconds before journalctl is started anew: the first time, and at most


class JournalPlace(Place, frozen=True):
    """The same with the cursor of an entry. seen: it was handed out; else it is the first that is to be."""

    cursor: str = ""
    seen: bool = True


class JournalSource(LiveSource):
    """The entries of `journal:?KEY=VALUE&...`, each one line.

    A journal that cannot be read at first is a SourceError; later it is said and tried again.
    """

    def __init__(
        self,
        name: str,
        mark: bytes | None,
        start: Literal["start", "end"],
        say: Callable[[str], None],
        reading: Reading = PLAIN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command_of(name)
        place = recall(mark, JournalPlace, name, say)
        super().__init__(name, place, say, plain(name, reading))
        self._clock, self._seldom = clock, Seldom(say, clock)
        self._cursor, self._seen = (place.cursor, place.seen) if place else ("", True)
        self._entries: list[Entry] = []
        self._rest = bytearray()  # of an entry that is not complete
        self._skipped = 0  # bytes of an entry that is too large
        self._fresh = True  # nothing came yet since journalctl was started
        self._complaint = ""  # what it said last since then
        self._hurried = self._polls = False
        self._start_at, self._pause = 0.0, _PAUSES[0]
        self._begin(start)
        self._context_at = self._cursor if place is None else ""
        self._epoll = select.epoll()
        self.descriptors = (self._epoll.fileno(),)
        self._process: Journalctl | None = None

    def read(self, most: int = 1 << 20) -> Block | None:
        """The next block, from at most `most` bytes of what journalctl shows; None also where they complete no line."""
        if self.ended or not self._is_running():
            return None
        taken, entries = 0, []
        while taken < most:
            piece = self._process.read(min(_PIECE, most - taken))
            if piece is None:
                break
            if not piece:
                self._after_end()
                break
            taken += len(piece)
            self.bytes_taken += len(piece)
            self._decode(piece, entries)
        self._tell_errors()
        return self._block(entries)

    def fields(self, index: int) -> dict[str, str]:
        """The fields of a line of the last block beside its text, and its cursor as `__CURSOR`."""
        return fields_of(self._entries[index])

    def context(self, lines: int) -> Block | None:
        if not self._context_at or lines < 1:
            return None
        command = [*self._command, "--quiet", f"--cursor={self._context_at}", "--reverse", f"--lines={lines}"]
        before = ask(self.name, command, self._say)
        data = b"".join(map(line_of, reversed(before)))
        return LineSplitter(self.name, 0, 1, self._reading.max_line).feed(data)

    @property
    def mark(self) -> bytes | None:
        at = self._lines.offset, self._lines.line
        return msgspec.msgpack.encode(JournalPlace(self._origin, *at, self._cursor, self._seen))

    def hurry(self) -> None:
        """Has it read to the present end of the journal and no further."""
        self._hurried = True
        self._stop()

    def close(self) -> None:
        self.ended = True
        self._stop()
        self._epoll.close()
        self.descriptors = ()

    def _begin(self, start: str) -> None:
        """Finds out where to start, and whether the journal can be read at all."""
        if not self._cursor:
            tail = self._ask("--lines=1")
            if start == "end" and tail:
                self._cursor = tail[-1][CURSOR]
            return
        there = self._ask(f"--cursor={self._cursor}", "--lines=1")
        if there and there[0][CURSOR] == self._cursor:
            return
        self._tell_gone()
        tail = there or self._ask("--lines=1")  # no entry is of a later time, as after the clock was set back
        self._cursor, self._seen = (tail[-1][CURSOR], not there) if tail else ("", True)

    def _ask(self, *options: str) -> list[Entry]:
        return ask(self.name, [*self._command, *options], self._say)

    def _is_running(self) -> bool:
        """Starts journalctl where it does not run, after a pause where it has ended."""
        if self._process is None and self._clock() >= self._start_at:
            options = ["--quiet", *([f"--cursor={self._cursor}"] if self._cursor else [])]
            options += [] if self._hurried or self._polls else follow_options(self._command)
            self._fresh, self._skipped, self._complaint = True, 0, ""
            self._rest.clear()
            try:
                self._process = Journalctl([*self._command, *options])
                self._process.watch(self._epoll)
            except OSError as error:
                self._retry(f"journalctl cannot be started: {error.strerror}")
        return self._process is not None

    def _stop(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def _after_end(self) -> None:
        """journalctl has ended: as it should, or for a reason for which it is started anew."""
        code = self._process.end(LEAVE)
        errors = self._process.errors() or self._complaint
        self._stop()
        if not self._hurried and (cannot_merge(errors) or (self._polls and not code)):
            self._polls, self._start_at = True, self._clock() + _PAUSES[0]
        elif not self._hurried:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            self.reopened += 1
            self._retry(f"journalctl {how}" + (f": {errors}" if errors else ""))
        elif code and (errors or code < 0):
            raise SourceError(f"{self.name} cannot be read to its end: journalctl ended ({code}): {errors}")
        else:
            self.ended = True
            if self._rest:
                self._leave_out(
                    len(self._rest), f"the last {len(self._rest)} bytes of what journalctl shows are no entry"
                )
            if self._fresh and self._cursor:
                self._tell_gone()

    def _retry(self, why: str) -> None:
        self._seldom("ended", f"{self.name}: {why}; it is started anew after the last entry that was read")
        self._start_at = self._clock() + self._pause
        self._pause = min(2 * self._pause, _PAUSES[1])

    def _decode(self, piece: bytes, entries: list[Entry]) -> None:
        *whole, rest = piece.split(b"\n")
        for part in whole:
            self._rest += part
            self._take(entries)
        self._rest += rest
        if len(self._rest) > _MOST_ENTRY or self._skipped:
            self._skipped += len(self._rest)
            self._rest.clear()

    def _take(self, entries: list[Entry]) -> None:
        """Takes an entry from its JSON; one that is too large or cannot be understood is told and left out."""
        raw, skipped = bytes(self._rest), self._skipped
        self._rest.clear()
        self._skipped = 0
        if skipped:
            return self._leave_out(skipped + len(raw), f"an entry of {skipped + len(raw)} bytes is too large")
        if not raw.startswith(b"{"):  # such as `-- No entries --`
            return None
        try:
            entry = decode_entry(raw)
        except ValueError as error:
            return self._leave_out(len(raw), f"an entry of {len(raw)} bytes cannot be understood ({error})")
        if self._is_new(entry[CURSOR]):
            entries.append(entry)
            self._cursor, self._seen = entry[CURSOR], True
        return None

    def _is_new(self, cursor: str) -> bool:
        """Whether an entry was not handed out before; the first one tells whether the cursor's is still there."""
        fresh, self._fresh = self._fresh, False
        self._pause = _PAUSES[0]
        if not fresh or not self._cursor:
            return True
        if cursor == self._cursor:
            return not self._seen
        self._tell_gone()
        return True

    def _leave_out(self, size: int, why: str) -> None:
        self.losses += 1
        self.bytes_lost += size
        self._seldom("entry", f"{self.name}: {why}; it is left out")

    def _tell_gone(self) -> None:
        self.losses += 1
        self._say(
            f"{self.name}: the entry up to which the journal was read is gone from it (rotated away and vacuumed, or "
            "another journal); the entries that followed it may be lost"
        )

    def _tell_errors(self) -> None:
        if self._process is not None and (errors := self._process.errors()):
            self._complaint = errors
            self._seldom(errors, f"{self.name}: journalctl says: {errors}")

    def _block(self, entries: list[Entry]) -> Block | None:
        if not entries:
            return None
        self._entries = entries
        self._count_left_out(sum(map(is_left_out, entries)))
        return self._counted(self._lines.feed(b"".join(map(line_of, entries))))

    def _count_left_out(self, count: int) -> None:
        if count:
            self.losses += count
            self._seldom("null", f"{self.name}: journalctl left out {count} messages, which are too large")
