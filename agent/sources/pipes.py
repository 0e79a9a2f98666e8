"""Standard input and named pipes: bytes that come once and cannot be read again.

What was in the pipe, or was read and not committed, when the process is killed is gone; the checkpoint only counts on.
"""

import logging
import os
import select
import stat
import time
from collections.abc import Callable
from pathlib import Path

from agent.errors import SourceError, cannot_read
from agent.sources.decoding.settings import PLAIN, ReadingSettings
from agent.sources.live import LiveSource, StreamCheckpoint, decode_checkpoint
from agent.text.lines import Block

_LOG = logging.getLogger(__name__)

STANDARD_INPUT = "-"
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_PIECE = 1 << 16  # bytes of one read, as many as a pipe holds by default


class StreamSource(LiveSource):
    """The lines of a descriptor, as far as it has any without waiting."""

    def __init__(self, name: str, stored: bytes | None, reading: ReadingSettings, clock: Callable[[], float]) -> None:
        super().__init__(name, decode_checkpoint(stored, StreamCheckpoint, name), reading)
        self._adopt(-1)
        self._began, self._draining = self._lines.offset, False
        self._clock, self._quiet_since = clock, clock()

    def read(self, limit: int = 1 << 20) -> Block | None:
        """The next block, from at most `limit` bytes; None also where these complete no line, or at the end."""
        size = 0
        while size < limit and not self.ended:
            piece = self._read_piece(min(_PIECE, limit - size))
            if piece is None:
                return self._flush()
            size += len(piece)
            if block := self._feed(piece) if piece else self._at_end():
                return block
        return None

    def drain(self) -> None:
        self._draining = True

    def _adopt(self, descriptor: int) -> None:
        """Reads from this descriptor from now on; -1 for none. A regular file, which is always ready, has no events."""
        self._descriptor = descriptor
        self.descriptors = (descriptor,) if descriptor >= 0 and _has_events(descriptor) else ()

    def _read_piece(self, limit: int) -> bytes | None:
        """What can be read now; empty at the end, None where nothing is there."""
        raise NotImplementedError

    def _feed(self, piece: bytes) -> Block | None:
        self.bytes_taken += len(piece)
        self._quiet_since = self._clock()
        return self._counted(self._lines.feed(piece))

    def _flush(self) -> Block | None:
        """The record of several lines that is held back, where nothing came for long enough."""
        if self._reading.multiline is None or self._clock() - self._quiet_since < self._reading.multiline.timeout:
            return None
        return self._counted(self._lines.flush())

    def _at_end(self) -> Block | None:
        """Called when no byte can come from the descriptor any more: the last line, where no line feed ends it."""
        self.ended = True
        return self.finish()

    def _drop_partial(self) -> None:
        """Warns of what is lost of a line whose end has not come, where nobody took it by `finish`."""
        if left := self._began + self.bytes_taken - self._lines.offset:
            self._lines.finish()
            text = f"{self.name}: the last line has no end; the {left} bytes of it that came are lost"
            _LOG.warning("%s", self.lose(text, size=left))


class StandardInput(StreamSource):
    """Standard input, a pipe as well as a file or a terminal, until its end.

    Its descriptor is often shared with a shell and others, so it is never made non-blocking: it is asked before each
    read whether it would wait.
    """

    def __init__(
        self,
        stored: bytes | None,
        reading: ReadingSettings = PLAIN,
        descriptor: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(STANDARD_INPUT, stored, reading, clock)
        try:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise SourceError("standard input is a directory; pipe the log into the command")
        except OSError:
            raise SourceError("standard input is closed; pipe the log into the command") from None
        self._adopt(descriptor)

    def close(self) -> None:
        self._drop_partial()
        self._adopt(-1)
        self.ended = True

    def _read_piece(self, limit: int) -> bytes | None:
        try:
            if not _is_ready(self._descriptor):
                return None
            return os.read(self._descriptor, limit)
        except BlockingIOError:  # others have made it so, and were faster
            return None
        except OSError as error:  # such as a terminal that was hung up
            _LOG.error("%s", self.lose(f"{cannot_read('standard input', error)}; it ends here"))
            return b""


class Fifo(StreamSource):
    """A named pipe, as one stream of bytes whoever writes them: a line ends at its line feed, not with its writer.

    It does not end with its last writer. One that takes its place under its name is read once the old one is empty,
    whose writers then get EPIPE.
    """

    def __init__(
        self,
        path: Path,
        stored: bytes | None,
        reading: ReadingSettings = PLAIN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(str(path), stored, reading, clock)
        self.path, self.paths = path, (path,)
        self._last_warning = ""
        try:
            self._adopt(_open_fifo(path))
        except OSError as error:
            raise cannot_read(path, error) from None

    def close(self) -> None:
        self._drop_partial()
        self.ended = True
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._adopt(-1)

    def read(self, limit: int = 1 << 20) -> Block | None:
        block = super().read(limit)
        if block is None and not self.ended and not _is_ready(self._descriptor):
            return self._at_empty()
        return block

    def _read_piece(self, limit: int) -> bytes | None:
        try:
            if piece := os.read(self._descriptor, limit):
                return piece
        except BlockingIOError:
            return None
        try:
            self._renew_after_writer()
        except OSError as error:
            _LOG.error("%s; it ends here", cannot_read(self.path, error))
            return b""
        return None

    def _renew_after_writer(self) -> None:
        """Opens anew a pipe whose last writer has gone: the descriptor would be ready from then on (poll(2), POLLHUP).

        The pipe and what a new writer puts into it live on meanwhile, since the old one is closed last.
        """
        if not _is_ready(self._descriptor):
            return  # nobody has written yet since it was opened
        new = os.open(f"/proc/self/fd/{self._descriptor}", _FLAGS)
        os.close(self._descriptor)
        self._adopt(new)

    def _at_empty(self) -> Block | None:
        """At an empty pipe: goes over to the one that took its place; the line that the old one left, or None."""
        new = self._open_new() if self._is_replaced() else -1
        if new >= 0:
            os.close(self._descriptor)
            self._adopt(new)
            self.reopened += 1
            self._last_warning = ""
            _LOG.info("%s was made anew: reading the new one", self.path)
        else:
            self.ended = self._draining
        return self.finish() if new >= 0 or self.ended else None

    def _open_new(self) -> int:
        try:
            return _open_fifo(self.path)
        except SourceError as error:
            self._warn(f"{error}; trying again")
        except OSError as error:
            self._warn(f"{cannot_read(self.path, error)}; trying again")
        return -1

    def _is_replaced(self) -> bool:
        held = os.fstat(self._descriptor)
        try:
            named = os.stat(self.path)
        except OSError as error:
            self._warn(f"{cannot_read(self.path, error)}; reading on the one that was opened")
            return False
        return (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino)

    def _warn(self, warning: str) -> None:
        if warning != self._last_warning:
            self._last_warning = warning
            _LOG.warning("%s", warning)


def _open_fifo(path: Path) -> int:
    """A non-blocking descriptor of a named pipe; a SourceError where it is none."""
    if not stat.S_ISFIFO(os.stat(path).st_mode):
        raise SourceError(f"{path} is no named pipe")
    descriptor = os.open(path, _FLAGS)
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise SourceError(f"{path} is no named pipe any more")


def _is_ready(descriptor: int) -> bool:
    """Whether a read would not wait."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _has_events(descriptor: int) -> bool:
    """Whether a selector takes it: epoll(7) refuses regular files, and /dev/null."""
    with select.epoll() as epoll:
        try:
            epoll.register(descriptor, select.EPOLLIN)
        except PermissionError:
            return False
    return True
