"""Where a log went when it was rotated by rename: `syslog.1`, `app.log-20240131`."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_SUFFIX = re.compile(r"[.-]\d[\d._T-]*")  # as logrotate numbers and dates them; not yet compressed


class Rotated(NamedTuple):
    """A rotated file: when it was last written, in nanoseconds, and what it is."""

    modified: int
    device: int
    inode: int
    path: Path


def rotated_files(path: Path) -> list[Rotated]:
    """The uncompressed rotations of a log in its own directory, the one written first at the front."""
    log = path.resolve()
    found = []
    with suppress(OSError), os.scandir(log.parent) as entries:  # what cannot be listed cannot be found
        for entry in entries:
            if not (entry.name.startswith(log.name) and _SUFFIX.fullmatch(entry.name[len(log.name) :])):
                continue
            with suppress(FileNotFoundError):
                status = entry.stat()
                found.append(Rotated(status.st_mtime_ns, status.st_dev, status.st_ino, log.parent / entry.name))
    return sorted(found)
