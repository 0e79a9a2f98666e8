"""One scan of what the patterns name: each file is opened where it was read to, under whatever name that was."""

import logging
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.config import InputSpec
from agent.errors import OddlineError, cannot_read
from agent.host.limits import free_descriptors
from agent.inputs.identity import Key, LogFiles, fits, is_earlier, is_other, key_of, keys_of
from agent.inputs.open_sources import OpenSources
from agent.inputs.stored import idle_checkpoints, stored_checkpoints
from agent.sources.base import Source
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.factory import Start
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.globs import folders, matches
from agent.sources.files.rotation_discovery import PASSING
from agent.sources.files.rotation_names import logs_of
from agent.state.retrying import RetryingState
from agent.state.store import State

_LOG = logging.getLogger(__name__)
_RESERVE = 64  # descriptors that are left for rotated files, sinks, the state and the metrics


class _Known(NamedTuple):
    """What is known at a scan.

    checkpoints    the checkpoints in the state, by name
    away     those in files that are no longer under their names, by device and inode
    free     those under names that do not name their files now
    readers  the sources that read files, by device and inode of these
    """

    checkpoints: dict[str, FileCheckpoint]
    away: dict[Key, list[FileCheckpoint]]
    free: dict[str, FileCheckpoint]
    readers: dict[Key, str]


class ScanWarnings:
    """What keeps files from being opened, each fault of a name logged once however often it is met."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self._is_full = False

    def warn_refused(self, name: str, reason: str) -> None:
        """Logs why a file cannot be opened."""
        if self.refused.get(name) != reason:
            _LOG.warning("%s; trying again", reason)
        self.refused[name] = reason

    def warn_full(self, pattern: str) -> None:
        """Logs that no more files can be opened."""
        if not self._is_full:
            _LOG.warning("more files than may be open (ulimit -n, LimitNOFILE) match %s: the others wait", pattern)
        self._is_full = True


class Scan:
    """Finds all files that the patterns name at present, and opens those that no source reads.

    specs     the patterns
    unopened  files that were found and that are not open yet, by device and inode
    is_blind  whether something could not be opened that may hold what is sought
    folders   in which a file may come

    seeks_missing: whether files that were gone at the start are still to be looked for.
    """

    def __init__(
        self,
        specs: list[InputSpec],
        opened: OpenSources,
        state: State | RetryingState,
        warnings: ScanWarnings,
        seeks_missing: bool,
    ) -> None:
        self.specs, self._opened, self._state, self._warnings = specs, opened, state, warnings
        self._seeks_missing = seeks_missing
        self.unopened: dict[Key, str] = {}
        self.is_blind = False
        self.folders = {folder for one in specs for folder in folders(one.path)}
        self._spare = free_descriptors() - _RESERVE  # files that may still be opened

    @classmethod
    def nothing(cls, opened: OpenSources, state: State | RetryingState) -> "Scan":
        """What is known before the first scan."""
        return cls([], opened, state, ScanWarnings(), False)

    def run(self) -> list[Source]:
        """The sources that were opened."""
        opened: list[Source] = []
        for spec in self.specs:
            followed = frozenset(Path(name) for name in self._opened.by_name)
            named = matches(spec.path, followed)
            self.unopened |= {key: str(path) for path, key in named}
            found = {self._name(path): key for path, key in named if path not in followed}
            opened += self._open_found(found, spec) if found else []
        opened_keys = {key for one in self._opened.by_name.values() for key in keys_of(one)}
        self.unopened = {key: name for key, name in self.unopened.items() if key not in opened_keys}
        return opened

    def may_open(self, checkpoint: FileCheckpoint | None) -> bool:
        """Whether the file of a checkpoint is none of those that wait under other names to be opened."""
        return key_of(checkpoint) not in self.unopened

    def open(
        self, name: str, checkpoint: FileCheckpoint | None, start: Start, reading: ReadingSettings, since: int = 0
    ) -> Source | None:
        """A file that a pattern names, at a checkpoint or where `start` says; None where it cannot be opened now."""
        encoded = None if checkpoint is None else msgspec.msgpack.encode(checkpoint)
        try:
            source = self._opened.open_matched(name, encoded, start, reading, since)
        except (OddlineError, OSError) as error:  # the second where the rotations cannot be looked through
            self.is_blind |= getattr(error, "errno", 0) in PASSING
            self._warnings.warn_refused(name, str(cannot_read(name, error) if isinstance(error, OSError) else error))
            return None
        self._warnings.refused.pop(name, None)
        return source

    def _name(self, path: Path) -> str:
        """The log of which a file is a rotation, where the state knows that and it is not there at present."""
        known = (str(log) for log in logs_of(path) if self._state.checkpoint(str(log)) is not None)
        return str(path) if self._state.checkpoint(str(path)) is not None else next(known, str(path))

    def _open_found(self, found: dict[str, Key], spec: InputSpec) -> list[Source]:
        """Opens files that a pattern names, those of new names last.

        First are those that the state knows as they are, then those that it knows at all: a file of a new name may be
        what an old name had before, which names another file now.
        """
        known = self._survey()
        self._opened.displaced = known.away if self._seeks_missing else {}

        def rank(name: str) -> tuple[bool, bool, bool]:
            return (
                key_of(known.checkpoints.get(name)) != found[name],
                found[name] not in known.away,
                name in known.checkpoints,
            )

        return [
            source for name in sorted(found, key=rank) if (source := self._open_one(name, found[name], spec, known))
        ]

    def _survey(self) -> _Known:
        checkpoints = stored_checkpoints(self._state)
        readers = {key: one.name for one in self._opened.by_name.values() for key in keys_of(one)}
        return _Known(checkpoints, self._opened.away(checkpoints), self._nameless(checkpoints), readers)

    def _open_one(self, name: str, key: Key, spec: InputSpec, known: _Known) -> Source | None:
        """Opens a file, or notes that a source reads it already; None where it is not opened now."""
        reader = known.readers.get(key)
        try:
            before = None if reader and reader not in known.free else self._renamed(name, key, known, spec.reading)
        except OSError:  # such as too many open files
            self.is_blind = True
            return None
        if reader and not before:
            self._opened.aliases[name] = reader
            return None
        self._opened.aliases.pop(name, None)
        checkpoint = before[1] if before else self._where(name, key, known)
        source = None if self._is_full(spec) else self._begin(name, known.checkpoints.get(name), checkpoint, spec)
        if before and source:
            self._opened.rename(before[0], name)
        elif before:
            self.unopened[before[1].key] = name
        if source:
            self._opened.keep(source, spec)
            known.readers.update(dict.fromkeys(keys_of(source), name))
        return source

    def _begin(
        self, name: str, own: FileCheckpoint | None, checkpoint: FileCheckpoint | None, spec: InputSpec
    ) -> Source | None:
        """Opens a file at a checkpoint; without one at its start, or where files begin that the state does not know.

        own: the checkpoint under its name. Where another source reads its file, what was rotated since is first.
        """
        reader = self._opened.holder(own) if own else None
        start: Start = "start"
        since = reader.modified if reader else 0
        if own is None:
            start, since = self._opened.starting_point(spec)
        source = self.open(name, checkpoint, start, spec.reading, since)
        if source is not None:
            source.unstored |= checkpoint is not None and checkpoint != own
        return source

    def _nameless(self, checkpoints: dict[str, FileCheckpoint]) -> dict[str, FileCheckpoint]:
        """The checkpoints in files that may have been renamed."""
        files = [one for one in self._opened.files() if self._opened.specs[one.name] in self.specs]
        held = {one.name: one.file_checkpoint if one.is_open else one.sought for one in files}
        idle = [idle_checkpoints(one, checkpoints, self._opened) for one in self.specs] if self._seeks_missing else []
        others = {name: at for found in idle for name, at in found.items()}
        return {name: at for name, at in (others | held).items() if at and is_other(name, at)}

    def _renamed(
        self, name: str, key: Key, known: _Known, reading: ReadingSettings
    ) -> tuple[str, FileCheckpoint] | None:
        """The former name of a log, and where it was read to under that; of several logs that which was written first.

        Of several names of that the one under which it was read furthest. None where the state knows another file under
        the present name, or the same one later.
        """
        own = known.checkpoints.get(name)
        able = {old: at for old, at in known.free.items() if old != name and (own is None or is_earlier(own, at))}
        found = [(old, at) for old, at in able.items() if at.key == key and fits(name, at)]
        if able and not found:
            files = LogFiles(name, self._opened.rotations(name, reading))
            found = [(old, at) for old, at in able.items() if files.has(at)]
        first = min(found, key=lambda one: one[1].modified, default=None)
        same = [one for one in found if first and one[1].key == first[1].key]
        return max(same, key=lambda one: one[1].offset, default=None)

    def _where(self, name: str, key: Key, known: _Known) -> FileCheckpoint | None:
        """The checkpoint from which a file is read that was not renamed while it was open.

        Where it was renamed while nobody looked, that is the furthest one in it, also where an older one is known under
        its own name. A checkpoint in a file that another source reads, or that has another name, is of no use. Neither
        is told by the inode alone, which may have been used again.
        """
        own = known.checkpoints.get(name)
        is_own = own is not None and own.key == key
        if own is not None and not is_own and not self._is_in_use(name, own):
            return own
        fitting = [at for at in known.away.get(key, []) if fits(name, at)] + ([own] if own and is_own else [])
        return max(fitting, key=lambda at: at.offset, default=None)

    def _is_in_use(self, name: str, checkpoint: FileCheckpoint) -> bool:
        """Whether the file of a checkpoint under a name is read by a source or is another log now."""
        path = self.unopened.get(checkpoint.key)
        is_other = path is not None and self._name(Path(path)) != name and fits(path, checkpoint)
        return is_other or self._opened.holder(checkpoint) is not None

    def _is_full(self, spec: InputSpec) -> bool:
        """Whether no more files can be opened without taking the descriptors that delivery and rotations need."""
        self._spare -= 1
        if self._spare < 0:
            self._warnings.warn_full(spec.path)
        return self._spare < 0
