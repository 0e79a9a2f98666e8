"""Opening the source that a path or URL of the configuration stands for."""

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from agent.errors import cannot_read
from agent.sources.base import Source
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.follower import FileSource
from agent.sources.files.globs import is_url
from agent.sources.files.open_file import OpenFile
from agent.text.stored import DamagedBlob, decode_stored

Start = Literal["start", "end"]  # where to begin in what the state does not know
_LOG = logging.getLogger(__name__)


def source_name(path: str) -> str:
    """How a source is named that is configured as a path or a URL: a path in full."""
    return path if path == "-" or is_url(path) else os.path.abspath(path)


def open_source(
    name: str,
    checkpoint: bytes | None,
    start: Start,
    reading: ReadingSettings,
    is_own_log: Callable[[Path], bool] = lambda path: False,
    since: int = 0,
    take_over: Callable[[OpenFile], bool] = lambda file: True,
) -> Source:
    """The source that a name stands for, from a checkpoint on; a SourceError or ConfigError where it cannot be had.

    is_own_log: which files are logs of their own, and no rotations of this one. since: in nanoseconds; without a
    checkpoint the rotations of a file that were written after this time are read before it. take_over: see FileSource.
    """
    if name.startswith("journal:"):
        from agent.sources.journal.follower import JournalSource

        return JournalSource(name, checkpoint, start, reading)
    if name.startswith("listen:"):
        from agent.sources.network.listen import open_listener

        return open_listener(name, checkpoint, reading)
    if name == "-":
        from agent.sources.pipes import StandardInput

        return StandardInput(checkpoint, reading)
    if is_fifo(name):
        from agent.sources.pipes import Fifo

        return Fifo(Path(name), checkpoint, reading)
    try:
        file_checkpoint = read_checkpoint(checkpoint, name)
        return FileSource(
            Path(name), file_checkpoint, start, reading, is_own_log=is_own_log, since=since, take_over=take_over
        )
    except OSError as error:
        raise cannot_read(name, error) from None


def is_fifo(path: str) -> bool:
    """Whether a path is a named pipe."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False


def read_checkpoint(checkpoint: bytes | None, name: str = "") -> FileCheckpoint | None:
    """The decoded checkpoint of a file; None where there is none, or where it cannot be understood.

    name: of the source, to be logged with what cannot be understood; empty: nothing is logged.
    """
    if checkpoint is None:
        return None
    try:
        return decode_stored(checkpoint, FileCheckpoint)
    except DamagedBlob as error:
        if name:
            _LOG.warning("where %s was read to cannot be understood (%s): reading it as if it were new", name, error)
        return None
