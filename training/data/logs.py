"""Log files as they lie on a disk: plain or gzip, alone or in folders, read in chunks behind a progress bar."""

import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from agent.errors import SourceError

CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"


def find_files(paths: list[Path]) -> list[Path]:
    """The files of these paths: folders recursively, sorted, hidden files and folders left out."""
    files = [file for path in paths for file in _files(path)]
    if not files:
        raise SourceError("no log was named")
    return files


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise SourceError(f"log {path} does not exist")
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    if not found:
        raise SourceError(f"folder {path} holds no files (hidden ones are left out)")
    return sorted(found)


class LogFile(io.RawIOBase):
    """A file that counts and hashes what is read of it; `chunks` gives its content, unpacked where it is gzip.

    `what` it is: the word that an error calls it.
    """

    def __init__(self, path: Path, what: str = "log") -> None:
        self.path, self.what = path, what
        self.size = 0
        self._hash = hashlib.sha256()
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise SourceError(f"{what} {path} cannot be read: {error.strerror}") from None

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Reads into a buffer; the number of bytes."""
        count: int = self._file.readinto(buffer)
        self._hash.update(buffer[:count])
        self.size += count
        return count

    def close(self) -> None:
        """Closes the file."""
        if not self.closed:
            self._file.close()
        super().close()

    @property
    def sha256(self) -> str:
        """Of all that was read, in hexadecimal digits."""
        return self._hash.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """The content, in chunks of at most 1 MiB."""
        raw = io.BufferedReader(self, CHUNK)
        try:
            compressed = raw.peek(2)[:2] == _GZIP
            content: io.BufferedIOBase = gzip.GzipFile(fileobj=raw, mode="rb") if compressed else raw
            while chunk := content.read(CHUNK):
                yield chunk
            while raw.read(CHUNK):  # what follows the last gzip member, for the hash
                pass
        except OSError as error:
            raise SourceError(f"{self.what} {self.path} cannot be read: {error.strerror or error}") from None
        except (EOFError, zlib.error) as error:
            raise SourceError(f"{self.what} {self.path} is damaged gzip: {error}") from None


def read_whole(path: Path, what: str) -> bytes:
    """The content of a small file, unpacked where it is gzip; an error calls it `what`."""
    with LogFile(path, what) as file:
        return b"".join(file.chunks())


@contextmanager
def reading_progress(files: list[Path]) -> Iterator[Progress]:
    """A progress bar, on a terminal, over the bytes of these files; advance its only task."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task("reading", total=sum(file.stat().st_size for file in files))
        yield progress
