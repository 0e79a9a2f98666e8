"""Which file a checkpoint is in, by whatever name: told by device and inode, and by what the file holds."""

import os
from functools import partial
from pathlib import Path

from agent.sources.base import Source
from agent.sources.files.checkpoint import HEAD, TAIL, FileCheckpoint, digest
from agent.sources.files.follower import FileSource
from agent.sources.files.rotation_names import Rotated, rotated_files, rotation_of
from agent.sources.files.rotation_search import Rotations

Key = tuple[int, int]  # device and inode


def key_of(checkpoint: FileCheckpoint | None) -> Key | None:
    """Device and inode of the file of a checkpoint."""
    return None if checkpoint is None else checkpoint.key


def keys_of(source: Source) -> set[Key]:
    """Device and inode of what a source has open, which no other one need read."""
    return source.keys if isinstance(source, FileSource) else set()


def path_key(name: str) -> Key | None:
    """Device and inode of what a path names now; None where it names nothing."""
    try:
        status = os.stat(name)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def fits(name: str, checkpoint: FileCheckpoint | None) -> bool:
    """Whether a file has the content that a checkpoint was in."""
    try:
        with open(name, "rb") as file:
            return checkpoint is not None and not checkpoint.fingerprint_mismatch(partial(os.pread, file.fileno()))
    except OSError:
        return False


def has_rotations(name: str) -> bool:
    """Whether a log has rotated files, or may have, since too few files can be opened to tell."""
    try:
        return bool(rotated_files(Path(name)))
    except OSError:
        return True


def names_no_log(name: str) -> bool:
    """Whether a name names no log any more: no file, or a rotation of a log that has come beside it."""
    return not os.path.lexists(name) or rotation_of(Path(name)) is not None


def is_other(name: str, checkpoint: FileCheckpoint) -> bool:
    """Whether a name does not name the file of a checkpoint as a log any more."""
    return path_key(name) != checkpoint.key or names_no_log(name)


def is_earlier(checkpoint: FileCheckpoint, other: FileCheckpoint) -> bool:
    """Whether a checkpoint in a file was reached before another one in it, or is the same."""
    first, second = ((at.modified, (at.reached or at).offset) for at in (checkpoint, other))
    return checkpoint.key == other.key and first <= second


class LogFiles:
    """A log and its rotations, to be held against checkpoints in files that were known under other names.

    An OSError where too few files can be opened to tell, here and in `has`.
    """

    def __init__(self, name: str, rotations: Rotations) -> None:
        self._name, self._key, self._rotations = name, path_key(name), rotations
        rotated = rotated_files(Path(name))
        self._rotated = {one.key for one in rotated}
        self._heads = [_head(rotations, one) for one in rotated]
        self._digests: dict[int, set[str]] = {}  # of the heads, by how much of them

    def has(self, checkpoint: FileCheckpoint) -> bool:
        """Whether the file of a checkpoint is the log or one of its rotations.

        A rotation is it by its inode and what was read of it, by 256 bytes and more of that at both ends, or by any
        where the file itself is there and has them no more, since it was truncated.
        """
        key = checkpoint.key
        is_known = key == self._key or key in self._rotated
        if not is_known and checkpoint.offset < TAIL:
            return False
        if key == self._key and fits(self._name, checkpoint):
            return True
        if not self._begins(checkpoint):
            return False
        found = self._rotations.find(checkpoint)
        if found is not None:
            found[0].close()
        return found is not None

    def _begins(self, checkpoint: FileCheckpoint) -> bool:
        """Whether a rotation has the first bytes of the file of a checkpoint."""
        size = min(HEAD, checkpoint.offset)
        if size not in self._digests:
            self._digests[size] = {digest(head[:size]) for head in self._heads}
        return checkpoint.head_hash in self._digests[size]


def _head(rotations: Rotations, rotated: Rotated) -> bytes:
    file = rotations.open(rotated)
    if file is None:
        return b""
    try:
        return file.head
    finally:
        file.close()
