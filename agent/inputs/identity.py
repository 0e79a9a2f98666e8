"""Which file a position is in, by whatever name: told by device and inode, and by what the file holds."""

import os
from functools import partial
from pathlib import Path

from agent.sources.contract import Source
from agent.sources.file import FileSource
from agent.sources.position import TAIL, Position
from agent.sources.rotated import rotated_files
from agent.sources.search import Rotations

Key = tuple[int, int]  # device and inode


def key_of(position: Position | None) -> Key | None:
    """Device and inode of the file of a position."""
    return None if position is None else (position.device, position.inode)


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


def fits(name: str, position: Position | None) -> bool:
    """Whether a file has the content that a position was in."""
    try:
        with open(name, "rb") as file:
            return position is not None and not position.misfit(partial(os.pread, file.fileno()))
    except OSError:
        return False


def has_rotations(name: str) -> bool:
    """Whether a log has rotated files, or may have, since too few files can be opened to tell."""
    try:
        return bool(rotated_files(Path(name)))
    except OSError:
        return True


def is_renamed(name: str, position: Position, rotated: set[Key], rotations: Rotations) -> bool:
    """Whether a file that was known under another name is the log of a name now, or one of its rotations.

    rotated: device and inode of these. A rotation is it by its inode and what was read of it, by 256 bytes and more of
    that at both ends, or by any where the file itself is there and has them no more, since it was truncated. An OSError
    where too few files can be opened to tell.
    """
    is_log = path_key(name) == key_of(position)
    if is_log and fits(name, position):
        return True
    found = rotations.find(position) if rotated else None
    if found is None:
        return False
    found[0].close()
    return is_log or key_of(position) in rotated or position.offset >= TAIL
