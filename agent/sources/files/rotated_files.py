"""The rotated files of a log: which there are, what each holds, and which are no good."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.errors import SourceError
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.files.checkpoint import TAIL, FileCheckpoint
from agent.sources.files.open_file import OpenFile
from agent.sources.files.rotation_discovery import RotationDiscovery, open_rotated, written_since
from agent.sources.files.rotation_names import COMPRESSED, Key, Rotated, own_form, rotated_files
from agent.sources.files.rotation_order import in_order

_LOG = logging.getLogger(__name__)
_KEPT = 4


class RotatedFiles:
    """The rotated files of one path, to be opened and held against checkpoints.

    One that is damaged or cannot be read is logged once, unless `quiet`, and left out. `is_own_log` tells which files
    are read as logs of their own.
    """

    def __init__(self, path: Path, reading: ReadingSettings, is_own_log: Callable[[Path], bool], quiet: bool) -> None:
        self._path, self._reading, self._is_own_log, self._quiet = path, reading, is_own_log, quiet
        self._discovery = RotationDiscovery(path, reading, is_own_log)
        self._refused: set[Key] = set()

    def newer(self, modified: int) -> list[Rotated]:
        """The rotated files that were last written after a time, in nanoseconds, in order."""
        return [other for other in self._files() if other.modified > modified]

    def open(self, rotated: Rotated) -> OpenFile | None:
        """The rotated file from its start; None where it has just been renamed or removed, or is no good."""
        try:
            file = open_rotated(rotated.path, str(self._path), self._reading)
        except FileNotFoundError:
            return None
        except SourceError as error:
            self._refuse(rotated.key, str(error))
            return None
        if file.key == rotated.key:
            return file
        file.close()
        return None

    def find_target(self, checkpoint: FileCheckpoint) -> tuple[OpenFile, Path] | None:
        """Where the path is a link: the file that it led to at a checkpoint, or its compressed form, and its path.

        The file is open at the checkpoint. One with another inode is proven by 256 bytes and more.
        """
        target = os.fsdecode(checkpoint.target)
        for path in [Path(target + kind) for kind in ("", *COMPRESSED)] if target else ():
            with suppress(FileNotFoundError, SourceError):
                file = open_rotated(path, str(self._path), self._reading)
                is_proven = file.key == checkpoint.key or checkpoint.offset >= TAIL
                if is_proven and not file.resume(checkpoint, anywhere=True):
                    return file, path
                file.close()
        return None

    def warn_damaged(self, file: OpenFile) -> str:
        """Says what could not be read of a compressed file, once; the words, or none."""
        return self._refuse(file.key, file.damage) if file.damage else ""

    def _files(self) -> list[Rotated]:
        """The rotated files in all forms that are known, the oldest at the front."""
        return in_order(self._listed())

    def _listed(self) -> list[Rotated]:
        own, files = own_form(self._path), rotated_files(self._path, [own_form(self._path), *self._discovery.forms])
        return [other for other in files if other.form == own or not self._is_own_log(other.path)]

    def _find_content(self, files: list[Rotated], checkpoint: FileCheckpoint) -> tuple[OpenFile, Path] | None:
        """The oldest that fits of those that were written after the last look: older ones may only begin alike.

        Else the same uncompressed file, whatever its time. gzip, bzip2, xz and `cp -p` keep the time of writing, and a
        plain copy gets a later one; a tool that makes a compressed file look older than the log hides it from the
        search.
        """
        same = [other for other in files if other.key == checkpoint.key and not other.compressed]
        for rotated in written_since(files, checkpoint.modified) + same:
            if file := self._fitting(rotated, checkpoint):
                return file, rotated.path
        return None

    def _fitting(self, rotated: Rotated, checkpoint: FileCheckpoint) -> OpenFile | None:
        file = self.open(rotated)
        if file is None:
            return None
        reason = file.resume(checkpoint, anywhere=True)
        if not reason:
            return file
        self.warn_damaged(file)
        file.close()
        return None

    def _has(self, key: tuple[int, int]) -> bool:
        """Whether a file is at the path, or among the rotated ones."""
        with suppress(OSError):
            status = os.stat(self._path)
            if key == (status.st_dev, status.st_ino):
                return True
        return any(other.key == key for other in self._files())

    def _refuse(self, key: tuple[int, int], reason: str) -> str:
        if key in self._refused:
            return ""
        self._refused.add(key)
        return self._warn(f"{reason}; what is missing of it is lost" if "was read" in reason else f"{reason}: left out")

    def _warn(self, sentence: str) -> str:
        if not self._quiet:
            _LOG.warning("%s", sentence)
        return sentence
