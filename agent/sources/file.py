"""Following one log file as it grows, through rotation, truncation and removal.

What is to be read is decided by stat and read alone; events of the file system only tell the caller when to look again.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from agent.errors import SourceError
from agent.lines import MAX_LINE, Block
from agent.sources.archive import cannot_read
from agent.sources.opened import OpenFile
from agent.sources.position import Position
from agent.sources.rotated import rotated_files

GRACE = 1.0  # seconds without growth after which a file that was rotated away counts as complete
RELEASE = 60.0  # seconds without growth after which a deleted file is closed, so that its space is freed


class FileSource:
    """The lines of one path, in blocks, each line once.

    Reading starts at `position` where that still fits, else at the path's start, or at its end where `start` says so
    and there is no position. `say` gets a sentence for the user on all that may surprise. A path that cannot be
    followed is a SourceError when it is first opened; later it is said once and tried again. `grace`: for how many
    seconds without growth a file is read on after its path names another one; 0 where a run does not wait.
    bytes_read, lines_read, rotations and truncations count since the start.
    """

    def __init__(
        self,
        path: Path,
        position: Position | None,
        start: Literal["start", "end"],
        say: Callable[[str], None],
        max_line: int = MAX_LINE,
        grace: float = GRACE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.bytes_read = self.lines_read = self.rotations = self.truncations = 0
        self._say, self._told = say, ""
        self._max_line, self.grace, self._clock = max_line, grace, clock
        self._closed_cut = (0, 0)
        self._position = position
        self._quiet_since = clock()  # the file last grew, or was found to be gone from its path
        self._left = self._interrupted = False
        self._file: OpenFile | None = None
        self._file = self._open_first(position, start)

    def read(self, most: int = 1 << 20) -> Block | None:
        """The next block of complete lines, read in pieces of `most` bytes; None when nothing is new at present."""
        block = self._read(most)
        if block is not None:
            self._count(block)
        return block

    def finish(self) -> Block | None:
        """The last line of the file where no line feed ends it, or None: for the end of a run that does not wait."""
        block = self._file.finish() if self._file else None
        if block is not None:
            self._count(block)
        return block

    def context(self, lines: int) -> Block | None:
        """The last complete lines, at most `lines`, before the place where reading began; None where there are none."""
        return self._file.context(lines) if self._file else None

    @property
    def position(self) -> Position | None:
        """Where to go on after the blocks handed out so far; None while the path has never existed."""
        return self._file.position if self._file else self._position

    @property
    def identity(self) -> str:
        """Names the file of the last block: the same after a rename or a restart, another after a truncation."""
        return self._file.identity if self._file else ""

    @property
    def cut_lines(self) -> int:
        """Lines longer than `max_line`, of which only the head was kept."""
        return self._cut()[0]

    @property
    def cut_bytes(self) -> int:
        """The bytes left out of those lines."""
        return self._cut()[1]

    def close(self) -> None:
        """Closes the file; `position` stays."""
        self._replace(None)

    def _read(self, most: int) -> Block | None:
        try:
            if self._file is None:
                self._reopen()
            return self._file and self._read_file(self._file, most)
        except OSError as error:  # such as a file handle gone stale on a network file system
            self._tell(f"{cannot_read(self.path, error)}; trying again")
            self._replace(None)
            self._interrupted = True
            return None

    def _reopen(self) -> None:
        file = self._open(self.path)
        if file is not None and self._interrupted and self._position is not None:
            file = self._resume(file, self._position)
            self._interrupted = False
        self._replace(file)

    def _read_file(self, file: OpenFile, most: int) -> Block | None:
        before = file.read_to
        block = file.read(most)
        if file.read_to > before:
            self._quiet_since = self._clock()
        if block is not None:
            return block
        return self._rewind(file, most) if file.is_truncated() else self._look(file, most)

    def _rewind(self, file: OpenFile, most: int) -> Block | None:
        """Goes on at the start of a truncated file, after the incomplete line that was read of its old content."""
        if block := file.finish():
            return block
        self.truncations += 1
        lost = f"at least {file.unread} bytes are" if file.unread else "what was written just before may be"
        self._say(
            f"{self.path} was truncated or overwritten after {file.read_to} bytes were read; {lost} lost; "
            "reading it from its start"
        )
        self._replace(file.rewound())
        return self._file and self._file.read(most)

    def _look(self, file: OpenFile, most: int) -> Block | None:
        """Whether the path still names this file, which was read to its end; else, after the grace, the next block."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            self._leave()
            self._tell_missing()
            if self._quiet_for(self.grace) and self._next_path(file) != self.path:
                return self._move_on(file, most)
            return self._release(file)
        except OSError as error:
            self._tell(f"{cannot_read(self.path, error)}; trying again")
            return None
        if (status.st_dev, status.st_ino) == (file.device, file.inode):
            self._left, self._told = False, ""
            return None
        self._leave()
        return self._move_on(file, most) if self._quiet_for(self.grace) else None

    def _leave(self) -> None:
        if not self._left:
            self._left, self._quiet_since = True, self._clock()

    def _quiet_for(self, seconds: float) -> bool:
        return self._clock() - self._quiet_since >= seconds

    def _release(self, file: OpenFile) -> Block | None:
        """Closes a deleted file that has not grown for long, after its incomplete last line."""
        if not (file.is_deleted and self._quiet_for(RELEASE)):
            return None
        block = file.finish()
        if block is None:
            self._replace(None)
        return block

    def _move_on(self, file: OpenFile, most: int) -> Block | None:
        """From a file that was rotated away to the next one, after its incomplete last line."""
        if block := file.finish():
            return block
        opened = self._open(self._next_path(file))
        if opened is None:
            return None
        self.rotations += 1
        self._replace(opened)
        return self._read_file(opened, most)

    def _next_path(self, file: OpenFile) -> Path:
        """The path, or the rotated file that comes after this one: several rotations may lie between two looks."""
        others = (other for other in rotated_files(self.path) if other.inode != file.inode)
        return next((other.path for other in others if other.modified > file.modified), self.path)

    def _replace(self, file: OpenFile | None) -> None:
        if self._file is not None:
            self._position = self._file.position
            self._closed_cut = self._cut()
            self._file.close()
        self._file, self._left = file, False

    def _open(self, path: Path) -> OpenFile | None:
        """An open file, or None where it cannot be had at present, which is told once."""
        try:
            file = OpenFile.open(path, str(self.path), self._max_line)
        except FileNotFoundError:
            self._tell_missing()
        except SourceError as error:
            self._tell(f"{error}; trying again")
        else:
            self._told = ""
            return file
        return None

    def _open_first(self, position: Position | None, start: str) -> OpenFile | None:
        try:
            file = OpenFile.open(self.path, str(self.path), self._max_line)
        except FileNotFoundError:
            file = None
        if position is not None:
            return self._resume(file, position)
        if file is None:
            self._tell_missing()
        elif start == "end":
            file.begin_at_end()
        return file

    def _resume(self, file: OpenFile | None, position: Position) -> OpenFile | None:
        """The file of a stored position, which may have been rotated meanwhile; else the path's file from its start."""
        reason = file.resume(position) if file else ""
        if file and not reason:
            return file
        if rotated := self._find_rotated(position):
            if file:
                file.close()
            return rotated
        if file is None:
            self._tell_missing()
        else:
            where = f"byte {position.offset}"
            self._say(f"{self.path} cannot be read on from {where} ({reason}): reading it from its start")
        return file

    def _find_rotated(self, position: Position) -> OpenFile | None:
        for other in rotated_files(self.path):
            if (other.device, other.inode) == (position.device, position.inode):
                file = self._open(other.path)
                if file and not file.resume(position):
                    self._say(f"{self.path} was rotated meanwhile: reading the rest of {other.path} first")
                    return file
                if file:
                    file.close()
        return None

    def _tell(self, sentence: str) -> None:
        """Says what goes on for a while once, not at every look."""
        if sentence != self._told:
            self._told = sentence
            self._say(sentence)

    def _tell_missing(self) -> None:
        seen = self._file is not None or self._position is not None
        what = "is gone: waiting for it to come back" if seen else "does not exist yet: waiting for it"
        self._tell(f"{self.path} {what}")

    def _count(self, block: Block) -> None:
        self.lines_read += len(block)
        self.bytes_read += block.end - int(block.offsets[0])

    def _cut(self) -> tuple[int, int]:
        lines, count = self._file.cut if self._file else (0, 0)
        return self._closed_cut[0] + lines, self._closed_cut[1] + count
