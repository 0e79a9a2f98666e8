"""Windows of streams against a plain model of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.scoring.streams import StreamKey, Streams
from agent.text.lines import LineSplitter


class PlainStreams:
    """The same, line by line."""

    def __init__(self, size: int, most: int, most_bytes: int | None = None) -> None:
        self.size, self.most, self.most_bytes = size, most, most_bytes
        self.rows: dict[bytes, list[int]] = {}

    def push(self, key: bytes, text_id: int) -> tuple[list[int], int]:
        row = self.rows.pop(key, None)
        if row is None:
            if len(self.rows) >= self.most:
                for old in list(self.rows)[: max(1, self.most // 8)]:
                    del self.rows[old]
            row = []
        self.rows[key] = [*row, text_id]
        window, count = ([0] * self.size + self.rows[key])[-self.size :], len(self.rows[key])
        if self.most_bytes is not None:
            self._bound(self.most_bytes)
        return window, count

    def _bound(self, most: int) -> None:
        bytes_of = {
            key: 400 + 4 + 4 * (self.size - 1) + sum(SIZES[row[1 - self.size :]]) for key, row in self.rows.items()
        }
        excess = sum(bytes_of.values()) - most * 7 // 8
        if sum(bytes_of.values()) > most:
            for key in list(self.rows)[:-1]:
                del self.rows[key]
                excess -= bytes_of[key]
                if excess <= 0:
                    return


SIZES = np.append(0, np.arange(1, 100) * 10)  # of each text
lines_strategy = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), st.integers(1, 99)), max_size=60)


@given(lines_strategy, st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(1, 6), st.integers(2, 5))
def test_windows_are_those_of_one_line_after_the_other(lines, cuts, most, size):
    streams, plain = Streams(size, most=most), PlainStreams(size, most)
    expected = [plain.push(key, text_id) for key, text_id in lines]
    found, start = [], 0
    while start < len(lines):
        part = lines[start : start + cuts[start % len(cuts)]]
        keys, ids = [key for key, _ in part], np.array([text_id for _, text_id in part], np.int32)
        for piece, windowed in streams.push("log", keys, ids):
            assert windowed.ids[:, -1].tolist() == ids[piece].tolist()
            found += list(zip(windowed.ids.tolist(), windowed.counts.tolist(), strict=True))
        start += len(part)
    assert found == expected
    assert {key for (_, key) in streams._slots} == set(plain.rows)
    assert len(streams) <= most


@given(
    lines_strategy,
    st.lists(st.integers(1, 20), min_size=1, max_size=8),
    st.integers(2, 6),
    st.integers(2, 5),
    st.integers(1500, 6000),
)
def test_a_bound_in_bytes_strikes_at_the_same_line_however_lines_are_cut_and_after_restarts(
    lines, cuts, most, size, most_bytes
):
    plain = PlainStreams(size, most, most_bytes)
    expected = [plain.push(key, text_id) for key, text_id in lines]
    streams = Streams(size, most=most, sizes=lambda: SIZES, most_bytes=most_bytes)
    found, start = [], 0
    while start < len(lines):
        part = lines[start : start + cuts[start % len(cuts)]]
        keys, ids = [key for key, _ in part], np.array([text_id for _, text_id in part], np.int32)
        for _, windowed in streams.push("log", keys, ids):
            found += list(zip(windowed.ids.tolist(), windowed.counts.tolist(), strict=True))
        start += len(part)
        again = Streams(size, most=most, sizes=lambda: SIZES, most_bytes=most_bytes)
        for slot in streams.by_age():
            texts, features, count = streams.tail(slot)
            again.restore(*streams.key(slot), texts.tolist(), features.tolist(), count)
        assert again.bytes == streams.bytes
        streams = again
    assert found == expected
    assert {key for (_, key) in streams._slots} == set(plain.rows)


def test_what_is_forgotten_for_its_bytes_is_counted_and_leaves():
    streams = Streams(3, sizes=lambda: SIZES, most_bytes=5000)
    for _ in streams.push("log", [b"%d" % number for number in range(20)], np.full(20, 50, np.int32)):
        pass
    assert streams.bytes <= 5000
    assert len(streams) == 20 - streams.forgotten and len(streams.ended) == streams.forgotten
    assert streams.forget("log") and streams.bytes == 0


def test_features_go_with_their_lines():
    streams = Streams(3, width=2)
    features = np.arange(8, dtype=np.float32).reshape(4, 2)
    pieces = list(streams.push("log", [b"a", b"b", b"a", b"a"], np.array([1, 2, 3, 4], np.int32), features))
    windows = pieces[0][1].features
    np.testing.assert_array_equal(windows[3], features[[0, 2, 3]])
    np.testing.assert_array_equal(windows[1], [[0, 0], [0, 0], [2, 3]])


def test_a_restored_stream_goes_on():
    first, second = Streams(4, width=1), Streams(4, width=1)
    ids, features = np.array([5, 6, 7], np.int32), np.ones((3, 1), np.float32)
    list(first.push("log", [b"k"] * 3, ids, features))
    tail_ids, tail_features, count = first.tail(first.slot("log", b"k"))
    second.restore("log", b"k", tail_ids.tolist(), tail_features.tolist(), count)
    more = (["log", [b"k"], np.array([8], np.int32), np.zeros((1, 1), np.float32)],)
    for arguments in more:
        a, b = next(first.push(*arguments))[1], next(second.push(*arguments))[1]
        np.testing.assert_array_equal(a.ids, b.ids)
        np.testing.assert_array_equal(a.features, b.features)
        assert a.counts.tolist() == b.counts.tolist() == [4]


def test_the_same_key_in_two_sources_is_two_streams():
    streams = Streams(2)
    list(streams.push("one", [b"k"], np.array([1], np.int32)))
    windowed = next(streams.push("two", [b"k"], np.array([2], np.int32)))[1]
    assert windowed.ids.tolist() == [[0, 2]]


def test_streams_that_leave_are_told():
    streams = Streams(2, most=2)
    for key in (b"a", b"b", b"a", b"c"):
        list(streams.push("log", [key], np.array([1], np.int32)))
    assert streams.ended == [("log", b"b")]


def test_keys():
    block = LineSplitter("log").feed(b"x blk_12 y blk_13\nnothing\nblk_-7\n")
    assert StreamKey(r"blk_-?\d+").keys(block) == [b"blk_12", b"", b"blk_-7"]
    assert StreamKey(r"blk_(-?\d+)").keys(block) == [b"12", b"", b"-7"]
    assert StreamKey(None).keys(block) == [b"", b"", b""]
    with pytest.raises(ConfigError, match=r"'\(' is no regular expression"):
        StreamKey("(")


def test_a_source_that_is_gone_leaves_nothing_to_one_that_comes_under_its_name():
    streams = Streams(3)
    ids = np.array([7, 8], np.int32)
    for source in ("gone", "kept"):
        for _ in streams.push(source, [b"", b"key"], ids):
            pass
    assert sorted(streams.forget("gone")) == [("gone", b""), ("gone", b"key")]
    ((_, windowed),) = streams.push("gone", [b""], ids[:1])
    assert windowed.ids.tolist() == [[0, 0, 7]] and windowed.counts.tolist() == [1]
    ((_, windowed),) = streams.push("kept", [b""], ids[:1])
    assert windowed.ids.tolist() == [[0, 7, 7]]
    assert streams.forget("never there") == []
