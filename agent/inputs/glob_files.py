"""The files that patterns name: found, opened where they were read to, by whatever name, and forgotten."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.errors import OddlineError, cannot_read
from agent.host.limits import free_descriptors
from agent.inputs.identity import Key, LogFiles, fits, has_rotations, key_of, keys_of, path_key
from agent.inputs.open_sources import OpenSources, Wanted
from agent.sources.base import Source
from agent.sources.decoding.line_reader import Reading
from agent.sources.factory import Start, read_position
from agent.sources.files.follower import FileSource
from agent.sources.files.globs import folders, is_named, matches
from agent.sources.files.position import Position
from agent.sources.files.rotation_discovery import PASSING
from agent.sources.files.rotation_names import logs_of, rotation_of
from agent.state.retrying import RetryingState
from agent.state.store import State

_LOG = logging.getLogger(__name__)
_RESERVE = 64  # descriptors that are left for rotated files, sinks, the state and the metrics


class _Known(NamedTuple):
    """What is known at a look.

    marks    the positions in the state, by name
    away     those in files that are no longer under their names, by device and inode
    free     those under names that do not name their files now
    readers  the sources that read files, by device and inode of these
    """

    marks: dict[str, Position]
    away: dict[Key, list[Position]]
    free: dict[str, Position]
    readers: dict[Key, str]


class PatternFiles:
    """What the patterns of a configuration name, brought up to date at each look.

    forget: called with each name that is gone, and how many losses it meant: none where its file was read to its end or
    is read under another name.

    A file that was renamed goes on under its new name. One that is linked, so has two, is read once, under the name
    under which it was met first; how far it is read is stored under both, so that either goes on there.
    """

    def __init__(
        self,
        opened: OpenSources,
        state: State | RetryingState,
        forget: Callable[[str, int], None],
    ) -> None:
        self.wanted: list[Wanted] = []
        self.folders: set[Path] = set()  # in which a file may come
        self.are_missing = False  # whether files that were gone at the start are still to be looked for
        self._opened, self._state, self._forget = opened, state, forget
        self._refused: dict[str, str] = {}
        self._unopened: dict[Key, str] = {}  # files that the last look found and that are not open yet
        self._is_blind = False  # whether the last look could not open something that may hold what is sought
        self._spare = 0  # files that may still be opened by the present look
        self._full = False  # whether it was told that no more may be

    def look(self) -> list[Source]:
        """Brings the files up to date; the sources that were opened.

        One that is gone again before it could be read is among them, and is forgotten by the next look.
        """
        self._drop_gone()
        opened = self._find()
        return opened + self._open_missing() if self.are_missing else opened

    def is_named(self, name: str) -> bool:
        """Whether a source was opened for a pattern."""
        return self._opened.wanted[name] in self.wanted

    def _find(self) -> list[Source]:
        opened: list[Source] = []
        self._spare, self._unopened, self._is_blind = free_descriptors() - _RESERVE, {}, False
        self.folders = {folder for wanted, _ in self.wanted for folder in folders(wanted.path)}
        for wanted in self.wanted:
            followed = frozenset(Path(name) for name in self._opened.by_name)
            named = matches(wanted[0].path, followed)
            self._unopened |= {key: str(path) for path, key in named}
            found = {self._name(path): key for path, key in named if path not in followed}
            opened += self._meet(found, wanted) if found else []
        opened_keys = {key for one in self._opened.by_name.values() for key in keys_of(one)}
        self._unopened = {key: name for key, name in self._unopened.items() if key not in opened_keys}
        self.are_missing |= bool(self._unopened)  # they may go before they can be opened
        return opened

    def _name(self, path: Path) -> str:
        """The log of which a file is a rotation, where the state knows that and it is not there at present."""
        known = (str(log) for log in logs_of(path) if self._state.mark(str(log)) is not None)
        return str(path) if self._state.mark(str(path)) is not None else next(known, str(path))

    def _meet(self, found: dict[str, Key], wanted: Wanted) -> list[Source]:
        """Opens files that a pattern names: those that the state knows as they are, then those it knows at all.

        Then those of new names. Each of them may be what an old name had before, which names another file now.
        """
        known = self._survey()
        self._opened.strays = known.away if self.are_missing else {}

        def rank(name: str) -> tuple[bool, bool, bool]:
            return key_of(known.marks.get(name)) != found[name], found[name] not in known.away, name in known.marks

        return [
            source for name in sorted(found, key=rank) if (source := self._meet_one(name, found[name], wanted, known))
        ]

    def _survey(self) -> _Known:
        marks = self._marks()
        readers = {key: one.name for one in self._opened.by_name.values() for key in keys_of(one)}
        return _Known(marks, self._opened.away(marks), self._nameless(marks), readers)

    def _meet_one(self, name: str, key: Key, wanted: Wanted, known: _Known) -> Source | None:
        """Opens a file, or notes that a source reads it already; None where it is not opened now."""
        reader = known.readers.get(key)
        try:
            before = None if reader and reader not in known.free else self._renamed(name, key, known, wanted[1])
        except OSError:  # such as too many open files
            self._is_blind = True
            return None
        if reader and not before:
            self._opened.aliases[name] = reader
            return None
        self._opened.aliases.pop(name, None)
        position = before[1] if before else self._where(name, key, known)
        source = None if self._is_full(wanted) else self._begin(name, known.marks.get(name), position, wanted)
        if before and source:
            self._opened.rename(before[0], name)
        elif before:
            self._unopened[before[1].key] = name
        if source:
            self._opened.keep(source, wanted)
            known.readers.update(dict.fromkeys(keys_of(source), name))
        return source

    def _begin(self, name: str, own: Position | None, position: Position | None, wanted: Wanted) -> Source | None:
        """Opens a file at a position; without one at its start, or where files begin that the state does not know.

        own: the position under its name. Where another source reads the file of that, what was rotated since is first.
        """
        reader = self._opened.holder(own) if own else None
        start: Start = "start"
        since = reader.modified if reader else 0
        if own is None:
            start, since = self._opened.first_look(wanted[0])
        source = self._try(name, position, start, wanted[1], since)
        if source is not None:
            source.unstored |= position is not None and position != own
        return source

    def _nameless(self, marks: dict[str, Position]) -> dict[str, Position]:
        """The positions in files that may have been renamed."""
        files = [one for one in self._opened.files() if self.is_named(one.name)]
        held = {one.name: one.position if one.is_open else one.sought for one in files}
        idle = [self._idle(wanted, marks) for wanted in self.wanted] if self.are_missing else []
        others = {name: at for found in idle for name, at in found.items()}
        return {name: at for name, at in (others | held).items() if at and _is_other(name, at)}

    def _renamed(self, name: str, key: Key, known: _Known, reading: Reading) -> tuple[str, Position] | None:
        """The former name of a log, and where it was read to under that; of several logs that which was written first.

        Of several names of that the one under which it was read furthest. None where the state knows another file under
        the present name, or the same one later.
        """
        own = known.marks.get(name)
        able = {old: at for old, at in known.free.items() if old != name and (own is None or _is_earlier(own, at))}
        found = [(old, at) for old, at in able.items() if at.key == key and fits(name, at)]
        if able and not found:
            files = LogFiles(name, self._opened.rotations(name, reading))
            found = [(old, at) for old, at in able.items() if files.has(at)]
        first = min(found, key=lambda one: one[1].modified, default=None)
        same = [one for one in found if first and one[1].key == first[1].key]
        return max(same, key=lambda one: one[1].offset, default=None)

    def _where(self, name: str, key: Key, known: _Known) -> Position | None:
        """The position from which a file is read that was not renamed while it was open.

        Where it was renamed while nobody looked, that is the furthest one in it, also where an older one is known under
        its own name. A position in a file that another source reads, or that has another name, is of no use. Neither is
        told by the inode alone, which may have been used again.
        """
        own = known.marks.get(name)
        is_own = own is not None and own.key == key
        if own is not None and not is_own and not self._is_elsewhere(name, own):
            return own
        fitting = [at for at in known.away.get(key, []) if fits(name, at)] + ([own] if own and is_own else [])
        return max(fitting, key=lambda at: at.offset, default=None)

    def _is_elsewhere(self, name: str, position: Position) -> bool:
        """Whether the file of a position under a name is read by a source or is another log now."""
        path = self._unopened.get(position.key)
        is_other = path is not None and self._name(Path(path)) != name and fits(path, position)
        return is_other or self._opened.holder(position) is not None

    def _is_full(self, wanted: Wanted) -> bool:
        """Whether no more files can be opened without taking the descriptors that delivery and rotations need."""
        self._spare -= 1
        if self._spare < 0 and not self._full:
            _LOG.warning(
                "more files than may be open (ulimit -n, LimitNOFILE) match %s: the others wait", wanted[0].path
            )
        self._full = self._full or self._spare < 0
        return self._spare < 0

    def _try(
        self, name: str, position: Position | None, start: Start, reading: Reading, since: int = 0
    ) -> Source | None:
        mark = None if position is None else msgspec.msgpack.encode(position)
        try:
            source = self._opened.open_matched(name, mark, start, reading, since)
        except (OddlineError, OSError) as error:  # the second where the rotations cannot be looked through
            self._is_blind |= getattr(error, "errno", 0) in PASSING
            reason = str(cannot_read(name, error) if isinstance(error, OSError) else error)
            if self._refused.get(name) != reason:
                _LOG.warning("%s; trying again", reason)
            self._refused[name] = reason
            return None
        self._refused.pop(name, None)
        return source

    def _open_missing(self) -> list[Source]:
        """Opens the files that were gone at the start, since their rest may be in a rotation.

        The name of one that is read under another name is forgotten by the next look, when that one's mark is stored.
        """
        opened, self.are_missing = [], bool(self._unopened)
        for wanted in self.wanted:
            for name, position in self._missing(wanted).items():
                if holder := self._opened.holder(position, copied=True):
                    self._opened.aliases[name] = holder.name
                elif source := self._may_open(position) and self._open_rest(name, position, wanted):
                    self._opened.keep(source, wanted)
                    opened.append(source)
                else:
                    self.are_missing = True
        self._opened.strays = self._opened.strays if self.are_missing else {}
        return opened

    def _open_rest(self, name: str, position: Position, wanted: Wanted) -> Source | None:
        """Opens what is left of a file that is not there, where it was renamed and then rotated under its new name."""
        log = self._new_name(name, position, wanted)
        source = self._try(log, position, "start", wanted[1])
        if source is not None and log != name:
            self._opened.rename(name, log)
            source.unstored = True
        return source

    def _new_name(self, name: str, position: Position, wanted: Wanted) -> str:
        """The log, neither there nor known yet, of which the file of a position is a rotation now; else `name`."""
        with suppress(OSError), os.scandir(os.path.dirname(name)) as entries:
            moved = [Path(one.path) for one in entries if one.inode() == position.inode and fits(one.path, position)]
            logs = [log for path in moved for log in logs_of(path) if is_named(log, wanted[0].path)]
            known = self._state.marks().keys() | self._opened.by_name.keys()
            return next((str(log) for log in logs if str(log) not in known and not log.exists()), name)
        return name

    def _missing(self, wanted: Wanted) -> dict[str, Position]:
        """What the state knows of files that a pattern named, that are not there and that no source looks for."""
        return {name: at for name, at in self._idle(wanted, self._marks()).items() if not os.path.lexists(name)}

    def _idle(self, wanted: Wanted, marks: dict[str, Position]) -> dict[str, Position]:
        """The positions under names that a pattern has and no source."""
        names = marks.keys() - self._opened.by_name.keys()
        return {name: at for name, at in marks.items() if name in names and is_named(Path(name), wanted[0].path)}

    def _marks(self) -> dict[str, Position]:
        return {name: at for name, mark in self._state.marks().items() if (at := read_position(mark))}

    def _may_open(self, position: Position | None) -> bool:
        """Whether the file of a position is none of those that wait under other names to be opened."""
        return key_of(position) not in self._unopened

    def _drop_gone(self) -> None:
        """Forgets the files that were removed with their rotations, and other names of files that are gone."""
        for source in [one for one in self._opened.files() if self._is_gone(one)]:
            losses = self._tell_loss(source)
            self._opened.close(source.name)
            self._forget(source.name, losses)
        for alias in [one for one in self._opened.aliases if _is_left(one) and not has_rotations(one)]:
            del self._opened.aliases[alias]
            self._forget(alias, 0)
        self._refused = {name: reason for name, reason in self._refused.items() if os.path.lexists(name)}

    def _is_gone(self, source: FileSource) -> bool:
        """Whether no file of a pattern is there any more, and it is known that what is sought has no other name."""
        if not self.is_named(source.name) or source.is_open or os.path.lexists(source.name):
            return False
        is_known = source.sought is None or (self._may_open(source.sought) and not self._is_blind)
        return is_known and not has_rotations(source.name)

    def _tell_loss(self, source: FileSource) -> int:
        """Says of a file that went while nothing read it what is lost; how many losses that are.

        One that had several names is told of under the last of them that goes.
        """
        at = source.sought
        others = [one for one in self._opened.files() if one is not source]
        if at is None or self._opened.holder(at) or any(key_of(one.sought) == key_of(at) for one in others):
            return 0
        _LOG.warning(
            "%s is gone since it was last read: what was written to it after byte %d, if anything, is lost",
            *(source.name, at.offset),
        )
        return 1


def _is_left(name: str) -> bool:
    """Whether a name names no log any more: no file, or a rotation of a log that has come beside it."""
    return not os.path.lexists(name) or rotation_of(Path(name)) is not None


def _is_other(name: str, position: Position) -> bool:
    """Whether a name does not name the file of a position as a log any more."""
    return path_key(name) != position.key or _is_left(name)


def _is_earlier(position: Position, other: Position) -> bool:
    """Whether a position in a file was reached before another one in it, or is the same."""
    first, second = ((at.modified, (at.reached or at).offset) for at in (position, other))
    return position.key == other.key and first <= second
