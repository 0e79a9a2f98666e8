"""A rotated log that was compressed, read as the file that it was made from."""

import bz2
import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from agent.errors import SourceError, cannot_read
from agent.sources.decoding.line_reader import Reading
from agent.sources.decoding.whole_file import GZIP_MAGIC, unzip
from agent.sources.files.open_file import OpenFile
from agent.sources.files.position import HEAD, TAIL

_CHUNK = 1 << 18
_MAGIC = {".gz": GZIP_MAGIC, ".bz2": b"BZh", ".xz": b"\xfd7zXZ\0"}
_OPENERS = {".bz2": bz2.open, ".xz": lzma.open}


class PackedFile(OpenFile):
    """A gzip, bzip2 or xz file, which does not grow; offsets are those of its content, read forwards alone.

    damage  why no more can be read than what was, or an empty string
    """

    packed = True

    def __init__(self, path: Path, source: str, reading: Reading) -> None:
        self.damage = ""
        self._file = path.open("rb")
        self._pieces = _unpack(path, self._file)
        self._start = self._window = b""
        self._at = 0  # the offset of the window in the content
        super().__init__(self._file.fileno(), source, reading)

    @classmethod
    def open(cls, path: Path, source: str, reading: Reading) -> "PackedFile":
        """Opens a path; a SourceError says why it cannot be read, and FileNotFoundError is left to the caller."""
        try:
            return cls(path, source, reading)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise cannot_read(path, error) from None

    @property
    def size(self) -> int:
        """How much was read: how long the content is shows at its end."""
        return self.read_to

    @property
    def unread(self) -> int:
        """Nothing: the file does not change."""
        return 0

    def is_truncated(self) -> bool:
        """Never: the file does not change."""
        return False

    def close(self) -> None:
        """Gives the file back."""
        self._file.close()

    def _hole(self) -> int:
        return 0

    def _pread(self, most: int, offset: int) -> bytes:
        """As of a plain file, but no further back than the head and the bytes just before the last offset."""
        if offset < self._at:
            return self._start[offset : offset + most]
        while self._at + len(self._window) < offset + most:
            self._drop(offset)
            piece = self._next()
            if not piece:
                break
            self._start += piece[: HEAD - len(self._start)]
            self._window += piece
        start = offset - self._at
        return self._window[start : start + most]

    def _drop(self, offset: int) -> None:
        """Forgets what lies before an offset, but for the bytes that a position keeps a hash of."""
        count = min(len(self._window), max(0, offset - TAIL - self._at))
        self._window = self._window[count:]
        self._at += count

    def _next(self) -> bytes:
        if self.damage:
            return b""
        try:
            return next(self._pieces, b"")
        except SourceError as error:
            self.damage = str(error)
            return b""


def _unpack(path: Path, file: BinaryIO) -> Iterator[bytes]:
    magic = _MAGIC[path.suffix]
    first = os.pread(file.fileno(), len(magic), 0)
    if first != magic:
        raise SourceError(f"{path} is damaged: it is no {path.suffix[1:]} data")
    if path.suffix == ".gz":
        yield from unzip(str(path), iter(lambda: file.read1(_CHUNK), b""), _CHUNK)
        return
    try:
        with _OPENERS[path.suffix](file) as content:
            while piece := content.read1(_CHUNK):
                yield piece
    except EOFError:
        raise SourceError(f"{path} is truncated: its data has no end; what there is was read") from None
    except (OSError, lzma.LZMAError) as error:
        raise SourceError(f"{path} is damaged: {error}; what comes before the damage was read") from None
