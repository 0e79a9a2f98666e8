"""A log as its writer and what rotates it leave it in a directory, and every line that it got, in order."""

import gzip
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Line(NamedTuple):
    """A line without its line feed, where it begins in its file, and its number there, from 1."""

    text: bytes
    offset: int
    number: int


@dataclass
class Generation:
    """One file of a log. begun: how many lines earlier ones have; size: of its lines; part: of one that is incomplete.

    met: a reader may have looked at it. seen: one has read something of it. done: one has left it for the next.
    """

    path: Path
    begun: int
    size: int = 0
    part: bytes = b""
    met: bool = False
    seen: bool = False
    done: bool = False

    @property
    def is_known(self) -> bool:
        """Whether a reader can tell a copy of it: who has met it and read nothing knows its inode and no more."""
        return self.seen or not self.met


class RotatedLog:
    """A log and its rotations, app.log.1 the newest. Nothing that is done to it loses a line.

    name: under which it is read; where that is a link, `path` is the file that it leads to. lines: those that are
    complete, of all files that the log has had. is_new: it is not rotated before it was seen, since nobody who did not
    know of it reads its rotated files.
    """

    def __init__(
        self, name: Path, path: Path, texts: Iterator[bytes], draw: random.Random, is_new: bool = False
    ) -> None:
        self.name, self.path, self._is_new = name, path, is_new
        self.lines: list[Line] = []
        self._texts, self._draw = texts, draw
        self._rest = b""  # what the present line still lacks
        self._rotated: list[Generation] = []  # the oldest at the front
        self._begin()

    def _begin(self) -> None:
        self._now = Generation(self.path, len(self.lines))
        self.path.touch()

    def meet(self) -> None:
        """A reader may have looked at the files."""
        for generation in (*self._rotated, self._now):
            generation.met = True

    def see(self) -> None:
        """A reader has read all lines and keeps how far it is."""
        last = next((one for one in (self._now, *reversed(self._rotated)) if one.begun < len(self.lines)), self._now)
        last.seen, self._is_new = True, False
        for generation in self._rotated:
            if generation.begun < last.begun:
                generation.seen = generation.done = True

    def write(self, count: int) -> None:
        """Writes so many lines, each at once; the first one completes what is incomplete."""
        for _ in range(count):
            text = self._rest or next(self._texts)
            self._put(text + b"\n")
            self._complete(text, 1)
            self._rest = b""

    def write_some(self) -> None:
        """A few lines, or none."""
        self.write(self._draw.choice([0, 1, 2, 3, 5, 8, 12, 20]))

    def write_part(self) -> None:
        """The beginning of a line, or more of it."""
        text = self._rest or next(self._texts)
        cut = self._draw.randint(1, max(1, len(text) - 1))
        self._put(text[:cut])
        self._now.part += text[:cut]
        self._rest = text[cut:]

    def _put(self, data: bytes) -> None:
        with self._now.path.open("ab") as file:
            file.write(data)

    def _complete(self, text: bytes, feed: int) -> None:
        now, text = self._now, self._now.part + text
        self.lines.append(Line(text, now.size, len(self.lines) - now.begun + 1))
        now.size += len(text) + feed
        now.part = b""

    def _leave(self, rotated: Path) -> None:
        """The present file is no more written to, and another one begins; the rest of its last line goes there."""
        if self._now.part:
            self._complete(b"", 0)
        self._now.path = rotated
        self._rotated.append(self._now)
        self._begin()

    def _shift(self) -> Path:
        """app.log.2 becomes app.log.3 and so on; the path that is free then."""
        for place, old in zip(range(len(self._rotated), 0, -1), self._rotated, strict=True):
            packed = ".gz" if old.path.suffix == ".gz" else ""
            old.path = old.path.rename(f"{self.path}.{place + 1}{packed}")
        return Path(f"{self.path}.1")

    def rename(self) -> bool:
        """The writer may write to the renamed file before it makes a new one; whether it could be done."""
        if self._is_new:
            return False
        self._now.path = self.path.rename(self._shift())
        if self._draw.random() < 0.3:
            self.write_some()
        self._leave(self._now.path)
        return True

    def rotate_often(self) -> bool:
        """Several rotations in a row, with a few lines between; whether it could be done."""
        if self._is_new:
            return False
        for _ in range(self._draw.randint(2, 4)):
            self.rename()
            self.write_some()
        return True

    def copytruncate(self) -> bool:
        """Nothing is written between the copying and the truncation; whether it could be done."""
        if self._is_new or not self._now.is_known:
            return False
        copy = Path(shutil.copy(self.path, self._shift()))
        os.truncate(self.path, 0)
        self._leave(copy)
        return True

    def move_to(self, path: Path) -> None:
        """The log goes on at another path, and the rotated files at the present one are its own no more."""
        if self._now.part:
            self._complete(b"", 0)
        self.path, self._rotated = path, []
        self._begin()

    def compress(self) -> bool:
        """Compresses the oldest rotated file that is not compressed yet, as gzip does; whether there was one."""
        found = next((one for one in self._rotated if one.path.suffix != ".gz"), None)
        if found is None or not found.is_known:
            return False
        packed = found.path.with_name(f"{found.path.name}.gz")
        packed.write_bytes(gzip.compress(found.path.read_bytes()))
        status = found.path.stat()
        os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
        found.path.unlink()
        found.path = packed
        return True

    def drop_oldest(self) -> bool:
        """Removes the oldest rotated file, where it was read; whether it was."""
        if not (self._rotated and self._rotated[0].done):
            return False
        self._rotated.pop(0).path.unlink()
        return True
