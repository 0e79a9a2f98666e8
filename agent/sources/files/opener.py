"""Opening the file of a log where reading is to begin or to go on, be it at its path or among its rotations."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agent.errors import SourceError
from agent.sources.decoding.line_reader import Reading
from agent.sources.files.open_file import OpenFile
from agent.sources.files.position import Position
from agent.sources.files.resume import Resumed, resume
from agent.sources.files.rotation_search import Rotations

_LOG = logging.getLogger(__name__)


class OngoingFault:
    """What keeps a log from being read for a while: logged once, and not at every look."""

    def __init__(self) -> None:
        self._last_warning = ""

    def warn(self, sentence: str) -> None:
        """Logs a sentence unless it was the last one."""
        if sentence != self._last_warning:
            self._last_warning = sentence
            _LOG.warning("%s", sentence)

    def clear(self) -> None:
        """The fault is over: it is logged again when it comes again."""
        self._last_warning = ""


class Begun(NamedTuple):
    """A file that came to the path; None while it is read under another name. moved: whether it is read on here."""

    file: OpenFile | None
    moved: bool = False


class LogOpener:
    """Opens the files of one path for its source.

    begin_here: see `take_up` of FileSource. An OSError is the caller's; what was opened before it is closed.
    """

    def __init__(
        self, path: Path, reading: Reading, rotations: Rotations, begin_here: Callable[[OpenFile], bool]
    ) -> None:
        self._path, self._reading, self._rotations = path, reading, rotations
        self._begin_here = begin_here

    def open_path(self) -> OpenFile | None:
        """The file that the path names, from its start; None where it names none. Else a SourceError says why not."""
        try:
            return OpenFile.open(self._path, str(self._path), self._reading)
        except FileNotFoundError:
            return None

    def try_path(self, fault: OngoingFault, missing: str) -> OpenFile | None:
        """The same while the log is followed; None too where it cannot be had now. missing: says that it is gone."""
        try:
            file = self.open_path()
        except SourceError as error:
            fault.warn(f"{error}; trying again")
            return None
        if file is None:
            fault.warn(missing)
        else:
            fault.clear()
        return file

    def since(self, modified: int, named: OpenFile) -> OpenFile:
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

    def resume(self, file: OpenFile | None, position: Position) -> Resumed:
        """The file of a stored position, which may have been rotated meanwhile; else what was written after it."""
        try:
            return resume(self._path, file, position, self._rotations)
        except OSError:
            if file is not None:
                file.close()
            raise

    def take_up(self, file: OpenFile) -> Begun:
        """What came to the path, from where it was read to under another name."""
        begun = file.read_to
        if not self._begin_here(file):
            file.close()
            return Begun(None)
        if file.read_to == begun:
            return Begun(file)
        _LOG.info("%s was read under another name: reading it on from byte %d", self._path, file.read_to)
        return Begun(file, moved=True)
