"""The rest of a log is found by its content where it was rotated, copied or compressed, and read from there."""

import bz2
import gzip
import lzma
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.sources.file import FileSource
from agent.sources.position import Position
from agent.sources.rotated import rotated_files

HEADER = b"".join(b"setting %02d of the service is as it was\n" % n for n in range(40))  # longer than the hashed head
PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


class Reader:
    """A source that reads a log from a position, or its start, and does not wait."""

    def __init__(self, log: Path, position: Position | None = None) -> None:
        self.said: list[str] = []
        self.source = FileSource(log, position, "start", self.said.append, grace=0)

    def lines(self, most: int = 1 << 20) -> list[bytes]:
        return [line for block in iter(lambda: self.source.read(most), None) for line in block.lines()]

    def leave(self) -> Position:
        self.source.close()
        return self.source.position


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def set_times(log: Path, *names: str) -> None:
    """Makes the files look as if they were last written in this order, from now on."""
    for place, name in enumerate(names):
        now = log.stat().st_mtime + 10 * place
        os.utime(log.with_name(name), (now, now))


def pack(path: Path, kind: str) -> Path:
    """Compresses a file as logrotate does: the time of writing stays."""
    packed = path.with_name(path.name + kind)
    packed.write_bytes(PACKERS[kind](path.read_bytes()))
    os.utime(packed, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    path.unlink()
    return packed


def read_first(log: Path, content: bytes) -> Position:
    log.write_bytes(content)
    reader = Reader(log)
    reader.lines()
    return reader.leave()


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("first", [b"one\n", HEADER + b"x" * 3_000_000 + b"\n"], ids=["short", "long"])
def test_the_rest_is_read_out_of_a_compressed_file(log: Path, kind: str, first: bytes) -> None:
    position = read_first(log, first)
    identity = Reader(log, position).source.identity
    append(log, b"two\nthr")
    pack(log.rename(log.with_name("app.log.1")), kind)
    log.write_bytes(b"four\n")
    reader = Reader(log, position)
    block = reader.source.read()
    assert (list(block.lines()), block.first, block.offsets.tolist()) == (
        [b"two"],
        first.count(b"\n") + 1,
        [len(first)],
    )
    assert reader.source.identity == identity
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(reader.leave()), type=Position)  # kill -9 after the commit
    assert Reader(log, kept).lines() == [b"thr", b"four"]
    assert f"app.log.1{kind} first" in reader.said[0]


def test_several_generations_come_in_order(log: Path) -> None:
    position = read_first(log, HEADER + b"1\n")
    append(log, b"2\n")
    log.rename(log.with_name("app.log.3"))
    log.with_name("app.log.2").write_bytes(HEADER + b"3\n")
    log.with_name("app.log.1").write_bytes(HEADER + b"4\n")
    log.write_bytes(HEADER + b"5\n")
    set_times(log, "app.log.3", "app.log.2", "app.log.1", "app.log")
    pack(log.with_name("app.log.3"), ".gz")
    pack(log.with_name("app.log.2"), ".gz")
    header = HEADER.splitlines()
    assert Reader(log, position).lines() == [b"2", *header, b"3", *header, b"4", *header, b"5"]


@pytest.mark.parametrize("away", [True, False])
def test_what_copytruncate_leaves_in_the_copy_alone_is_read_there(log: Path, away: bool) -> None:
    log.write_bytes(b"one\ntw")
    reader = Reader(log)
    assert reader.lines() == [b"one"]
    append(log, b"o\nthree\n")
    if away:
        reader = Reader(log, reader.leave())
        reader.source.close()
    shutil.copy(log, log.with_name("app.log.1"))
    os.truncate(log, 0)
    append(log, b"four, and more than was there before\n")
    if away:
        reader = Reader(log, reader.source.position)
    assert reader.lines() == [b"two", b"three", b"four, and more than was there before"]
    assert (reader.source.truncations, reader.source.bytes_lost) == (0 if away else 1, 0)
    assert "app.log.1 first" in reader.said[0]


def test_new_content_that_begins_like_the_old_is_told_from_it(log: Path) -> None:
    log.write_bytes(HEADER + b"one\n")
    reader = Reader(log)
    reader.lines()
    log.write_bytes(HEADER + b"other, and longer\n")
    assert reader.lines()[-1] == b"other, and longer"
    assert reader.source.truncations == 1
    position = reader.leave()
    log.write_bytes(HEADER + b"yet another, and longer again\n")
    again = Reader(log, position)
    assert again.lines() == [*HEADER.splitlines(), b"yet another, and longer again"]
    assert "it differs just before that byte" in again.said[0]


def test_the_position_of_an_older_agent_is_still_good(log: Path) -> None:
    position = msgspec.to_builtins(read_first(log, b"one\n"))
    old = {name: position[name] for name in ("device", "inode", "head", "offset", "line")}
    append(log, b"two\n")
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(b"three\n")
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=Position)
    assert Reader(log, decoded).lines() == [b"two", b"three"]


def test_a_backup_copy_of_the_log_is_no_rotation(log: Path) -> None:
    position = read_first(log, b"one\n")
    append(log, b"two\n")
    shutil.copy(log, log.with_name("app.log.1"))
    append(log, b"three\n")
    reader = Reader(log, position)
    assert (reader.lines(), reader.said) == ([b"two", b"three"], [])


def test_damaged_and_refused_archives_are_told_and_left_out(log: Path) -> None:
    position = read_first(log, b"one\n")
    append(log, b"two\n")
    log.rename(log.with_name("app.log.3"))
    log.with_name("app.log.2.gz").write_bytes(
        gzip.compress(os.urandom(5000).replace(b"\0", b"1") + b"\nlast\n")[:-2000]
    )
    log.with_name("app.log.1.gz").write_bytes(b"no gzip data\n")
    log.write_bytes(b"three\n")
    set_times(log, "app.log.3", "app.log.2.gz", "app.log.1.gz", "app.log")
    reader = Reader(log, position)
    lines = reader.lines()
    assert (lines[0], lines[-1]) == (b"two", b"three")
    words = "\n".join(reader.said)
    assert "app.log.2.gz is truncated" in words and "app.log.1.gz is damaged: it is no gz data: left out" in words
    assert len(reader.said) == 3
    assert reader.source.losses == 2


def test_a_lost_file_is_told_and_the_later_ones_are_read(log: Path) -> None:
    position = read_first(log, b"one\n")
    append(log, b"two\n")
    log.write_bytes(b"")
    log.with_name("app.log.1").write_bytes(b"three\n")
    log.write_bytes(b"four\n")
    set_times(log, "app.log", "app.log.1")
    os.utime(log)
    reader = Reader(log, position)
    assert reader.lines() == [b"three", b"four"]
    assert "what was written to it after byte 4 is lost" in reader.said[0]
    assert reader.source.losses == 1


def test_a_file_that_is_compressed_while_it_is_open_is_not_read_again(log: Path) -> None:
    log.write_bytes(b"one\n")
    reader = Reader(log)
    assert reader.lines() == [b"one"]
    packed = pack(log.rename(log.with_name("app.log.1")), ".gz")
    os.utime(packed, (packed.stat().st_mtime + 100,) * 2)
    log.write_bytes(b"two\n")
    assert reader.lines() == [b"two"]


def test_a_log_that_comes_back_after_the_start_is_read_on(log: Path) -> None:
    position = read_first(log, b"one\n")
    append(log, b"two\n")
    away = log.rename(log.with_name("away"))
    reader = Reader(log, position)
    assert reader.lines() == []
    away.rename(log)
    assert reader.lines() == [b"two"]


def test_names_tell_the_order_before_times_do(log: Path) -> None:
    for name in ("app.log.1", "app.log.10", "app.log.2.gz", "app.log.3", "app.log.3.gz", "app.log.bak", "app.log.gz"):
        log.with_name(name).write_bytes(b"")
    names = [rotated.path.name for rotated in rotated_files(log)]
    assert names == ["app.log.10", "app.log.3", "app.log.2.gz", "app.log.1"]


def test_dates_tell_the_order_too(log: Path) -> None:
    for name in ("app.log-20260302", "app.log-20260301.xz", "app.log-20251231"):
        log.with_name(name).write_bytes(b"")
    names = [rotated.path.name for rotated in rotated_files(log)]
    assert names == ["app.log-20251231", "app.log-20260301.xz", "app.log-20260302"]
