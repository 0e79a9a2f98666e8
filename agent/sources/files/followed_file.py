"""What a source that follows a log tells of the file that it has open, so that each file is read once."""

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.sources.files.open_file import OpenFile
from agent.sources.files.position import Position
from agent.sources.files.states import FollowState


class FollowedFile:
    """The open file of a FileSource, its state, and the last position in the file before it."""

    path: Path
    _file: OpenFile | None
    _state: FollowState
    _position: Position | None

    @property
    def position(self) -> Position | None:
        """Where to go on after the blocks handed out so far; None while the path has never existed."""
        if self._file is None:
            return self._position
        at = self._file.position
        before = None if at.offset or self._position is None else self._position.reached
        truncated, ended = self._state is FollowState.READING_COPY, self._state is FollowState.ENDED
        return msgspec.structs.replace(at, truncated=truncated, before=before, ended=ended)

    @property
    def sought(self) -> Position | None:
        """Where to go on in a file that is not found; None where one is open or the last one was read to its end."""
        away = self._state is FollowState.INTERRUPTED and not (self._position and self._position.ended)
        return self._position if away else None

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

    def is_at(self, position: Position, copied: bool = False) -> bool:
        """Whether a position is in the open file, told by its content too: an inode may have been used again.

        copied: also where the open file is a copy of the one that the position was in.
        """
        file = self._file
        if file is None or (file.copied and not copied) or (file.device, file.inode) != position.key:
            return False
        return not file.misfit(position)

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
