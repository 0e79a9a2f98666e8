"""Patterns of paths such as `/var/log/*.log`, and the logs that they name at present."""

import glob
import os
import stat
from fnmatch import fnmatchcase
from pathlib import Path

from agent.sources.files.rotation_names import rotation_of

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".Z", ".zip")


def is_url(source: str) -> bool:
    """Whether a source is no path but `journal:` or `listen:`."""
    return source.startswith(("journal:", "listen:"))


def is_pattern(path: str) -> bool:
    """Whether a path has *, ? or [ in it and is not itself the name of a file."""
    return glob.has_magic(path) and not is_url(path) and not os.path.lexists(path)


def matches(pattern: str, followed: frozenset[Path] = frozenset()) -> list[tuple[Path, tuple[int, int]]]:
    """The logs that a pattern names, each with its device and inode, sorted by name; `**` stands for any directories.

    Left out are what is no regular file, compressed files, and the rotations of a log that exists beside them or is
    one of `followed`. A file that cannot be looked at is left out until it can.
    """
    paths = [Path(name) for name in sorted(glob.glob(os.path.abspath(pattern), recursive=True))]
    known = followed.union(paths)
    found = [
        (path, _key(path)) for path in paths if path.suffix not in _COMPRESSED and rotation_of(path, known) is None
    ]
    return [(path, key) for path, key in found if key is not None]


def is_named(path: Path, pattern: str) -> bool:
    """Whether a pattern would name a path, also through links in its fixed part; for `**` it may be said of others."""
    if path.suffix in _COMPRESSED or not is_pattern(pattern):
        return False
    parts = Path(os.path.abspath(pattern)).parts
    fixed = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    real = Path(*parts[:fixed]).resolve().parts + parts[fixed:]
    return any(_is_match(path, one) for one in (parts, real))


def _is_match(path: Path, parts: tuple[str, ...]) -> bool:
    if "**" in parts:
        return fnmatchcase(str(path), str(Path(*parts)).replace("**/", "*"))
    return len(parts) == len(path.parts) and all(map(fnmatchcase, path.parts, parts))


def folders(pattern: str) -> set[Path]:
    """The directories in which a new file may match: those that exist, and the parents of those that may come."""
    path, found = Path(os.path.abspath(pattern)), set[Path]()
    for parent in path.parents:
        if not glob.has_magic(str(parent)):
            return found | {parent}
        found |= {Path(name) for name in glob.glob(str(parent), recursive=True) if os.path.isdir(name)}
    return found


def _key(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
