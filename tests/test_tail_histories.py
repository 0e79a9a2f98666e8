"""Whatever happens to a log, in any order: its lines reach the reader once each, through restarts and kill -9.

A history is a random sequence of events in a real directory, drawn from a seed. A model of the directory knows every
line that was written and to which generation of the log, and which ones nobody could have read: those that were
written between the copying and the truncation of copytruncate, and those of a file that was removed meanwhile.
"""

import bz2
import gzip
import lzma
import os
import random
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from agent.sources.file import FileSource
from agent.sources.position import Position

FIXED = range(450)
FRESH = 50
EVENTS = 30
PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
ALIKE = [b"server starting", *(b"setting %d of the server is %s" % (n, b"x" * 60) for n in range(20))]


@dataclass
class Line:
    """A line that was written; `lost`: nobody need have it."""

    text: bytes
    lost: bool = False

    def may_be(self, text: bytes) -> bool:
        """Whether this is what was read: of a lost line that can be its beginning."""
        return self.text == text or (self.lost and self.text.startswith(text))


@dataclass
class Generation:
    """What one file of the log got, in order, and the incomplete line at its end."""

    lines: list[Line] = field(default_factory=list)
    part: bytes = b""

    def close(self) -> None:
        if self.part:
            self.lines.append(Line(self.part))
            self.part = b""


class History:
    """A directory, its model and a source that is stopped, killed and started again."""

    def __init__(self, folder: Path, seed: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.draw = random.Random(seed)
        self.path = folder / "app.log"
        self.count, self.tick, self.now = 0, 1_700_000_000, 0.0
        self.alike = self.draw.choice([0, 0, 1, len(ALIKE)])
        # Where files begin alike or are removed, the time of writing may be all that tells two of them apart.
        self.can_be_late = not self.alike and self.draw.random() < 0.5
        self.generations: list[Generation] = []
        self.rotated: list[tuple[Path, Generation]] = []  # the newest at the front, as app.log.1, .2 and so on
        self.late = False  # whether the newest rotated file may still be written to
        self.got: list[bytes] = []
        self.committed: bytes | None = None
        self.said: list[str] = []
        self.events: list[str] = []
        self.source: FileSource | None = None
        self.create()
        self.append(self.path, self.generation, 1)
        self.start()
        self.look()  # before the first commit an agent that is away knows of nothing

    # the writer and what rotates

    def touch(self, path: Path) -> None:
        self.tick += 10
        os.utime(path, (self.tick, self.tick))

    def put(self, path: Path, data: bytes) -> None:
        with path.open("ab") as file:
            file.write(data)
        self.touch(path)

    def text(self) -> bytes:
        self.count += 1
        return b"text %d" % self.count

    def create(self, known: int = 1 << 20) -> None:
        self.generation = Generation()
        self.generations.append(self.generation)
        self.put(self.path, b"")
        self.begin(known)

    def begin(self, known: int = 1 << 20) -> None:
        """The first lines; where of `known` lines the file had no others, nothing tells them from those before."""
        for text in ALIKE[: self.alike]:
            self.put(self.path, text + b"\n")
            self.generation.lines.append(Line(text, lost=known <= self.alike))

    def append(self, path: Path, generation: Generation, count: int) -> None:
        for _ in range(count):
            text = self.text()
            self.put(path, text + b"\n")
            generation.lines.append(Line(generation.part + text))
            generation.part = b""

    def write(self) -> None:
        self.append(self.path, self.generation, self.draw.randint(1, 4))

    def write_part(self) -> None:
        text = self.text()
        self.put(self.path, text)
        self.generation.part += text

    def write_late(self) -> None:
        if self.late and self.can_be_late and self.rotated[0][0].suffix not in PACKERS:
            self.append(*self.rotated[0], 1)

    def shift(self) -> None:
        """app.log.2 becomes app.log.3 and so on."""
        for place in range(len(self.rotated), 0, -1):
            old, generation = self.rotated[place - 1]
            packed = old.suffix if old.suffix in PACKERS else ""
            self.rotated[place - 1] = old.rename(self.path.with_name(f"app.log.{place + 1}{packed}")), generation

    def rename(self) -> None:
        self.shift()
        self.rotated.insert(0, (self.path.rename(self.path.with_name("app.log.1")), self.generation))
        self.late = True
        if self.draw.random() < 0.2:
            self.glance()
        self.create()

    def copytruncate(self) -> None:
        """In the window between the copying and the truncation lines are written, which the source may see or not."""
        self.settle()
        known = len(self.generation.lines)
        if known > self.alike and self.draw.random() < 0.5:
            self.write()
        self.shift()
        copy = Path(shutil.copy(self.path, self.path.with_name("app.log.1")))
        self.touch(copy)
        self.rotated.insert(0, (copy, self.generation))
        before = len(self.generation.lines)
        if not self.generation.part and self.draw.random() < 0.4:
            self.append(self.path, self.generation, 2)
            shutil.copystat(copy, self.path)  # the window is short
            for line in self.generation.lines[before:]:
                line.lost = True
            if self.draw.random() < 0.5:
                self.glance()
        os.truncate(self.path, 0)
        self.touch(self.path)
        self.late = False
        self.generation.close()
        self.generation = Generation()
        self.generations.append(self.generation)
        if self.draw.random() < 0.5:
            self.glance()
        self.begin(known)

    def settle(self) -> None:
        """A file of which nothing was read cannot be told from its copy: see that something was, or nothing is lost."""
        if self.source is not None:
            self.look()

    def compress(self) -> None:
        plain = [place for place, (path, _) in enumerate(self.rotated) if path.suffix not in PACKERS]
        if plain:
            path, generation = self.rotated[plain[-1]]
            self.late = self.late and plain[-1] != 0
            generation.close()
            kind = self.draw.choice([*PACKERS])
            packed = path.with_name(path.name + kind)
            packed.write_bytes(PACKERS[kind](path.read_bytes()))
            os.utime(packed, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
            if self.draw.random() < 0.3:
                self.glance()
            path.unlink()
            self.rotated[plain[-1]] = packed, generation

    def drop_oldest(self) -> None:
        if self.rotated:
            path, generation = self.rotated.pop()
            self.late = self.late and bool(self.rotated)
            path.unlink()
            self.lose(generation)

    def delete(self) -> None:
        if self.can_be_late:
            return
        if self.source is not None:
            self.look()
        self.path.unlink()
        self.lose(self.generation)
        self.late = False
        self.create(len(self.generation.lines))

    def lose(self, generation: Generation) -> None:
        generation.close()
        for line in generation.lines:
            line.lost = True

    # the agent

    def start(self) -> None:
        if self.source is None:
            position = None if self.committed is None else msgspec.msgpack.decode(self.committed, type=Position)
            self.source = FileSource(self.path, position, "start", self.said.append, clock=lambda: self.now)

    def stop(self) -> None:
        if self.source is not None:
            self.source.close()
            self.source = None

    def read(self, most: int = 1 << 20) -> bool:
        """One block, and its commit with the position; at times kill -9 comes between the two."""
        block = self.source and self.source.read(most)
        if not block:
            return False
        if self.draw.random() < 0.1:
            self.stop()
            self.start()
            return True
        self.got += block.lines()
        self.committed = msgspec.msgpack.encode(self.source.position)
        return True

    def glance(self) -> None:
        for _ in range(self.draw.randint(1, 3)):
            self.read(self.draw.choice([8, 64, 4096]))

    def look(self) -> None:
        """Reads until time passes and nothing is new any more."""
        quiet = 0
        while self.source is not None and quiet < 2:
            before = self.source.position
            self.now += 1.5
            self.late = False
            quiet = 0 if self.read() or self.source.position != before else quiet + 1

    def run(self) -> None:
        likely = {
            self.write: 8, self.write_part: 3, self.write_late: 2, self.rename: 3, self.copytruncate: 2,
            self.compress: 3, self.drop_oldest: 1, self.delete: 0.5, self.glance: 4, self.look: 3, self.stop: 2,
            self.start: 2,
        }  # fmt: skip
        for event in self.draw.choices([*likely], [*likely.values()], k=EVENTS):
            self.events.append(event.__name__)
            event()
        self.start()
        self.append(self.path, self.generation, 1)
        self.look()
        self.stop()

    def wrong(self) -> str:
        """What was lost, repeated or out of order; empty where all is well."""
        for generation in self.generations[:-1]:
            generation.close()
        due = [line for generation in self.generations for line in generation.lines]
        places = {0}  # how many of the lines that are due may have come
        for number, text in enumerate(self.got):
            after = {place + 1 for place in _skips(due, places) if due[place : place + 1] and due[place].may_be(text)}
            if not after:
                return f"line {number}, {text!r}, was not due, but after line {sorted(places)} of {due}"
            places = after
        left = [line.text for line in due[max(places) :] if not line.lost]
        return f"lost {left}" if len(due) not in _skips(due, places) else ""


def _skips(due: list[Line], places: set[int]) -> set[int]:
    """The places and those that are reached from them over lines that may be lost."""
    reached = set()
    for place in places:
        reached.add(place)
        while place < len(due) and due[place].lost:
            place += 1
            reached.add(place)
    return reached


def test_histories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = int(os.environ.get("ODDLINE_SEED", secrets.randbelow(1 << 32)))
    seeds = [*FIXED, *range(fresh, fresh + int(os.environ.get("ODDLINE_HISTORIES", FRESH)))]
    with capsys.disabled():
        print(f"\n{len(seeds)} histories, {len(seeds) - len(FIXED)} of them from ODDLINE_SEED={fresh} on")
    lines = 0
    for seed in seeds:
        history = History(tmp_path / "logs", seed)
        history.run()
        lines += len(history.got)
        assert not history.wrong(), f"seed {seed}: {history.wrong()}\n{history.events}\n{history.said}"
    assert lines > 20 * len(seeds)
