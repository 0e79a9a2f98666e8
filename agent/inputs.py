"""The sources of a running agent: which are open, which files a pattern names now, and which names share a file."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from agent.config import AgentConfig, FileInput
from agent.errors import OddlineError
from agent.identity import Key, fits, has_rotations, is_renamed, key_of, keys_of, path_key
from agent.limits import free_descriptors
from agent.sources.archive import cannot_read
from agent.sources.contract import Source
from agent.sources.file import FileSource
from agent.sources.opened import OpenFile
from agent.sources.opening import is_fifo, open_source, read_position, source_name
from agent.sources.patterns import folders, is_named, is_pattern, matches
from agent.sources.position import Position
from agent.sources.reading import Reading
from agent.sources.rotated import logs_of
from agent.state import State
from agent.state.patient import PatientReads

_RESERVE = 64  # descriptors that are left for rotated files, sinks, the state and the metrics


class Inputs:
    """The open sources by name, kept as a configuration and its patterns want them.

    forget: called with each name of a pattern that is gone, and how many losses it meant: none where its file was read
    to its end or is read under another name.
    leave: closes a source that is read no more; told whether another goes on with what it holds, as at a named pipe.

    A file that was renamed within a pattern goes on under its new name. One that is linked, so has two, is read once,
    under the name under which it was met first; how far it is read is stored under both, so that either goes on there.
    """

    def __init__(
        self,
        state: State | PatientReads,
        forget: Callable[[str, int], None],
        say: Callable[[str], None],
        leave: Callable[[Source, bool], None] = lambda source, goes_on: source.close(),
    ) -> None:
        self.sources: dict[str, Source] = {}
        self._state, self._forget, self._say, self._leave = state, forget, say, leave
        self._wanted: dict[str, tuple[FileInput, Reading]] = {}
        self._patterns: list[tuple[FileInput, Reading]] = []
        self._aliases: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._reopened: list[str] = []
        self._folders: set[Path] = set()
        self._unopened: set[Key] = set()  # files that the last look found and that are not open yet
        self._strays: dict[Key, list[Position]] = {}  # in files that were gone from under their names at the start
        self._is_blind = False  # whether the last look could not look into rotations
        self._are_missing = False  # whether files that were gone at the start are still to be looked for
        self._spare = 0  # files that may still be opened by the present look
        self._full = False  # whether it was told that no more may be
        self._named: set[str] = set()  # by the configuration, and by one that was refused

    def configure(self, config: AgentConfig) -> list[Source]:
        """Opens what a configuration names and closes what it names no more; the sources that were opened.

        A source that cannot be opened is a SourceError; those that were opened before it are closed again, and those
        that are named no more stay open.
        """
        wanted = [(one, reading_of(one, config)) for one in config.inputs()]
        single = {source_name(one.path): (one, how) for one, how in wanted if not is_pattern(one.path)}
        patterns = [(one, how) for one, how in wanted if is_pattern(one.path)]
        named = {*(one.path for one, _ in patterns), *single, *map(os.path.realpath, single)}
        self._named |= named  # before anything is opened
        opened = self._open_all({name: how for name, how in single.items() if self._wanted.get(name) != how})
        kept = {name for name, how in self._wanted.items() if how in patterns}
        for name in self.sources.keys() - single.keys() - kept:
            self._close(name)
        for source in opened:
            self._close(source.name, goes_on=True)
            self._keep(source, single[source.name])
        self._patterns, self._named = patterns, named
        self._are_missing = True
        opened += self.look()
        self._tell_odd(set(single))
        return opened

    def _tell_odd(self, single: set[str]) -> None:
        """Says of patterns that name nothing, and of a file that is configured under two names."""
        for wanted, _ in self._patterns:
            if not any(how[0] is wanted for how in self._wanted.values()):
                self._say(f"{wanted.path} names no file yet: waiting for one")
        first: dict[Key, str] = {}
        for name in sorted(single):
            for key in keys_of(self.sources[name]):
                if first.setdefault(key, name) != name:
                    self._say(f"{first[key]} and {name} are one file, which is read once for each: name it once")

    def look(self) -> list[Source]:
        """Brings the files of the patterns up to date; the sources that were opened.

        One that is gone again before it could be read is among them, and is forgotten by the next look.
        """
        self._drop_gone()
        opened = self._find()
        return opened + self._open_missing() if self._are_missing else opened

    def open_pipes(self) -> list[Source]:
        """Opens the named pipes that were made where no file was; the sources that were opened.

        Such a pipe goes on in the place of the file, from which it has no mark.
        """
        found = [one.name for one in self.sources.values() if isinstance(one, FileSource) and not one.is_open]
        return [pipe for name in found if is_fifo(name) and (pipe := self._open_pipe(name))]

    def _open_pipe(self, name: str) -> Source | None:
        wanted, reading = self._wanted[name]
        mark = self._state.mark(name)
        mark = mark if read_position(mark) is None else None
        try:
            pipe = open_source(name, mark, "start", reading, self._say)
        except OddlineError:  # it is gone again, or may not be read, which the file that is waited for tells
            return None
        self._close(name)
        self._keep(pipe, (wanted, reading))
        return pipe

    def _find(self) -> list[Source]:
        opened: list[Source] = []
        self._spare, self._unopened, self._is_blind = free_descriptors() - _RESERVE, set(), False
        self._folders = {folder for wanted, _ in self._patterns for folder in folders(wanted.path)}
        for wanted, reading in self._patterns:
            followed = frozenset(Path(name) for name in self.sources)
            named = matches(wanted.path, followed)
            self._unopened |= {key for _, key in named}
            new = [(path, key) for path, key in named if path not in followed]
            found = {self._name(path): key for path, key in new}
            opened += self._meet([*found.items()], wanted, reading)
        self._unopened -= {key for one in self.sources.values() for key in keys_of(one)}
        return opened

    def starts(self, opened: list[Source]) -> dict[str, list[tuple[str, bytes]]]:
        """What to commit of new sources: where reading starts, so that a kill before the first lines skips none.

        And when the patterns, and paths at which nothing was, were first looked at: what comes to them later is read
        from its start. Empty where all is known.
        """
        aliased = {
            self.sources[name].name: self.sources[name] for name in self._aliases.values() if name in self.sources
        }
        named = [pair for one in [*opened, *aliased.values()] for pair in self.marks(one)]
        marks = [(name, mark) for name, mark in named if self._state.mark(name) is None]
        empty = [self._wanted[one.name][0] for one in opened if not one.mark and isinstance(one, FileSource)]
        looked = dict.fromkeys(_seen(wanted) for wanted in [*(one for one, _ in self._patterns), *empty])
        now = str(time.time_ns()).encode()
        memory = [(name, now) for name in looked if self._state.recall(name) is None]
        return {"memory": memory, "marks": marks} if marks or memory else {}

    @property
    def has_patterns(self) -> bool:
        """Whether new files may have to be looked for."""
        return bool(self._patterns)

    @property
    def folders(self) -> set[Path]:
        """The directories in which a file of a pattern may come."""
        return self._folders

    def marks(self, source: Source) -> list[tuple[str, bytes]]:
        """How far a source is read, to be stored under its name and those others that name the same file."""
        mark = source.mark
        if mark is None:
            return []
        names = [alias for alias, name in self._aliases.items() if name == source.name]
        return [(source.name, mark), *((name, mark) for name in names if path_key(name) in keys_of(source))]

    def close(self) -> None:
        """Closes every source."""
        for source in self.sources.values():
            source.close()

    def _open_all(self, wanted: dict[str, tuple[FileInput, Reading]]) -> list[Source]:
        opened: list[Source] = []
        closed: dict[str, tuple[FileInput, Reading]] = {}
        try:
            for name, (one, reading) in wanted.items():
                old = self.sources.get(name)
                if old is not None and not isinstance(old, FileSource) and not is_fifo(name):
                    closed[name] = self._wanted[name]
                    self._close(name)  # a port or a program cannot be had twice
                mark, (start, since) = self._mark(name), self._begin(one, name)
                opened.append(open_source(name, mark, start, reading, self._say, self._is_input, since))
        except (OddlineError, OSError):
            for source in opened:
                source.close()
            self._reopen(closed)
            raise
        return opened

    def _reopen(self, closed: dict[str, tuple[FileInput, Reading]]) -> None:
        """Goes on with sources that were closed for a configuration that is refused."""
        for name, (wanted, reading) in closed.items():
            try:
                source = open_source(name, self._mark(name), "start", reading, self._say, self._is_input)
            except (OddlineError, OSError) as error:
                self._say(f"{error}; nothing more is read of it until a reload can open it")
            else:
                self._keep(source, (wanted, reading))
                self._reopened.append(name)

    def take_reopened(self) -> list[str]:
        """The names of sources that are others since a configuration was refused; each is told once."""
        names, self._reopened = self._reopened, []
        return names

    def _is_input(self, path: Path) -> bool:
        """Whether a file is read as a log of its own, also where its name is like that of a rotation of another one."""
        return str(path) in self._named or any(is_named(path, source) for source in self._named)

    def _mark(self, name: str) -> bytes | None:
        """Where an open source is now, whose last block is stored, else what the state holds."""
        return self.sources[name].mark if name in self.sources else self._state.mark(name)

    def _name(self, path: Path) -> str:
        """The log of which a file is a rotation, where the state knows that and it is not there at present."""
        known = (str(log) for log in logs_of(path) if self._state.mark(str(log)) is not None)
        return str(path) if self._state.mark(str(path)) is not None else next(known, str(path))

    def _open_missing(self) -> list[Source]:
        """Opens the files of patterns that were gone at the start, since their rest may be in a rotation.

        The name of one that is read under another name is forgotten by the next look, when that one's mark is stored.
        """
        opened, self._are_missing = [], False
        for wanted, reading in self._patterns:
            for name, position in self._missing(wanted).items():
                if name in self.sources:
                    continue
                if holder := self._holder(position, copied=True):
                    self._aliases[name] = holder
                elif source := self._may_open(position) and self._try(name, position, "start", reading):
                    self._keep(source, (wanted, reading))
                    opened.append(source)
                else:
                    self._are_missing = True
        self._strays = self._strays if self._are_missing else {}
        return opened

    def _missing(self, wanted: FileInput) -> dict[str, Position]:
        """What the state knows of files that a pattern named and that are not there."""
        marks = {name: mark for name, mark in self._state.marks().items() if is_named(Path(name), wanted.path)}
        return {name: at for name, mark in marks.items() if not os.path.lexists(name) and (at := read_position(mark))}

    def _away(self) -> dict[Key, list[Position]]:
        """The positions in files that are no longer under their names, and in those that sources have just left."""
        known = {name: read_position(mark) for name, mark in self._state.marks().items()}
        away = [at for name, at in known.items() if at and path_key(name) != key_of(at)]
        left = [at for one in self.sources.values() if isinstance(one, FileSource) for at in one.left]
        found: dict[Key, list[Position]] = {}
        for at in away + left:
            found.setdefault(key_of(at), []).append(at)
        return found

    def _meet(self, found: list[tuple[str, Key]], wanted: FileInput, reading: Reading) -> list[Source]:
        """Opens files that a pattern names, those first that the state knows as they are."""
        if not found:
            return []
        known, away = {name: read_position(self._state.mark(name)) for name, _ in found}, self._away()
        self._strays = away if self._are_missing else {}
        opened, holders = [], {key: other.name for other in self.sources.values() for key in keys_of(other)}
        free = self._nameless()
        for name, key in sorted(found, key=lambda one: key_of(known[one[0]]) != one[1]):
            holder = holders.get(key)
            try:
                before = None if holder and holder not in free else self._renamed(name, known[name], free, reading)
            except OSError:  # such as too many open files
                self._is_blind = True
                continue
            if holder and not before:
                self._aliases[name] = holder
                continue
            self._aliases.pop(name, None)
            if self._is_full(wanted):
                break
            position = before[1] if before else self._where(known[name], name, key, away.get(key, []))
            start, since = self._begin(wanted, name) if known[name] is None else ("start", self._since(known[name]))
            if source := self._try(name, position, start, reading, since):
                source.unstored |= position is not None and position != known[name]
                if before:
                    self._leave_name(before[0], name)
                self._keep(source, (wanted, reading))
                opened.append(source)
                holders |= dict.fromkeys(keys_of(source), name)
        return opened

    def _nameless(self) -> dict[str, Position]:
        """The positions under names of patterns that name no file now, which may have been renamed."""
        named = {name: source for name, source in self.sources.items() if self._wanted[name] in self._patterns}
        files = {name: one for name, one in named.items() if isinstance(one, FileSource)}
        held = {name: one.position if one.is_open else one.sought for name, one in files.items()}
        missing = [self._missing(wanted) for wanted, _ in self._patterns] if self._are_missing else []
        known = {name: at for found in missing for name, at in found.items() if name not in self.sources}
        return known | {name: at for name, at in held.items() if at and not os.path.lexists(name)}

    def _renamed(
        self, name: str, known: Position | None, free: dict[str, Position], reading: Reading
    ) -> tuple[str, Position] | None:
        """The former name of a log, and where it was read to under that; of several logs that which was written first.

        Not where the state knows another file under the present name, or the same one further.
        """
        able = {
            old: at
            for old, at in free.items()
            if known is None or (key_of(known) == key_of(at) and known.offset <= at.offset)
        }
        found = [(old, at) for old, at in able.items() if is_renamed(name, at, reading, self._is_input)]
        return min(found, key=lambda one: one[1].modified, default=None)

    def _leave_name(self, old: str, new: str) -> None:
        """A log goes on under its new name; the old one is forgotten by the next look, when that is stored."""
        self._close(old, goes_on=True)
        self._aliases = {one: new if at == old else at for one, at in self._aliases.items()} | {old: new}

    def _is_full(self, wanted: FileInput) -> bool:
        """Whether no more files can be opened without taking the descriptors that delivery and rotations need."""
        self._spare -= 1
        if self._spare < 0 and not self._full:
            self._say(f"more files than may be open (ulimit -n, LimitNOFILE) match {wanted.path}: the others wait")
        self._full = self._full or self._spare < 0
        return self._spare < 0

    def _begin(self, wanted: FileInput, name: str) -> tuple[str, int]:
        """Where to begin in a file that the state does not know, and the time of the first look for it, or 0.

        What came after the first look is read from its start, and what was rotated since then before it.
        """
        looked = self._state.recall(_seen(wanted))
        return (wanted.start or "end", 0) if looked is None else ("start", int(looked or 0))

    def _where(self, known: Position | None, name: str, key: Key, away: list[Position]) -> Position | None:
        """The position from which a file is read that a pattern names.

        away: positions under other names in this file, because it was renamed while nobody looked; the furthest counts,
        also where an older one is known under its own name. A position in a file that another source reads is of no
        use. Neither is told by the inode alone, which may have been used again.
        """
        if known is None or key_of(known) == key:
            fitting = [at for at in away if fits(name, at)] + ([known] if known else [])
            return max(fitting, key=lambda at: at.offset, default=None)
        return None if self._holder(known) else known

    def _since(self, known: Position) -> int:
        """The time since which rotations of a file are to be read whose last position is read under another name."""
        holder = self._holder(known)
        return self.sources[holder].modified if holder else 0

    def _take_up(self, file: OpenFile) -> bool:
        """Begins a file that came to the path of a source where another one, which closes it, has read it to.

        Or at a position in it that is stored under a name that is gone. False where the other one's path names it too,
        or where it was truncated, which that one is to see.
        """
        files = (one for one in self.sources.values() if isinstance(one, FileSource))
        if reader := next((one for one in files if one.key == file.key), None):
            if path_key(reader.name) == file.key or file.resume(reader.position):
                return False
            reader.close()
            return True
        fitting = (at for at in self._strays.get(file.key, []) if not file.misfit(at))
        at = max(fitting, key=lambda at: at.offset, default=None)
        if at is not None and at.offset > file.read_to:
            file.resume(at)
        return True

    def _holder(self, position: Position, copied: bool = False) -> str | None:
        """The name under which the file of a position is read now, or where told so a copy of it."""
        files = (one for one in self.sources.values() if isinstance(one, FileSource))
        return next((one.name for one in files if one.is_at(position, copied)), None)

    def _may_open(self, position: Position | None) -> bool:
        """Whether the file of a position is none of those that wait under other names to be opened."""
        return key_of(position) not in self._unopened

    def _is_known(self, sought: Position | None) -> bool:
        """Whether it is known that a file that is sought, if any, has no other name."""
        return sought is None or (self._may_open(sought) and not self._is_blind)

    def _try(self, name: str, position: Position | None, start: str, reading: Reading, since: int = 0) -> Source | None:
        mark = None if position is None else msgspec.msgpack.encode(position)
        try:
            source = open_source(name, mark, start, reading, self._say, self._is_input, since, self._take_up)
        except (OddlineError, OSError) as error:  # the second where the rotations cannot be looked through
            reason = str(cannot_read(name, error) if isinstance(error, OSError) else error)
            if self._refused.get(name) != reason:
                self._say(f"{reason}; trying again")
            self._refused[name] = reason
            return None
        self._refused.pop(name, None)
        return source

    def _keep(self, source: Source, wanted: tuple[FileInput, Reading]) -> None:
        self.sources[source.name] = source
        self._wanted[source.name] = wanted

    def _close(self, name: str, goes_on: bool = False) -> None:
        source = self.sources.pop(name, None)
        self._wanted.pop(name, None)
        if source is not None:
            self._leave(source, goes_on)

    def _drop_gone(self) -> None:
        """Forgets the files of patterns that were removed with their rotations."""
        for name in self._gone():
            losses = self._tell_loss(self.sources[name])
            self._close(name)
            self._forget(name, losses)
        for alias in [alias for alias in self._aliases if not os.path.lexists(alias)]:
            del self._aliases[alias]
            self._forget(alias, 0)
        self._refused = {name: reason for name, reason in self._refused.items() if os.path.lexists(name)}

    def _gone(self) -> list[str]:
        matched = [name for name, how in self._wanted.items() if how in self._patterns]
        gone = [name for name in matched if not self.sources[name].is_open and not os.path.lexists(name)]
        return [name for name in gone if not has_rotations(name) and self._is_known(self.sources[name].sought)]

    def _tell_loss(self, source: FileSource) -> int:
        """Says of a file that went while nothing read it what is lost; how many losses that are.

        One that had several names is told of under the last of them that goes.
        """
        at = source.sought
        others = [one for one in self.sources.values() if isinstance(one, FileSource) and one is not source]
        if at is None or self._holder(at) or any(key_of(one.sought) == key_of(at) for one in others):
            return 0
        self._say(
            f"{source.name} is gone since it was last read: what was written to it after byte {at.offset}, "
            "if anything, is lost"
        )
        return 1


def reading_of(wanted: FileInput, config: AgentConfig) -> Reading:
    """How the lines of an input are read."""
    return Reading(config.max_line, wanted.encoding, wanted.multiline)


def _seen(wanted: FileInput) -> str:
    """Under which name the state remembers when a pattern or an empty place was first looked at, in nanoseconds."""
    return f"pattern:{os.path.abspath(wanted.path)}"


def each_descriptor(sources: dict[str, Source]) -> Iterator[int]:
    """What the open sources wait for besides paths."""
    for source in sources.values():
        yield from source.descriptors
