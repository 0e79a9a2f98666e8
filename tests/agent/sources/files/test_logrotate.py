"""Following a log that the real logrotate rotates while a writer goes on, as Debian's packages configure it."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from helpers.logs import collect_messages
from helpers.made_up import made_up_lines
from helpers.processes import require_program, run_agent
from helpers.waiting import rows_of, until

from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.follower import FileSource

_TOLD = "postrotate", "mkdir told", "while test -d told; do sleep 0.01; done", "endscript"
DEBIAN = {  # as packages put it in /etc/logrotate.d
    "rsyslog": (
        *("rotate 4", "weekly", "missingok", "notifempty", "compress", "delaycompress", "sharedscripts", *_TOLD),
    ),
    "apt": ("rotate 12", "monthly", "compress", "missingok", "notifempty"),
    "dpkg": ("monthly", "rotate 12", "compress", "delaycompress", "missingok", "notifempty", "create 644"),
    "nginx": (
        *("daily", "missingok", "rotate 14", "compress", "delaycompress", "notifempty", "create 0640"),
        *("sharedscripts", *_TOLD),
    ),
}
OTHERS = {
    "compressed at once": ("rotate 4", "create", "compress", "sharedscripts", *_TOLD),
    "xz": ("rotate 4", "create", "compress", "compresscmd @xz@", "compressext .xz", *_TOLD),
    "bzip2": ("rotate 4", "create", "compress", "compresscmd @bzip2@", "compressext .bz2", *_TOLD),
    "no new file": ("rotate 4", "nocreate"),
    "start": ("rotate 4", "start 0", "create", *_TOLD),
    "rights": ("rotate 4", "su", "create 640", *_TOLD),
    "age": ("rotate 10", "maxage 30", "create", "compress", *_TOLD),
    "dates": ("rotate 7", "create", "dateext", "dateformat -%Y%m%d-%s", "compress", "delaycompress", *_TOLD),
    "a day": ("rotate 7", "create", "dateext", *_TOLD),
}
ELSEWHERE = {  # in another folder, or with something after the number
    "another folder": ("rotate 4", "create", "olddir old", "createolddir 700", *_TOLD),
    "another folder, compressed": (
        *("rotate 4", "create", "olddir old", "createolddir 700", "compress", "delaycompress", *_TOLD),
    ),
    "another folder, compressed at once": (
        *("rotate 4", "create", "olddir old", "createolddir 700", "compress", "sharedscripts", *_TOLD),
    ),
    "number before the extension": ("rotate 4", "create", "extension .log", *_TOLD),
    "number before the extension, compressed": ("rotate 4", "create", "extension .log", "compress", *_TOLD),
    "date before the extension": ("rotate 4", "create", "extension .log", "dateext", *_TOLD),
    "another extension": ("rotate 4", "create", "addextension .old", "compress", "delaycompress", *_TOLD),
    "both": ("rotate 4", "create", "olddir old", "createolddir 700", "extension .log", "compress", *_TOLD),
}
COPIES = {
    "copytruncate": ("rotate 7", "copytruncate", "missingok", "notifempty"),
    "compressed copy": ("daily", "rotate 7", "copytruncate", "compress", "missingok", "notifempty"),
    "compressed late": ("daily", "rotate 7", "copytruncate", "compress", "delaycompress", "notifempty"),
    "copy in another folder": ("rotate 7", "copytruncate", "olddir old", "createolddir 700"),
    "compressed copy in another folder": ("rotate 7", "copytruncate", "compress", "olddir old", "createolddir 700"),
    "copy with its extension": ("rotate 7", "copytruncate", "compress", "delaycompress", "extension .log"),
}
ROUNDS = {"dates": 2, "a day": 1, "date before the extension": 1}  # a name is taken for one second, or for one day


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


Rotate = Callable[..., None]


@pytest.fixture
def rotate(tmp_path: Path) -> Rotate:
    """Rotates every log of a folder, at once and with the options named, whose @xz@ are programs.

    A `postrotate` that waits for `told` to go away has `meanwhile` called, as a daemon is told to open its log again.
    """
    program = require_program("logrotate")
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o700)

    def run(*options: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        lines = re.sub(r"@(\w+)@", lambda found: require_program(found[1]), "\n".join(options))
        lines = lines.replace("su\n", f"su {folder.owner()} {folder.group()}\n")
        config = tmp_path / "logrotate.conf"
        config.write_text(f"{folder}/*[!0-9].log {{\n{lines}\n}}\n")
        config.chmod(0o600)
        command = [program, "--force", "--state", str(tmp_path / "status"), str(config)]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            while process.poll() is None:
                if (tmp_path / "told").exists():
                    meanwhile()
                    (tmp_path / "told").rmdir()
                time.sleep(0.005)
            assert process.returncode == 0, process.stdout.read().decode()

    return run


@pytest.fixture
def writer(tmp_path: Path, rotate: Rotate) -> Iterator[Writer]:
    writer = Writer(tmp_path / "logs" / "app.log")
    yield writer
    writer.close()


class Reader:
    """A source and all that it gave."""

    def __init__(self, path: Path) -> None:
        self.said = collect_messages()
        self.lines: list[bytes] = []
        self.path = path
        self.start(None, "start")

    def start(self, checkpoint: FileCheckpoint | None, where: str) -> None:
        self.source = FileSource(self.path, checkpoint, where, grace=0.2)

    def take(self) -> None:
        while block := self.source.read():
            self.lines.extend(block.lines())

    def has(self, lines: list[bytes]) -> bool:
        self.take()
        assert self.lines == lines[: len(self.lines)], "a line is lost, or comes twice"
        return self.lines == lines

    def restart(self) -> None:
        self.source.close()
        self.start(self.source.file_checkpoint, "end")


@pytest.fixture
def reader(writer: Writer) -> Iterator[Reader]:
    reader = Reader(writer.path)
    yield reader
    reader.source.close()


def late_lines(writer: Writer) -> Callable[[], None]:
    """What a writer does that is told to open its log again: some lines into the old file, some into the new one."""

    def write() -> None:
        writer.write(10)
        writer.reopen()
        writer.write(10)

    return write


def rotated(writer: Writer, rotate: Rotate, options: tuple[str, ...]) -> None:
    """A rotation, and a writer that opens its log anew during it, or afterwards where nobody tells it to."""
    rotate(*options, meanwhile=late_lines(writer))
    if "postrotate" not in options:
        writer.reopen()


@pytest.mark.parametrize("name", [*DEBIAN, *OTHERS, *ELSEWHERE])
def test_rotations_between_looks(writer: Writer, reader: Reader, rotate: Rotate, name: str) -> None:
    for number in range(1, ROUNDS.get(name, 3) + 1):
        writer.write(40)
        reader.take()
        writer.write(40)  # not read yet when the file is renamed
        rotated(writer, rotate, (DEBIAN | OTHERS | ELSEWHERE)[name])
        reader.take()
        writer.write(40)
        until(lambda: reader.has(writer.lines))
        assert reader.source.rotations == number
        if name == "dates":
            time.sleep(1.1)
    assert (reader.source.losses, reader.source.truncations) == (0, 0)
    assert [sentence for sentence in reader.said if "is gone" not in sentence] == []


@pytest.mark.parametrize("name", [*DEBIAN, *OTHERS, *ELSEWHERE, *COPIES])
def test_rotations_while_the_agent_is_away(writer: Writer, reader: Reader, rotate: Rotate, name: str) -> None:
    rounds = min(2, ROUNDS.get(name, 2))
    writer.write(40)
    reader.take()
    for _ in range(rounds):
        writer.write(40)
        rotated(writer, rotate, (DEBIAN | OTHERS | ELSEWHERE | COPIES)[name])
        writer.write(5)
        time.sleep(1.1 if name == "dates" else 0.02)  # the system's times of writing are apart by some milliseconds
    reader.restart()
    until(lambda: reader.has(writer.lines))
    assert "was rotated meanwhile" in reader.said[0] and len(reader.said) == 1
    assert (reader.source.rotations, reader.source.losses) == (rounds, 0)


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("mode", ["ab", "wb"])
def test_copies(writer: Writer, reader: Reader, rotate: Rotate, name: str, mode: str) -> None:
    """With wb, as of a shell's >, the writer goes on at its old offset and leaves a hole."""
    writer.reopen(mode)
    for number in range(1, 4):
        writer.write(200)
        until(lambda: reader.has(writer.lines))
        writer.write(50)  # not read yet when the file is copied
        rotate(*COPIES[name])
        reader.take()
        writer.write(200)
        until(lambda: reader.has(writer.lines))
        assert reader.source.truncations == number
    assert (reader.source.rotations, reader.source.losses) == (0, 0)
    assert len(reader.said) == 3 and all("was truncated" in sentence for sentence in reader.said)


@pytest.mark.parametrize("name", [*DEBIAN, *ELSEWHERE, "far away"])
def test_two_rotations_between_two_looks(
    tmp_path: Path, writer: Writer, reader: Reader, rotate: Rotate, name: str
) -> None:
    """A folder that is not in that of the log is known from the open file, so not where it is compressed at once."""
    (tmp_path / "far").mkdir()
    far = {"far away": ("rotate 4", "create", f"olddir {tmp_path}/far", *_TOLD)}
    for _ in range(2):
        writer.write(40)
        until(lambda: reader.has(writer.lines))
        for _ in range(min(2, ROUNDS.get(name, 2))):
            writer.write(40)
            rotated(writer, rotate, (DEBIAN | ELSEWHERE | far)[name])
            writer.write(5)
            time.sleep(0.02)
        until(lambda: reader.has(writer.lines))
        if name in ROUNDS:
            break
    assert reader.source.losses == 0


def test_what_was_rotated_far_away_unread_is_said_and_counted(
    tmp_path: Path, writer: Writer, reader: Reader, rotate: Rotate
) -> None:
    """Of a folder that is not in the log's own one, nothing is known after a restart."""
    (tmp_path / "far").mkdir()
    writer.write(40)
    reader.take()
    writer.write(40)
    rotated(writer, rotate, ("rotate 4", "create", f"olddir {tmp_path}/far", *_TOLD))
    reader.restart()
    until(lambda: reader.has(writer.lines[:40] + writer.lines[-10:]))
    assert len(reader.said) == 1 and "another file" in reader.said[0]
    assert reader.source.losses == 1


def test_other_logs_of_the_folder_are_left_alone(writer: Writer, reader: Reader, rotate: Rotate) -> None:
    others = [writer.path.with_name(name) for name in ("app-error.log", "app.log.d.log", "1app.log")]
    for number in range(1, 4):
        for other in others:
            other.write_bytes(b"Mar  9 03:12:45 web1 app[7]: no line of app.log\n" * number)
        writer.write(40)
        rotated(writer, rotate, DEBIAN["rsyslog"])
        if number == 2:
            reader.restart()
        until(lambda: reader.has(writer.lines))
    assert reader.source.losses == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [(("rotate 1", "create", *_TOLD), "was rotated more than once"), (("rotate 0", "create", *_TOLD), "another file")],
)
def test_what_logrotate_deleted_unread_is_said_and_counted(
    writer: Writer, reader: Reader, rotate: Rotate, options: tuple[str, ...], words: str
) -> None:
    writer.write(40)
    reader.take()
    for _ in range(2):
        writer.write(40)
        rotated(writer, rotate, options)
        time.sleep(0.02)
    kept = 10 + (60 if "rotate 1" in options else 0)  # of the file, and of the one before it
    reader.restart()
    until(lambda: reader.has(writer.lines[:40] + writer.lines[-kept:]))
    assert len(reader.said) == 1 and words in reader.said[0]
    assert reader.source.losses == 1


def test_what_logrotate_deletes_for_its_age_was_read(writer: Writer, reader: Reader, rotate: Rotate) -> None:
    for number in range(3):
        writer.write(40)
        if number == 2:
            until(lambda: reader.has(writer.lines))
            os.utime(writer.path.with_name("app.log.1"), (1, 1))
        rotated(writer, rotate, ("rotate 9", "maxage 7", "create", *_TOLD))
    writer.write(40)
    until(lambda: reader.has(writer.lines))
    assert {path.name for path in writer.path.parent.iterdir()} < {"app.log", "app.log.1", "app.log.2", "app.log.3"}
    assert reader.source.losses == 0


def run_to_the_end(log: Path, bundle: Path, folder: Path) -> None:
    """The agent's run over what is new of a log; scores, alerts and state go into the folder."""
    folder.mkdir(exist_ok=True)
    out = "--state", folder / "state", "--scores", folder / "scores", "--sink", f"jsonl:{folder}/alerts"
    done = run_agent("tail", log, "--once", "--from", "start", "--bundle", bundle, *out)
    assert done.returncode == 0, done.stderr.decode()


def told(file: Path, fields: tuple[str, ...]) -> list[list[object]]:
    return [[row[field] for field in fields] for row in rows_of(file)]


@pytest.mark.parametrize("name", DEBIAN)
def test_the_agent_goes_on_after_two_rotations(tmp_path: Path, rotate: Rotate, bundle: Path, name: str) -> None:
    """Scores and alerts are those of an agent that read the same lines out of one file at once."""
    lines = made_up_lines(240, seed=4, odd=tuple(range(20, 240, 25)))
    log, whole = tmp_path / "logs" / "app.log", tmp_path / "whole"
    whole.write_bytes(b"".join(lines))
    log.write_bytes(b"".join(lines[:60]))
    run_to_the_end(log, bundle, tmp_path / "parts")
    for start in (60, 120):
        with log.open("ab") as file:
            file.writelines(lines[start : start + 60])
        rotate(*DEBIAN[name])
        time.sleep(0.02)
    log.write_bytes(b"".join(lines[180:]))
    run_to_the_end(log, bundle, tmp_path / "parts")
    run_to_the_end(whole, bundle, tmp_path / "once")
    for file, fields in (("scores", ("score", "anomaly")), ("alerts", ("message", "severity", "count"))):
        parts, once = (told(tmp_path / folder / file, fields) for folder in ("parts", "once"))
        assert parts == once and len(once) > 5
