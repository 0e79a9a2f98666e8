"""Opening the file of a log where reading is to begin or to go on, be it at its path or among its rotations."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agent.errors import SourceError
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.open_file import OpenFile
from agent.sources.files.resume import Resumed, resume
from agent.sources.files.rotation_search import Rotations
from agent.sources.files.states import FollowEvent

_LOG = logging.getLogger(__name__)
_NOTHING = Resumed(None)


class OngoingFault:
    """What keeps a log from being read for a while: logged once, and not at every look."""

    def __init__(self) -> None:
        self._last_warning = ""

    def warn(self, sentence: str) -> None:
        """Logs a sentence unless it was the last one."""
        if sentence != self._last_warning:
            self._last_warning = sentence
            _LOG.warning("%s", sentence)

    @property
    def present(self) -> str:
        """What was said of it last, while it lasts."""
        return self._last_warning

    def clear(self) -> None:
        """The fault is over: it is logged again when it comes again."""
        self._last_warning = ""


class Opened(NamedTuple):
    """The file to read on in and what happened to the log by it.

    resumed: what became known where a checkpoint was held against the log. moved: whether the file came to the path
    from another name and is read on from where it was read to under that.
    """

    event: FollowEvent
    file: OpenFile | None = None
    resumed: Resumed = _NOTHING
    moved: bool = False


class LogOpener:
    """Opens the files of one path for its source.

    take_over: see FileSource. fault: what keeps the path from being read at present.
    An OSError is the caller's; what was opened before it is closed.
    """

    def __init__(
        self, path: Path, reading: ReadingSettings, rotations: Rotations, take_over: Callable[[OpenFile], bool]
    ) -> None:
        self._path, self._reading, self._rotations = path, reading, rotations
        self._take_over, self.fault = take_over, OngoingFault()

    def open_new(self, start: str, since: int) -> Opened | None:
        """Opens the path for the first time, of which nothing is known; None where it names nothing.

        since: in nanoseconds; where given, what was rotated after that time is first.
        """
        file = self._open_path()
        if file is None:
            self.warn_missing(False)
            return None
        if since:
            file = self._open_since(since, file)
        elif start == "end":
            file.begin_at_end()
        return Opened(FollowEvent.OPENED, file)

    def open_at(self, checkpoint: FileCheckpoint) -> Opened:
        """Opens the file of a stored checkpoint, or the one after it."""
        named = self._open_path()
        resumed = self._resume(named, checkpoint)
        file = resumed.file
        if file is None:
            return Opened(FollowEvent.FAILED)
        if file is named and file.key != checkpoint.key:
            return self.begin(file, resumed)
        is_copy = checkpoint.truncated and file.copied
        return Opened(FollowEvent.COPY_OPENED if is_copy else FollowEvent.OPENED, file, resumed)

    def reopen(self, checkpoint: FileCheckpoint | None, is_interrupted: bool, since: int) -> Opened | None:
        """Opens what came to the path, or what was rotated before that; None where nothing came.

        checkpoint: the last one. is_interrupted: whether there may be more in its file. since: as in `open_new`.
        """
        named = self.try_path(seen=checkpoint is not None)
        if named is None:
            return None
        file, resumed = named, _NOTHING
        if checkpoint is None:
            file = self._open_since(since, named)
        elif is_interrupted:
            resumed = self._resume(named, checkpoint)
            file = resumed.file or named
        elif named.resume(checkpoint):  # what comes back, such as with its disk, fits
            file = self._open_since(checkpoint.modified, named)
        return self.begin(file, resumed) if file is named else Opened(FollowEvent.OPENED, file, resumed)

    def begin(self, file: OpenFile, resumed: Resumed = _NOTHING) -> Opened:
        """Begins what came to the path, or where it was read to under another name; without a file if it still is."""
        begun = file.read_to
        if not self._take_over(file):
            file.close()
            return Opened(FollowEvent.READ_BY_OTHER, None, resumed)
        if file.read_to == begun:
            return Opened(FollowEvent.OPENED, file, resumed)
        _LOG.info("%s was read under another name: reading it on from byte %d", self._path, file.read_to)
        return Opened(FollowEvent.OPENED, file, resumed, moved=True)

    def open_next(self, file: OpenFile) -> Opened | None:
        """The file after an open one that was rotated away; None where it cannot be had yet."""
        opened, wait = self._rotations.next(file)
        if opened is not None:
            self._take_over(opened)
            return Opened(FollowEvent.OPENED, opened)
        named = None if wait else self.try_path(seen=True)
        if named and self._is_gone(file) and named.resume_renumbered(file.checkpoint):
            _LOG.info("%s was replaced by a copy of itself: reading on from byte %d", self._path, named.read_to)
        return self.begin(named) if named else None

    def _is_gone(self, file: OpenFile) -> bool:
        """Whether an open file has no path any more, or that of an editor's backup."""
        return not file.copied and file.link in (None, self._path.resolve().with_name(f"{self._path.resolve().name}~"))

    def try_path(self, seen: bool) -> OpenFile | None:
        """What the path names, from its start; None where it cannot be had at present. seen: whether it ever could."""
        try:
            file = self._open_path()
        except SourceError as error:
            self.fault.warn(f"{error}; trying again")
            return None
        if file is None:
            self.warn_missing(seen)
        else:
            self.fault.clear()
        return file

    def warn_missing(self, seen: bool) -> None:
        """Says that the path names nothing. seen: whether it ever did."""
        what = "is gone: waiting for it to come back" if seen else "does not exist yet: waiting for it"
        self.fault.warn(f"{self._path} {what}")

    def _open_path(self) -> OpenFile | None:
        try:
            return OpenFile.open(self._path, str(self._path), self._reading)
        except FileNotFoundError:
            return None

    def _open_since(self, modified: int, named: OpenFile) -> OpenFile:
        """The oldest rotation that was written after a time, before which the path was empty, else what it names."""
        try:
            newer = [rotated for rotated in self._rotations.newer(modified) if rotated.key != named.key]
            opened = next((file for rotated in newer if (file := self._rotations.open(rotated))), None)
        except OSError:
            named.close()
            raise
        if opened is None:
            return named
        _LOG.info("%s was rotated before it was first read: reading its rotations first", self._path)
        named.close()
        return opened

    def _resume(self, file: OpenFile | None, checkpoint: FileCheckpoint) -> Resumed:
        """The file of a stored checkpoint, which may have been rotated meanwhile; else what was written after it."""
        try:
            resumed = resume(self._path, file, checkpoint, self._rotations)
        except OSError:
            if file is not None:
                file.close()
            raise
        if resumed.file is None:
            self.warn_missing(True)
        return resumed
