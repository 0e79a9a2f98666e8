"""How far a file is read."""

import hashlib
from collections.abc import Callable

import msgspec

HEAD = 1024  # bytes at the start of a file that tell it from another one under the same inode
TAIL = 256  # bytes before the offset that tell it from another one that begins alike

Pread = Callable[[int, int], bytes]  # at most so many bytes of a file, from an offset on


def digest(content: bytes) -> str:
    """The length of some bytes and their SHA-256."""
    return f"{len(content)}:{hashlib.sha256(content).hexdigest()}"


def read_before(pread: Pread, offset: int) -> bytes:
    """The bytes before an offset, at most 256."""
    start = max(0, offset - TAIL)
    return pread(offset - start, start)


class FileCheckpoint(
    msgspec.Struct,
    forbid_unknown_fields=True,
    omit_defaults=True,
    frozen=True,
    rename={"head_hash": "head", "tail_hash": "tail"},  # as the state has had them since the first agent
):
    """Where to go on reading a file.

    device, inode  which file it was
    head_hash      the length and the SHA-256 of its first bytes, at most 1024 and `offset`
    offset         the byte from which reading goes on
    line           the number of the line that starts there, from 1
    tail_hash      the same as head_hash of the bytes before the offset, at most 256
    modified       when it was last written, in nanoseconds, as of the last look that found it at its path
    truncated      whether it is in the copy of a file that was truncated, which is counted
    before         at the start of a file, which has no content yet that tells it, the end of the file read before it
    target         where the file was, if its log's path leads over a link
    ended          whether the file was deleted at the last look, and all of it read

    The checkpoints of older agents have no tail_hash (empty) and no time (0): those are not checked then.
    """

    device: int
    inode: int
    head_hash: str
    offset: int
    line: int
    tail_hash: str = ""
    modified: int = 0
    truncated: bool = False
    before: "FileCheckpoint | None" = None
    ended: bool = False
    target: bytes = b""

    @property
    def key(self) -> tuple[int, int]:
        """Device and inode of its file."""
        return self.device, self.inode

    @property
    def reached(self) -> "FileCheckpoint | None":
        """The last place up to which something was read; None where there is none."""
        return self if self.offset else self.before

    def fingerprint_mismatch(self, pread: Pread) -> str:
        """What speaks against a file, read by `pread`, as the one of this checkpoint; empty where nothing does."""
        if digest(pread(min(HEAD, self.offset), 0)) != self.head_hash:
            return "it begins otherwise"
        if self.tail_hash and digest(read_before(pread, self.offset)) != self.tail_hash:
            return "it differs just before that byte"
        return ""
