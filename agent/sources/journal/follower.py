"""The journal of systemd, read through journalctl, which runs beside the agent and is started anew when it ends.

Where to go on is a cursor. It is always asked for with its own entry, so that an entry that is gone (rotated away and
vacuumed) is noticed: `--after-cursor` would not tell, and before systemd 256 leaves out the entry that follows.
"""

import logging
import select
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import msgspec

from agent.errors import SourceError
from agent.host.rate_limited_log import RateLimitedLog
from agent.sources.decoding.settings import PLAIN, ReadingSettings
from agent.sources.journal.entries import CURSOR, Entry, fields_of, is_left_out, line_of
from agent.sources.journal.entry_splitter import EntrySplitter, Unreadable
from agent.sources.journal.journalctl import END_TIMEOUT, Journalctl, ask, cannot_merge, command_of, follow_options
from agent.sources.live import LiveSource, StreamCheckpoint, decode_checkpoint, message_reading
from agent.text.lines import Block, LineSplitter

_LOG = logging.getLogger(__name__)

_PIECE = 1 << 16  # bytes of one read
_PAUSES = 1.0, 60.0  # seconds before journalctl is started anew: the first time, and at most


class JournalCheckpoint(StreamCheckpoint, frozen=True):
    """The same with the cursor of an entry. seen: it was handed out; else it is the first that is to be."""

    cursor: str = ""
    seen: bool = True


class _Start(NamedTuple):
    """Where reading begins: a cursor, whether its entry was handed out, and whether another one was sought in vain."""

    cursor: str
    seen: bool
    is_gone: bool = False


def _find_start(name: str, command: list[str], checkpoint: JournalCheckpoint | None, start: str) -> _Start:
    """Finds out where to start; a SourceError where the journal cannot be read at all."""

    def show(*options: str) -> list[Entry]:
        return ask(name, [*command, *options])

    if checkpoint is None or not checkpoint.cursor:
        tail = show("--lines=1")
        return _Start(tail[-1][CURSOR] if start == "end" and tail else "", checkpoint.seen if checkpoint else True)
    found = show(f"--cursor={checkpoint.cursor}", "--lines=1")
    if found and found[0][CURSOR] == checkpoint.cursor:
        return _Start(checkpoint.cursor, checkpoint.seen)
    tail = found or show("--lines=1")  # no entry is of a later time, as after the clock was set back
    return _Start(tail[-1][CURSOR], not found, True) if tail else _Start("", True, True)


def _gone(name: str) -> str:
    return (
        f"{name}: the entry up to which the journal was read is gone from it (rotated away and vacuumed, or another "
        "journal); the entries that followed it may be lost"
    )


class JournalSource(LiveSource):
    """The entries of `journal:?KEY=VALUE&...`, each one line.

    A journal that cannot be read at first is a SourceError; later that is a warning, and it is tried again.
    """

    def __init__(
        self,
        name: str,
        stored: bytes | None,
        start: Literal["start", "end"],
        reading: ReadingSettings = PLAIN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command_of(name)
        checkpoint = decode_checkpoint(stored, JournalCheckpoint, name)
        super().__init__(name, checkpoint, message_reading(name, reading))
        self._clock, self._limited_log = clock, RateLimitedLog(_LOG, clock)
        self._entries: list[Entry] = []
        self._splitter = EntrySplitter()
        self._fresh = True  # nothing came yet since journalctl was started
        self._last_error = ""  # what it said last since then
        self._draining = self._polls = False
        self._start_at, self._pause = 0.0, _PAUSES[0]
        self._cursor, self._seen, is_gone = _find_start(name, self._command, checkpoint, start)
        if is_gone:
            _LOG.warning("%s", self.lose(_gone(name)))
        self._context_at = self._cursor if checkpoint is None else ""
        self._epoll = select.epoll()
        self.descriptors = (self._epoll.fileno(),)
        self._process: Journalctl | None = None

    @property
    def pid(self) -> int | None:
        """The number of the journalctl that runs at present; None in a pause."""
        return None if self._process is None else self._process.pid

    def read(self, limit: int = 1 << 20) -> Block | None:
        """The next block, from at most `limit` bytes that journalctl shows; None also where they complete no line."""
        if self.ended or (process := self._running()) is None:
            return None
        size = 0
        entries: list[Entry] = []
        while size < limit:
            piece = process.read(min(_PIECE, limit - size))
            if piece is None:
                break
            if not piece:
                self._after_end(process)
                break
            size += len(piece)
            self.bytes_taken += len(piece)
            entries += self._new_entries(piece)
        self._warn_of_errors()
        return self._block(entries)

    def fields(self, index: int) -> dict[str, str]:
        """The fields of a line of the last block beside its text, and its cursor as `__CURSOR`."""
        return fields_of(self._entries[index])

    def context(self, lines: int) -> Block | None:
        if not self._context_at or lines < 1:
            return None
        command = [*self._command, "--quiet", f"--cursor={self._context_at}", "--reverse", f"--lines={lines}"]
        before = ask(self.name, command)
        data = b"".join(map(line_of, reversed(before)))
        return LineSplitter(self.name, 0, 1, self._reading.max_line).feed(data)

    @property
    def checkpoint(self) -> bytes | None:
        at = self._lines.offset, self._lines.line
        return msgspec.msgpack.encode(JournalCheckpoint(self._origin, *at, self._cursor, self._seen))

    def drain(self) -> None:
        """Has it read to the present end of the journal and no further."""
        self._draining = True
        self._stop()

    def close(self) -> None:
        self.ended = True
        self._stop()
        self._epoll.close()
        self.descriptors = ()

    def _running(self) -> Journalctl | None:
        """The journalctl that runs; started where none does, but None in the pause after one has ended."""
        if self._process is None and self._clock() >= self._start_at:
            options = ["--quiet", *([f"--cursor={self._cursor}"] if self._cursor else [])]
            options += [] if self._draining or self._polls else follow_options(self._command)
            self._fresh, self._splitter, self._last_error = True, EntrySplitter(), ""
            try:
                self._process = Journalctl([*self._command, *options])
                self._process.watch(self._epoll)
            except OSError as error:
                self._retry(f"journalctl cannot be started: {error.strerror}")
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None

    def _after_end(self, process: Journalctl) -> None:
        """journalctl has ended: as it should, or for a reason for which it is started anew."""
        code = process.end(END_TIMEOUT)
        errors = process.errors() or self._last_error
        self._stop()
        if not self._draining and (cannot_merge(errors) or (self._polls and not code)):
            self._polls, self._start_at = True, self._clock() + _PAUSES[0]
        elif not self._draining:
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            self.reopened += 1
            self._retry(f"journalctl {how}" + (f": {errors}" if errors else ""))
        elif code and (errors or code < 0):
            raise SourceError(f"{self.name} cannot be read to its end: journalctl ended ({code}): {errors}")
        else:
            self.ended = True
            if left := self._splitter.partial:
                self._leave_out(Unreadable(left, f"the last {left} bytes of what journalctl shows are no entry"))
            if self._fresh and self._cursor:
                _LOG.warning("%s", self.lose(_gone(self.name)))

    def _retry(self, why: str) -> None:
        self._limited_log.warning(
            "ended", "%s: %s; it is started anew after the last entry that was read", self.name, why
        )
        self._start_at = self._clock() + self._pause
        self._pause = min(2 * self._pause, _PAUSES[1])

    def _new_entries(self, piece: bytes) -> list[Entry]:
        """The entries that a piece completes and that were not handed out before; what is unreadable is left out."""
        entries = []
        for entry in self._splitter.feed(piece):
            if isinstance(entry, Unreadable):
                self._leave_out(entry)
            elif self._is_new(entry[CURSOR]):
                entries.append(entry)
                self._cursor, self._seen = entry[CURSOR], True
        return entries

    def _is_new(self, cursor: str) -> bool:
        """Whether an entry was not handed out before; the first one tells whether the cursor's is still there."""
        fresh, self._fresh = self._fresh, False
        self._pause = _PAUSES[0]
        if not fresh or not self._cursor:
            return True
        if cursor == self._cursor:
            return not self._seen
        _LOG.warning("%s", self.lose(_gone(self.name)))
        return True

    def _leave_out(self, entry: Unreadable) -> None:
        text = self.lose(f"{self.name}: {entry.reason}; it is left out", size=entry.size)
        self._limited_log.warning("entry", "%s", text)

    def _warn_of_errors(self) -> None:
        if self._process is not None and (errors := self._process.errors()):
            self._last_error = errors
            self._limited_log.warning(errors, "%s: journalctl says: %s", self.name, errors)

    def _block(self, entries: list[Entry]) -> Block | None:
        if not entries:
            return None
        self._entries = entries
        self._count_left_out(sum(map(is_left_out, entries)))
        return self._counted(self._lines.feed(b"".join(map(line_of, entries))))

    def _count_left_out(self, count: int) -> None:
        if count:
            text = self.lose(f"{self.name}: journalctl left out {count} messages, which are too large", count)
            self._limited_log.warning("null", "%s", text)
