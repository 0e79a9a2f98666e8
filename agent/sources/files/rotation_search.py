"""Finding the rest of a log that was rotated, copied or compressed: among its rotations, and by content."""

from collections.abc import Callable
from pathlib import Path

from agent.sources.decoding.settings import ReadingSettings
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.open_file import OpenFile
from agent.sources.files.rotated_files import RotatedFiles
from agent.sources.files.rotation_discovery import SAME_TIME, written_since
from agent.sources.files.rotation_names import Rotated


class Rotations(RotatedFiles):
    """The rotated files of one path: what follows a checkpoint or a file among them.

    Those beside the log are known by their names, those elsewhere once one of them was seen to be a part of the log.
    """

    def __init__(
        self,
        path: Path,
        reading: ReadingSettings,
        is_own_log: Callable[[Path], bool] = lambda _: False,
        quiet: bool = False,
    ) -> None:
        super().__init__(path, reading, is_own_log, quiet)
        self._forms: dict[tuple[tuple[int, int], FileCheckpoint], bool] = {}

    def under(self, path: Path) -> "Rotations":
        """The rotated files of the log under another name."""
        return Rotations(path, self._reading, self._is_own_log, self._quiet)

    def find(self, checkpoint: FileCheckpoint, named: OpenFile | None = None) -> tuple[OpenFile, Path] | None:
        """The rotated file of a checkpoint, open there, and its path, told by its content.

        named: the file that the path names, where it fits the checkpoint too; one that holds only a part of it is none.
        The checkpoints of older agents, and those at the start of a file, are found by device and inode.
        """
        files = self._files()
        if not (checkpoint.tail_hash and checkpoint.offset):
            files = [other for other in files if other.key == checkpoint.key]
        found = self._find_content(files, checkpoint)
        if named is None:
            return found or self._discovery.find(checkpoint)
        if found is None:
            return None
        found[0].close()
        index = next(index for index, other in enumerate(files) if other.path == found[1])
        if all(self._is_part(other, checkpoint, named) for other in files[index:]):
            return None
        return self._find_content(files[index : index + 1], checkpoint)

    def following(self, checkpoint: FileCheckpoint, named: OpenFile | None) -> tuple[OpenFile, Path] | None:
        """Where nothing of a file was read yet: the first one after that which was read before it, and its path.

        None where that is not known, or where it is what the path names.
        named: the file there, where it is that of the checkpoint.
        """
        index = self._index_before(checkpoint)
        later = [] if index is None else self._files()[index + 1 :]
        if named is not None and all(self._is_part(other, checkpoint, named) for other in later):
            return None
        return next(((file, other.path) for other in later if (file := self.open(other))), None)

    def _index_before(self, checkpoint: FileCheckpoint) -> int | None:
        """The index among the rotated files of the one that was read before that of a checkpoint."""
        before, own = checkpoint.before, checkpoint.key
        if before is None or checkpoint.offset:
            return None
        index = self._index_of(before, own)
        if index is None and (learned := self._discovery.find(before)):
            learned[0].close()
            index = self._index_of(before, own)
        return index

    def _index_of(self, checkpoint: FileCheckpoint, next_key: tuple[int, int]) -> int | None:
        """The index of the rotated file of a checkpoint, before that of the uncompressed one that comes later."""
        files = self._files()
        keys = [None if other.compressed else other.key for other in files]
        older = files[: keys.index(next_key)] if next_key in keys else files
        same = [other for other in older if other.key == checkpoint.key]
        found = self._find_content(same, checkpoint) or self._find_content(older, checkpoint)
        if found is None:
            return None
        found[0].close()
        return next(index for index, other in enumerate(self._files()) if other.path == found[1])

    def _is_part(self, rotated: Rotated, checkpoint: FileCheckpoint, named: OpenFile) -> bool:
        """Whether a rotated file is a copy of the first part of the file that the path names."""
        file = self._fitting(rotated, checkpoint)
        if file is None:
            return False
        try:
            return file.is_part_of(named)
        finally:
            file.close()

    def find_copy(self, file: OpenFile) -> tuple[OpenFile, Path] | None:
        """The copy that was made of an open file before it was truncated, open where that is read on, and its path."""
        if not file.read_to:
            return None
        files = [other for other in self._files() if other.key != file.key]
        found = self._find_content(files, file.seen) or self._discovery.find(file.seen)
        if found is not None and file.seen != file.checkpoint:
            found[0].close()
            found = self._find_content([other for other in self._files() if other.path == found[1]], file.checkpoint)
        return found

    def after(self, file: OpenFile) -> list[Rotated]:
        """The rotated files that come after an open one, in order; several rotations may lie between two looks."""
        files, index = self._locate(file)
        if index is None and self._discovery.learn(file):
            files, index = self._locate(file)
        later = self.newer(file.checkpoint.modified) if index is None else files[index + 1 :]
        return [other for other in later if other.key not in self._refused]

    def _locate(self, file: OpenFile) -> tuple[list[Rotated], int | None]:
        """The rotated files, and the index of an open one, or of what was made from it, among them."""
        files = self._files()
        index = next((index for index, other in enumerate(files) if other.key == file.key), None)
        if index is None:
            form = next((other for other in self._likely(files, file) if self._is_form(other, file)), None)
            index = files.index(form) if form else None
        return files, index

    def _likely(self, files: list[Rotated], file: OpenFile) -> list[Rotated]:
        """Those of its time, and the first later one: no copy comes after that, since the log went on before."""
        candidates, modified = written_since(files, file.modified), file.modified
        same = [other for other in candidates if other.modified < modified + SAME_TIME]
        return same + [other for other in candidates if other.modified >= modified + SAME_TIME][:1]

    def next(self, file: OpenFile) -> tuple[OpenFile | None, bool]:
        """The rotated file that comes after an open one, and whether to wait for one that cannot be had at present."""
        for rotated in self.after(file):
            opened = self.open(rotated)
            if opened or rotated.key not in self._refused:
                return opened, opened is None
        return None, False

    def warn_gone(self, copy: OpenFile, truncated: bool) -> str:
        """Says that the file of which an open one is a copy is gone, with all that it got since; the words, or none.

        truncated: whether it was seen to be truncated. If not, a compressed copy may as well be all that it ever was.
        """
        if not copy.copied or (copy.compressed and not truncated) or self._has((copy.device, copy.inode)):
            return ""
        return self._warn(
            f"{self._path} was copied by a rotation and is gone; what was written to it after that may be lost"
        )

    def _is_form(self, rotated: Rotated, file: OpenFile) -> bool:
        """Whether a rotated file was made from an open one, which is gone itself."""
        pair = rotated.key, file.checkpoint
        if pair not in self._forms:
            self._forms = {old: same for old, same in self._forms.items() if old[1] == pair[1]}
            self._forms[pair] = self._compare(rotated, file)
        return self._forms[pair]

    def _compare(self, rotated: Rotated, file: OpenFile) -> bool:
        later = rotated.modified - file.modified
        form = self.open(rotated) if later > -SAME_TIME else None
        if form is None:
            return False
        try:
            return form.begins_as(file) and (later < SAME_TIME or form.ends_at(file.checkpoint))
        finally:
            form.close()
