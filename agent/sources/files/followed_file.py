"""The file that a source of a log has open: its checkpoint, identity and counts, so that each file is read once."""

import logging
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.sources.base import Source
from agent.sources.decoding.line_reader import LeftOut
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.open_file import OpenFile
from agent.sources.files.states import FollowEvent, FollowState
from agent.text.lines import Block

_LOG = logging.getLogger(__name__)
_LEFT = 4  # files


class FollowedFile(Source):
    """A source that has at most one file of a path open: that file, its state, and what became of those before it.

    checkpoint: the last one in a file before. left: where reading ended in the last few files.
    """

    def __init__(self, path: Path, checkpoint: FileCheckpoint | None, clock: Callable[[], float]) -> None:
        self.path, self.name, self.paths = path, str(path), (path,)
        self.left: deque[FileCheckpoint] = deque(maxlen=_LEFT)
        self._last_checkpoint, self._clock = checkpoint, clock
        self._quiet_since = clock()  # the file last grew, or was found to be gone from its path
        self._file: OpenFile | None = None
        self._target = b""
        self._state = FollowState.WAITING
        self._closed = LeftOut()  # of files that were read before

    @property
    def file_checkpoint(self) -> FileCheckpoint | None:
        """Where to go on after the blocks handed out so far; None while the path has never existed."""
        if self._file is None:
            return self._last_checkpoint
        at = self._file.checkpoint
        before = None if at.offset or self._last_checkpoint is None else self._last_checkpoint.reached
        truncated, ended = self._state is FollowState.READING_COPY, self._state is FollowState.ENDED
        return msgspec.structs.replace(at, truncated=truncated, before=before, ended=ended, target=self._target)

    @property
    def sought(self) -> FileCheckpoint | None:
        """Where to go on in a file that is not found; None where one is open or the last one was read to its end."""
        away = self._state is FollowState.INTERRUPTED and not (self._last_checkpoint and self._last_checkpoint.ended)
        return self._last_checkpoint if away else None

    @property
    def keys(self) -> set[tuple[int, int]]:
        """Device and inode of the open file, which no other file has; while it is a copy, of the path's file too."""
        if self._file is None:
            return set()
        keys = {self._file.key}
        with suppress(OSError):
            status = os.stat(self.path) if self._file.copied else None
            keys |= {(status.st_dev, status.st_ino)} if status else set()
        return keys

    @property
    def key(self) -> tuple[int, int] | None:
        """Device and inode of the open file; None where none is open."""
        return self._file.key if self._file else None

    @property
    def modified(self) -> int:
        """When the open file was last written, in nanoseconds; 0 where none is open."""
        return self._file.modified if self._file else 0

    def is_at(self, checkpoint: FileCheckpoint, copied: bool = False) -> bool:
        """Whether a checkpoint is in the open file, told by its content too: an inode may have been used again.

        copied: also where the open file is a copy of the one that the checkpoint was in.
        """
        return self._file is not None and self._file.is_at(checkpoint, copied)

    @property
    def identity(self) -> str:
        """Names the file of the last block: the same after a rename or a restart, another after a truncation."""
        return self._file.identity if self._file else ""

    @property
    def backlog(self) -> int:
        """Bytes of the file, and of the one that took its path, that are not read yet, as they are now."""
        behind = 0
        with suppress(OSError):  # what is gone or cannot be looked at now is no backlog that could be read
            behind = max(0, self._file.size - self._file.read_to) if self._file else 0
            status = os.stat(self.path)
            if self._file is None or (status.st_dev, status.st_ino) != (self._file.device, self._file.inode):
                behind += status.st_size
        return behind

    @property
    def is_open(self) -> bool:
        return self._file is not None

    @property
    def checkpoint(self) -> bytes | None:
        return None if self.file_checkpoint is None else msgspec.msgpack.encode(self.file_checkpoint)

    def close(self) -> None:
        self._replace(None, FollowEvent.CLOSED)

    def _replace(self, file: OpenFile | None, event: FollowEvent) -> None:
        if self._file is not None and (checkpoint := self.file_checkpoint) is not None:
            self._last_checkpoint = checkpoint
            self.left.append(checkpoint)
            self._update_counts()
            self._closed = self._left_out()
            self._file.close()
        self._file = file
        self._target = self._find_target()
        self._enter(event)

    def _find_target(self) -> bytes:
        """Where the open file is, if the path leads over a link, which may lead elsewhere after a restart."""
        place = self._file.link if self._file and os.path.realpath(self.path) != os.path.abspath(self.path) else None
        return b"" if place is None else os.fsencode(place)

    def _enter(self, event: FollowEvent) -> None:
        """Enters the state that an event leads to."""
        before, self._state = self._state, self._state.after(event)
        if self._state is before:
            return
        if event is FollowEvent.PATH_LEFT:
            self._quiet_since = self._clock()  # the grace begins
        if event is FollowEvent.READ_WHOLE:
            self.unstored = True  # so that a restart misses nothing of it

    def _quiet_for(self, seconds: float) -> bool:
        return self._clock() - self._quiet_since >= seconds

    def _count(self, block: Block | None) -> Block | None:
        self._update_counts()
        if block is not None:
            self.lines_read += len(block)
            self.bytes_read += block.end - int(block.offsets[0])
        return block

    def _update_counts(self) -> None:
        """Counts what is missing in the lines, and says it once for each file."""
        self.cut_lines, self.cut_bytes, self.zero_bytes, self.undecodable = self._left_out()
        for warning in self._file.warnings() if self._file else ():
            _LOG.warning("%s: %s", self.path, warning)

    def _left_out(self) -> LeftOut:
        return self._closed.plus(self._file.left_out) if self._file else self._closed
