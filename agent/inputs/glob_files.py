"""The files that patterns name: found, opened where they were read to, by whatever name, and forgotten."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.config import InputSpec
from agent.inputs.identity import fits, has_rotations, key_of, names_no_log
from agent.inputs.open_sources import OpenSources
from agent.inputs.scan import Scan, ScanWarnings
from agent.inputs.stored import idle_checkpoints, stored_checkpoints
from agent.sources.base import Source
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.follower import FileSource
from agent.sources.files.globs import is_named
from agent.sources.files.rotation_names import logs_of
from agent.state.retrying import RetryingState
from agent.state.store import State

_LOG = logging.getLogger(__name__)


class PatternFiles:
    """What the patterns of a configuration name, brought up to date at each scan.

    specs        the patterns
    are_missing  whether files that were gone at the start are still to be looked for

    on_removed: called with each name that is gone, and what was said of a loss: nothing where its file was read to its
    end or is read under another name.

    A file that was renamed goes on under its new name. One that is linked, so has two, is read once, under the name
    under which it was met first; how far it is read is stored under both, so that either goes on there.
    """

    def __init__(
        self, opened: OpenSources, state: State | RetryingState, on_removed: Callable[[str, str], None]
    ) -> None:
        self.specs: list[InputSpec] = []
        self.are_missing = False
        self._opened, self._state, self._on_removed = opened, state, on_removed
        self._warnings = ScanWarnings()
        self._last = Scan.nothing(opened, state)

    @property
    def refused(self) -> dict[str, str]:
        """The files that cannot be opened, and why."""
        return self._warnings.refused

    @property
    def folders(self) -> set[Path]:
        """In which a file may come."""
        return self._last.folders

    def scan(self) -> list[Source]:
        """Brings the files up to date; the sources that were opened.

        One that is gone again before it could be read is among them, and is forgotten by the next scan.
        """
        self._drop_gone()
        self._last = Scan(self.specs, self._opened, self._state, self._warnings, self.are_missing)
        opened = self._last.run()
        self.are_missing |= bool(self._last.unopened)  # they may go before they can be opened
        return opened + self._open_missing() if self.are_missing else opened

    def is_named(self, name: str) -> bool:
        """Whether a source was opened for a pattern."""
        return self._opened.specs[name] in self.specs

    def _open_missing(self) -> list[Source]:
        """Opens the files that were gone at the start, since their rest may be in a rotation.

        The name of one that is read under another name is forgotten by the next scan, when where that one is read to is
        stored.
        """
        opened, self.are_missing = [], bool(self._last.unopened)
        for spec in self.specs:
            for name, checkpoint in self._missing(spec).items():
                if holder := self._opened.holder(checkpoint, copied=True):
                    self._opened.aliases[name] = holder.name
                elif source := self._last.may_open(checkpoint) and self._open_rest(name, checkpoint, spec):
                    self._opened.keep(source, spec)
                    opened.append(source)
                else:
                    self.are_missing = True
        self._opened.displaced = self._opened.displaced if self.are_missing else {}
        return opened

    def _open_rest(self, name: str, checkpoint: FileCheckpoint, spec: InputSpec) -> Source | None:
        """Opens what is left of a file that is not there, where it was renamed and then rotated under its new name."""
        log = self._new_name(name, checkpoint, spec)
        source = self._last.open(log, checkpoint, "start", spec.reading)
        if source is not None and log != name:
            self._opened.rename(name, log)
            source.unstored = True
        return source

    def _new_name(self, name: str, checkpoint: FileCheckpoint, spec: InputSpec) -> str:
        """The log, neither there nor known yet, of which the file of a checkpoint is a rotation now; else `name`."""
        with suppress(OSError), os.scandir(os.path.dirname(name)) as entries:
            moved = [
                Path(one.path) for one in entries if one.inode() == checkpoint.inode and fits(one.path, checkpoint)
            ]
            logs = [log for path in moved for log in logs_of(path) if is_named(log, spec.path)]
            known = self._state.checkpoints().keys() | self._opened.by_name.keys()
            return next((str(log) for log in logs if str(log) not in known and not log.exists()), name)
        return name

    def _missing(self, spec: InputSpec) -> dict[str, FileCheckpoint]:
        """What the state knows of files that a pattern named, that are not there and that no source looks for."""
        return {
            name: at
            for name, at in idle_checkpoints(spec, stored_checkpoints(self._state), self._opened).items()
            if not os.path.lexists(name)
        }

    def _drop_gone(self) -> None:
        """Forgets the files that were removed with their rotations, and other names of files that are gone."""
        for source in [one for one in self._opened.files() if self._is_gone(one)]:
            lost = self._warn_lost(source)
            self._opened.close(source.name)
            self._on_removed(source.name, lost)
        for alias in [one for one in self._opened.aliases if names_no_log(one) and not has_rotations(one)]:
            del self._opened.aliases[alias]
            self._on_removed(alias, "")
        self._warnings.refused = {
            name: reason for name, reason in self._warnings.refused.items() if os.path.lexists(name)
        }

    def _is_gone(self, source: FileSource) -> bool:
        """Whether no file of a pattern is there any more, and it is known that what is sought has no other name."""
        if not self.is_named(source.name) or source.is_open or os.path.lexists(source.name):
            return False
        is_known = source.sought is None or (self._last.may_open(source.sought) and not self._last.is_blind)
        return is_known and not has_rotations(source.name)

    def _warn_lost(self, source: FileSource) -> str:
        """Says of a file that went while nothing read it what is lost; the words, or none.

        One that had several names is told of under the last of them that goes.
        """
        at = source.sought
        others = [one for one in self._opened.files() if one is not source]
        if at is None or self._opened.holder(at) or any(key_of(one.sought) == key_of(at) for one in others):
            return ""
        text = f"{source.name} is gone since it was last read: what was written to it after byte {at.offset}, if "
        text += "anything, is lost"
        _LOG.warning("%s", text)
        return text
