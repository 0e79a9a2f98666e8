"""The rest of a log is found by its content where it was rotated, copied or compressed, and read from there."""

import bz2
import errno
import gzip
import lzma
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import zstandard
from helpers.logs import collect_messages

from agent.errors import SourceError
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.follower import FileSource
from agent.sources.files.rotation_names import other_forms, rotated_files

HEADER = b"".join(b"setting %02d of the service is as it was\n" % n for n in range(40))  # longer than the hashed head
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


class Reader:
    """A source that reads a log from a checkpoint, or its start, and does not wait."""

    def __init__(self, log: Path, checkpoint: FileCheckpoint | None = None) -> None:
        self.said = collect_messages()
        self.source = FileSource(log, checkpoint, "start", grace=0)

    def lines(self, most: int = 1 << 20) -> list[bytes]:
        return [line for block in iter(lambda: self.source.read(most), None) for line in block.lines()]

    def leave(self) -> FileCheckpoint:
        self.source.close()
        return self.source.file_checkpoint


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


def read_first(log: Path, content: bytes) -> FileCheckpoint:
    log.write_bytes(content)
    reader = Reader(log)
    reader.lines()
    return reader.leave()


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("first", [b"one\n", HEADER + b"x" * 3_000_000 + b"\n"], ids=["short", "long"])
def test_the_rest_is_read_out_of_a_compressed_file(log: Path, kind: str, first: bytes) -> None:
    checkpoint = read_first(log, first)
    identity = Reader(log, checkpoint).source.identity
    append(log, b"two\nthr")
    pack(log.rename(log.with_name("app.log.1")), kind)
    log.write_bytes(b"four\n")
    reader = Reader(log, checkpoint)
    block = reader.source.read()
    assert (list(block.lines()), block.first, block.offsets.tolist()) == (
        [b"two"],
        first.count(b"\n") + 1,
        [len(first)],
    )
    assert reader.source.identity == identity
    kept = msgspec.msgpack.decode(
        msgspec.msgpack.encode(reader.leave()), type=FileCheckpoint
    )  # kill -9 after the commit
    assert Reader(log, kept).lines() == [b"thr", b"four"]
    assert f"app.log.1{kind} first" in reader.said[0]


def test_a_file_of_which_nothing_was_read_is_read_out_of_its_compressed_form(log: Path) -> None:
    log.write_bytes(b"one\n")
    checkpoint = Reader(log).leave()
    os.link(log, log.with_name("kept"))  # its inode is not used again
    pack(log.rename(log.with_name("app.log.1")), ".gz")
    log.write_bytes(b"two\n")
    reader = Reader(log, checkpoint)
    assert reader.lines() == [b"one", b"two"] and reader.source.losses == 1, "it is not known to be that file"


def test_several_generations_come_in_order(log: Path) -> None:
    checkpoint = read_first(log, HEADER + b"1\n")
    append(log, b"2\n")
    log.rename(log.with_name("app.log.3"))
    log.with_name("app.log.2").write_bytes(HEADER + b"3\n")
    log.with_name("app.log.1").write_bytes(HEADER + b"4\n")
    log.write_bytes(HEADER + b"5\n")
    set_times(log, "app.log.3", "app.log.2", "app.log.1", "app.log")
    pack(log.with_name("app.log.3"), ".gz")
    pack(log.with_name("app.log.2"), ".gz")
    header = HEADER.splitlines()
    assert Reader(log, checkpoint).lines() == [b"2", *header, b"3", *header, b"4", *header, b"5"]


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
        reader = Reader(log, reader.source.file_checkpoint)
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
    checkpoint = reader.leave()
    log.write_bytes(HEADER + b"yet another, and longer again\n")
    again = Reader(log, checkpoint)
    assert again.lines() == [*HEADER.splitlines(), b"yet another, and longer again"]
    assert "it differs just before that byte" in again.said[0]


def test_the_position_of_an_older_agent_is_still_good(log: Path) -> None:
    checkpoint = msgspec.to_builtins(read_first(log, b"one\n"))
    old = {name: checkpoint[name] for name in ("device", "inode", "head", "offset", "line")}
    append(log, b"two\n")
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(b"three\n")
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(old), type=FileCheckpoint)
    assert Reader(log, decoded).lines() == [b"two", b"three"]


def test_a_backup_copy_of_the_log_is_no_rotation(log: Path) -> None:
    checkpoint = read_first(log, b"one\n")
    append(log, b"two\n")
    shutil.copy(log, log.with_name("app.log.1"))
    append(log, b"three\n")
    reader = Reader(log, checkpoint)
    assert (reader.lines(), reader.said) == ([b"two", b"three"], [])


def test_damaged_and_refused_archives_are_told_and_left_out(log: Path) -> None:
    checkpoint = read_first(log, b"one\n")
    append(log, b"two\n")
    log.rename(log.with_name("app.log.3"))
    log.with_name("app.log.2.gz").write_bytes(
        gzip.compress(os.urandom(5000).replace(b"\0", b"1") + b"\nlast\n")[:-2000]
    )
    log.with_name("app.log.1.gz").write_bytes(b"no gzip data\n")
    log.write_bytes(b"three\n")
    set_times(log, "app.log.3", "app.log.2.gz", "app.log.1.gz", "app.log")
    reader = Reader(log, checkpoint)
    lines = reader.lines()
    assert (lines[0], lines[-1]) == (b"two", b"three")
    words = "\n".join(reader.said)
    assert "app.log.2.gz is truncated" in words and "app.log.1.gz is damaged: it is no gz data: left out" in words
    assert len(reader.said) == 3
    assert reader.source.losses == 2


def test_a_lost_file_is_told_and_the_later_ones_are_read(log: Path) -> None:
    checkpoint = read_first(log, b"one\n")
    append(log, b"two\n")
    log.write_bytes(b"")
    log.with_name("app.log.1").write_bytes(b"three\n")
    log.write_bytes(b"four\n")
    set_times(log, "app.log", "app.log.1")
    os.utime(log)
    reader = Reader(log, checkpoint)
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
    checkpoint = read_first(log, b"one\n")
    append(log, b"two\n")
    away = log.rename(log.with_name("away"))
    reader = Reader(log, checkpoint)
    assert reader.lines() == []
    away.rename(log)
    assert reader.lines() == [b"two"]


DAYS = ["app.log-20251231", "app.log-20260301.xz", "app.log-20260302"]
FALLING = ["app.log.10", "app.log.3", "app.log.2.gz", "app.log.1"]
RISING = ["app.log.0", "app.log.1", "app.log.2.gz", "app.log.9", "app.log.10"]


def test_what_is_no_rotation_by_its_name_is_left_out_and_so_is_what_is_there_uncompressed(log: Path) -> None:
    for name in ("app.log.3", "app.log.3.gz", "app.log.bak", "app.log.gz", "other.log.1"):
        log.with_name(name).write_bytes(b"")
    assert [rotated.path.name for rotated in rotated_files(log)] == ["app.log.3"]


BODY = HEADER + b"one\n"


@pytest.mark.parametrize("name", ["archive/app.log.1", "app.1.log", "app.log.1.old", "archive/app-20260101.log"])
@pytest.mark.parametrize("kind", ["", ".gz"])
def test_the_rest_is_read_elsewhere_where_the_content_is_that_of_the_log(log: Path, name: str, kind: str) -> None:
    (log.parent / "archive").mkdir()
    checkpoint = read_first(log, BODY)
    append(log, b"two\n")
    moved = log.rename(log.parent / name)
    if kind:
        pack(moved, kind)
    log.write_bytes(b"three\n")
    reader = Reader(log, checkpoint)
    assert reader.lines() == [b"two", b"three"]
    assert f"{name}{kind} first" in reader.said[0] and reader.source.losses == 0


@pytest.mark.parametrize("name", ["other/app.log.1", "app.1.log", "app.log.1.old", "other/app.log.1.gz"])
@pytest.mark.parametrize("same", [False, True], ids=["another inode", "the same inode"])
def test_a_name_alone_makes_no_rotation_elsewhere(log: Path, name: str, same: bool) -> None:
    other = log.parent / name
    other.parent.mkdir(exist_ok=True)
    checkpoint = read_first(log, BODY)
    log.write_bytes(b"of another log, and as long as it may be\n" * 100)
    if same:
        log.rename(other)
    else:
        other.write_bytes(gzip.compress(log.read_bytes())[:-9] if name.endswith(".gz") else HEADER + b"own\n" * 99)
    log.write_bytes(b"two\n")
    os.utime(other, (log.stat().st_mtime + 100,) * 2)
    reader = Reader(log, checkpoint)
    assert reader.lines() == [b"two"]
    assert len(reader.said) == 1 and "cannot be read on" in reader.said[0] and reader.source.losses == 1


def test_a_short_content_proves_nothing_elsewhere(log: Path) -> None:
    (log.parent / "other").mkdir()
    checkpoint = read_first(log, b"started\n")
    log.write_bytes(b"two\n")
    (log.parent / "other/app.log.1").write_bytes(b"started\nof another log\n")
    assert Reader(log, checkpoint).lines() == [b"two"]


def test_a_log_of_its_own_is_never_taken_for_a_rotation(log: Path) -> None:
    checkpoint = read_first(log, BODY)
    own = log.rename(log.with_name("app.1.log"))
    append(own, b"of its own\n")
    log.write_bytes(b"two\n")
    source = FileSource(log, checkpoint, "start", grace=0, is_own_log=lambda path: path == own)
    block = source.read()
    source.close()
    assert block is not None and list(block.lines()) == [b"two"]


def test_a_rotation_beside_the_log_goes_before_one_elsewhere(log: Path) -> None:
    (log.parent / "backup").mkdir()
    checkpoint = read_first(log, BODY)
    append(log, b"two\n")
    shutil.copy2(log, log.parent / "backup/app.log.1")
    append(log, b"three\n")
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(b"four\n")
    reader = Reader(log, checkpoint)
    assert reader.lines() == [b"two", b"three", b"four"] and "backup" not in reader.said[0]


def test_a_backup_elsewhere_is_not_looked_for_while_the_log_goes_on(log: Path) -> None:
    (log.parent / "backup").mkdir()
    checkpoint = read_first(log, BODY)
    append(log, b"two\n")
    shutil.copy2(log, log.parent / "backup/app.log.1")
    append(log, b"three\n")
    reader = Reader(log, checkpoint)
    assert (reader.lines(), reader.said) == ([b"two", b"three"], [])


@pytest.mark.parametrize("kind", ["", ".gz"])
def test_generations_elsewhere_come_in_order_while_the_file_is_open(tmp_path: Path, kind: str) -> None:
    """A folder that is not in that of the log is known from the open file, and only while that is not deleted."""
    (tmp_path / "logs/old").mkdir(parents=True)
    (tmp_path / "old").mkdir()
    log = tmp_path / "logs/app.log"
    old = tmp_path / ("logs/old" if kind else "old")
    log.write_bytes(BODY)
    reader = Reader(log)
    reader.lines()
    append(log, b"two\n")
    log.rename(old / "app.log.3")
    read = [] if kind else reader.lines()  # compressed before the next look
    for number, content in ((2, b"three\n"), (1, b"four\n")):
        (old / f"app.log.{number}").write_bytes(content)
    log.write_bytes(b"five\n")
    for number, name in enumerate((old / "app.log.3", old / "app.log.2", old / "app.log.1", log)):
        os.utime(name, (1_800_000_000 + 10 * number,) * 2)
    for name in sorted(old.iterdir()) if kind else ():
        pack(name, kind)
    assert read + reader.lines() == [b"two", b"three", b"four", b"five"]
    assert reader.source.losses == 0 and reader.source.rotations == 3


def test_the_folders_are_listed_once_for_a_file_that_is_gone(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Path] = []
    monkeypatch.setattr("agent.sources.files.rotation_discovery.other_forms", lambda path: listed.append(path) or [])
    log.write_bytes(BODY)
    reader = Reader(log)
    for _ in range(5):
        append(log, b"more\n")
        reader.lines()
    assert listed == []
    log.unlink()
    for _ in range(5):
        assert reader.lines() == []
    assert listed == [log]
    log.write_bytes(b"anew\n")
    assert reader.lines() == [b"anew"] and listed == [log]


def test_forms_are_told_by_name_within_the_folder_and_those_in_it(log: Path) -> None:
    deep = log.parent / "old/deeper"
    deep.mkdir(parents=True)
    (log.parent / "link").symlink_to(deep)
    (deep / "app.log.1").write_bytes(b"")
    for name in ("app.log", "app.log.1", "app.1.log", "app.2.log.gz", "app.log.1.old.gz", "app.1.txt", "apple.1.log"):
        log.with_name(name).write_bytes(b"")
    (log.parent / "old/app.log-20260101").write_bytes(b"")
    found = {(form.folder.name, form.before, form.after) for form in other_forms(log)}
    here = log.parent.name
    assert found == {(here, "app", ".log"), (here, "app.log", ".old"), ("old", "app.log", "")}


def no_descriptor(*_: object, **named: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.mark.parametrize("kind", ["", ".gz"])
@pytest.mark.parametrize("away", [False, True])
def test_a_rotation_that_cannot_be_opened_for_the_moment_is_not_left_out(log, monkeypatch, kind, away):
    """No file may be opened for a while: what is refused then is no bad file."""
    append(log, HEADER + b"one\n")
    reader = Reader(log)
    reader.lines()
    append(log, b"two\n")
    checkpoint = reader.leave() if away else None
    log.rename(log.with_name("app.log.2"))
    append(log, b"three\n")
    log.rename(log.with_name("app.log.1"))
    append(log, b"four\n")
    set_times(log, "app.log.2", "app.log.1", "app.log")
    if kind:
        pack(log.with_name("app.log.1"), kind)
    with monkeypatch.context() as few:
        few.setattr(os, "open", no_descriptor)
        few.setattr(Path, "open", no_descriptor)
        if away:
            with pytest.raises(SourceError, match="Too many"):
                Reader(log, checkpoint)
        else:
            assert reader.lines() == [b"two"] and reader.lines() == []
    if away:
        reader = Reader(log, checkpoint)
    expected = [b"two"] if away else []
    assert reader.lines() == [*expected, b"three", b"four"]
    assert not reader.source.losses


def test_any_number_of_generations_between_two_looks_come_in_order(log):
    append(log, b"generation 0\n")
    reader = Reader(log)
    assert reader.lines() == [b"generation 0"]
    for number in range(1, 40):
        for old in range(number, 0, -1):
            if (rotated := log.with_name(f"app.log.{old}")).exists():
                rotated.rename(log.with_name(f"app.log.{old + 1}"))
        log.rename(log.with_name("app.log.1"))
        append(log, b"generation %d\n" % number)
    assert reader.lines() == [b"generation %d" % number for number in range(1, 40)]
    assert not reader.source.losses


def test_a_truncation_is_counted_once_over_a_restart_in_its_copy(log):
    append(log, HEADER + b"one\n")
    reader = Reader(log)
    reader.lines()
    append(log, b"two\nthree\n")
    shutil.copy2(log, log.with_name("app.log.1"))
    os.truncate(log, 0)
    append(log, b"four\n")
    assert list(reader.source.read(4).lines()) == [b"two"]
    assert (reader.source.truncations, reader.source.rotations) == (1, 0)
    reader = Reader(log, reader.leave())
    assert reader.lines() == [b"three", b"four"]
    assert (reader.source.truncations, reader.source.rotations, reader.source.losses) == (0, 0, 0)


def copy_and_truncate(log: Path, content: bytes, kind: str = "") -> None:
    """Rotates a log as copytruncate does, with what its next generation begins with."""
    copy = Path(shutil.copy(log, log.with_name("app.log.1")))
    if kind:
        pack(copy, kind)
    os.truncate(log, 0)
    append(log, content)


def take_away(log: Path) -> None:
    """Removes a log in such a way that no other file gets its inode."""
    log.rename(log.with_name("gone"))


@pytest.mark.parametrize("rest", [b"", b"two\n"], ids=["read to its end", "read in part"])
def test_what_a_file_got_that_was_copied_and_is_gone_counts_as_lost(log: Path, rest: bytes) -> None:
    checkpoint = read_first(log, b"server starting\n")
    append(log, rest)
    copy_and_truncate(log, b"server starting\nlost")  # begins like the generation before
    take_away(log)
    reader = Reader(log, checkpoint)
    assert reader.lines() == rest.splitlines()
    assert not reader.source.losses  # it may come back
    append(log, b"server starting\n")
    set_times(log, "app.log.1", "app.log")
    assert reader.lines() == [b"server starting"]
    assert reader.source.losses == 1
    assert "app.log was copied by a rotation and is gone; what was written" in reader.said[-1]
    reader = Reader(log, reader.leave())
    assert not reader.lines()
    assert not reader.source.losses


@pytest.mark.parametrize("kind", ["", ".gz"])
def test_a_file_that_goes_while_its_copy_is_read_counts_as_lost_also_after_a_restart(log: Path, kind: str) -> None:
    append(log, HEADER + b"one\n")
    reader = Reader(log)
    reader.lines()
    append(log, b"two\nthree\n")
    copy_and_truncate(log, b"four\n", kind)
    assert list(reader.source.read(4).lines()) == [b"two"]
    take_away(log)
    append(log, b"five\n")
    reader = Reader(log, reader.leave())
    assert reader.lines() == [b"three", b"five"]
    assert reader.source.losses == 1


def rename(log: Path) -> None:
    log.rename(log.with_name("app.log.1"))


def rename_and_compress(log: Path) -> None:
    os.link(log, log.with_name("gone"))  # no other file gets its inode
    rename(log)
    pack(log.with_name("app.log.1"), ".gz")


def copy_and_rename(log: Path) -> None:
    copy_and_truncate(log, b"server starting\n")
    log.with_name("app.log.1").rename(log.with_name("app.log.2"))
    rename(log)


@pytest.mark.parametrize("rotate", [rename, rename_and_compress, copy_and_rename])
def test_a_file_that_is_still_there_does_not_count_as_lost(log: Path, rotate: Callable[[Path], None]) -> None:
    checkpoint = read_first(log, b"server starting\n")
    append(log, b"two\n")
    rotate(log)
    append(log, b"three\n")
    reader = Reader(log, checkpoint)
    assert (reader.lines()[0], reader.lines()) == (b"two", [])
    assert not reader.source.losses


def at_the_start_of_the_next(log: Path) -> FileCheckpoint:
    """Where reading is that left a file for the new one, of which it has read nothing yet."""
    append(log, HEADER + b"one\n")
    reader = Reader(log)
    reader.lines()
    append(log, b"late\n")
    rename(log)
    log.touch()
    assert reader.lines() == [b"late"] and reader.source.rotations == 1
    checkpoint = reader.leave()
    assert checkpoint.offset == 0
    return msgspec.msgpack.decode(msgspec.msgpack.encode(checkpoint), type=FileCheckpoint)


@pytest.mark.parametrize("kind", ["", ".gz"])
@pytest.mark.parametrize("content", [b"", b"two\n", HEADER + b"one\nlate\n"], ids=["empty", "other", "alike"])
def test_a_new_file_of_which_nothing_was_read_is_told_by_the_one_before_it(log: Path, content: bytes, kind: str):
    """Its writer went on in the one before, which looks newer by that."""
    checkpoint = at_the_start_of_the_next(log)
    log.with_name("app.log.1").rename(log.with_name("app.log.2"))
    append(log, content)
    os.link(log, log.with_name("gone"))  # no other file gets its inode
    rename(log)
    append(log, b"three\n")
    set_times(log, "app.log.1", "app.log.2", "app.log")
    pack(log.with_name("app.log.1"), ".gz")
    if kind:
        pack(log.with_name("app.log.2"), kind)
    reader = Reader(log, checkpoint)
    assert reader.lines() == [*content.splitlines(), b"three"]
    assert not reader.source.losses


def test_a_copy_of_a_file_of_which_nothing_was_read_is_read_after_a_restart(log: Path) -> None:
    checkpoint = at_the_start_of_the_next(log)
    log.with_name("app.log.1").rename(log.with_name("app.log.2"))
    append(log, b"two\n")
    copy_and_truncate(log, b"three\n")
    reader = Reader(log, checkpoint)
    assert (reader.lines(), reader.source.losses) == ([b"two", b"three"], 0)


def test_a_backup_copy_of_a_file_of_which_nothing_was_read_is_no_rotation(log: Path) -> None:
    checkpoint = at_the_start_of_the_next(log)
    log.with_name("app.log.1").rename(log.with_name("app.log.2"))
    append(log, b"two\n")
    shutil.copy(log, log.with_name("app.log.1"))
    append(log, b"three\n")
    reader = Reader(log, checkpoint)
    assert (reader.lines(), reader.said) == ([b"two", b"three"], [])


def test_a_file_that_got_the_inode_of_one_of_which_nothing_was_read_is_not_taken_for_it(log: Path) -> None:
    checkpoint = at_the_start_of_the_next(log)
    log.with_name("app.log.1").rename(log.with_name("app.log.2"))
    log.with_name("app.log.1.gz").write_bytes(gzip.compress(b"two\n"))
    log.write_bytes(b"three\n")
    set_times(log, "app.log.2", "app.log.1.gz", "app.log")
    reader = Reader(log, checkpoint)
    assert (reader.lines(), reader.source.losses) == ([b"two", b"three"], 0)


@pytest.mark.parametrize("content", [b"two\n", HEADER + b"one\nlate\n"], ids=["other", "alike"])
def test_where_the_file_before_is_gone_too_the_new_one_is_found_by_its_inode(log: Path, content: bytes) -> None:
    checkpoint = at_the_start_of_the_next(log)
    log.with_name("app.log.1").rename(log.with_name("gone"))
    append(log, content)
    log.rename(log.with_name("app.log.2"))
    log.with_name("app.log.1").write_bytes(b"three\n")
    append(log, b"four\n")
    reader = Reader(log, checkpoint)
    assert (reader.lines(), reader.source.losses) == ([*content.splitlines(), b"three", b"four"], 0)


def test_where_both_are_gone_a_loss_is_counted(log: Path) -> None:
    checkpoint = at_the_start_of_the_next(log)
    log.with_name("app.log.1").unlink()
    append(log, b"lost\n")
    take_away(log)
    append(log, b"two\n")
    rename(log)
    append(log, b"three\n")
    set_times(log, "app.log.1", "app.log")
    reader = Reader(log, checkpoint)
    assert (reader.lines(), reader.source.losses) == ([b"two", b"three"], 1)


def test_a_file_of_which_nothing_was_read_is_found_elsewhere_by_the_one_before_it(log: Path) -> None:
    checkpoint = at_the_start_of_the_next(log)
    archive = log.parent / "archive"
    archive.mkdir()
    log.with_name("app.log.1").rename(archive / "app.log.2")
    append(log, b"two\n")
    os.link(log, log.with_name("gone"))  # no other file gets its inode
    pack(log.rename(archive / "app.log.1"), ".gz")
    append(log, b"three\n")
    reader = Reader(log, checkpoint)
    assert (reader.lines(), reader.source.losses) == ([b"two", b"three"], 0)


@pytest.mark.parametrize("away", [True, False])
@pytest.mark.parametrize("copied", [False, True])
def test_the_rest_is_found_behind_any_number_of_compressed_generations(log: Path, away: bool, copied: bool) -> None:
    append(log, HEADER + b"one\n")
    reader = Reader(log)
    reader.lines()
    checkpoint = reader.leave() if away else None
    append(log, b"two\n")
    first = [] if away else reader.lines()
    os.link(log, log.with_name("gone"))  # no other file gets its inode
    for number in range(20, 0, -1):
        rotated = log.rename(log.with_name(f"app.log.{number}"))
        if copied or number < 20:
            os.utime(rotated, (rotated.stat().st_mtime + 10 * (21 - number),) * 2)
        pack(rotated, ".gz")
        append(log, b"generation %d\n" % number)
    log.with_name("gone").unlink()
    os.utime(log, (rotated.with_name("app.log.1.gz").stat().st_mtime + 10,) * 2)
    reader = Reader(log, checkpoint) if away else reader
    assert first + reader.lines() == [b"two", *[b"generation %d" % number for number in range(20, 0, -1)]]
    assert not reader.source.losses


def test_a_later_file_that_is_the_same_as_a_removed_one_is_no_reason_to_skip_those_between(log: Path) -> None:
    append(log, HEADER)
    reader = Reader(log)
    reader.lines()
    log.unlink()
    for name, content in (("app.log.2", HEADER + b"two\n"), ("app.log.1", HEADER), ("app.log", HEADER + b"three\n")):
        append(log.with_name(name), content)
    now = log.stat().st_mtime
    for place, name in enumerate(("app.log.2", "app.log.1", "app.log"), 1):
        os.utime(log.with_name(name), (now + 10 * place,) * 2)
    header = HEADER.splitlines()
    assert reader.lines() == [*header, b"two", *header, *header, b"three"]
    assert not reader.source.losses


def replace(log: Path, rest: bytes) -> None:
    """As many editors save: the file gets another inode."""
    log.with_name("app.log.new").write_bytes(log.read_bytes() + rest)
    log.with_name("app.log.new").rename(log)


def keep_backup(log: Path, rest: bytes) -> None:
    """As others do: the old file stays beside it."""
    content = log.read_bytes()
    log.rename(log.with_name("app.log~"))
    log.write_bytes(content + rest)


@pytest.mark.parametrize("away", [False, True], ids=["running", "away"])
@pytest.mark.parametrize("save", [replace, keep_backup])
def test_a_log_that_is_replaced_by_its_copy_is_read_on(log: Path, save, away: bool) -> None:
    append(log, BODY)
    reader = Reader(log)
    reader.lines()
    if away:
        checkpoint = reader.leave()
    save(log, b"two\n")
    if away:
        reader = Reader(log, checkpoint)
    assert (reader.lines(), reader.source.losses) == ([b"two"], 0)


@pytest.mark.parametrize("content", [b"", b"one\n", BODY], ids=["empty", "short", "long"])
def test_a_log_whose_device_has_another_number_since_a_mount_is_read_on(log: Path, content: bytes) -> None:
    checkpoint = read_first(log, content)
    append(log, b"two\n")
    moved = msgspec.structs.replace(checkpoint, device=checkpoint.device + 1)
    reader = Reader(log, moved)
    assert (reader.lines(), reader.source.losses, reader.said) == ([b"two"], 0, [])


def test_a_log_that_was_rotated_before_its_device_got_another_number_is_read_on(log: Path) -> None:
    checkpoint = read_first(log, BODY)
    append(log, b"two\n")
    rename(log)
    append(log, b"three\n")
    reader = Reader(log, msgspec.structs.replace(checkpoint, device=checkpoint.device + 1))
    assert (reader.lines(), reader.source.losses) == ([b"two", b"three"], 0)


def test_a_short_log_with_another_inode_is_another_one(log: Path) -> None:
    checkpoint = read_first(log, b"started\n")
    replace(log, b"two\n")
    assert Reader(log, checkpoint).lines() == [b"started", b"two"]


def test_frames_of_zstd_are_read_one_after_another_and_damage_is_told(log: Path) -> None:
    checkpoint = read_first(log, b"one\n")
    log.with_name("app.log.2.zst").write_bytes(zstandard.compress(b"one\ntwo\n") + zstandard.compress(b"three\n"))
    log.with_name("app.log.1.zst").write_bytes(zstandard.compress(b"four\n")[:-3])
    log.unlink()
    log.write_bytes(b"five\n")
    set_times(log, "app.log.2.zst", "app.log.1.zst", "app.log")
    reader = Reader(log, checkpoint)
    assert reader.lines() == [b"two", b"three", b"fo", b"five"]
    assert "app.log.1.zst is truncated: its zstd data has no end" in "\n".join(reader.said)
    assert reader.source.losses == 1


def test_where_nothing_reads_zstd_it_is_said_which_file_may_hold_lines(log, monkeypatch) -> None:
    checkpoint = read_first(log, b"one\n")
    append(log, b"two\n")
    pack(log.rename(log.with_name("app.log.1")), ".zst")
    log.write_bytes(b"three\n")
    for module in ("zstandard", "compression.zstd"):
        monkeypatch.setitem(sys.modules, module, None)
    reader = Reader(log, checkpoint)
    assert reader.lines() == [b"three"] and reader.source.losses == 1
    assert "app.log.1.zst may hold lines, and is not read without the package zstandard" in reader.said[0]


@pytest.mark.parametrize("kind", ["", ".gz", "moved"])
def test_a_link_that_came_to_lead_elsewhere_meanwhile_costs_no_rest_of_the_old_target(log: Path, kind: str) -> None:
    first, second = log.with_name("monday.txt"), log.with_name("tuesday.txt")
    append(first, BODY)
    log.symlink_to(first)
    reader = Reader(log)
    reader.lines()
    checkpoint = msgspec.msgpack.decode(msgspec.msgpack.encode(reader.leave()), type=FileCheckpoint)
    append(first, b"two\n")
    append(second, b"three\n")
    log.unlink()
    log.symlink_to(second)
    if kind == ".gz":
        pack(first, kind)
    elif kind:
        os.utime(first.rename(log.with_name("away")), (1, 1))
    reader = Reader(log, checkpoint)
    assert reader.lines() == ([b"two"] if kind != "moved" else []) + [b"three"]
    assert reader.source.losses == (kind == "moved")


def test_the_place_of_a_file_is_kept_only_where_a_link_leads_to_it(log: Path) -> None:
    assert read_first(log, b"one\n").target == b""
    link = log.with_name("today")
    link.symlink_to(log)
    assert Reader(link).leave().target == os.fsencode(log)
