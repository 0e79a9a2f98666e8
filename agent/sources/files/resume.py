"""Where reading goes on from a stored checkpoint, whatever happened to the log meanwhile."""

import logging
from pathlib import Path
from typing import NamedTuple

from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.open_file import OpenFile
from agent.sources.files.rotation_search import Rotations

_LOG = logging.getLogger(__name__)


class Resumed(NamedTuple):
    """The file to read on in, if there is one, and what became known on the way, as the counters of Source have it.

    lost: what there was to say of a loss, or nothing.
    """

    file: OpenFile | None
    rotations: int = 0
    truncations: int = 0
    lost: str = ""


def resume(path: Path, file: OpenFile | None, checkpoint: FileCheckpoint, rotations: Rotations) -> Resumed:
    """The file of a stored checkpoint, which may have been rotated meanwhile; else what was written after it.

    file: what the path names; it is closed where another one is to be read first.
    """
    reason = file.resume(checkpoint) if file else ""
    if file and reason and file.inode == checkpoint.inode and file.resume_renumbered(checkpoint):
        reason = ""  # devices are numbered anew at a mount
    fits = file is not None and not reason
    named = file if fits else None
    found = rotations.following(checkpoint, named) or rotations.find(checkpoint, named)
    if found is None and not fits:
        found = rotations.find_target(checkpoint)
    if found is not None:
        _LOG.info("%s was rotated meanwhile: reading the rest of %s first", path, found[1])
        resumed = Resumed(found[0])
    elif fits or (file and file.resume_renumbered(checkpoint)):
        return Resumed(file)
    else:
        resumed = _find_newer(path, checkpoint, rotations)
    if resumed.file is None:
        return _restart(path, file, checkpoint, reason)
    if file is not None:
        file.close()
    return resumed


def _find_newer(path: Path, checkpoint: FileCheckpoint, rotations: Rotations) -> Resumed:
    """Where the file of a checkpoint is gone: the first of those that were rotated since.

    Where nothing of it was read, that is also one of the time of the last look: the file itself, compressed.
    """
    since = checkpoint.modified - (checkpoint.offset == 0)
    for rotated in rotations.newer(since) if checkpoint.modified else ():
        if file := rotations.open(rotated):
            lost = (
                f"the file that was being read is gone: what was written to it after byte {checkpoint.offset} is lost"
                if checkpoint.offset
                else "nothing tells any more which file was to be read next: what was written to it may be lost"
            )
            text = f"{path} was rotated more than once meanwhile, and {lost}"
            _LOG.warning("%s; reading %s first", text, rotated.path)
            return Resumed(file, rotations=1, lost=text)
    return Resumed(None)


def _restart(path: Path, file: OpenFile | None, checkpoint: FileCheckpoint, reason: str) -> Resumed:
    """Counts what became of the file that a checkpoint was in, while nobody looked; how much was lost is unknown."""
    if file is None:
        return Resumed(None)
    same = (file.device, file.inode) == checkpoint.key
    if checkpoint.ended:
        _LOG.info("%s was removed and came anew: reading it from its start", path)
        return Resumed(file, rotations=1)
    text = f"{path} cannot be read on from byte {checkpoint.offset} ({reason}): reading it from its start"
    _LOG.warning("%s", text)
    return Resumed(file, rotations=int(not same), truncations=int(same), lost=text)
