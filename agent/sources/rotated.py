"""Where a log went when it was rotated: `syslog.1`, `app.log-20240131`, `syslog.2.gz`."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PACKED = (".gz", ".bz2", ".xz")
_SUFFIX = re.compile(r"([.-]\d[\d._T-]*)(\.gz|\.bz2|\.xz)?")  # as logrotate numbers, dates and compresses them
_NUMBER = re.compile(r"[.-](\d{1,4})")


class Rotated(NamedTuple):
    """A rotated file: when it was last written, in nanoseconds, and what it is."""

    modified: int
    device: int
    inode: int
    path: Path

    @property
    def key(self) -> tuple[int, int]:
        """Device and inode."""
        return self.device, self.inode

    @property
    def packed(self) -> bool:
        """Whether its name says that it is compressed."""
        return self.path.suffix in PACKED


def rotated_files(path: Path) -> list[Rotated]:
    """The rotations of a log in its own directory, the oldest at the front.

    Their names tell the order: the highest number is the oldest, as logrotate counts, and dates of one format sort as
    text; where both occur, or several formats, the times of writing tell it. A compressed file is left out while the
    one that it was made from is still there.
    """
    log = path.resolve()
    found: dict[str, dict[str, Rotated]] = {}  # by suffix, then by what compressed it
    with suppress(OSError), os.scandir(log.parent) as entries:  # what cannot be listed cannot be found
        for entry in entries:
            suffix = _SUFFIX.fullmatch(entry.name[len(log.name) :]) if entry.name.startswith(log.name) else None
            if suffix is None:
                continue
            with suppress(FileNotFoundError):
                status = entry.stat()
                rotated = Rotated(status.st_mtime_ns, status.st_dev, status.st_ino, log.parent / entry.name)
                found.setdefault(suffix[1], {})[suffix[2] or ""] = rotated
    files = [(suffix, forms.get("") or max(forms.values())) for suffix, forms in found.items()]
    by_name = len({_place(suffix)[0] for suffix in found}) == 1
    return [file for _, file in sorted(files, key=lambda one: _place(one[0]) if by_name else (one[1].modified, one))]


def _place(suffix: str) -> tuple[str, int, str]:
    """The format of a suffix, and what sorts those of one format, the oldest first."""
    number = _NUMBER.fullmatch(suffix)
    return ("number", -int(number[1]), "") if number else (re.sub(r"\d", "0", suffix), 0, suffix)


def rotation_of(path: Path, known: frozenset[Path] = frozenset()) -> Path | None:
    """The log beside a file of which that is a rotation by its name, where it is one of `known` or exists, or None."""
    return next((log for log in logs_of(path) if log in known or log.exists()), None)


def logs_of(path: Path) -> Iterator[Path]:
    """The logs of which a file may be a rotation by its name, whether they exist or not."""
    for cut in (place for place in range(1, len(path.name)) if path.name[place] in ".-"):
        if _SUFFIX.fullmatch(path.name[cut:]):
            yield path.with_name(path.name[:cut])
