"""Following one log file as it grows, through rotation, truncation and removal.

What is to be read is decided by stat and read alone; events of the file system only tell the caller when to look again.
"""

import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from agent.errors import SourceError
from agent.sources.base import Source
from agent.sources.decoding.line_reader import PLAIN, LeftOut, Reading
from agent.sources.decoding.whole_file import cannot_read
from agent.sources.files.clock import before_now
from agent.sources.files.open_file import OpenFile
from agent.sources.files.position import Position
from agent.sources.files.resume import resume
from agent.sources.files.rotation_search import Rotations
from agent.text.lines import Block

GRACE = 1.0  # seconds without growth after which a file that was rotated away counts as complete
_LEFT = 4  # files
_SETTLED = 2_000_000_000  # nanoseconds after which a write can no longer have the same time as another one
RELEASE = 60.0  # seconds without growth after which a deleted file is closed, so that its space is freed
RELEASE_MOVED = 3600.0  # the same of a file that was moved away, or cannot be seen any more


class FileSource(Source):
    """The lines of one path, in blocks, each line once.

    Reading starts at `position` where that still fits, else at the path's start, or at its end where `start` says so
    and there is no position. `say` gets a sentence for the user on all that may surprise. A path that cannot be
    followed is a SourceError when it is first opened; later it is said once and tried again. `grace`: for how many
    seconds without growth a file is read on after its path names another one; 0 where a run does not wait, also not
    for what may still belong to a record. `taken` tells which files are read as logs of their own by their names.
    since: a time in nanoseconds at which nothing was at the path: what was rotated after it is read first.
    take_up: begins a file that came to the path where it was read to under another name; False where it is still read
    under that one, for which this source waits.
    """

    def __init__(
        self,
        path: Path,
        position: Position | None,
        start: Literal["start", "end"],
        say: Callable[[str], None],
        reading: Reading = PLAIN,
        grace: float = GRACE,
        clock: Callable[[], float] = time.monotonic,
        taken: Callable[[Path], bool] = lambda path: False,
        since: int = 0,
        take_up: Callable[[OpenFile], bool] = lambda file: True,
    ) -> None:
        self.path, self.name, self.paths = path, str(path), (path,)
        self._say, self._told = say, ""
        self._reading, self.grace, self._clock = reading, grace, clock
        self._rotations, self._taken, self._is_mine = Rotations(path, reading, say, taken), taken, take_up
        self._closed = LeftOut()  # of files that were read before
        self._position, self._empty_since = position, since
        self.left: deque[Position] = deque(maxlen=_LEFT)  # where reading ended in the files before
        self._quiet_since = clock()  # the file last grew, or was found to be gone from its path
        self._left = self._interrupted = self._truncated = self._ended = False
        self._idle: tuple[int, ...] = ()  # what stat told of the path when nothing was new
        self._file: OpenFile | None = None
        self._file = self._open_first(position, start, since)

    def read(self, most: int = 1 << 20) -> Block | None:
        if self._is_idle():
            return None
        self._idle = ()
        return self._count(self._read(most))

    @property
    def settled(self) -> bool:
        return bool(self._idle)

    def _is_idle(self) -> bool:
        """Whether one stat tells that nothing changed since nothing was new: what a look at most files costs."""
        try:
            return bool(self._idle) and _stamp(os.stat(self.path)) == self._idle
        except OSError:
            return False

    def finish(self) -> Block | None:
        return self._count(self._file.finish() if self._file else None)

    def context(self, lines: int) -> Block | None:
        return self._file.context(lines) if self._file else None

    @property
    def position(self) -> Position | None:
        """Where to go on after the blocks handed out so far; None while the path has never existed."""
        if self._file is None:
            return self._position
        at = self._file.position
        before = None if at.offset or self._position is None else self._position.reached
        return msgspec.structs.replace(at, truncated=self._truncated, before=before, ended=self._ended)

    @property
    def mark(self) -> bytes | None:
        return None if self.position is None else msgspec.msgpack.encode(self.position)

    @property
    def is_open(self) -> bool:
        return self._file is not None

    @property
    def sought(self) -> Position | None:
        """Where to go on in a file that is not found; None where one is open or the last one was read to its end."""
        away = self._interrupted and self._file is None and not (self._position and self._position.ended)
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

    def hurry(self) -> None:
        self.grace = 0.0

    def close(self) -> None:
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
        file = named = self._open(self.path)
        if file is not None and self._position is None:
            file = self._first_since(self._empty_since, file)
        elif file is not None and self._interrupted:
            file = self._resume(file, self._position)
            self._interrupted = False
        elif file is not None and file.resume(self._position):  # what comes back, such as with its disk, fits
            file = self._first_since(self._position.modified, file)
        file = self._take_up(file) if file is named else file
        self.reopened += file is not None and self._position is not None
        self._replace(file)

    def _read_file(self, file: OpenFile, most: int) -> Block | None:
        before = file.read_to
        block = file.read(most)
        if file.read_to > before:
            self._quiet_since, self._ended = self._clock(), False
            self.bytes_taken += file.read_to - before
        if block is not None:
            return block
        return self._rewind(file, most) if file.is_truncated() else self._look(file, most)

    def _rewind(self, file: OpenFile, most: int) -> Block | None:
        """Goes on in the copy that was made of a truncated file, else, after its incomplete line, at its start."""
        if found := self._rotations.find_copy(file) or self._find_renamed_copy(file):
            return self._read_copy(file, *found, most)
        if block := file.finish():
            return block
        rewound = file.rewound()
        self.truncations += 1
        self.losses += 1
        self.bytes_lost += file.unread
        lost = f"at least {file.unread} bytes are" if file.unread else "what was written just before may be"
        self._say(
            f"{self.path} was truncated or overwritten after {file.read_to} bytes were read; {lost} lost; "
            "reading it from its start"
        )
        self._replace(rewound)
        return self._file and self._file.read(most)

    def _find_renamed_copy(self, file: OpenFile) -> tuple[OpenFile, Path] | None:
        """The copy of a file that was renamed before it was truncated."""
        renamed = file.link
        if renamed is None or renamed == self.path.resolve():
            return None
        return Rotations(renamed, self._reading, self._say, self._taken).find_copy(file)

    def _read_copy(self, file: OpenFile, copy: OpenFile, path: Path, most: int) -> Block | None:
        self.truncations += 1
        lost = 0 if copy.packed else max(0, file.read_to + file.unread - copy.size)
        self.bytes_lost += lost
        self.losses += lost > 0
        self._say(
            f"{self.path} was truncated or overwritten after {file.read_to} bytes were read; "
            f"reading what follows them in {path} first" + (f"; at least {lost} bytes are lost" if lost else "")
        )
        self._replace(copy)
        self._truncated = True
        return self._read_file(copy, most)

    def _look(self, file: OpenFile, most: int) -> Block | None:
        """Whether the path still names this file, which was read to its end; else, after the grace, the next block."""
        if file.copied:
            return self._move_on(file, most)
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            self._leave()
            self._tell_missing()
            self._note_end(file)
            if self._quiet_for(self.grace) and self._rotations.after(file):
                return self._move_on(file, most)
            return self._flush(file) or self._release(file)
        except OSError as error:
            self._tell(f"{cannot_read(self.path, error)}; trying again")
            return self._flush(file)
        if (status.st_dev, status.st_ino) == (file.device, file.inode):
            self._left, self._told = False, ""
            settled = not file.holds and time.time_ns() - status.st_mtime_ns > _SETTLED
            self._idle = _stamp(status) if settled and status.st_size == file.read_to else ()
            return self._flush(file)
        self._leave()
        return self._move_on(file, most) if self._quiet_for(self.grace) else None

    def _note_end(self, file: OpenFile) -> None:
        """Has it stored that a deleted file was read whole, so that a restart misses nothing of it."""
        ended = file.is_deleted and not file.holds and file.read_to == file.position.offset
        self.unstored |= ended and not self._ended
        self._ended = ended

    def _leave(self) -> None:
        if not self._left:
            self._left, self._quiet_since = True, self._clock()

    def _quiet_for(self, seconds: float) -> bool:
        return self._clock() - self._quiet_since >= seconds

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
            self._replace(None)
        return block

    def _move_on(self, file: OpenFile, most: int) -> Block | None:
        """From a file that was rotated away to the next one, after its incomplete last line."""
        if block := file.finish():
            return block
        self.losses += self._rotations.tell_damage(file)
        opened, wait = self._rotations.next(file)
        if opened is not None:
            self._is_mine(opened)
        elif not wait:
            opened = self._take_up(self._open(self.path))
        if opened is None:
            return None
        try:
            self.losses += self._rotations.tell_gone(file, self._truncated)
        except OSError:
            opened.close()
            raise
        opened.truncated = self._truncated
        self.rotations += not self._truncated
        self._replace(opened)
        return self._read_file(opened, most)

    def _replace(self, file: OpenFile | None) -> None:
        if self._file is not None:
            self._position = self.position
            self.left.append(self._position)
            self._note()
            self._closed = self._left_out()
            self._file.close()
        self._file, self._left, self._truncated, self._ended = file, False, False, False

    def _open(self, path: Path) -> OpenFile | None:
        """An open file, or None where it cannot be had at present, which is told once."""
        try:
            file = OpenFile.open(path, self.name, self._reading)
        except FileNotFoundError:
            self._tell_missing()
        except SourceError as error:
            self._tell(f"{error}; trying again")
        else:
            self._told = ""
            return file
        return None

    def _take_up(self, file: OpenFile | None) -> OpenFile | None:
        """The file that the path names, from where it was read to under another name; None where it still is."""
        if file is None:
            return None
        begun = file.read_to
        if not self._is_mine(file):
            file.close()
            return None
        if file.read_to != begun:
            self.unstored = True  # before the other name is forgotten
            self._say(f"{self.path} was read under another name: reading it on from byte {file.read_to}")
        return file

    def _open_first(self, position: Position | None, start: str, since: int) -> OpenFile | None:
        try:
            file = OpenFile.open(self.path, self.name, self._reading)
        except FileNotFoundError:
            file = None
        if position is not None:
            resumed = self._resume(file, position)
            self._truncated = position.truncated and resumed is not None and resumed.copied
            self._interrupted = resumed is None  # what the path names later is held against the position then
            came = resumed is file and file is not None and file.key != position.key
            return self._take_up(file) if came else resumed
        if file is None:
            self._tell_missing()
            self._empty_since = since or before_now()
            return None
        if since:
            return self._first_since(since, file)
        if start == "end":
            file.begin_at_end()
        return file

    def _first_since(self, since: int, named: OpenFile) -> OpenFile:
        """The oldest rotation that was written after a time, before which the path was empty, else what it names."""
        try:
            newer = [rotated for rotated in self._rotations.newer(since) if rotated.key != named.key]
            opened = next((file for rotated in newer if (file := self._rotations.open(rotated))), None)
        except OSError:
            named.close()
            raise
        if opened is None:
            return named
        self._say(f"{self.path} was rotated before it was first read: reading its rotations first")
        named.close()
        return opened

    def _resume(self, file: OpenFile | None, position: Position) -> OpenFile | None:
        """The file of a stored position, which may have been rotated meanwhile; else what was written after it."""
        try:
            resumed = resume(self.path, file, position, self._rotations, self._say)
        except OSError:
            if file is not None:
                file.close()
            raise
        self.rotations += resumed.rotations
        self.truncations += resumed.truncations
        self.losses += resumed.losses
        if resumed.file is None:
            self._tell_missing()
        return resumed.file

    def _tell(self, sentence: str) -> None:
        """Says what goes on for a while once, not at every look."""
        if sentence != self._told:
            self._told = sentence
            self._say(sentence)

    def _tell_missing(self) -> None:
        seen = self._file is not None or self._position is not None
        what = "is gone: waiting for it to come back" if seen else "does not exist yet: waiting for it"
        self._tell(f"{self.path} {what}")

    def _count(self, block: Block | None) -> Block | None:
        self._note()
        if block is not None:
            self.lines_read += len(block)
            self.bytes_read += block.end - int(block.offsets[0])
        return block

    def _note(self) -> None:
        """Counts what is missing in the lines, and says it once for each file."""
        self.cut_lines, self.cut_bytes, self.zero_bytes, self.undecodable = self._left_out()
        for remark in self._file.remarks() if self._file else ():
            self._say(f"{self.path}: {remark}")

    def _left_out(self) -> LeftOut:
        return self._closed.plus(self._file.left_out) if self._file else self._closed


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """What changes when a file is written or another one takes its path."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
