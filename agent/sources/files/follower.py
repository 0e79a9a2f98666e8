"""Following one log file as it grows, through rotation, truncation and removal.

What is to be read is decided by stat and read alone; events of the file system only tell the caller when to look again.
How the path and the open file stand to each other is one of the states in `states`.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from agent.errors import cannot_read
from agent.sources.decoding.settings import PLAIN, ReadingSettings
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.clock import before_now
from agent.sources.files.followed_file import FollowedFile
from agent.sources.files.open_file import OpenFile
from agent.sources.files.opener import LogOpener, Opened
from agent.sources.files.rotation_search import Rotations
from agent.sources.files.states import FollowEvent, FollowState
from agent.sources.files.truncation import find_copy, log_copy, log_rewind, lost_bytes
from agent.text.lines import Block

GRACE = 1.0  # seconds without growth after which a file that was rotated away counts as complete
_SETTLED = 2_000_000_000  # nanoseconds after which a write can no longer have the same time as another one
RELEASE = 60.0  # seconds without growth after which a deleted file is closed, so that its space is freed
RELEASE_MOVED = 3600.0  # the same of a file that was moved away, or cannot be seen any more


class FileSource(FollowedFile):
    """The lines of one path, in blocks, each line once.

    Reading starts at `checkpoint` where that still fits, else at the path's start, or at its end where `start` says so
    and there is no checkpoint. A path that cannot be followed is a SourceError when it is first opened; later it is
    logged once and tried again.

    grace        for how many seconds without growth a file is read on after its path names another one; 0 where a run
                 does not wait, also not for what may still belong to a record
    is_own_log   tells which files are read as logs of their own by their names
    since        a time in nanoseconds at which nothing was at the path: what was rotated after it is read first
    take_over    begins a file that came to the path where it was read to under another name; False where it is still
                 read under that one, for which this source waits
    """

    def __init__(
        self,
        path: Path,
        checkpoint: FileCheckpoint | None,
        start: Literal["start", "end"],
        reading: ReadingSettings = PLAIN,
        grace: float = GRACE,
        clock: Callable[[], float] = time.monotonic,
        is_own_log: Callable[[Path], bool] = lambda path: False,
        since: int = 0,
        take_over: Callable[[OpenFile], bool] = lambda file: True,
    ) -> None:
        super().__init__(path, checkpoint, clock)
        self._reading, self.grace = reading, grace
        self._rotations = Rotations(path, reading, is_own_log)
        self._opener = LogOpener(path, reading, self._rotations, take_over)
        self._idle: tuple[int, ...] = ()  # what stat told of the path when nothing was new
        opened = self._opener.open_at(checkpoint) if checkpoint else self._opener.open_new(start, since)
        self._empty_since = since if opened else since or before_now()
        if opened is not None:
            self._apply(opened)

    def read(self, limit: int = 1 << 20) -> Block | None:
        if self._is_idle():
            return None
        self._idle = ()
        return self._count(self._read(limit))

    @property
    def settled(self) -> bool:
        return bool(self._idle)

    @property
    def fault(self) -> str:
        """What keeps the path from being read at present; empty where nothing does."""
        return self._opener.fault.present

    def finish(self) -> Block | None:
        return self._count(self._file.finish() if self._file else None)

    def context(self, lines: int) -> Block | None:
        return self._file.context(lines) if self._file else None

    def drain(self) -> None:
        self.grace = 0.0

    def _is_idle(self) -> bool:
        """Whether one stat tells that nothing changed since nothing was new: what a look at most files costs."""
        try:
            return bool(self._idle) and _stamp(os.stat(self.path)) == self._idle
        except OSError:
            return False

    def _read(self, limit: int) -> Block | None:
        try:
            if self._file is None:
                self._reopen()
            return self._read_file(self._file, limit) if self._file else None
        except OSError as error:  # such as a file handle gone stale on a network file system
            self._opener.fault.warn(f"{cannot_read(self.path, error)}; trying again")
            self._replace(None, FollowEvent.FAILED)
            return None

    def _reopen(self) -> None:
        is_interrupted = self._state is FollowState.INTERRUPTED
        opened = self._opener.reopen(self._last_checkpoint, is_interrupted, self._empty_since)
        if opened is not None:
            self.reopened += opened.file is not None and self._last_checkpoint is not None
            self._apply(opened)

    def _apply(self, opened: Opened) -> None:
        """Goes on with what was opened, if anything."""
        self.rotations += opened.resumed.rotations
        self.truncations += opened.resumed.truncations
        if opened.resumed.lost:
            self.lose(opened.resumed.lost)
        self.unstored |= opened.moved  # before the other name is forgotten
        self._replace(opened.file, opened.event)

    def _read_file(self, file: OpenFile, limit: int) -> Block | None:
        before = file.read_to
        block = file.read(limit)
        if file.read_to > before:
            self._quiet_since = self._clock()
            self._enter(FollowEvent.GREW)
            self.bytes_taken += file.read_to - before
        if block is not None:
            with suppress(OSError):
                self._meet(file, os.stat(self.path))
            return block
        return self._rewind(file, limit) if file.is_truncated() else self._check_path(file, limit)

    def _rewind(self, file: OpenFile, limit: int) -> Block | None:
        """Goes on in the copy that was made of a truncated file, else, after its incomplete line, at its start."""
        if found := find_copy(file, self.path, self._rotations):
            return self._read_copy(file, *found, limit)
        if block := file.finish():
            return block
        rewound = file.rewound()
        self.truncations += 1
        self.lose(log_rewind(self.path, file), size=file.unread)
        self._replace(rewound, FollowEvent.OPENED)
        return rewound.read(limit)

    def _read_copy(self, file: OpenFile, copy: OpenFile, path: Path, limit: int) -> Block | None:
        lost = lost_bytes(file, copy)
        self.truncations += 1
        text = log_copy(self.path, file, path, lost)
        if lost:
            self.lose(text, size=lost)
        self._replace(copy, FollowEvent.COPY_OPENED)
        return self._read_file(copy, limit)

    def _check_path(self, file: OpenFile, limit: int) -> Block | None:
        """Whether the path still names this file, which was read to its end; else, after the grace, the next block."""
        if file.copied:
            return self._move_on(file, limit)
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return self._check_missing_path(file, limit)
        except OSError as error:
            self._opener.fault.warn(f"{cannot_read(self.path, error)}; trying again")
            return self._flush(file)
        if (status.st_dev, status.st_ino) != (file.device, file.inode):
            self._enter(FollowEvent.PATH_LEFT)
            return self._move_on(file, limit) if self._quiet_for(self.grace) else None
        self._enter(FollowEvent.PATH_BACK)
        self._meet(file, status)
        self._opener.fault.clear()
        settled = not file.holds and time.time_ns() - status.st_mtime_ns > _SETTLED
        self._idle = _stamp(status) if settled and status.st_size == file.read_to else ()
        return self._flush(file)

    def _meet(self, file: OpenFile, status: os.stat_result) -> None:
        """Notes where the path names the open file, and how far that is read."""
        if file.key == (status.st_dev, status.st_ino):
            file.seen_as_log(status.st_mtime_ns)

    def _check_missing_path(self, file: OpenFile, limit: int) -> Block | None:
        """After the grace the next block, where the file was rotated; else it is waited for, and then let go."""
        self._enter(FollowEvent.PATH_LEFT)
        self._opener.warn_missing(seen=True)
        if file.is_deleted and not file.holds and file.read_to == file.checkpoint.offset:
            self._enter(FollowEvent.READ_WHOLE)
        if self._quiet_for(self.grace) and self._rotations.after(file):
            return self._move_on(file, limit)
        return self._flush(file) or self._release(file)

    def _flush(self, file: OpenFile) -> Block | None:
        """The record that is held back, where the file has not grown for long enough."""
        if not file.holds or self._reading.multiline is None:
            return None
        return file.flush() if self._quiet_for(self._reading.multiline.timeout if self.grace else 0) else None

    def _release(self, file: OpenFile) -> Block | None:
        """Closes a file that is gone from its path and has not grown for long, after its incomplete last line."""
        if not self._quiet_for(RELEASE if file.is_deleted else RELEASE_MOVED):
            return None
        block = file.finish()
        if block is None:
            self.close()
        return block

    def _move_on(self, file: OpenFile, limit: int) -> Block | None:
        """From a file that was rotated away to the next one, after its incomplete last line."""
        if block := file.finish():
            return block
        was_truncated = self._state is FollowState.READING_COPY
        if damage := self._rotations.warn_damaged(file):
            self.lose(damage)
        opened = self._opener.open_next(file)
        if opened is None or opened.file is None:
            return None
        try:
            gone = self._rotations.warn_gone(file, was_truncated)
        except OSError:
            opened.file.close()
            raise
        if gone:
            self.lose(gone)
        opened.file.truncated = was_truncated
        self.rotations += not was_truncated
        self._apply(opened)
        return self._read_file(opened.file, limit)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is written or another one takes its path."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
