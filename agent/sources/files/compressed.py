"""The content of a rotated log that was compressed."""

import bz2
import lzma
import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from agent.errors import SourceError
from agent.sources.decoding.whole_file import GZIP_MAGIC, unzip
from agent.sources.decoding.zstd import ZSTD_MAGIC, unpack_zstd
from agent.sources.files.checkpoint import HEAD, TAIL
from agent.sources.files.content import link_of

_CHUNK = 1 << 18
_MAGIC = {".gz": GZIP_MAGIC, ".bz2": b"BZh", ".xz": b"\xfd7zXZ\0", ".zst": ZSTD_MAGIC}


class CompressedContent:
    """What is compressed in a gzip, bzip2, xz or zstd file, read forwards alone.

    An OSError says why it cannot be opened.
    """

    compressed = True

    def __init__(self, path: Path) -> None:
        self.damage = ""
        self._path = path
        self._file = path.open("rb")
        self._pieces = _unpack(path, self._file)
        self._start = self._window = b""
        self._at = 0  # the offset of the window in the content

    def status(self) -> os.stat_result:
        return os.fstat(self._file.fileno())

    def path(self) -> Path:
        return link_of(self._file.fileno())

    def hole(self) -> int:
        return 0

    def again(self) -> "CompressedContent":
        return CompressedContent(self._path)

    def close(self) -> None:
        self._file.close()

    def pread(self, limit: int, offset: int) -> bytes:
        """As of a plain file, but no further back than the head and the bytes just before the last offset."""
        if offset < self._at:
            return self._start[offset : offset + limit]
        while self._at + len(self._window) < offset + limit:
            self._drop(offset)
            piece = self._next()
            if not piece:
                break
            self._start += piece[: HEAD - len(self._start)]
            self._window += piece
        start = offset - self._at
        return self._window[start : start + limit]

    def _drop(self, offset: int) -> None:
        """Forgets what lies before an offset, but for the bytes that a checkpoint keeps a hash of."""
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


def _unpack(path: Path, file: BufferedReader) -> Iterator[bytes]:
    magic = _MAGIC[path.suffix]
    first = os.pread(file.fileno(), len(magic), 0)
    if first != magic:
        raise SourceError(f"{path} is damaged: it is no {path.suffix[1:]} data")
    if path.suffix == ".gz":
        yield from unzip(str(path), iter(lambda: file.read1(_CHUNK), b""), _CHUNK)
        return
    if path.suffix == ".zst":
        yield from unpack_zstd(str(path), file)
        return
    try:
        with (bz2.BZ2File if path.suffix == ".bz2" else lzma.LZMAFile)(file) as content:
            while piece := content.read1(_CHUNK):
                yield piece
    except EOFError:
        raise SourceError(f"{path} is truncated: its data has no end; what there is was read") from None
    except (OSError, lzma.LZMAError) as error:
        raise SourceError(f"{path} is damaged: {error}; what comes before the damage was read") from None
