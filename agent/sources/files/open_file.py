"""One open log file: how far it has been read, and whether it still is the file that was read."""

from pathlib import Path

from agent.errors import cannot_read
from agent.sources.decoding.encoding import MAX_BOM, UTF_8, LineFeed, find_codec
from agent.sources.decoding.line_reader import LeftOut, LineReader
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.files.checkpoint import TAIL, FileCheckpoint, digest, read_before
from agent.sources.files.compressed import CompressedContent
from agent.sources.files.content import Content, PlainContent
from agent.sources.files.file_on_disk import FileOnDisk
from agent.sources.files.line_search import after_zeros, last_line_start, lines_before
from agent.sources.files.read_trace import ReadTrace
from agent.text.lines import Block

_CHUNK = 1 << 20


class OpenFile(FileOnDisk):
    """A file, read as blocks from an offset on.

    read_to    the offset up to which it was read; the incomplete last line or record is held back
    truncated  whether it was truncated before, so that the zeros with which it may begin are no trace of a crash
    """

    def __init__(self, content: Content, source: str, reading: ReadingSettings) -> None:
        super().__init__(content)
        self._source, self._reading = source, reading
        self._size, self._modified = 0, self.modified
        self.truncated = False
        self.begin(0, 1)

    @classmethod
    def open(cls, path: Path, source: str, reading: ReadingSettings) -> "OpenFile":
        """Opens a path; a SourceError says why it cannot be followed, and FileNotFoundError is left to the caller."""
        return cls._of(PlainContent.open(path), source, reading)

    @classmethod
    def open_compressed(cls, path: Path, source: str, reading: ReadingSettings) -> "OpenFile":
        """The same of a compressed file, which is read as the file that it was made from."""
        try:
            return cls._of(CompressedContent(path), source, reading)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise cannot_read(path, error) from None

    @classmethod
    def _of(cls, content: Content, source: str, reading: ReadingSettings) -> "OpenFile":
        try:
            return cls(content, source, reading)
        except BaseException:
            content.close()
            raise

    def begin(self, offset: int, line: int) -> None:
        """Sets where reading starts: the offset of a line and its number."""
        self._began = offset, line
        self._trace = ReadTrace(self._read_head(offset), read_before(self._content.pread, offset))
        self._lines = LineReader(self._source, offset, line, self._reading, self._trace.head)
        self.read_to = offset

    def begin_at_end(self) -> None:
        """Sets reading to start after the last line feed, so that a line that is just being written is seen whole."""
        self.begin(*last_line_start(self._content.pread, self._line_feed()))

    def _line_feed(self) -> LineFeed:
        return LineFeed.of(find_codec(self._reading.encoding, self._content.pread(MAX_BOM, 0), ended=True) or UTF_8)

    def resume(self, checkpoint: FileCheckpoint, anywhere: bool = False) -> str:
        """Sets reading to start at a stored checkpoint; a few words on why where it does not fit this file, else none.

        anywhere: also in a copy of the file, told by its content alone.
        """
        if not anywhere and self.key != checkpoint.key:
            return "it is another file"
        if not self.compressed and self.size < checkpoint.offset:
            return "it is shorter than what was read of it"
        if reason := self.fingerprint_mismatch(checkpoint):
            return reason
        self.begin(checkpoint.offset, checkpoint.line)
        self._modified = checkpoint.modified or self._modified
        is_renumbered = self.key[1] == checkpoint.inode and not self.compressed
        self.device, self.inode = self.key if is_renumbered else checkpoint.key
        return ""

    def resume_renumbered(self, checkpoint: FileCheckpoint) -> bool:
        """The same where the file has another device or inode than it had: a reboot, a restored copy, an editor's save.

        Where the inode is another one too, less than 256 bytes prove nothing.
        """
        is_proven = bool(checkpoint.tail_hash) and checkpoint.offset >= TAIL
        if not (is_proven or self.inode == checkpoint.inode) or self.resume(checkpoint, anywhere=True):
            return False
        self.device, self.inode = self.key
        return True

    @property
    def checkpoint(self) -> FileCheckpoint:
        """Where to go on after the blocks handed out so far: at the start of the incomplete line or record."""
        offset = self._lines.offset
        return self._checkpoint_at(offset, self._trace.head[:offset], self._trace.before)

    @property
    def seen(self) -> FileCheckpoint:
        """The same after the part that was read of what is incomplete."""
        return self._checkpoint_at(self.read_to, self._trace.head, self._trace.tail)

    def _checkpoint_at(self, offset: int, head: bytes, tail: bytes) -> FileCheckpoint:
        line = self._lines.line
        return FileCheckpoint(self.device, self.inode, digest(head), offset, line, digest(tail), self._modified)

    @property
    def first_read(self) -> bytes:
        """Its first bytes as they were when they were read, at most 1024."""
        return self._trace.head

    def begins_as(self, other: "OpenFile") -> bool:
        """Whether the file begins with what was read first of another one."""
        first = other.first_read
        return bool(first) and self._read_head(len(first)) == first

    def ends_at(self, checkpoint: FileCheckpoint) -> bool:
        """Whether a checkpoint is at the end of the file, or of that of which it is a copy."""
        return not self.resume(checkpoint, anywhere=True) and not self._content.pread(1, checkpoint.offset)

    def is_part_of(self, other: "OpenFile") -> bool:
        """Whether all that is to be read of the file stands at the same place in another one."""
        at = self.read_to
        while chunk := self._content.pread(_CHUNK, at):
            if not other.has(chunk, at):
                return False
            at += len(chunk)
        return True

    @property
    def identity(self) -> str:
        """Names the file and its content: another one after a truncation, the same after a rename or a restart."""
        first = digest(self._trace.head.partition(b"\n")[0]).partition(":")[2][:16]
        return f"{self.device}:{self.inode}:{first}"

    @property
    def left_out(self) -> LeftOut:
        """What is missing in the lines so far."""
        return self._lines.left_out

    def warnings(self) -> list[str]:
        """What there is to say of what is missing in the lines, each once."""
        return self._lines.warnings()

    @property
    def holds(self) -> bool:
        """Whether a record is held back since it may go on."""
        return self._lines.holds

    @property
    def unread(self) -> int:
        """Bytes that were in the file when it was last read, but not read; 0 where it is compressed."""
        return max(0, self._size - self.read_to)

    @property
    def size(self) -> int:
        """How long the file is now, in bytes; of a compressed one how much was read."""
        return self.read_to if self.compressed else self._content.status().st_size

    def read(self, limit: int) -> Block | None:
        """The next block, from pieces of `limit` bytes; None where no line is complete, or the file was truncated."""
        if self.read_to == 0:
            self._skip_zeros()
        while chunk := self._content.pread(limit, self.read_to):
            if self.is_truncated():  # asked after reading, so that the chunk is known to follow what was read before
                return None
            if block := self._feed(chunk):
                return block
        return None

    def _feed(self, chunk: bytes) -> Block | None:
        lines, old_line = self._lines, self._lines.incomplete
        block = lines.feed(chunk)
        self._trace.feed(chunk, self.read_to, old_line, lines.incomplete, None if block is None else lines.offset)
        self.read_to += len(chunk)
        return block

    def _skip_zeros(self) -> None:
        """Skips the hole at the start of a truncated file whose writer, without O_APPEND, goes on at its old offset."""
        if self._content.pread(1, 0) != b"\0" or self._line_feed().width > 1:
            return
        at = after_zeros(self._content.pread, self._content.hole())
        self.begin(at, 1)
        self._lines.skipped = 0 if self.truncated else at

    def flush(self) -> Block | None:
        """The record that is held back since it may go on, or None."""
        self._trace.flush()
        return self._lines.flush()

    def finish(self) -> Block | None:
        """What is held back: a record, and a line that no line feed ends; or None."""
        self._trace.finish()
        return self._lines.finish()

    def is_truncated(self) -> bool:
        """Whether what was read is no longer there: the file is shorter, begins otherwise, or differs at the end."""
        if self.compressed:
            return False
        status, trace = self._content.status(), self._trace
        if status.st_size < self.read_to or read_before(self._content.pread, self.read_to) != trace.tail:
            return True
        if self._read_head(len(trace.head)) != trace.head:
            return True
        self._size = status.st_size
        return False

    def seen_as_log(self, modified: int) -> None:
        """Notes when the file was last written while a path named it: its writer may go on in it after a rotation."""
        self._modified = modified

    def rewound(self) -> "OpenFile":
        """The same file from its start."""
        file = self._of(self._content.again(), self._source, self._reading)
        file.truncated = True
        return file

    def context(self, lines: int) -> Block | None:
        """The last complete lines, at most `lines`, before the place where reading began; None where there are none."""
        pread, feed = self._content.pread, self._line_feed()
        return lines_before(self._began, lines, pread, feed, self._source, self._reading, self._trace.head)
