"""The open sources by name, and the other names that their files have."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from agent.config import InputSpec
from agent.inputs.identity import Key, keys_of, path_key
from agent.sources.base import Source
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.factory import Start, open_source
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.clock import before_now
from agent.sources.files.follower import FileSource
from agent.sources.files.globs import is_named
from agent.sources.files.open_file import OpenFile
from agent.sources.files.rotation_search import Rotations
from agent.state.retrying import RetryingState
from agent.state.store import State


class OpenSources:
    """What is read at present, and how it is opened and closed.

    by_name  the sources
    specs    what each was opened for
    aliases  further names of the files of sources, with the names of these; those names are no sources
    displaced  at the start: checkpoints, by device and inode, in files that are no longer under their names
    named    the paths and patterns of the configuration, and of one that was refused
    """

    def __init__(self, state: State | RetryingState, close_source: Callable[[Source, bool], None]) -> None:
        self.by_name: dict[str, Source] = {}
        self.specs: dict[str, InputSpec] = {}
        self.aliases: dict[str, str] = {}
        self.displaced: dict[Key, list[FileCheckpoint]] = {}
        self.named: set[str] = set()
        self._state, self._close_source = state, close_source

    def open(
        self, name: str, checkpoint: bytes | None, start: Start, reading: ReadingSettings, since: int = 0
    ) -> Source:
        """A source of a name of the configuration, which is not kept yet; see open_source."""
        return open_source(name, checkpoint, start, reading, self.is_input, since)

    def open_matched(
        self, name: str, checkpoint: bytes | None, start: Start, reading: ReadingSettings, since: int
    ) -> Source:
        """The same of a name that a pattern has, whose files may have been read under other names."""
        return open_source(name, checkpoint, start, reading, self.is_input, since, self._take_over)

    def rotations(self, name: str, reading: ReadingSettings) -> Rotations:
        """The rotated files of a log that need not be open."""
        return Rotations(Path(name), reading, self.is_input, quiet=True)

    def keep(self, source: Source, spec: InputSpec) -> None:
        """Takes a source in, in the place of one that was closed."""
        self.by_name[source.name] = source
        self.specs[source.name] = spec

    def close(self, name: str, handover: bool = False) -> None:
        """Closes a source; handover: another one goes on with what it holds."""
        source = self.by_name.pop(name, None)
        self.specs.pop(name, None)
        if source is not None:
            self._close_source(source, handover)

    def rename(self, old: str, new: str) -> None:
        """Goes on with a log under another name; the old one is left as an alias, though it names nothing now."""
        self.close(old, handover=True)
        self.aliases = {one: new if at == old else at for one, at in self.aliases.items()} | {old: new}

    def checkpoint(self, name: str) -> bytes | None:
        """Where an open source is now, whose last block is stored, else what the state holds."""
        return self.by_name[name].checkpoint if name in self.by_name else self._state.checkpoint(name)

    def checkpoints(self, source: Source) -> list[tuple[str, bytes]]:
        """How far a source is read, to be stored under its name and those others that name the same file."""
        checkpoint = source.checkpoint
        if checkpoint is None:
            return []
        names = [alias for alias, name in self.aliases.items() if name == source.name]
        return [(source.name, checkpoint), *((name, checkpoint) for name in names if path_key(name) in keys_of(source))]

    def starting_point(self, spec: InputSpec) -> tuple[Start, int]:
        """Where to begin in a file that the state does not know, and the time of the first look for it, or 0.

        What came after the first look is read from its start, and what was rotated since then before it.
        """
        looked = self._state.blob(start_name(spec))
        return (spec.start, 0) if looked is None else ("start", int(looked or 0))

    def starts(self, opened: list[Source], looked: Iterable[InputSpec]) -> dict[str, list[tuple[str, bytes]]]:
        """What to commit of new sources: where reading starts, so that a kill before the first lines skips none.

        Also when patterns, and paths without a file, were first looked at: what comes to them later is read from its
        start. Empty where all is known.
        """
        aliased = {
            self.by_name[name].name: self.by_name[name] for name in self.aliases.values() if name in self.by_name
        }
        named = [pair for one in [*opened, *aliased.values()] for pair in self.checkpoints(one)]
        checkpoints = [(name, checkpoint) for name, checkpoint in named if self._state.checkpoint(name) is None]
        empty = [self.specs[one.name] for one in opened if not one.checkpoint and isinstance(one, FileSource)]
        names = dict.fromkeys(start_name(one) for one in [*looked, *empty])
        now = str(before_now()).encode()
        blobs = [(name, now) for name in names if self._state.blob(name) is None]
        return {"blobs": blobs, "checkpoints": checkpoints} if checkpoints or blobs else {}

    def is_input(self, path: Path) -> bool:
        """Whether a file is read as a log of its own, also where its name is like that of a rotation of another one."""
        return str(path) in self.named or any(is_named(path, source) for source in self.named)

    def files(self) -> list[FileSource]:
        """The sources that follow files."""
        return [one for one in self.by_name.values() if isinstance(one, FileSource)]

    def holder(self, checkpoint: FileCheckpoint, copied: bool = False) -> FileSource | None:
        """The source that reads the file of a checkpoint now, or where told so a copy of it."""
        return next((one for one in self.files() if one.is_at(checkpoint, copied)), None)

    def away(self, known: dict[str, FileCheckpoint]) -> dict[Key, list[FileCheckpoint]]:
        """The checkpoints, by device and inode, in files that are no longer under their names.

        known: those by name, to which come those in files that sources have just left.
        """
        gone = [at for name, at in known.items() if path_key(name) != at.key]
        found: dict[Key, list[FileCheckpoint]] = {}
        for at in gone + [at for one in self.files() for at in one.left]:
            found.setdefault(at.key, []).append(at)
        return found

    def _take_over(self, file: OpenFile) -> bool:
        """Begins a file that came to the path of a source where it was read to under another name.

        That is where another source, which closes it, has read it to, or a checkpoint that is stored under a name that
        is gone. False where the other source's path names it too, or where it was truncated, which that one is to see.
        """
        if reader := next((one for one in self.files() if one.key == file.key), None):
            checkpoint = reader.file_checkpoint
            if path_key(reader.name) == file.key or checkpoint is None or file.resume(checkpoint):
                return False
            reader.close()
            return True
        left = [at for one in self.files() for at in one.left if at.key == file.key]
        fitting = (at for at in [*self.displaced.get(file.key, []), *left] if not file.fingerprint_mismatch(at))
        at = max(fitting, key=lambda at: at.offset, default=None)
        if at is not None and at.offset > file.read_to:
            file.resume(at)
        return True


def start_name(spec: InputSpec) -> str:
    """Under which name the state remembers when a pattern or an empty place was first looked at, in nanoseconds."""
    return f"pattern:{os.path.abspath(spec.path)}"
