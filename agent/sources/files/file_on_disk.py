"""Which file on the disk is open, whatever path names it now."""

import os
from pathlib import Path

from agent.sources.files.checkpoint import HEAD, FileCheckpoint
from agent.sources.files.content import Content


class FileOnDisk:
    """An open file, which stays the same one when its path is renamed or removed.

    key            device and inode as they are on disk
    device, inode  those of the file that it is a copy of, else its own
    compressed         whether it is compressed; offsets are those of its content, read forwards alone
    """

    def __init__(self, content: Content) -> None:
        self._content = content
        status = content.status()
        self.key = self.device, self.inode = status.st_dev, status.st_ino
        self.compressed = content.compressed

    @property
    def copied(self) -> bool:
        """Whether it is a copy of the file that was followed, to which nobody writes any more."""
        return self.compressed or self.key != (self.device, self.inode)

    def fingerprint_mismatch(self, checkpoint: FileCheckpoint) -> str:
        """What in its content speaks against a checkpoint in it; empty where nothing does."""
        return checkpoint.fingerprint_mismatch(self._content.pread)

    def is_at(self, checkpoint: FileCheckpoint, copied: bool) -> bool:
        """Whether a checkpoint is in the file or, where told so, in the one of which it is a copy."""
        if (self.copied and not copied) or (self.device, self.inode) != checkpoint.key:
            return False
        return not self.fingerprint_mismatch(checkpoint)

    @property
    def head(self) -> bytes:
        """Its first bytes, at most 1024."""
        return self._read_head(HEAD)

    def has(self, chunk: bytes, offset: int) -> bool:
        """Whether some bytes stand at an offset."""
        return self._content.pread(len(chunk), offset) == chunk

    @property
    def damage(self) -> str:
        """Why no more can be read of a compressed file than what was, or an empty string."""
        return self._content.damage

    @property
    def modified(self) -> int:
        """When the file was last written, in nanoseconds."""
        return self._content.status().st_mtime_ns

    @property
    def is_deleted(self) -> bool:
        """Whether no path names the file any more."""
        return self._content.status().st_nlink == 0

    @property
    def link(self) -> Path | None:
        """The path that names the file now, wherever it was moved to; None where there is none or it is not known."""
        try:
            path = self._content.path()
            status = os.stat(path)
        except OSError:
            return None
        return path if self.key == (status.st_dev, status.st_ino) else None

    def close(self) -> None:
        """Gives the file back."""
        self._content.close()

    def _read_head(self, limit: int) -> bytes:
        return self._content.pread(min(limit, HEAD), 0)
