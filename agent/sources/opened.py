"""One open log file: how far it has been read, and whether it still is the file that was read."""

import errno
import hashlib
import os
import stat
from pathlib import Path

from agent.errors import SourceError
from agent.lines import Block, LineSplitter
from agent.sources.archive import GZIP_MAGIC, cannot_read
from agent.sources.position import Position

_HEAD = 1024  # bytes at the start of a file that tell it from another one under the same inode
_CHUNK = 1 << 20
_LOOK_BACK = 1 << 18
_KINDS = {
    stat.S_IFDIR: "a directory; name the log files in it",
    stat.S_IFIFO: "a FIFO, which cannot be followed; pipe it into the command",
    stat.S_IFCHR: "a character device, which cannot be followed",
    stat.S_IFBLK: "a block device, which cannot be followed",
    stat.S_IFSOCK: "a socket, which cannot be followed",
}


class OpenFile:
    """A regular file, read as blocks from an offset on. It stays the same file when its path is renamed or removed.

    read_to  the offset up to which it was read; the incomplete last line is held back
    """

    def __init__(self, descriptor: int, source: str, max_line: int) -> None:
        self._descriptor = descriptor
        self._source, self._max_line = source, max_line
        status = os.fstat(descriptor)
        self.device, self.inode = status.st_dev, status.st_ino
        self._size = 0
        self.begin(0, 1)

    @classmethod
    def open(cls, path: Path, source: str, max_line: int) -> "OpenFile":
        """Opens a path; a SourceError says why it cannot be followed, and FileNotFoundError is left to the caller."""
        try:
            mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode):
                raise SourceError(f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}")
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise cannot_read(path, error) from None
        try:
            _refuse_gzip(path, descriptor)
            return cls(descriptor, source, max_line)
        except BaseException:
            os.close(descriptor)
            raise

    def begin(self, offset: int, line: int) -> None:
        """Sets where reading starts: the offset of a line and its number."""
        self._began = offset, line
        self._splitter = LineSplitter(self._source, offset, line, self._max_line)
        self._head = self._read_head(offset)
        self.read_to = offset

    def begin_at_end(self) -> None:
        """Sets reading to start after the last line feed, so that a line that is just being written is seen whole."""
        offset = at = feeds = 0
        while chunk := os.pread(self._descriptor, _CHUNK, at):
            last = chunk.rfind(b"\n") + 1
            offset = at + last if last else offset
            feeds += chunk.count(b"\n")
            at += len(chunk)
        self.begin(offset, feeds + 1)

    def resume(self, position: Position) -> str:
        """Sets reading to start at a stored position; a few words on why where it does not fit this file, else none."""
        if (self.device, self.inode) != (position.device, position.inode):
            return "it is another file"
        if os.fstat(self._descriptor).st_size < position.offset:
            return "it is shorter than what was read of it"
        if _digest(self._read_head(position.offset)) != position.head:
            return "it begins otherwise"
        self.begin(position.offset, position.line)
        return ""

    @property
    def position(self) -> Position:
        """Where to go on after the blocks handed out so far: at the start of the incomplete line."""
        offset = self._splitter.offset
        return Position(self.device, self.inode, _digest(self._head[:offset]), offset, self._splitter.line)

    @property
    def identity(self) -> str:
        """Names the file and its content: another one after a truncation, the same after a rename or a restart."""
        first = hashlib.sha256(self._head.partition(b"\n")[0]).hexdigest()[:16]
        return f"{self.device}:{self.inode}:{first}"

    @property
    def cut(self) -> tuple[int, int]:
        """How many lines were cut at `max_line`, and how many bytes that left out."""
        return self._splitter.cut_lines, self._splitter.cut_bytes

    @property
    def unread(self) -> int:
        """Bytes that were in the file at the last look but not read."""
        return max(0, self._size - self.read_to)

    @property
    def modified(self) -> int:
        """When the file was last written, in nanoseconds."""
        return os.fstat(self._descriptor).st_mtime_ns

    @property
    def is_deleted(self) -> bool:
        """Whether no path names the file any more."""
        return os.fstat(self._descriptor).st_nlink == 0

    def read(self, most: int) -> Block | None:
        """The next block, from pieces of `most` bytes; None where no line is complete, or the file was truncated."""
        if self.read_to == 0:
            self._skip_zeros()
        while chunk := os.pread(self._descriptor, most, self.read_to):
            if self.is_truncated():  # asked after reading, so that the chunk is known to follow what was read before
                return None
            self._head += chunk[: max(0, _HEAD - len(self._head))]
            self.read_to += len(chunk)
            if block := self._splitter.feed(chunk):
                return block
        return None

    def _skip_zeros(self) -> None:
        """Skips the hole at the start of a truncated file whose writer, without O_APPEND, goes on at its old offset."""
        if os.pread(self._descriptor, 1, 0) != b"\0":
            return
        try:
            at = os.lseek(self._descriptor, 0, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole
                raise
            at = os.fstat(self._descriptor).st_size
        while chunk := os.pread(self._descriptor, _CHUNK, at):
            text = chunk.lstrip(b"\0")
            at += len(chunk) - len(text)
            if text:
                break
        self.begin(at, 1)

    def finish(self) -> Block | None:
        """The last line where no line feed ends it, or None."""
        return self._splitter.finish()

    def is_truncated(self) -> bool:
        """Whether what was read is no longer there: the file is shorter, or begins otherwise."""
        size = os.fstat(self._descriptor).st_size
        if size < self.read_to:
            return True
        self._size = size
        return self._read_head(len(self._head)) != self._head

    def rewound(self) -> "OpenFile":
        """The same file from its start."""
        return OpenFile(os.dup(self._descriptor), self._source, self._max_line)

    def context(self, lines: int) -> Block | None:
        """The last complete lines, at most `lines`, before the place where reading began; None where there are none.

        It looks back 256 KiB at most.
        """
        offset, line = self._began
        start = max(0, offset - _LOOK_BACK)
        data = os.pread(self._descriptor, offset - start, start)
        skip = data.find(b"\n") + 1 if start else 0
        numbered = data.count(b"\n", skip) + (not data.endswith(b"\n"))
        for _ in range(numbered - lines):
            skip = data.find(b"\n", skip) + 1
        first = line - min(numbered, lines)
        return LineSplitter(self._source, start + skip, first, self._max_line).feed(data[skip:])

    def close(self) -> None:
        """Gives the file back."""
        os.close(self._descriptor)

    def _read_head(self, most: int) -> bytes:
        return os.pread(self._descriptor, min(most, _HEAD), 0)


def _digest(head: bytes) -> str:
    """The length of the head of a file and its SHA-256."""
    return f"{len(head)}:{hashlib.sha256(head).hexdigest()}"


def _refuse_gzip(path: Path, descriptor: int) -> None:
    if os.pread(descriptor, len(GZIP_MAGIC), 0) == GZIP_MAGIC:
        raise SourceError(f"{path} is gzip data, which does not grow; score it once: oddline agent score {path}")
