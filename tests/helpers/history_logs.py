"""Logs as their writers and what rotates them leave them in a directory, with every line and what may become of it."""

import bz2
import gzip
import itertools
import lzma
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from agent.sources.files.checkpoint import FileCheckpoint
from helpers.history_agent import World

GRACE = 1.0  # seconds for which an agent reads on a rotated file at least
WORDS = (b"alpha", b"bravo", b"delta", b"gamma", b"kappa")
PACKERS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}
UNPACKERS = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zst": zstandard.decompress,
}
NAMES: dict[str, Callable[[int], str]] = {  # what follows the name of a log in that of a rotation, by its number from 1
    "falling": lambda number: ".1",  # after those before it were renamed
    "dates": lambda number: f"-2026{1 + number // 28:02}{1 + number % 28:02}",
}
ALIKE = [b"server starting", *(b"setting %d of the server is %s" % (n, b"x" * 60) for n in range(20))]


@dataclass
class Line:
    """A line that was written, where it begins in its file and its number there.

    lost: nobody need have it. unseen: nobody can know either that it was there.
    """

    text: bytes
    offset: int
    number: int
    lost: bool = False
    unseen: bool = False

    def may_be(self, text: bytes) -> bool:
        """Whether this is what was read: of a lost line that can be its beginning."""
        return self.text == text or (self.lost and self.text.startswith(text))


@dataclass
class Generation:
    """What one file of a log got, in order, and the incomplete line at its end.

    begins_with: how many lines, those with which all begin. gone: whether it was removed.
    hidden: the file after it and how long that was at the last late line here. Where that got nothing later, it is the
    older one by the times of writing: once this one is gone, nothing on the disk tells it from those read before.
    """

    lines: list[Line] = field(default_factory=list)
    part: bytes = b""
    size: int = 0
    begins_with: int = 0
    gone: bool = False
    hidden: "tuple[Generation, int] | None" = None

    @property
    def length(self) -> int:
        """In bytes, the incomplete line too."""
        return self.size + len(self.part)

    @property
    def is_alike(self) -> bool:
        """Whether it has no other lines than those with which all files of its log begin."""
        return self.begins_with == len(self.lines)

    def add(self, text: bytes, lost: bool = False, ended: bool = True) -> None:
        """Notes a line."""
        self.lines.append(Line(text, self.size, len(self.lines) + 1, lost, lost))
        self.size += len(text) + ended
        self.part = b""

    def close(self) -> None:
        """Nothing completes the last line any more, so it is one."""
        if self.part:
            self.add(self.part, ended=False)

    def lose(self, unseen: bool) -> None:
        """Nobody can read the file any more; unseen: nor know that it was there."""
        self.close()
        self._miss(unseen)

    def _miss(self, unseen: bool) -> None:
        for line in self.lines:
            line.lost, line.unseen = True, line.unseen or unseen
        if self.hidden and self.hidden[0].length == self.hidden[1]:
            self.hidden[0]._miss(unseen=True)


@dataclass
class Writer:
    """Makes lines of which each occurs once, and times of which each is later than the one before."""

    numbers: Iterator[int] = field(default_factory=itertools.count)
    tick: int = 1_700_000_000

    def text(self) -> bytes:
        """The next line: a word that comes again and a number that does not."""
        number = next(self.numbers)
        return b"%s %d" % (WORDS[number * number % 7 % len(WORDS)], number)

    def touch(self, path: Path) -> None:
        """Dates a file."""
        self.tick += 10
        os.utime(path, (self.tick, self.tick))


def nothing() -> None:
    """What happens in between: nothing."""


class Log:
    """A log and its rotations.

    kind: how these are named. name: under which it is read, a link to `path` where it differs. alike: with how many
    lines all its files begin. can_be_late: whether its writer may write to a renamed file; where files begin alike or
    are removed, the time of writing may be all that tells two of them apart. late: whether the newest rotated file may
    still be written to, for the grace of an agent. names: under which it may be read, since it was renamed within a
    pattern.
    """

    def __init__(
        self,
        path: Path,
        writer: Writer,
        world: World,
        alike: int = 0,
        can_be_late: bool = False,
        kind: str = "falling",
    ) -> None:
        self.path, self.kind = path, kind
        self._count = 0  # rotations so far
        self.names = [path]
        self._world = world
        self._writer, self.alike, self.can_be_late = writer, alike, can_be_late
        self.generations: list[Generation] = []
        self.rotated: list[tuple[Path, Generation]] = []  # the newest at the front
        self._orphans: list[tuple[Generation, bool]] = []  # which only an agent that has them open can read
        self._missed: list[tuple[Generation, FileCheckpoint | None]] = []  # lost, and where the agent had read to
        self.late = False
        self._since = 0.0
        self.create()

    @property
    def name(self) -> Path:
        """Under which it would be read by an agent that knows nothing of it."""
        return self.names[-1]

    @property
    def sources(self) -> list[str]:
        """The names of the sources that may have read it."""
        return [*map(str, self.names)]

    @property
    def here(self) -> bool:
        """Whether the path names a file."""
        return self.path.exists()

    def create(self, known: int = 1 << 20) -> None:
        """A new file."""
        self.generation = Generation()
        self.generations.append(self.generation)
        self._put(self.path, b"")
        self._begin(known)

    def _begin(self, known: int) -> None:
        """The first lines; where of `known` lines the file had no others, nothing tells them from those before."""
        self.generation.begins_with = self.alike
        for text in ALIKE[: self.alike]:
            self._put(self.path, text + b"\n")
            self.generation.add(text, lost=known <= self.alike)

    def _put(self, path: Path, data: bytes) -> None:
        with path.open("ab") as file:
            file.write(data)
        self._writer.touch(path)

    def _append(self, path: Path, generation: Generation, count: int) -> None:
        for _ in range(count):
            text = self._writer.text()
            self._put(path, text + b"\n")
            generation.add(generation.part + text)

    def write(self, count: int = 1) -> None:
        """Lines, in the file that the path names or in a new one."""
        if not self.here:
            self.create(0)
        self._append(self.path, self.generation, count)

    def write_part(self) -> None:
        """The beginning of a line, or more of it."""
        if self.here:
            text = self._writer.text()
            self._put(self.path, text)
            self.generation.part += text

    def write_late(self) -> None:
        """A line of a writer that has not noticed the rotation yet."""
        in_time = self._world.clock.seconds - self._since < GRACE
        if self.late and in_time and self.can_be_late and self.rotated[0][0].suffix not in PACKERS:
            self._append(*self.rotated[0], 1)
            self.rotated[0][1].hidden = self.generation, self.generation.length

    def _shift(self) -> Path:
        """Where the next rotation goes to; where numbers fall, app.log.2 becomes app.log.3 and so on."""
        self._count += 1
        for place in range(len(self.rotated), 0, -1) if self.kind == "falling" else ():
            old, generation = self.rotated[place - 1]
            packed = old.suffix if old.suffix in PACKERS else ""
            self.rotated[place - 1] = (
                old.rename(self.path.with_name(f"{self.path.name}.{place + 1}{packed}")),
                generation,
            )
        return self.path.with_name(self.path.name + NAMES[self.kind](self._count))

    def rename(self, between: Callable[[], None] = nothing) -> None:
        """A rotation that makes a new file."""
        if self.here:
            self.rotated.insert(0, (self.path.rename(self._shift()), self.generation))
            self.late, self._since = True, self._world.clock.seconds
            between()
            self.create()

    def move(self, path: Path) -> None:
        """The file gets another name, to whose rotations it belongs from now on."""
        self.path = self.path.rename(path)
        self.names = [*(name for name in self.names if name != path), path]

    def copytruncate(
        self, window: int, between: Callable[[], None] = nothing, after: Callable[[], None] = nothing
    ) -> None:
        """A rotation by copying; lines that are written between that and the truncation nobody need have."""
        known = len(self.generation.lines)
        copy = Path(shutil.copy(self.path, self._shift()))
        self._writer.touch(copy)
        self.rotated.insert(0, (copy, self.generation))
        if window and not self.generation.part:
            before = len(self.generation.lines)
            self._append(self.path, self.generation, window)
            shutil.copystat(copy, self.path)  # the window is short
            for line in self.generation.lines[before:]:
                line.lost = line.unseen = True
            between()
        os.truncate(self.path, 0)
        self._writer.touch(self.path)
        self.late = False
        self.generation.close()
        self.generation = Generation()
        self.generations.append(self.generation)
        after()
        self._begin(known)

    def compress(self, kind: str, between: Callable[[], None] = nothing) -> None:
        """The oldest rotated file that is not compressed."""
        plain = [place for place, (path, _) in enumerate(self.rotated) if path.suffix not in PACKERS]
        if plain:
            path, generation = self.rotated[plain[-1]]
            self.late = self.late and plain[-1] != 0
            generation.close()
            packed = path.with_name(path.name + kind)
            packed.write_bytes(PACKERS[kind](path.read_bytes()))
            os.utime(packed, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
            between()
            path.unlink()
            self.rotated[plain[-1]] = packed, generation
            self._excuse()

    def drop_oldest(self) -> None:
        """The oldest rotated file is removed."""
        if self.rotated:
            path, generation = self.rotated.pop()
            self.late = self.late and bool(self.rotated)
            self._leave(path, generation)
            path.unlink()

    def delete(self) -> None:
        """The file is removed."""
        if self.here:
            self._leave(self.path, self.generation)
            self.path.unlink()
            self.late = False

    def _leave(self, path: Path, generation: Generation) -> None:
        """Only an agent that has the file open can still read it, and only one that read of it can miss it."""
        generation.close()
        generation.gone = True
        unseen = not self._world.knows(self.sources, path)
        if self._world.holds(self.sources, path):
            self._orphans.append((generation, unseen))
        else:
            self._lose(generation, unseen)

    def _lose(self, generation: Generation, unseen: bool) -> None:
        generation.lose(unseen)
        if not unseen:
            self._missed.append((generation, self._at))
            self._excuse()

    def _excuse(self) -> None:
        """What was lost of a file that was copied and truncated, where an agent did not see the truncation.

        Its compressed copy looks like what renaming and compressing make of all of a file: whether there was a copy,
        and a file that went on, nothing on the disk tells.
        """
        if not self._at or self._at.truncated or not any(map(self._may_be_all, self.rotated)):
            return
        for generation, at in self._missed:
            if at == self._at:
                generation.lose(unseen=True)

    @property
    def _at(self) -> FileCheckpoint | None:
        return max(self._world.places(self.sources), key=lambda at: at.offset, default=None)

    def _may_be_all(self, rotated: tuple[Path, Generation]) -> bool:
        """Whether a rotated file is compressed and fits the stored position."""
        path, _ = rotated
        unpack = UNPACKERS.get(path.suffix)
        return unpack is not None and self._world.fits(self.sources, unpack(path.read_bytes()))

    def swap(self, path: Path) -> None:
        """The link that is read leads to a new file."""
        if self.name == self.path:
            self.path = self.path.rename(self.path.with_name("target.0"))
        else:
            self.name.unlink()
        self._leave(self.path, self.generation)
        self.path = path
        self.create()
        self.name.symlink_to(path.name)

    def excuse_alike(self) -> None:
        """Files that are the same to the last byte as the one before them, which was removed.

        Such a file, younger than that one, is also what copying it and removing the original leaves (`renamecopy` of
        logrotate): nothing on the disk tells a new file of which each line is to be read from a copy that was read.
        """
        for old, new in itertools.pairwise(self.generations):
            if old.gone and old.is_alike and new.is_alike:
                for line in new.lines:
                    line.lost = True

    def abandon(self) -> None:
        """No agent holds a file open any more."""
        for generation, unseen in self._orphans:
            self._lose(generation, unseen)
        self._orphans.clear()
