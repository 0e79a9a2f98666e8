"""Records of several lines: one line each, whatever the chunks, the restarts and the rotations."""

import gzip
import os
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.logs import collect_messages
from helpers.short_lines import cut_at
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config import AgentConfig, FileInput, check_config, load_config
from agent.errors import ConfigError
from agent.sources.decoding.line_reader import LineReader
from agent.sources.decoding.multiline import Multiline
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.follower import FileSource
from agent.text.lines import Block

pytestmark = pytest.mark.usefixtures("no_thread_left")

INDENTED = Multiline(indentation=True)
RULES = [INDENTED, Multiline(continuation=r"\s+at |Caused by: "), Multiline(start=r"\d{4}-\d\d|ä")]
LINES = [
    "",
    " ",
    "\tat deep()",
    "  at here(1)",
    "Caused by: ä",
    "2031-05-06 broken",
    "äußerst",
    "plain",
    "\r",
    "x" * 30,
]
CUTS = st.lists(st.integers(0, 300), max_size=12)

Entry = tuple[bytes, int, int]


def entries(block: Block | None) -> list[Entry]:
    """Every record of a block with its offset and number."""
    if block is None:
        return []
    return [(line, int(block.offsets[index]), block.number(index)) for index, line in enumerate(block.lines())]


def read(chunks: list[bytes], reading: ReadingSettings) -> tuple[list[Entry], LineReader]:
    reader = LineReader("x", 0, 1, reading)
    found = [entry for chunk in chunks for entry in entries(reader.feed(chunk))]
    return found + entries(reader.finish()), reader


def continues(rules: Multiline, line: str) -> bool:
    if rules.indentation:
        return line == "" or line[0] in " \t"
    if rules.start is not None:
        return not re.match(rules.start, line)
    return bool(re.match(rules.continuation, line))


def expected(raws: list[bytes], codec: str, rules: Multiline) -> list[Entry]:
    """The records by the plainest means, where nothing is cut."""
    found: list[Entry] = []
    offset = 0
    for number, raw in enumerate(raws, 1):
        line = raw.decode(codec).removesuffix("\n").removesuffix("\r")
        if found and continues(rules, line):
            found[-1] = (found[-1][0] + b"\r" + line.encode(), *found[-1][1:])
        else:
            found.append((line.encode(), offset, number))
        offset += len(raw)
    return [(text.rstrip(b"\r"), *where) for text, *where in found]


@given(
    st.sampled_from(RULES),
    st.sampled_from(["utf-8", "utf-16-le", "latin-1"]),
    st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(["\n", "\r\n"])), max_size=25),
    CUTS,
)
def test_records_are_joined_however_the_chunks_are_cut(
    rules: Multiline, codec: str, lines: list[tuple[str, str]], cuts: list[int]
) -> None:
    raws = [(line + end).encode(codec) for line, end in lines]
    data = b"".join(raws)
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    found, reader = read([data[a:b] for a, b in pairwise(bounds)], ReadingSettings(65536, codec, rules))
    assert found == expected(raws, codec, rules)
    assert (reader.offset, reader.line) == (len(data), len(raws) + 1)
    assert reader.left_out == (0, 0, 0, 0)


@given(st.sampled_from(RULES), st.lists(st.sampled_from(LINES), max_size=25), st.integers(30, 70), st.integers(1, 5))
def test_any_cut_gives_the_same_records_and_counts_where_they_are_cut(
    rules: Multiline, lines: list[str], max_line: int, max_lines: int
) -> None:
    fields = {"indentation": rules.indentation, "continuation": rules.continuation, "start": rules.start}
    reading = cut_at(max_line, multiline=Multiline(**fields, max_lines=max_lines))
    data = "\n".join(lines).encode()
    found, reader = read([data], reading)
    bytewise, slow = read([data[at : at + 1] for at in range(len(data))], reading)
    assert (bytewise, slow.left_out) == (found, reader.left_out)
    whole, _ = read([data], ReadingSettings(65536, "auto", Multiline(**fields)))
    assert [entry[1:] for entry in found] == [entry[1:] for entry in whole]
    assert all(len(text) <= max_line and text.count(b"\r") <= max_lines for text, _, _ in found)


@given(st.sampled_from(RULES), st.lists(st.sampled_from(LINES), max_size=25), st.integers(0, 300))
def test_reading_goes_on_from_any_position(rules: Multiline, lines: list[str], cut: int) -> None:
    data, reading = "\n".join(lines).encode(), ReadingSettings(multiline=rules)
    before = LineReader("x", 0, 1, reading)
    first = entries(before.feed(data[:cut]))
    after = LineReader("x", before.offset, before.line, reading, data[: before.offset])
    rest = entries(after.feed(data[before.offset :]))
    assert first + rest + entries(after.finish()) == read([data], reading)[0]


def test_a_record_too_long_keeps_its_head_and_is_counted() -> None:
    data = b"first\n one\n two\n three\nnext\n"
    rules = Multiline(indentation=True, max_lines=2)
    found, reader = read([data], ReadingSettings(multiline=rules))
    assert found == [(b"first\r one", 0, 1), (b"next", 23, 5)]
    assert reader.left_out == (1, len("\r two\r three"), 0, 0)
    found, reader = read([data], cut_at(12, multiline=INDENTED))
    assert found == [(b"first\r one\r ", 0, 1), (b"next", 23, 5)]
    assert reader.left_out == (1, len("two\r three"), 0, 0)


def test_a_record_too_long_is_told_also_where_it_came_at_one_go() -> None:
    reader = LineReader("x", 0, 1, ReadingSettings(multiline=Multiline(indentation=True, max_lines=2)))
    reader.feed(b"short\nfirst\n one\n two\nnext\n")
    (sentence,) = reader.warnings()
    assert sentence.startswith("the record at line 2 is longer than what is kept of one")
    reader.feed(b"again\n one\n two\nnext\n")
    assert reader.warnings() == []


def test_a_record_that_outgrows_its_bounds_is_told_while_it_grows() -> None:
    reader = LineReader("x", 0, 1, ReadingSettings(multiline=Multiline(start="never", max_lines=3)))
    assert reader.feed(b"1\n2\n3\n") is None
    assert reader.warnings() == []
    assert reader.feed(b"4\n5\n") is None
    (sentence,) = reader.warnings()
    assert "record at line 1" in sentence and "multiline" in sentence
    assert reader.warnings() == []
    assert entries(reader.finish()) == [(b"1\r2\r3", 0, 1)]
    assert reader.left_out.cut_lines == 1


@pytest.mark.parametrize(
    ("given_rules", "said"),
    [
        ({}, "multiline: give one of"),
        ({"start": "a", "indentation": True}, "multiline: give one of"),
        ({"start": "("}, r"multiline.start: '\(' is no regular expression"),
        ({"continuation": "*"}, r"multiline.continuation: '\*' is no regular expression"),
        ({"start": "a", "timeout": -1.0}, "multiline.timeout: -1 seconds"),
        ({"start": "a", "timeout": float("nan")}, "multiline.timeout: nan seconds"),
        ({"start": "a", "max_lines": 0}, "multiline.max_lines: 0 is too small"),
    ],
)
def test_rules_that_cannot_be_used_are_refused_by_their_key(given_rules: dict[str, object], said: str) -> None:
    config = AgentConfig(sources=[FileInput("/log", multiline=Multiline(**given_rules))])
    with pytest.raises(ConfigError, match=r"agent.yaml: sources\[0\]\." + said):
        check_config(config, "agent.yaml")


def test_rules_are_taken_from_the_configuration(tmp_path: Path) -> None:
    text = "sources:\n- path: /log\n  multiline: {start: '\\d', timeout: 2, max_lines: 9}\n"
    (tmp_path / "agent.yaml").write_text(text)
    (source,) = load_config(tmp_path / "agent.yaml").inputs()
    assert source.reading.multiline == Multiline(start=r"\d", timeout=2.0, max_lines=9)
    (tmp_path / "agent.yaml").write_text(text.replace("start", "begin"))
    with pytest.raises(ConfigError, match=r"multiline.begin: unknown key; allowed here: continuation, start"):
        load_config(tmp_path / "agent.yaml")


class Follower:
    """A source of records with a clock that a test moves, and what it said."""

    def __init__(
        self,
        path: Path,
        checkpoint: FileCheckpoint | None = None,
        start: str = "start",
        rules: Multiline = INDENTED,
        grace: float = 1.0,
    ) -> None:
        self.said = collect_messages()
        self.now = 0.0
        reading = ReadingSettings(multiline=rules)
        self.source = FileSource(path, checkpoint, start, reading, grace, lambda: self.now)

    def records(self, wait: float = 0.0, most: int = 1 << 20) -> list[bytes]:
        """The records until nothing is new, then those of after `wait` seconds."""
        found: list[bytes] = []
        for seconds in (0.0, wait):
            self.now += seconds
            found += [line for block in iter(lambda: self.source.read(most), None) for line in block.lines()]
        return found

    def leave(self) -> FileCheckpoint:
        self.source.close()
        return self.source.file_checkpoint


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


@pytest.fixture
def follow(log: Path) -> Callable[..., Follower]:
    followers: list[Follower] = []

    def make(**given_fields: object) -> Follower:
        followers.append(Follower(log, **given_fields))
        return followers[-1]

    yield make
    for follower in followers:
        follower.source.close()


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_the_last_record_is_held_back_until_the_file_is_quiet(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n a\ntwo\n")
    follower = follow()
    assert follower.records() == [b"one\r a"]
    append(log, b" b\n")
    assert follower.records(wait=0.9) == []
    assert follower.source.file_checkpoint.offset == 7
    append(log, b" c\n")
    assert follower.records(wait=0.9) == []
    assert follower.records(wait=0.2) == [b"two\r b\r c"]
    assert follower.records(wait=9) == []
    append(log, b" late\n more\n")
    assert follower.records(wait=1) == [b" late\r more"]
    source = follower.source
    assert (source.lines_read, source.bytes_read, source.file_checkpoint.line) == (3, log.stat().st_size, 8)


def test_a_record_of_a_file_written_long_ago_is_handed_out(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n a\n")
    os.utime(log, (1_700_000_000, 1_700_000_000))
    follower = follow()
    assert follower.records() == []
    assert follower.records(wait=1) == [b"one\r a"]


def test_the_timeout_is_that_of_the_rules(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n")
    follower = follow(rules=Multiline(indentation=True, timeout=5.0))
    assert follower.records(wait=4.9) == []
    assert follower.records(wait=0.2) == [b"one"]


def test_a_run_that_does_not_wait_takes_the_last_record_as_it_is(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n a\npart")
    follower = follow()
    follower.source.drain()
    assert follower.records() == [b"one\r a"]
    assert entries(follower.source.finish()) == [(b"part", 7, 3)]


def test_the_end_of_a_run_hands_out_record_and_unterminated_line(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n a\npart")
    source = follow().source
    assert source.read() is None
    assert entries(source.finish()) == [(b"one\r a", 0, 1), (b"part", 7, 3)]
    assert source.finish() is None
    assert source.file_checkpoint.offset == 11


def test_a_restart_reads_the_held_record_again_whole(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n a\ntwo\n b\n par")
    first = follow()
    assert first.records(most=3) == [b"one\r a"]
    checkpoint = first.leave()
    assert (checkpoint.offset, checkpoint.line) == (7, 3)
    append(log, b"t\nthree\n")
    second = follow(checkpoint=checkpoint)
    block = second.source.read()
    assert entries(block) == [(b"two\r b\r part", 7, 3)]
    assert second.records(wait=1) == [b"three"]
    assert second.said == []


def test_rotation_hands_out_the_held_record_with_its_unterminated_line(
    log: Path, follow: Callable[..., Follower]
) -> None:
    log.write_bytes(b"one\n a\n")
    follower = follow()
    assert follower.records() == []
    old = log.rename(log.with_name("app.log.1"))
    append(old, b" b\n unfinished")
    log.write_bytes(b" orphan\ntwo\n")
    assert follower.records(wait=1) == [b"one\r a\r b\r unfinished", b" orphan"]
    assert follower.records(wait=1) == [b"two"]
    assert (follower.source.rotations, follower.said) == (1, [])


@pytest.mark.parametrize("kind", ["rename", "gz", "copy"])
def test_a_held_record_is_completed_out_of_a_rotation(log: Path, follow: Callable[..., Follower], kind: str) -> None:
    log.write_bytes(b"start\n" * 300 + b"one\n" + b" at a\n" * 300 + b" par")
    first = follow(grace=1.0)
    assert first.records(most=100) == [b"start"] * 300
    checkpoint = first.leave()
    append(log, b"t\nend\n")
    if kind == "copy":
        shutil.copy(log, log.with_name("app.log.1"))
        os.truncate(log, 0)
        append(log, b"new\n")
    else:
        old = log.rename(log.with_name("app.log.1"))
        log.write_bytes(b"new\n")
        if kind == "gz":
            log.with_name("app.log.1.gz").write_bytes(gzip.compress(old.read_bytes()))
            os.utime(log.with_name("app.log.1.gz"), ns=(old.stat().st_atime_ns, old.stat().st_mtime_ns))
            old.unlink()
    second = follow(checkpoint=checkpoint, grace=0)
    assert second.records(most=50) == [b"one" + b"\r at a" * 300 + b"\r part", b"end", b"new"]
    assert "app.log.1" in second.said[0]


def test_the_copy_of_a_truncated_log_completes_the_held_record(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"zero\none\n a\n pa")
    follower = follow()
    assert follower.records(most=4) == [b"zero"]
    append(log, b"rt\ntwo\n")
    shutil.copy(log, log.with_name("app.log.1"))
    os.truncate(log, 0)
    append(log, b"new\n")
    assert follower.records(wait=1) == [b"one\r a\r part", b"two", b"new"]
    assert (follower.source.truncations, follower.source.bytes_lost) == (1, 0)


def test_start_at_the_end_and_the_context(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n a\ntwo\n b\n c\nthree\npart")
    source = follow(start="end").source
    block = source.context(2)
    assert entries(block) == [(b"two\r b\r c", 7, 3), (b"three", 17, 6)]
    assert (block.first, block.end, block.number(1)) == (3, 23, 6)
    append(log, b"\nnext\n")
    assert entries(source.read()) == [(b"part", 23, 7)]


def test_a_missing_path_does_not_keep_the_record(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(b"one\n a\n")
    follower = follow()
    assert follower.records() == []
    log.unlink()
    assert follower.records() == []
    assert follower.records(wait=1) == [b"one\r a"]


@given(st.lists(st.sampled_from(["one", "two words", " at a()", "\tat b()", "", "x" * 40]), max_size=30), st.data())
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
def test_a_source_that_restarts_at_every_block_reads_the_same(
    tmp_path: Path, lines: list[str], data: st.DataObject
) -> None:
    log = tmp_path / "app.log"
    content = ("\n".join(lines) + "\n").encode()
    log.write_bytes(content)
    most = data.draw(st.integers(1, 50))
    found: list[Entry] = []
    checkpoint: FileCheckpoint | None = None
    while True:
        follower = Follower(log, checkpoint, grace=0)
        block = follower.source.read(most)
        found += entries(block)
        checkpoint = follower.leave()
        assert follower.said == []
        if block is None:
            break
    assert found == read([content], ReadingSettings(multiline=INDENTED))[0]
    assert checkpoint.offset == len(content)
