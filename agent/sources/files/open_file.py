"""One open log file: how far it has been read, and whether it still is the file that was read."""

import errno
import os
import stat
from pathlib import Path

from agent.errors import SourceError, cannot_read
from agent.sources.decoding.encoding import MAX_BOM, UTF_8, LineFeed, find_codec
from agent.sources.decoding.line_reader import LeftOut, LineReader, Reading
from agent.sources.decoding.whole_file import GZIP_MAGIC
from agent.sources.files.position import HEAD, TAIL, Position, digest, read_before
from agent.text.lines import Block

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

    read_to  the offset up to which it was read; the incomplete last line or record is held back
    key  device and inode as they are on disk
    device, inode  those of the file that it is a copy of, else its own
    truncated  whether it was truncated before, so that the zeros with which it may begin are no trace of a crash
    """

    packed = False

    def __init__(self, descriptor: int, source: str, reading: Reading) -> None:
        self._descriptor = descriptor
        self._source, self._reading = source, reading
        status = os.fstat(descriptor)
        self.key = self.device, self.inode = status.st_dev, status.st_ino
        self._size, self._modified = 0, status.st_mtime_ns
        self.truncated = False
        self.begin(0, 1)

    @classmethod
    def open(cls, path: Path, source: str, reading: Reading) -> "OpenFile":
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
            return cls(descriptor, source, reading)
        except BaseException:
            os.close(descriptor)
            raise

    def begin(self, offset: int, line: int) -> None:
        """Sets where reading starts: the offset of a line and its number."""
        self._began = offset, line
        self._head = self._read_head(offset)
        self._lines = LineReader(self._source, offset, line, self._reading, self._head)
        self._before = self._before_line = self._tail = read_before(self._pread, offset)
        self.read_to = offset

    def begin_at_end(self) -> None:
        """Sets reading to start after the last line feed, so that a line that is just being written is seen whole."""
        feed, offset, at, feeds = self._line_feed(), 0, 0, 0
        while chunk := self._pread(_CHUNK, at):
            count, last = feed.skip(chunk)
            offset = at + last if last else offset
            feeds += count
            at += len(chunk)
        self.begin(offset, feeds + 1)

    def _line_feed(self) -> LineFeed:
        return LineFeed.of(find_codec(self._reading.encoding, self._pread(MAX_BOM, 0), ended=True) or UTF_8)

    def resume(self, position: Position, anywhere: bool = False) -> str:
        """Sets reading to start at a stored position; a few words on why where it does not fit this file, else none.

        anywhere: also in a copy of the file, told by its content alone.
        """
        if not anywhere and self.key != position.key:
            return "it is another file"
        if not self.packed and self.size < position.offset:
            return "it is shorter than what was read of it"
        if reason := position.misfit(self._pread):
            return reason
        self.begin(position.offset, position.line)
        self.device, self.inode = position.key
        return ""

    def misfit(self, position: Position) -> str:
        """What in its content speaks against a position in it; empty where nothing does."""
        return position.misfit(self._pread)

    @property
    def position(self) -> Position:
        """Where to go on after the blocks handed out so far: at the start of the incomplete line or record."""
        offset, line = self._lines.offset, self._lines.line
        head, tail = digest(self._head[:offset]), digest(self._before)
        return Position(self.device, self.inode, head, offset, line, tail, self._modified)

    @property
    def seen(self) -> Position:
        """The same after the part that was read of what is incomplete."""
        head, tail = digest(self._head), digest(self._tail)
        return Position(self.device, self.inode, head, self.read_to, self._lines.line, tail, self._modified)

    @property
    def head(self) -> bytes:
        """Its first bytes, at most 1024."""
        return self._read_head(HEAD)

    def begins_as(self, other: "OpenFile") -> bool:
        """Whether the file begins with what was read first of another one."""
        return bool(other._head) and self._read_head(len(other._head)) == other._head

    def ends_at(self, position: Position) -> bool:
        """Whether a position is at the end of the file, or of that of which it is a copy."""
        return not self.resume(position, anywhere=True) and not self._pread(1, position.offset)

    def is_part_of(self, other: "OpenFile") -> bool:
        """Whether all that is to be read of the file stands at the same place in another one."""
        at = self.read_to
        while chunk := self._pread(_CHUNK, at):
            if other._pread(len(chunk), at) != chunk:
                return False
            at += len(chunk)
        return True

    @property
    def copied(self) -> bool:
        """Whether it is a copy of the file that was followed, to which nobody writes any more."""
        return self.packed or self.key != (self.device, self.inode)

    @property
    def identity(self) -> str:
        """Names the file and its content: another one after a truncation, the same after a rename or a restart."""
        first = digest(self._head.partition(b"\n")[0]).partition(":")[2][:16]
        return f"{self.device}:{self.inode}:{first}"

    @property
    def left_out(self) -> LeftOut:
        """What is missing in the lines so far."""
        return self._lines.left_out

    def remarks(self) -> list[str]:
        """What there is to say of what is missing in the lines, each once."""
        return self._lines.warnings()

    @property
    def holds(self) -> bool:
        """Whether a record is held back since it may go on."""
        return self._lines.holds

    @property
    def unread(self) -> int:
        """Bytes that were in the file at the last look but not read."""
        return max(0, self._size - self.read_to)

    @property
    def size(self) -> int:
        """How long the file is now, in bytes."""
        return os.fstat(self._descriptor).st_size

    @property
    def modified(self) -> int:
        """When the file was last written, in nanoseconds."""
        return os.fstat(self._descriptor).st_mtime_ns

    @property
    def link(self) -> Path | None:
        """The path that names the file now, wherever it was moved to; None where there is none or it is not known."""
        try:
            path = Path(os.readlink(f"/proc/self/fd/{self._descriptor}"))
            status = os.stat(path)
        except OSError:
            return None
        return path if self.key == (status.st_dev, status.st_ino) else None

    @property
    def is_deleted(self) -> bool:
        """Whether no path names the file any more."""
        return os.fstat(self._descriptor).st_nlink == 0

    def read(self, most: int) -> Block | None:
        """The next block, from pieces of `most` bytes; None where no line is complete, or the file was truncated."""
        if self.read_to == 0:
            self._skip_zeros()
        while chunk := self._pread(most, self.read_to):
            if self.is_truncated():  # asked after reading, so that the chunk is known to follow what was read before
                return None
            if block := self._take(chunk):
                return block
        return None

    def _take(self, chunk: bytes) -> Block | None:
        self._head += chunk[: max(0, HEAD - len(self._head))]
        begun, before = self._lines.incomplete, self._before_line
        block = self._lines.feed(chunk)
        if self._lines.incomplete >= self.read_to:
            self._before_line = self._read_until(chunk, self._lines.incomplete)
        if block is not None:
            offset = self._lines.offset
            self._before = before if offset == begun else self._read_until(chunk, offset)
        self._tail = (self._tail + chunk[-TAIL:])[-TAIL:]
        self.read_to += len(chunk)
        return block

    def _read_until(self, chunk: bytes, offset: int) -> bytes:
        """The last bytes before an offset in a chunk that follows what was read."""
        stop = offset - self.read_to
        return (self._tail + chunk[max(0, stop - TAIL) : stop])[-TAIL:]

    def _skip_zeros(self) -> None:
        """Skips the hole at the start of a truncated file whose writer, without O_APPEND, goes on at its old offset."""
        if self._pread(1, 0) != b"\0" or self._line_feed().width > 1:
            return
        at = self._hole()
        while chunk := self._pread(_CHUNK, at):
            text = chunk.lstrip(b"\0")
            at += len(chunk) - len(text)
            if text:
                break
        self.begin(at, 1)
        self._lines.skipped = 0 if self.truncated else at

    def _hole(self) -> int:
        """How long the hole is with which the file begins."""
        try:
            return os.lseek(self._descriptor, 0, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole
                raise
            return self.size

    def flush(self) -> Block | None:
        """The record that is held back since it may go on, or None."""
        self._before = self._before_line
        return self._lines.flush()

    def finish(self) -> Block | None:
        """What is held back: a record, and a line that no line feed ends; or None."""
        self._before = self._before_line = self._tail
        return self._lines.finish()

    def is_truncated(self) -> bool:
        """Whether what was read is no longer there: the file is shorter, begins otherwise, or differs at the end."""
        status = os.fstat(self._descriptor)
        if status.st_size < self.read_to or read_before(self._pread, self.read_to) != self._tail:
            return True
        if self._read_head(len(self._head)) != self._head:
            return True
        self._size, self._modified = status.st_size, status.st_mtime_ns
        return False

    def rewound(self) -> "OpenFile":
        """The same file from its start."""
        file = OpenFile(os.dup(self._descriptor), self._source, self._reading)
        file.truncated = True
        return file

    def context(self, lines: int) -> Block | None:
        """The last complete lines, at most `lines`, before the place where reading began; None where there are none.

        It looks back 256 KiB at most.
        """
        offset, line = self._began
        feed, start = self._line_feed(), max(0, offset - _LOOK_BACK)
        data = self._pread(offset - start, start)
        skip = feed.find(data) + feed.width if start else 0
        count, end = feed.skip(data[skip:])
        first = line - count - (skip + end < len(data))
        reader = LineReader(self._source, start + skip, first, self._reading, self._head)
        block = reader.feed(data[skip:], last=True)
        return block and block.last(lines)

    def close(self) -> None:
        """Gives the file back."""
        os.close(self._descriptor)

    def _pread(self, most: int, offset: int) -> bytes:
        return os.pread(self._descriptor, most, offset)

    def _read_head(self, most: int) -> bytes:
        return self._pread(min(most, HEAD), 0)


def _refuse_gzip(path: Path, descriptor: int) -> None:
    if os.pread(descriptor, len(GZIP_MAGIC), 0) == GZIP_MAGIC:
        raise SourceError(f"{path} is gzip data, which does not grow; score it once: oddline agent score {path}")
