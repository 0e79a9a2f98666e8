"""The trace of a path: the directories and links on the way to it, a change of which may change what it names."""

import errno
import os
from typing import NamedTuple

from agent.watching.inotify import CONTENT, SELF, STRUCTURE

ANY = b"/"  # stands for every name in a directory; no file can have it
_MOST_LINKS = 40  # as the kernel allows (path_resolution(7))


class Use(NamedTuple):
    """What is to be watched: a path without links on the way, the name in it that counts, and inotify's mask.

    An empty name means the path itself, ANY every name in it.
    """

    path: str
    name: bytes
    mask: int


PathTrace = tuple[Use, ...]


def trace(path: str) -> PathTrace:
    """What tells of changes of a file, its own directory last; of one that does not exist, where it would begin to."""
    return _trace(path, folder=False)


def trace_folder(path: str) -> PathTrace:
    """What tells of files that come to a directory or leave it."""
    return _trace(path, folder=True)


def _trace(path: str, folder: bool) -> PathTrace:
    masks: dict[tuple[str, bytes], int] = {}  # from the root down
    current, todo, links = "/", _parts(os.path.join(os.getcwd(), path)), 0

    def use(path: str, name: str | bytes, mask: int) -> None:
        key = path, os.fsencode(name)
        masks[key] = masks.get(key, 0) | mask

    while todo and links <= _MOST_LINKS:
        name = todo.pop()
        if name == "..":
            current = os.path.dirname(current)
            continue
        full, last = os.path.join(current, name), not todo and not folder
        if last:
            use(current, name, CONTENT | STRUCTURE)
        target = _read_link(full)
        if target is None:
            use(*(os.path.split(current) if os.path.isfile(current) else (current, name)), STRUCTURE)
            break
        if not last:
            use(full, "", SELF)
        todo, links = todo + _parts(target), links + bool(target)
        current = full if not target else "/" if target.startswith("/") else current
    else:
        if folder:
            use(current, ANY, STRUCTURE)
    return tuple(Use(path, name, mask) for (path, name), mask in masks.items())


def _read_link(path: str) -> str | None:
    """What a link says; an empty string for what is no link, None where nothing is or can be seen."""
    try:
        return os.readlink(path)
    except OSError as error:
        return "" if error.errno == errno.EINVAL else None


def _parts(path: str) -> list[str]:
    """The names of a path, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
