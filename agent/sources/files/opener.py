"""Opening the file of a log where reading is to begin or to go on, be it at its path or among its rotations."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agent.errors import SourceError
from agent.sources.decoding.line_reader import Reading
from agent.sources.files.open_file import OpenFile
from agent.sources.files.position import Position
from agent.sources.files.resume import Resumed, resume
from agent.sources.files.rotation_search import Rotations


class Notice:
    """Says what goes on for a while once, and not at every look."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._last = say, ""

    def say(self, sentence: str) -> None:
        """Says a sentence unless it was the last one."""
        if sentence != self._last:
            self._last = sentence
            self._say(sentence)

    def clear(self) -> None:
        """What was said is over: it is said again when it comes again."""
        self._last = ""


class Begun(NamedTuple):
    """A file that came to the path; None while it is read under another name. moved: whether it is read on here."""

    file: OpenFile | None
    moved: bool = False


class LogOpener:
    """Opens the files of one path for its source. What surprises is told to `say`.

    begin_here: see `take_up` of FileSource. An OSError is the caller's; what was opened before it is closed.
    """

    def __init__(
        self,
        path: Path,
        reading: Reading,
        rotations: Rotations,
        begin_here: Callable[[OpenFile], bool],
        say: Callable[[str], None],
    ) -> None:
        self._path, self._reading, self._rotations = path, reading, rotations
        self._begin_here, self._say = begin_here, say

    def open_path(self) -> OpenFile | None:
        """The file that the path names, from its start; None where it names none. Else a SourceError says why not."""
        try:
            return OpenFile.open(self._path, str(self._path), self._reading)
        except FileNotFoundError:
            return None

    def try_path(self, notice: Notice, missing: str) -> OpenFile | None:
        """The same while the log is followed; None too where it cannot be had now. missing: says that it is gone."""
        try:
            file = self.open_path()
        except SourceError as error:
            notice.say(f"{error}; trying again")
            return None
        if file is None:
            notice.say(missing)
        else:
            notice.clear()
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
        self._say(f"{self._path} was rotated before it was first read: reading its rotations first")
        named.close()
        return opened

    def resume(self, file: OpenFile | None, position: Position) -> Resumed:
        """The file of a stored position, which may have been rotated meanwhile; else what was written after it."""
        try:
            return resume(self._path, file, position, self._rotations, self._say)
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
        self._say(f"{self._path} was read under another name: reading it on from byte {file.read_to}")
        return Begun(file, moved=True)
