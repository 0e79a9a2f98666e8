"""Following a log that the real logrotate rotates while a writer goes on."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from conftest import require_program, until

from agent.sources.file import FileSource


class Writer:
    """Appends numbered lines to a log, as a daemon does: the file stays open until it is told to open it again."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self.file: BinaryIO | None = None
        self.reopen()

    def reopen(self, mode: str = "ab") -> None:
        self.close()
        self.file = self.path.open(mode, buffering=0)

    def close(self) -> None:
        if self.file is not None:
            self.file.close()

    def write(self, count: int) -> None:
        for _ in range(count):
            self.count += 1
            self.file.write(b"Mar  9 03:12:45 web1 app[7]: job %d done\n" % self.count)

    @property
    def lines(self) -> list[bytes]:
        return [b"Mar  9 03:12:45 web1 app[7]: job %d done" % number for number in range(1, self.count + 1)]


@pytest.fixture
def rotate(tmp_path: Path) -> Callable[..., None]:
    program = require_program("logrotate")
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o700)

    def run(*options: str) -> None:
        config = tmp_path / "logrotate.conf"
        config.write_text(f"{folder}/app.log {{\n" + "\n".join(("rotate 5", *options)) + "\n}\n")
        config.chmod(0o600)
        command = [program, "--force", "--state", str(tmp_path / "status"), str(config)]
        subprocess.run(command, check=True, capture_output=True, timeout=60)

    return run


@pytest.fixture
def writer(tmp_path: Path, rotate: Callable[..., None]) -> Iterator[Writer]:
    writer = Writer(tmp_path / "logs" / "app.log")
    yield writer
    writer.close()


class Reader:
    """A source and all that it gave."""

    def __init__(self, path: Path) -> None:
        self.said: list[str] = []
        self.lines: list[bytes] = []
        self.source = FileSource(path, None, "start", self.said.append, grace=0.2)

    def take(self) -> None:
        while block := self.source.read():
            self.lines.extend(block.lines())

    def has(self, lines: list[bytes]) -> bool:
        self.take()
        return self.lines == lines

    def restart(self) -> None:
        self.source.close()
        self.source = FileSource(self.source.path, self.source.position, "end", self.said.append, grace=0.2)


@pytest.fixture
def reader(writer: Writer) -> Iterator[Reader]:
    reader = Reader(writer.path)
    yield reader
    reader.source.close()


DATED = ("create 600", "dateext", "dateformat -%Y%m%d")


@pytest.mark.parametrize(("options", "rounds"), [(("create 600",), 3), (DATED, 1), (("nocreate",), 3)])
def test_rotation_by_rename_loses_no_line(
    writer: Writer, reader: Reader, rotate: Callable[..., None], options: tuple[str, ...], rounds: int
) -> None:
    for number in range(1, rounds + 1):
        writer.write(50)
        rotate(*options)
        writer.write(50)  # into the old file, until the writer is told to open the new one
        reader.take()
        writer.write(50)
        writer.reopen()
        writer.write(50)
        until(lambda: reader.has(writer.lines))
        assert reader.source.rotations == number
    assert [sentence for sentence in reader.said if "is gone" not in sentence] == []


def test_two_rotations_while_the_agent_is_away(writer: Writer, reader: Reader, rotate: Callable[..., None]) -> None:
    writer.write(50)
    reader.take()
    for _ in range(2):
        writer.write(50)
        rotate("create 600")
        writer.reopen()
        time.sleep(0.02)  # the system's times of writing are apart by some milliseconds
    writer.write(50)
    reader.restart()
    until(lambda: reader.has(writer.lines))
    assert "was rotated meanwhile" in reader.said[0]


@pytest.mark.parametrize("mode", ["ab", "wb"])
def test_copytruncate(writer: Writer, reader: Reader, rotate: Callable[..., None], mode: str) -> None:
    """With wb, as of a shell's >, the writer goes on at its old offset and leaves a hole."""
    writer.reopen(mode)
    for number in range(1, 4):
        writer.write(200)
        until(lambda: reader.has(writer.lines))
        rotate("copytruncate")
        reader.take()
        writer.write(200)
        until(lambda: reader.has(writer.lines))
        assert reader.source.truncations == number
    assert len(reader.said) == 3
    assert all("was truncated" in sentence for sentence in reader.said)
    assert reader.source.rotations == 0
