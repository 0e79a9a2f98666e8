"""Standard input and named pipes: every byte that comes becomes part of a line, and nothing waits."""

import fcntl
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from helpers.short_lines import cut_at
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import SourceError
from agent.sources.decoding.multiline import Multiline
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.live import StreamCheckpoint
from agent.sources.pipes import Fifo, StandardInput, StreamSource
from agent.text.lines import Block

pytestmark = pytest.mark.usefixtures("no_thread_left")


def blocks_of(source: StreamSource) -> list[Block]:
    return list(iter(source.read, None))


def lines_of(source: StreamSource) -> list[bytes]:
    return [line for block in blocks_of(source) for line in block.lines()]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def test_lines_come_as_they_are_written_and_the_end_ends_the_last(pipe: tuple[int, int], said: list[str]) -> None:
    source = StandardInput(None, descriptor=pipe[0])
    assert source.read() is None and not source.ended
    os.write(pipe[1], b"one\ntwo\r\nthr")
    (block,) = blocks_of(source)
    assert (list(block.lines()), block.source, block.first, block.end) == ([b"one", b"two"], "-", 1, 9)
    assert not source.ended
    os.write(pipe[1], b"ee\nlast")
    os.close(pipe[1])
    assert lines_of(source) == [b"three", b"last"]
    assert source.ended and source.read() is None and source.finish() is None
    assert (source.lines_read, source.bytes_read, source.bytes_taken, source.losses) == (4, 19, 19, 0)
    source.close()
    assert said == []


def test_the_descriptor_is_left_as_it_was_and_open(pipe: tuple[int, int], said: list[str]) -> None:
    before = fcntl.fcntl(pipe[0], fcntl.F_GETFL)
    source = StandardInput(None, descriptor=pipe[0])
    os.write(pipe[1], b"one\n")
    assert lines_of(source) == [b"one"]
    assert fcntl.fcntl(pipe[0], fcntl.F_GETFL) == before and not before & os.O_NONBLOCK
    source.close()
    source.close()
    assert fcntl.fcntl(pipe[0], fcntl.F_GETFL) == before
    assert source.read() is None and source.descriptors == ()


def test_a_pipe_wakes_a_selector_until_it_is_read(pipe: tuple[int, int], said: list[str]) -> None:
    source = StandardInput(None, descriptor=pipe[0])
    with select.epoll() as epoll:
        (descriptor,) = source.descriptors
        epoll.register(descriptor, select.EPOLLIN)
        assert epoll.poll(0) == []
        os.write(pipe[1], b"one\n")
        assert len(epoll.poll(5)) == 1
        assert lines_of(source) == [b"one"]
        assert epoll.poll(0) == []


@pytest.mark.parametrize("content", [b"", b"one\ntwo"])
def test_a_regular_file_is_read_without_a_selector(tmp_path: Path, said: list[str], content: bytes) -> None:
    (tmp_path / "log").write_bytes(content)
    with open(tmp_path / "log", "rb") as file:
        source = StandardInput(None, descriptor=file.fileno())
        assert source.descriptors == ()
        assert lines_of(source) == content.splitlines()
        assert source.ended


def test_nothing_comes_from_dev_null(said: list[str]) -> None:
    with open(os.devnull, "rb") as file:
        source = StandardInput(None, descriptor=file.fileno())
        assert source.descriptors == () and source.read() is None and source.ended


def test_a_terminal_gives_its_lines_and_ends_when_it_hangs_up(said: list[str]) -> None:
    master, slave = os.openpty()
    source = StandardInput(None, descriptor=slave)
    try:
        assert source.read() is None and len(source.descriptors) == 1
        os.write(master, b"typed\nrest\x04\x04")
        assert lines_of(source) == [b"typed", b"rest"]
        assert source.ended
    finally:
        os.close(slave)
        os.close(master)


def test_a_standard_input_that_is_no_stream_is_refused(tmp_path: Path, said: list[str]) -> None:
    with pytest.raises(SourceError, match="standard input is closed; pipe the log"):
        StandardInput(None, descriptor=10_000)
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(SourceError, match="standard input is a directory"):
        StandardInput(None, descriptor=folder)
    os.close(folder)


def test_a_terminal_that_fails_ends_with_a_word(said: list[str]) -> None:
    master, slave = os.openpty()
    source = StandardInput(None, descriptor=master)
    os.close(slave)  # reading the master now gives EIO
    assert source.read() is None and source.ended and source.losses == 1
    assert said == ["standard input cannot be read: Input/output error; it ends here"]
    os.close(master)


def test_the_count_goes_on_after_a_restart(pipe: tuple[int, int], said: list[str]) -> None:
    first = StandardInput(None, descriptor=pipe[0])
    os.write(pipe[1], b"one\ntwo\n")
    lines_of(first)
    second = StandardInput(first.checkpoint, descriptor=pipe[0])
    os.write(pipe[1], b"three\n")
    (block,) = blocks_of(second)
    assert (block.first, block.offsets.tolist()) == (3, [8])
    assert second.identity == first.identity
    assert StandardInput(None, descriptor=pipe[0]).identity != first.identity
    assert said == []


BAD_PLACES = [StreamCheckpoint("a", -1, 1), StreamCheckpoint("a", 0, 0)]


@pytest.mark.parametrize("mark", [b"", b"\xc1", b"\x81\xa1a\x01", *map(msgspec.msgpack.encode, BAD_PLACES)])
def test_a_mark_that_is_damaged_is_told(pipe: tuple[int, int], said: list[str], mark: bytes) -> None:
    source = StandardInput(mark, descriptor=pipe[0])
    assert len(said) == 1 and said[0].startswith("-: the mark in the state cannot be understood (")
    os.write(pipe[1], b"one\n")
    assert blocks_of(source)[0].first == 1


def test_one_call_takes_no_more_than_was_asked_for(pipe: tuple[int, int], said: list[str]) -> None:
    source = StandardInput(None, cut_at(10), descriptor=pipe[0])
    os.write(pipe[1], b"x" * 1000)
    assert source.read(100) is None and (source.bytes_taken, source.bytes_read) == (100, 0), (
        "an endless line is no reason to go on for ever"
    )
    os.write(pipe[1], b"\0\xff\n")
    assert lines_of(source) == [b"x" * 10]
    assert (source.cut_lines, source.cut_bytes, source.bytes_read) == (1, 992, 1003)
    (sentence,) = said
    assert sentence.startswith("-: line 1 is longer than max_line (10 bytes): its head is scored, the rest, 992 bytes,")


def test_records_of_several_lines_and_other_encodings(said: list[str]) -> None:
    read, write = os.pipe()
    now = [0.0]
    reading = ReadingSettings(encoding="latin-1", multiline=Multiline(indentation=True, timeout=1.0))
    source = StandardInput(None, reading, descriptor=read, clock=lambda: now[0])
    os.write(write, "fail\n at fü\nnext\n".encode("latin-1"))
    assert lines_of(source) == ["fail\r at fü".encode()]
    assert source.read() is None and source.bytes_taken == 17
    now[0] = 1.5
    assert lines_of(source) == [b"next"], "nothing came for a second, so the record is complete"
    os.write(write, b"last\n more")
    os.close(write)
    assert len(lines_of(source)) == 1 and source.ended and source.losses == 0
    source.close()
    os.close(read)
    assert said == []


def test_what_is_left_of_a_line_is_told_at_the_close(pipe: tuple[int, int], said: list[str]) -> None:
    source = StandardInput(None, descriptor=pipe[0])
    os.write(pipe[1], b"one\ntw")
    assert lines_of(source) == [b"one"]
    source.close()
    source.close()
    assert said == ["-: the last line has no end; the 2 bytes of it that came are lost"]
    assert (source.losses, source.bytes_lost) == (1, 2)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20), max_size=20), st.integers(1, 30))
def test_lines_do_not_depend_on_how_they_came(pieces: list[bytes], most: int) -> None:
    read, write = os.pipe()
    source, lines = StandardInput(None, ReadingSettings(encoding="utf-8"), descriptor=read), []
    for piece in pieces:
        os.write(write, piece)
        while source.descriptors and select.select([read], [], [], 0)[0]:
            block = source.read(most)
            lines += [] if block is None else list(block.lines())
    os.close(write)
    lines += lines_of(source)
    os.close(read)
    text = b"".join(pieces)
    *wanted, last = [line.lstrip(b"\0").removesuffix(b"\r") for line in text.split(b"\n")]
    assert lines == wanted + [last] * (text.split(b"\n")[-1].strip(b"\0") != b"")
    assert source.bytes_taken == len(text) and source.ended and not source.durable


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.fixture
def open_fifo(fifo: Path) -> Iterator[Callable[..., Fifo]]:
    sources = []

    def make(*given: object) -> Fifo:
        sources.append(Fifo(fifo, None, *given))
        return sources[-1]

    yield make
    for source in sources:
        source.close()


def write(path: Path, data: bytes) -> None:
    """Writes as a program of its own, which opens the pipe and closes it again."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    assert os.write(descriptor, data) == len(data)
    os.close(descriptor)


def test_a_pipe_outlives_its_writers(fifo: Path, open_fifo: Callable[..., Fifo], said: list[str]) -> None:
    source = open_fifo()
    assert source.read() is None
    for number in range(3):
        write(fifo, b"line %d\n" % number)
        assert lines_of(source) == [b"line %d" % number]
        with select.epoll() as epoll:
            epoll.register(source.descriptors[0], select.EPOLLIN)
            assert epoll.poll(0.01) == [], "a writer that has gone must not wake the loop again and again"
    assert not source.ended and said == [] and source.reopened == 0


def test_a_line_may_come_from_two_writers(fifo: Path, open_fifo: Callable[..., Fifo]) -> None:
    source = open_fifo()
    write(fifo, b"one\nbegun by a writer that")
    assert lines_of(source) == [b"one"]
    write(fifo, b" died\ntwo\n")
    assert lines_of(source) == [b"begun by a writer that died", b"two"]


def test_what_two_quick_writers_left_is_all_read(fifo: Path, open_fifo: Callable[..., Fifo]) -> None:
    source = open_fifo()
    write(fifo, b"one\n")
    write(fifo, b"two\n")
    assert lines_of(source) == [b"one", b"two"]


def test_a_pipe_that_was_made_anew_is_found(fifo: Path, open_fifo: Callable[..., Fifo], said: list[str]) -> None:
    source = open_fifo()
    write(fifo, b"one\nleft")
    fifo.unlink()
    assert lines_of(source) == [b"one"]
    source.read()
    assert said == [f"{fifo} does not exist; check its name; reading on the one that was opened"]
    os.mkfifo(fifo)
    assert lines_of(source) == [b"left"], "the old pipe's last line ends with it"
    write(fifo, b"two\n")
    assert lines_of(source) == [b"two"]
    assert source.reopened == 1 and said[1:] == [f"{fifo} was made anew: reading the new one"]


def test_what_is_no_pipe_any_more_is_told_once(fifo: Path, open_fifo: Callable[..., Fifo], said: list[str]) -> None:
    source = open_fifo()
    fifo.unlink()
    fifo.write_bytes(b"a file\n")
    assert lines_of(source) == lines_of(source) == []
    assert said == [f"{fifo} is no named pipe; trying again"]
    source.drain()
    assert source.read() is None and source.ended


def test_a_run_that_does_not_wait_ends_when_nothing_is_there(fifo: Path, open_fifo: Callable[..., Fifo]) -> None:
    source = open_fifo()
    write(fifo, b"one\ntwo")
    source.drain()
    assert not source.ended
    assert lines_of(source) == [b"one", b"two"]
    assert source.read() is None and source.ended
    assert (source.lines_read, source.bytes_lost) == (2, 0)


def test_a_pipe_that_may_only_be_read_and_has_no_name_any_more(fifo: Path, open_fifo: Callable[..., Fifo]) -> None:
    fifo.chmod(0o400)
    source = open_fifo()
    for number in range(3):
        write(fifo, b"line %d\n" % number)
        assert lines_of(source) == [b"line %d" % number]
    with open(fifo, "wb", buffering=0) as writer:
        fifo.unlink()
        writer.write(b"more\n")
        assert lines_of(source) == [b"more"]
    assert source.read() is None and not source.ended


def test_a_path_that_is_no_pipe_is_refused(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="file is no named pipe"):
        Fifo(tmp_path / "file", None)
    with pytest.raises(SourceError, match="does not exist"):
        Fifo(tmp_path / "nothing", None)


def test_a_pipe_gives_its_descriptor_back(fifo: Path, said: list[str]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    source = Fifo(fifo, None)
    write(fifo, b"\0\xff begun")
    assert source.read() is None
    source.close()
    source.close()
    assert source.read() is None and len(os.listdir("/proc/self/fd")) == before
    assert said == [f"{fifo}: the last line has no end; the 8 bytes of it that came are lost"]


def test_a_fast_writer_loses_nothing(fifo: Path, open_fifo: Callable[..., Fifo]) -> None:
    source, lines = open_fifo(), []
    program = "import sys\nfor n in range(100_000): sys.stdout.write(f'line {n}\\n')"
    with open(fifo, "wb") as out, subprocess.Popen([sys.executable, "-c", program], stdout=out) as process:
        while process.poll() is None:
            select.select(source.descriptors, [], [], 0.1)
            lines += lines_of(source)
    assert lines + lines_of(source) == [b"line %d" % number for number in range(100_000)]
