"""Rotations of a log in another folder or under another kind of name, of which none is believed for its name."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.errors import SourceError
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.files.checkpoint import TAIL, FileCheckpoint
from agent.sources.files.open_file import OpenFile
from agent.sources.files.rotation_names import COMPRESSED, Form, Rotated, form_of, other_forms, rotated_files

_MOST = 16  # files at either end of those that may hold something: which are looked into
PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # faults of the moment and not of the file
SAME_TIME = 2_000_000_000  # nanoseconds by which the times of a file and of its compressed form may differ


def open_rotated(path: Path, source: str, reading: ReadingSettings) -> OpenFile:
    """A rotated file, which may be compressed, from its start; a SourceError says why it is no good.

    FileNotFoundError, and an OSError where the system has not enough of something at present, are the caller's.
    """
    try:
        return (OpenFile.open_compressed if path.suffix in COMPRESSED else OpenFile.open)(path, source, reading)
    except SourceError as error:
        if error.errno in PASSING:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
        raise


def written_since(files: list[Rotated], modified: int) -> list[Rotated]:
    """The files that may hold what was written at a time, in nanoseconds: of more than 32 the first and last 16."""
    later = [other for other in files if other.modified > modified - SAME_TIME]
    return later[:_MOST] + later[_MOST:][-_MOST:]


class RotationDiscovery:
    """The forms other than its own in which a log is rotated, each known from a file that was seen to be this log's.

    That is one with the device and inode of a checkpoint and what was read of it, or with 256 bytes and more of what
    was read before the checkpoint, at both ends; or the open file of the log, wherever it was moved. What the forms
    are is known for one run alone: after a restart they are found again in the folder of the log and the folders in it.

    is_own_log: whether a path is read as a log of its own; such a file is never taken for a rotation here.
    """

    def __init__(self, path: Path, reading: ReadingSettings, is_own_log: Callable[[Path], bool]) -> None:
        self.forms: list[Form] = []
        self._path, self._reading, self._is_own_log = path, reading, is_own_log
        self._searched: tuple[int, int] | None = None  # the deleted file that was looked for last

    def find(self, checkpoint: FileCheckpoint) -> tuple[OpenFile, Path] | None:
        """The rotated file of a checkpoint in a form not known until now, open there, and its path."""
        unknown = [form for form in other_forms(self._path) if form not in self.forms]
        forms = [
            [one for one in rotated_files(self._path, [form]) if not self._is_own_log(one.path)] for form in unknown
        ]
        same = [other for files in forms for other in files if _is_file(other, checkpoint)]
        is_identifying = checkpoint.tail_hash and checkpoint.offset >= TAIL
        later = [other for files in forms if is_identifying for other in written_since(files, checkpoint.modified)]
        for rotated in same + later:
            if file := self._fitting(rotated, checkpoint):
                self.forms.append(rotated.form)
                return file, rotated.path
        return None

    def _fitting(self, rotated: Rotated, checkpoint: FileCheckpoint) -> OpenFile | None:
        with suppress(FileNotFoundError, SourceError):  # no word of what may be the file of another log
            file = open_rotated(rotated.path, str(self._path), self._reading)
            if not file.resume(checkpoint, anywhere=True):
                return file
            file.close()
        return None

    def learn(self, file: OpenFile) -> bool:
        """Whether a form became known in which an open file is rotated, that is not at the log's path any more.

        It costs one call of the system, and where the file was deleted, one search of the folders.
        """
        link = file.link
        form = link and form_of(self._path, link)
        if form and form not in self.forms:
            self.forms.append(form)
            return True
        if not file.is_deleted or file.key == self._searched:
            return False
        self._searched = file.key
        found = self.find(file.checkpoint)
        if found is not None:
            found[0].close()
        return found is not None


def _is_file(rotated: Rotated, checkpoint: FileCheckpoint) -> bool:
    return rotated.key == checkpoint.key and not rotated.compressed
