"""The bytes of an open file as its reader sees them, whether it is plain or compressed."""

import errno
import os
import stat
from pathlib import Path
from typing import Protocol

from agent.errors import SourceError, cannot_read
from agent.sources.decoding.whole_file import GZIP_MAGIC

_KINDS = {
    stat.S_IFDIR: "a directory; name the log files in it",
    stat.S_IFIFO: "a FIFO, which cannot be followed; pipe it into the command",
    stat.S_IFCHR: "a character device, which cannot be followed",
    stat.S_IFBLK: "a block device, which cannot be followed",
    stat.S_IFSOCK: "a socket, which cannot be followed",
}


class Content(Protocol):
    """What an open file holds.

    compressed  whether the offsets are those of what is compressed in it, which does not grow
    damage      why no more can be read than what was, or an empty string
    """

    @property
    def compressed(self) -> bool: ...

    @property
    def damage(self) -> str: ...

    def status(self) -> os.stat_result:
        """What stat tells of the file as it is on disk."""

    def pread(self, limit: int, offset: int) -> bytes:
        """At most so many bytes from an offset on; fewer only where the content ends."""

    def path(self) -> Path:
        """The path that names the file now, as the system tells it; an OSError where it cannot be told."""

    def hole(self) -> int:
        """How long the hole is with which the file begins, in bytes."""

    def again(self) -> "Content":
        """The same, to be closed apart."""

    def close(self) -> None:
        """Gives the file back."""


class PlainContent:
    """A regular file as it is."""

    compressed, damage = False, ""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> "PlainContent":
        """Opens a path; a SourceError says why it cannot be followed, and FileNotFoundError is left to the caller."""
        try:
            mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode):
                raise SourceError(f"{path} is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}")
            content = cls(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise cannot_read(path, error) from None
        try:
            content._refuse_gzip(path)
        except BaseException:
            content.close()
            raise
        return content

    def status(self) -> os.stat_result:
        return os.fstat(self._descriptor)

    def pread(self, limit: int, offset: int) -> bytes:
        return os.pread(self._descriptor, limit, offset)

    def path(self) -> Path:
        return link_of(self._descriptor)

    def hole(self) -> int:
        try:
            return os.lseek(self._descriptor, 0, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nothing but a hole
                raise
            return self.status().st_size

    def again(self) -> "PlainContent":
        return PlainContent(os.dup(self._descriptor))

    def close(self) -> None:
        os.close(self._descriptor)

    def _refuse_gzip(self, path: Path) -> None:
        if self.pread(len(GZIP_MAGIC), 0) == GZIP_MAGIC:
            raise SourceError(f"{path} is gzip data, which does not grow; score it once: oddline agent score {path}")


def link_of(descriptor: int) -> Path:
    """The path that names the file of a descriptor now, as the kernel has it."""
    return Path(os.readlink(f"/proc/self/fd/{descriptor}"))
