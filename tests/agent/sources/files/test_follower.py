"""Following one file: every line once, through all that may happen to a log."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from helpers.logs import collect_messages
from helpers.short_lines import cut_at
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from agent.errors import SourceError
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.follower import RELEASE, FileSource
from agent.text.lines import Block


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Follower:
    """A source with a clock of its own, and what it said."""

    def __init__(
        self, path: Path, checkpoint: FileCheckpoint | None = None, start: str = "start", max_line: int = 65536
    ) -> None:
        self.said = collect_messages()
        self.clock = Clock()
        self.source = FileSource(path, checkpoint, start, cut_at(max_line), clock=self.clock)

    def blocks(self, wait: float = 0.0) -> list[Block]:
        """The blocks until nothing is new, then those of after `wait` seconds."""
        found = list(iter(self.source.read, None))
        self.clock.now += wait
        return found + (list(iter(self.source.read, None)) if wait else [])

    def lines(self, wait: float = 0.0) -> list[bytes]:
        return [line for block in self.blocks(wait) for line in block.lines()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


@pytest.fixture
def follow(log: Path) -> Callable[..., Follower]:
    followers: list[Follower] = []

    def make(**given: object) -> Follower:
        followers.append(Follower(log, **given))
        return followers[-1]

    yield make
    for follower in followers:
        follower.source.close()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def set_times(log: Path, *names: str) -> None:
    """Makes the files beside a log look as if they were last written in this order."""
    for second, name in enumerate(names, 1_700_000_000):
        os.utime(log.with_name(name), (second, second))


def test_a_growing_file_is_read_line_by_line(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\ntwo\nthr")
    follower = follow()
    assert follower.lines() == [b"one", b"two"]
    assert follower.lines() == []
    append(log, b"ee\r\nfour\n")
    (block,) = follower.blocks()
    assert list(block.lines()) == [b"three", b"four"]
    assert (block.source, block.first, block.offsets.tolist(), block.end) == (str(log), 3, [8, 15], 20)
    source = follower.source
    assert (source.bytes_read, source.lines_read, source.cut_lines) == (20, 4, 0)
    assert (source.file_checkpoint.offset, source.file_checkpoint.line) == (20, 5)
    assert follower.said == []


def test_start_at_the_end_sees_the_line_being_written_whole(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"old\nolder\nbeing wri")
    follower = follow(start="end")
    assert follower.lines() == []
    append(log, b"tten\n")
    (block,) = follower.blocks()
    assert (block.line(0), block.first, block.offsets.tolist()) == (b"being written", 3, [10])


def test_lines_are_counted_up_to_the_end_of_a_large_file(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"0123456789\n" * 300_000 + b"x" * 2_000_000)
    follower = follow(start="end")
    append(log, b"\n")
    (block,) = follower.blocks()
    assert (block.first, block.offsets.tolist()) == (300_001, [3_300_000])


@pytest.mark.parametrize("content", [b"", b"only a part"])
def test_start_at_the_end_of_a_file_without_a_line(log: Path, follow: Callable[..., Follower], content: bytes) -> None:
    log.write_bytes(content)
    follower = follow(start="end")
    append(log, b"!\n")
    assert follower.lines() == [content + b"!"]
    assert follower.source.context(3) is None


def test_context_holds_the_lines_before_the_start(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"".join(b"line %d\n" % n for n in range(1, 8)) + b"part")
    source = follow(start="end").source
    block = source.context(3)
    assert (list(block.lines()), block.first) == ([b"line 5", b"line 6", b"line 7"], 5)
    assert (block.offsets.tolist(), block.end) == ([28, 35, 42], 49)
    assert len(source.context(100)) == 7
    assert source.context(0) is None
    assert source.lines_read == 0


def test_context_looks_back_a_bounded_way(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"".join(b"%08d %s\n" % (n, b"x" * 990) for n in range(1, 1001)))
    block = follow(start="end").source.context(10_000)
    assert 200 < len(block) < 270
    assert [line[:8] for line in block.lines()] == [b"%08d" % n for n in range(block.first, 1001)]
    assert block.end == log.stat().st_size


def test_reading_goes_on_from_a_position(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\ntwo\nthr")
    first = follow()
    first.lines()
    append(log, b"ee\nfour\n")
    second = follow(checkpoint=first.source.file_checkpoint, start="end")
    (block,) = second.blocks()
    assert (list(block.lines()), block.first, block.offsets.tolist()) == ([b"three", b"four"], 3, [8, 14])
    assert second.source.identity == first.source.identity
    assert second.said == []


@pytest.mark.parametrize(
    ("content", "reason"), [(b"new\n", "shorter"), (b"another first line\nand more\n", "begins otherwise")]
)
def test_a_position_in_other_content_is_not_used(
    log: Path, follow: Callable[..., Follower], content: bytes, reason: str
) -> None:
    """The inode is the same, as when the system gives it to the next file."""
    log.write_bytes(b"one\ntwo\nthree\n")
    first = follow()
    first.lines()
    identity = first.source.identity
    log.write_bytes(content)
    second = follow(checkpoint=first.source.file_checkpoint, start="end")
    assert b"\n".join(second.lines()) + b"\n" == content
    assert second.source.identity != identity
    (sentence,) = second.said
    assert reason in sentence
    assert "from its start" in sentence


def test_a_position_in_another_file_is_not_used(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n")
    first = follow()
    first.lines()
    (log.parent / "next").write_bytes(b"one\ntwo\n")
    os.replace(log.parent / "next", log)
    second = follow(checkpoint=first.source.file_checkpoint, start="end")
    assert second.lines() == [b"one", b"two"]
    assert "another file" in second.said[0]


def test_rotation_by_rename_loses_no_line_of_the_old_file(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n")
    follower = follow()
    assert follower.lines() == [b"one"]
    old = log.rename(log.with_name("app.log.1"))
    append(old, b"two\n")
    log.write_bytes(b"three\n")
    assert follower.lines() == [b"two"]
    append(old, b"late\nunfinished")
    assert follower.lines(wait=0.9) == [b"late"]
    found = [(block.line(0), block.first, int(block.offsets[0])) for block in follower.blocks(wait=0.2)]
    assert found == [(b"unfinished", 4, 13), (b"three", 1, 0)]
    assert follower.source.rotations == 1
    assert follower.said == []


def test_the_grace_begins_anew_with_growth_and_with_each_rotation(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"1\n")
    follower = follow()
    for number in (2, 1):
        follower.clock.now += 100
        assert len(follower.lines()) == 1
        old = log.rename(log.with_name(f"app.log.{number}"))
        log.write_bytes(b"new\n")
        for text in (b"a", b"b", b"c"):
            append(old, text + b"\n")
            assert follower.lines(wait=0.9) == [text]
        follower.clock.now += 0.1
    assert follower.source.rotations == 1


def test_each_of_two_rotations_has_its_grace(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"1\n")
    follower = follow()
    log.rename(log.with_name("app.log.2"))
    old = log.with_name("app.log.1")
    old.touch()
    log.write_bytes(b"new\n")
    set_times(log, "app.log.2", "app.log.1", "app.log")
    assert follower.lines(wait=1) == [b"1"]
    append(old, b"late\n")
    assert follower.lines() == [b"late"]
    assert follower.lines(wait=1) == [b"new"]


def test_a_run_that_does_not_wait_gets_through_all_rotations(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"1\n")
    follower = follow()
    for number in (4, 3, 2):
        log.rename(log.with_name(f"app.log.{number}"))
        log.write_bytes(b"" if number == 4 else b"part %d" % number)
    set_times(log, "app.log.4", "app.log.3", "app.log.2", "app.log")
    follower.source.grace = 0
    assert follower.lines() == [b"1", b"part 3"]
    assert follower.source.finish().line(0) == b"part 2"


def test_the_position_is_that_of_the_block_just_read(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n")
    source = follow().source
    source.grace = 0
    old = log.rename(log.with_name("app.log.1"))
    append(old, b"tail")
    log.write_bytes(b"new\n")
    seen = [
        (block.line(0), source.file_checkpoint.inode, source.file_checkpoint.offset)
        for block in iter(source.read, None)
    ]
    assert seen == [(b"one", old.stat().st_ino, 4), (b"tail", old.stat().st_ino, 8), (b"new", log.stat().st_ino, 4)]


def test_rotation_while_the_agent_was_away(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"1\n")
    first = follow()
    first.lines()
    append(log, b"2\n")
    for name, content in (("app.log.2", b"3\n"), ("app.log.1", b"4\n")):
        log.rename(log.with_name(name))
        log.write_bytes(content)
    for name in ("app.log.0.gz", "app.log.bak"):
        log.with_name(name).write_bytes(b"not to be read\n")
    set_times(log, "app.log.2", "app.log.0.gz", "app.log.bak", "app.log.1", "app.log")
    second = follow(checkpoint=first.source.file_checkpoint)
    assert [second.lines(wait=1.0) for _ in range(3)] == [[b"2", b"3"], [b"4"], []]
    assert "app.log.2 first" in second.said[0]


def test_truncation_goes_on_from_the_start(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\ntwo\npart")
    follower = follow()
    assert follower.lines() == [b"one", b"two"]
    os.truncate(log, 0)
    assert follower.lines() == [b"part"]
    append(log, b"three\n")
    (block,) = follower.blocks()
    assert (block.line(0), block.first, block.offsets.tolist()) == (b"three", 1, [0])
    assert follower.source.truncations == 1
    assert len(follower.said) == 1
    assert "was truncated" in follower.said[0]


def test_truncation_is_seen_though_the_file_grew_past_the_offset(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\ntwo\n")
    follower = follow()
    follower.lines()
    log.write_bytes(b"new content, longer than the old\n")
    assert follower.lines() == [b"new content, longer than the old"]
    assert follower.source.truncations == 1


def test_bytes_known_to_be_lost_are_counted(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"x" * 9 + b"\n" + b"y" * 20 + b"\n")
    follower = follow()
    assert follower.source.read(10).line(0) == b"x" * 9
    os.truncate(log, 0)
    follower.lines()
    assert "at least 21 bytes are lost" in follower.said[0]
    source = follower.source
    assert (source.truncations, source.losses, source.bytes_lost) == (1, 1, 21)


def test_a_writer_that_does_not_append_leaves_a_hole(log: Path, follow: Callable[..., Follower]) -> None:
    with log.open("wb", buffering=0) as writer:
        writer.write(b"x" * 9_999 + b"\n")
        follower = follow()
        assert follower.lines() == [b"x" * 9_999]
        os.truncate(log, 0)
        assert follower.lines() == []
        writer.write(b"after\n")
        (block,) = follower.blocks()
        assert (block.line(0), block.first, block.offsets.tolist()) == (b"after", 1, [10_000])
        assert follower.source.zero_bytes == 0
        writer.write(b"more\n")
        assert follow(checkpoint=follower.source.file_checkpoint).lines() == [b"more"]


def test_zeros_in_the_middle_that_a_crash_left_cost_no_line(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"before\n" + b"\0" * 200_000)
    follower = follow(max_line=100)
    assert follower.lines() == [b"before"]
    assert (follower.source.zero_bytes, follower.said) == (0, [])
    append(log, b"\0\0after\n")
    (block,) = follower.blocks()
    assert (block.line(0), block.first, block.offsets.tolist()) == (b"after", 2, [7])
    append(log, b"\0more\n")
    assert follower.lines() == [b"more"]
    source = follower.source
    assert (source.zero_bytes, source.cut_lines, source.bytes_read) == (200_003, 0, log.stat().st_size)
    assert follower.said == [f"{log}: 200002 NUL bytes before a line were left out; a crash of the system leaves such"]
    assert follow(checkpoint=source.file_checkpoint).lines() == []


def test_zeros_alone_at_the_end_of_a_rotated_file_are_counted(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n\0\0\0")
    follower = follow()
    assert follower.lines() == [b"one"]
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(b"\0two\n")
    assert follower.lines(wait=1) == [b"two"]
    assert follower.source.zero_bytes == 4
    assert [sentence.split()[1] for sentence in follower.said] == ["3", "1"]


def test_a_removed_file_is_read_to_its_end_and_waited_for(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n")
    follower = follow()
    with log.open("ab", buffering=0) as writer:
        log.unlink()
        writer.write(b"two\n")
        assert follower.lines() == [b"one", b"two"]
        writer.write(b"three\npart")
        assert follower.lines(wait=10) == [b"three"]
    log.write_bytes(b"four\n")
    assert follower.lines(wait=1) == [b"part", b"four"]
    assert follower.said == [f"{log} is gone: waiting for it to come back"]


def test_a_file_that_is_moved_away_and_back(log: Path, follow: Callable[..., Follower]) -> None:
    log.touch()
    follower = follow()
    for text in (b"one", b"two"):
        append(log, text + b"\n")
        away = log.rename(log.with_name("away"))
        assert follower.lines(wait=2) == [text]
        away.rename(log)
        assert follower.lines() == []
    assert follower.said == [f"{log} is gone: waiting for it to come back"] * 2
    assert follower.source.rotations == 0


def test_a_removed_file_is_let_go_after_a_while(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\npart")
    follower = follow(start="end")
    log.unlink()
    assert follower.lines(wait=RELEASE - 1) == []
    assert is_open(log)
    assert follower.lines(wait=2) == [b"part"]
    assert not is_open(log)
    log.write_bytes(b"new\n")
    assert follower.lines() == [b"new"]


def is_open(path: Path) -> bool:
    """Whether this process holds the path's file, removed or not."""
    return any(os.path.realpath(link).startswith(str(path)) for link in Path("/proc/self/fd").iterdir())


def test_a_missing_path_is_waited_for_and_then_read_from_its_start(log: Path, follow: Callable[..., Follower]) -> None:
    follower = follow(start="end")
    assert follower.source.file_checkpoint is None
    assert follower.lines() == []
    log.write_bytes(b"first\n")
    assert follower.lines() == [b"first"]
    assert follower.said == [f"{log} does not exist yet: waiting for it"]


def test_a_path_that_comes_back_as_a_directory_is_told_once(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n")
    follower = follow()
    log.unlink()
    log.mkdir()
    assert follower.lines(wait=2) == [b"one"]
    assert follower.lines(wait=2) == []
    log.rmdir()
    log.write_bytes(b"two\n")
    assert follower.lines(wait=2) == [b"two"]
    assert [sentence for sentence in follower.said if "directory" in sentence] == follower.said[:1]


def test_permission_lost_later_is_told_and_tried_again(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n")
    follower = follow()
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(b"two\n")
    log.chmod(0)
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        assert follower.lines(wait=2) == [b"one"]
        assert follower.lines(wait=2) == []
    finally:
        os.seteuid(user)
    log.chmod(0o600)
    assert follower.lines(wait=2) == [b"two"]
    (sentence,) = follower.said
    assert "no permission" in sentence


def test_a_stale_file_handle_is_opened_again_without_repeats(
    log: Path, follow: Callable[..., Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write_bytes(b"one\n")
    follower = follow()
    assert follower.lines() == [b"one"]

    def fail(*_: object) -> bytes:
        raise OSError(errno.ESTALE, "Stale file handle")

    append(log, b"two\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        assert follower.lines() == []
        assert follower.lines() == []
    assert follower.lines() == [b"two"]
    assert follower.said == [f"{log} cannot be read: Stale file handle; trying again"]


def test_a_symbolic_link_is_followed_to_its_new_target(log: Path, follow: Callable[..., Follower]) -> None:
    for name in ("a", "b"):
        (log.parent / name).write_bytes(name.encode() + b"\n")
    log.symlink_to("a")
    follower = follow()
    assert follower.lines() == [b"a"]
    log.unlink()
    log.symlink_to("b")
    assert follower.lines(wait=1) == [b"b"]


def make_loop(path: Path) -> None:
    path.symlink_to(path.name)


def make_gzip(path: Path) -> None:
    path.write_bytes(b"\x1f\x8b\x08")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "is a directory"),
        (os.mkfifo, "is a FIFO"),
        (make_loop, "Too many levels"),
        (make_gzip, "agent score"),
        (lambda path: path.symlink_to("/dev/null"), "character device"),
    ],
)
def test_what_cannot_be_followed_is_refused(log: Path, make: Callable[[Path], object], reason: str) -> None:
    make(log)
    with pytest.raises(SourceError, match=reason) as caught:
        Follower(log)
    assert str(log) in str(caught.value)


def test_no_permission_at_first_is_refused(log: Path) -> None:
    log.touch(mode=0)
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        with pytest.raises(SourceError, match="no permission"):
            Follower(log)
    finally:
        os.seteuid(user)


def test_the_last_line_without_a_line_feed(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\nlast")
    follower = follow()
    follower.lines()
    block = follower.source.finish()
    assert (block.line(0), block.first, block.end) == (b"last", 2, 8)
    assert follower.source.finish() is None
    assert follower.source.file_checkpoint.offset == 8
    append(log, b" and more\n")
    again = follow(checkpoint=follower.source.file_checkpoint)
    assert again.lines() == [b" and more"]
    assert again.said == []


def test_long_lines_are_cut_and_counted_through_a_rotation(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"x" * 25 + b"\nshort\n")
    follower = follow(max_line=10)
    assert follower.lines() == [b"x" * 10, b"short"]
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(b"y" * 12 + b"\n")
    assert follower.lines(wait=1) == [b"y" * 10]
    source = follower.source
    assert (source.cut_lines, source.cut_bytes, source.bytes_read) == (2, 17, 26 + 6 + 13)


def test_a_long_line_is_said_when_it_is_read_once_for_each_file(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"short\n" + b"x" * 9)
    follower = follow(max_line=10)
    assert (follower.lines(), follower.said) == ([b"short"], [])
    append(log, b"x" * 11)
    assert (follower.lines(), follower.said) == ([], [])
    append(log, b"xxxxx\n" + b"y" * 12 + b"\n")
    assert follower.lines() == [b"x" * 10, b"y" * 10]
    (sentence,) = follower.said
    assert sentence.startswith(
        f"{log}: line 2 is longer than max_line (10 bytes): its head is scored, the rest, 15 bytes, is left out;"
    )
    append(log, b"z" * 30 + b"\n")
    follower.lines()
    assert len(follower.said) == 1
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(b"short\n" * 4 + b"\0\0" + b"y" * 12 + b"\n")
    follower.lines(wait=1)
    told = [sentence for sentence in follower.said if "is longer than max_line" in sentence]
    assert len(told) == 2 and told[1].startswith(f"{log}: line 5 ") and "the rest, 2 bytes, is left out" in told[1]
    assert (follower.source.cut_lines, follower.source.cut_bytes) == (4, 15 + 2 + 20 + 2)


def test_what_is_left_out_counts_once_also_when_the_file_is_closed(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"x" * 25 + b"\n\0\0zeros\n")
    source = follow(max_line=10).source
    source.read()
    for _ in range(2):
        source.close()
        assert (source.cut_lines, source.cut_bytes, source.zero_bytes) == (1, 15, 2)
        source.read()
        assert (source.cut_lines, source.cut_bytes, source.zero_bytes) == (1, 15, 2)


class Log(RuleBasedStateMachine):
    """A log to which anything may happen that loses no line, and a source that looks at it now and then.

    `due` holds the lines not yet read, in order; `part` the incomplete last one. Times of writing are set, since those
    of the system may be equal for two writes.
    """

    folder: Path

    @initialize()
    def create(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.path = self.folder / "app.log"
        self.written, self.tick = 0, 1_000_000_000
        self.due: list[bytes] = []
        self.part = b""
        self.recreate()
        self.follower = Follower(self.path)

    def put(self, data: bytes) -> None:
        append(self.path, data)
        self.tick += 1
        os.utime(self.path, (self.tick, self.tick))

    def new_text(self) -> bytes:
        self.written += 1
        return b"text %d" % self.written

    def end_part(self) -> None:
        """The incomplete line will stay as it is."""
        if self.part:
            self.due.append(self.part)
            self.part = b""

    @precondition(lambda self: self.path.exists())
    @rule(count=st.integers(1, 5))
    def write_lines(self, count: int) -> None:
        for _ in range(count):
            text = self.new_text()
            self.put(text + b"\n")
            self.due.append(self.part + text)
            self.part = b""

    @precondition(lambda self: self.path.exists())
    @rule()
    def write_part(self) -> None:
        text = self.new_text()
        self.put(text)
        self.part += text

    @precondition(lambda self: self.path.exists())
    @rule()
    def rename(self) -> None:
        for number in range(9, 0, -1):
            old = self.path.with_name(f"app.log.{number}")
            if old.exists():
                old.rename(self.path.with_name(f"app.log.{number + 1}"))
        self.path.rename(self.path.with_name("app.log.1"))
        self.end_part()

    @precondition(lambda self: not self.path.exists())
    @rule()
    def recreate(self) -> None:
        self.put(b"")

    @precondition(lambda self: self.path.exists())
    @rule()
    def truncate(self) -> None:
        self.look()
        os.truncate(self.path, 0)
        self.put(b"")
        self.end_part()

    @precondition(lambda self: self.path.exists() and not self.part)
    @rule()
    def remove(self) -> None:
        self.look()
        self.path.unlink()

    @precondition(lambda self: self.path.exists())
    @rule()
    def restart(self) -> None:
        self.look()
        self.follower.source.close()
        self.follower = Follower(self.path, self.follower.source.file_checkpoint)

    @rule()
    def look(self) -> None:
        """Time passes until nothing is new; what was rotated away without a successor may keep its incomplete line."""
        got: list[bytes] = []
        before = None
        while before != (before := (len(got), self.follower.source.file_checkpoint)):
            got += self.follower.lines(wait=1)
        assert got == self.due[: len(got)]
        del self.due[: len(got)]
        assert len(self.due) <= (not self.path.exists())

    def teardown(self) -> None:
        if not self.path.exists():
            self.recreate()
        self.look()
        assert not self.due
        self.follower.source.close()


def test_every_line_once_whatever_happens(tmp_path: Path) -> None:
    class Here(Log):
        folder = tmp_path / "model"

    Here.TestCase.settings = settings(
        max_examples=150, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
    )
    Here.TestCase("runTest").runTest()


def test_a_log_that_was_quiet_is_looked_at_again_once_it_is_rotated(log: Path, follow: Callable[..., Follower]) -> None:
    """Else what came in its grace, and brings no further event, waits for the next look at all logs."""
    append(log, b"one\n")
    os.utime(log, (1_700_000_000, 1_700_000_000))
    follower = follow()
    assert follower.lines() == [b"one"] and follower.source.settled
    log.rename(log.with_name("app.log.1"))
    append(log, b"two\n")
    assert follower.lines() == [] and not follower.source.settled
    assert follower.lines(wait=1.0) == [b"two"]


def test_that_a_deleted_file_was_read_whole_is_to_be_stored(log: Path, follow: Callable[..., Follower]) -> None:
    append(log, b"one\n")
    follower = follow()
    assert follower.lines() == [b"one"] and not follower.source.file_checkpoint.ended
    with log.open("ab") as writer:
        log.unlink()
        assert follower.lines() == [] and follower.source.file_checkpoint.ended and follower.source.unstored
        follower.source.unstored = False
        assert follower.lines() == [] and not follower.source.unstored, "once"
        writer.write(b"two\npart")
        writer.flush()
        assert follower.lines() == [b"two"] and not follower.source.file_checkpoint.ended, "a line is not complete"
        writer.write(b" of a line\n")
        writer.flush()
        assert follower.lines() == [b"part of a line"] and follower.source.file_checkpoint.ended


@pytest.mark.parametrize("ended", [True, False])
def test_a_file_that_comes_anew_after_it_was_deleted_and_read_whole_is_no_loss(
    log: Path, follow: Callable[..., Follower], ended: bool
) -> None:
    append(log, b"one\n")
    first = follow()
    assert first.lines() == [b"one"]
    before = first.source.file_checkpoint
    log.unlink()
    assert first.lines() == []
    append(log.with_name("other"), b"takes the inode, perhaps\n")
    append(log, b"another\n")
    again = follow(checkpoint=first.source.file_checkpoint if ended else before)
    assert again.lines() == [b"another"]
    assert (again.source.losses, again.source.rotations + again.source.truncations) == (int(not ended), 1)
    assert again.said == [again.said[0]] and ("came anew" if ended else "cannot be read on") in again.said[0]
