"""Blocks of lines: however the bytes arrive, the lines, their offsets and their numbers are the same."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.text.lines import Block, LineSplitter

PARTS = [b"a", b"line of text", b"\n", b"\r\n", b"\r", b"\0", b"\n\0\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n\n"]
TEXT = st.lists(st.sampled_from(PARTS), max_size=40)


def split(chunks: list[bytes], max_line: int = 65536) -> tuple[list[tuple[bytes, int, int]], LineSplitter]:
    """Every line with its offset and number, the unterminated last one too."""
    splitter = LineSplitter("x", max_line=max_line)
    blocks = [block for chunk in chunks if (block := splitter.feed(chunk))]
    if last := splitter.finish():
        blocks.append(last)
    return [entry for block in blocks for entry in entries(block)], splitter


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at any places."""
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(bounds)]


def entries(block: Block) -> list[tuple[bytes, int, int]]:
    numbers = range(block.first, block.first + len(block))
    return list(zip(block.lines(), block.offsets.tolist(), numbers, strict=True))


def expected(data: bytes, max_line: int) -> list[tuple[bytes, int, int]]:
    """The lines of `data` by the plainest means."""
    pieces, offset, found = data.split(b"\n"), 0, []
    if not pieces[-1].strip(b"\0"):
        pieces.pop()
    for number, piece in enumerate(pieces, 1):
        kept = piece.lstrip(b"\0")[:max_line]
        if number == 1:
            kept = kept.removeprefix(b"\xef\xbb\xbf")
        found.append((kept[:-1] if kept.endswith(b"\r") else kept, offset, number))
        offset += len(piece) + 1
    return found


@given(TEXT, st.lists(st.integers(0, 400), max_size=12), st.sampled_from([1, 2, 5, 13, 65536]))
def test_any_cut_into_chunks_gives_the_same_lines(parts: list[bytes], cuts: list[int], max_line: int) -> None:
    data = b"".join(parts)
    lines, splitter = split(pieces(data, cuts), max_line)
    assert lines == expected(data, max_line)
    lengths = np.array([len(line.lstrip(b"\0")) for line in data.split(b"\n")])
    assert splitter.cut_lines == (lengths > max_line).sum()
    assert splitter.cut_bytes == np.maximum(lengths - max_line, 0).sum()
    cut = [(number, length - max_line) for number, length in enumerate(lengths, 1) if length > max_line]
    assert splitter.first_cut == (cut[0] if cut else None)
    assert splitter.offset == len(data)


@given(TEXT, st.integers(0, 400))
def test_reading_may_go_on_from_the_splitters_offset(parts: list[bytes], cut: int) -> None:
    data = b"".join(parts)
    before = LineSplitter("x")
    first = before.feed(data[:cut])
    after = LineSplitter("x", before.offset, before.line)
    blocks = [first, after.feed(data[before.offset :]), after.finish()]
    assert [entry for block in blocks if block for entry in entries(block)] == expected(data, 65536)


def test_a_block_says_where_it_ends() -> None:
    splitter = LineSplitter("x", offset=100, line=7)
    block = splitter.feed(b"ab\r\n\ncd")
    assert (block.first, block.end, block.offsets.tolist()) == (7, 105, [100, 104])
    assert (splitter.offset, splitter.line, splitter.partial) == (105, 9, 2)
    last = splitter.finish()
    assert (last.line(0), last.first, last.end) == (b"cd", 9, 107)


def test_ten_megabytes_without_a_line_feed_keep_the_head_only() -> None:
    long = b"x" * 10_000_000
    chunks = [long[start : start + 1_000_000] for start in range(0, len(long), 1_000_000)]
    lines, splitter = split([b"before\n", *chunks, b"\nafter\n"])
    assert [(len(line), offset, number) for line, offset, number in lines] == [
        (6, 0, 1),
        (65536, 7, 2),
        (5, 10_000_008, 3),
    ]
    assert (splitter.cut_lines, splitter.cut_bytes) == (1, 10_000_000 - 65536)


def test_nothing_gives_no_block() -> None:
    splitter = LineSplitter("x")
    assert splitter.feed(b"") is None
    assert splitter.finish() is None
    assert splitter.feed(b"unfinished") is None
    assert splitter.feed(b"") is None
    assert splitter.finish().line(0) == b"unfinished"
    assert splitter.finish() is None


@given(TEXT, st.lists(st.integers(0, 400)), st.integers(1, 30))
def test_the_zeros_that_are_left_out_are_counted(parts: list[bytes], cuts: list[int], max_line: int) -> None:
    data = b"".join(parts)
    _, splitter = split(pieces(data, cuts), max_line)
    assert splitter.zero_bytes == sum(len(line) - len(line.lstrip(b"\0")) for line in data.split(b"\n"))
    assert splitter.offset == len(data)


def test_a_run_of_zeros_does_not_cost_the_line_that_follows_it() -> None:
    run = b"\0" * 3_000_000
    data = b"before\n" + run + b"after the crash\nwith \0 inside\n" + run + b"\n"
    lines, splitter = split([data[at : at + 700_001] for at in range(0, len(data), 700_001)])
    assert lines == [
        (b"before", 0, 1),
        (b"after the crash", 7, 2),
        (b"with \0 inside", 3_000_023, 3),
        (b"", 3_000_037, 4),
    ]
    assert (splitter.zero_bytes, splitter.cut_lines, splitter.cut_bytes) == (6_000_000, 0, 0)


def test_zeros_alone_are_no_last_line() -> None:
    splitter = LineSplitter("x")
    splitter.feed(b"one\n\0\0")
    assert splitter.finish() is None
    assert (splitter.offset, splitter.line, splitter.zero_bytes) == (6, 2, 2)


def test_a_byte_order_mark_is_dropped_from_the_first_line_alone() -> None:
    mark = b"\xef\xbb\xbf"
    lines, _ = split([mark + b"one\n" + mark + b"two\n"])
    assert lines == [(b"one", 0, 1), (mark + b"two", 7, 2)]
    assert LineSplitter("x", offset=4, line=2).feed(mark + b"\n").line(0) == mark


def test_the_last_lines_of_a_block() -> None:
    block = LineSplitter("x", offset=10, line=5).feed(b"a\nbb\nccc\n")
    tail = block.last(2)
    assert (list(tail.lines()), tail.first, tail.offsets.tolist(), tail.end) == ([b"bb", b"ccc"], 6, [12, 15], 19)
    assert list(block.last(9).lines()) == [b"a", b"bb", b"ccc"]
    assert block.last(0) is None
    assert [block.number(index) for index in range(3)] == [5, 6, 7]
