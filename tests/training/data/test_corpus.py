"""The corpus: files and folders, streams, labels, selection, the split, windows."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError, SourceError
from agent.scoring.features import read_time
from agent.scoring.streams import Streams
from agent.text.canonical import MASKS
from agent.text.records import Records
from training.config import RunConfig, load
from training.data.corpus import Corpus, read_corpus
from training.data.selection import compact, drop_labelled, parse_bound, select, split
from training.data.windows import Windows
from training.fitting.job import Job, _gather

LINES = [
    b"Mar  9 10:00:00 web1 shopd[7]: req-1 get /items/5\n",
    b"Mar  9 10:00:01 web1 shopd[7]: req-2 get /items/6\n",
    b"Mar  9 10:00:02 web1 shopd[7]: req-1 answered in 12 ms\n",
    b"Mar  9 10:00:03 web1 shopd[7]: req-3 get /items/7\n",
    b"Mar  9 10:00:04 web1 shopd[7]: req-2 answered in 9 ms\n",
    b"Mar  9 10:00:05 web1 shopd[7]: req-4 get /items/8\n",
]
STREAM = r"req-\d+"


def put(path: Path, content: bytes | list[bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else b"".join(content))
    return path


def read(*paths: Path, stream: str | None = None, labels: Path | None = None, **columns: bool) -> Corpus:
    return read_corpus(list(paths), "auto", MASKS, stream, labels, **columns)


@pytest.fixture
def log(tmp_path) -> Path:
    return put(tmp_path / "shop.log", LINES)


def test_lines_become_texts_and_streams(log):
    corpus = read(log, stream=STREAM)
    assert corpus.texts == ["", "shopd: req-<num> get /items/<num>", "shopd: req-<num> answered in <num> ms"]
    assert corpus.ids.tolist() == [1, 1, 2, 1, 2, 1]
    assert corpus.keys == [b"req-1", b"req-2", b"req-3", b"req-4"]
    assert corpus.streams.tolist() == [0, 1, 0, 2, 1, 3]
    assert corpus.labels.tolist() == [0] * 6
    assert corpus.numbers is None and corpus.times is None
    assert corpus.span is not None and corpus.span[0].endswith("10:00:00+00:00")


def test_gzip_is_known_by_its_content_not_by_its_name(tmp_path, log):
    packed = put(tmp_path / "packed.log", gzip.compress(b"".join(LINES[:3])) + gzip.compress(b"".join(LINES[3:])))
    misnamed = put(tmp_path / "plain.gz", LINES)
    plain = read(log, stream=STREAM)
    for other in (read(packed, stream=STREAM), read(misnamed, stream=STREAM)):
        assert other.ids.tolist() == plain.ids.tolist() and other.streams.tolist() == plain.streams.tolist()
    source = read(packed).sources[0]
    assert (source.name, source.size, source.lines) == ("packed.log", packed.stat().st_size, 6)


def test_folders_are_read_in_order_without_hidden_files(tmp_path):
    put(tmp_path / "logs/b.log", LINES[3:])
    put(tmp_path / "logs/a/x.log", LINES[:2])
    put(tmp_path / "logs/a/.hidden", LINES)
    put(tmp_path / "logs/.git/config", LINES)
    corpus = read(tmp_path / "logs")
    assert [(source.name, source.lines) for source in corpus.sources] == [("x.log", 2), ("b.log", 3)]
    assert corpus.streams.tolist() == [0, 0, 1, 1, 1]


def test_with_a_pattern_a_stream_reaches_over_files(tmp_path):
    first, second = put(tmp_path / "a", LINES[:2]), put(tmp_path / "b", LINES[2:])
    assert read(first, second, stream=STREAM).streams.tolist() == [0, 1, 0, 2, 1, 3]


def test_any_bytes_are_text(tmp_path):
    junk = bytes(range(256)) * 40 + b"\x80no line feed at the end"
    corpus = read(put(tmp_path / "junk", junk))
    assert len(corpus) == junk.count(b"\n") + 1


def test_the_chunks_do_not_matter(tmp_path, monkeypatch, log):
    whole = read(log, stream=STREAM, read=read_time)
    monkeypatch.setattr("training.data.logs.CHUNK", 7)
    pieces = read(log, stream=STREAM, read=read_time)
    assert pieces.ids.tolist() == whole.ids.tolist() and pieces.streams.tolist() == whole.streams.tolist()
    assert pieces.numbers.tolist() == whole.numbers.tolist() == [[36000 + second] for second in range(6)]
    assert pieces.sources == whole.sources


def test_lines_that_are_cut_are_counted(tmp_path):
    corpus = read(put(tmp_path / "long", b"x" * 70000 + b"\nshort\n"))
    assert len(corpus) == 2 and corpus.sources[0].cut_lines == 1


LOGONS = Records(["at", "user", "host"], time="at")


def test_records_are_read_with_their_own_times(tmp_path, monkeypatch):
    log = put(tmp_path / "logons.csv", b"3600,ann,h1\n2026-03-09T10:00:05+01:00,bob, h2 \nnoon,ann,h1,x,y\n,ann\n")
    put(tmp_path / "more.csv", b"7,ann,h1\n")
    corpus = read_corpus([tmp_path], LOGONS, MASKS, r",(\w+),", None, read_time, True)
    assert corpus.texts[1:] == ["ann,h1", "bob,h2", "ann,"] and corpus.ids.tolist() == [1, 2, 1, 3, 1]
    assert corpus.keys == [b"ann", b"bob", b""]
    march = datetime(2026, 3, 9, 9, 0, 5, tzinfo=UTC).timestamp()
    assert corpus.times.tolist() == [3600, march, march, march, 7], "a row without a time has that of the row before"
    np.testing.assert_array_equal(corpus.numbers[:, 0], [3600, 36005, np.nan, np.nan, 7])
    assert corpus.span == ("1970-01-01T00:00:07+00:00", "1970-01-01T01:00:00+00:00")
    assert corpus.warnings == [
        "logons.csv: 1 row has more fields than the 3 declared columns; those were left out",
        "logons.csv: 1 row has fewer fields than the 3 declared columns; the missing ones were taken as empty",
    ]
    monkeypatch.setattr("training.data.logs.CHUNK", 7)
    pieces = read_corpus([log], LOGONS, MASKS, None, None, read_time, True)
    assert pieces.texts == corpus.texts and pieces.warnings == corpus.warnings
    assert select(pieces, datetime(2026, 1, 1, tzinfo=UTC), None).ids.tolist() == [2, 1, 3]


def test_the_training_tells_rows_of_a_wrong_width(tmp_path, capsys):
    log = put(tmp_path / "logons.csv", b"1,ann,h1,x\n2,bob,h2,x\n")
    job = Job([log], tmp_path / "run", None, (), {}, None, None, None, "cpu", 1, False)
    _gather(job, load({"any": RunConfig}, None, ["header={columns: [at, user, host], time: at}"]))
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "logons.csv: 2 rows have more fields than the 3 declared columns; those were left out"


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda folder: folder / "absent.log", "does not exist"),
        (lambda folder: put(folder / "empty.log", b""), "holds no line"),
        (lambda folder: put(folder / "only/.hidden", b"x\n").parent, "holds no files"),
        (lambda folder: put(folder / "cut.gz", gzip.compress(b"x\n" * 9999)[:-20]), "damaged gzip"),
        (lambda folder: put(folder / "bad.gz", gzip.compress(b"x\n" * 99)[:10] + b"\xff" * 50), "cut|damaged|read"),
    ],
)
def test_logs_that_cannot_be_read(tmp_path, make, named):
    with pytest.raises(SourceError, match=named) as refused:
        read(make(tmp_path))
    assert str(tmp_path) in str(refused.value) and "\n" not in str(refused.value)


def test_labels_beside_the_lines(tmp_path, log):
    labels = put(tmp_path / "labels", gzip.compress(b"0\n1\n-\n2\n0\n0\n"))
    corpus = read(log, labels=labels)
    assert corpus.labels.tolist() == [0, 1, -1, -1, 0, 0]
    normal, left_out = drop_labelled(corpus)
    assert left_out == 3 and normal.ids.tolist() == [1, 2, 1]


def test_labels_by_stream(tmp_path, log):
    rows = b"stream,label,more\nreq-2,1,x\nreq-1,0,y\nreq-4,-,\n\nreq-3,0,z\nreq-9,1,\n"
    corpus = read(log, stream=STREAM, labels=put(tmp_path / "labels.csv", rows))
    assert corpus.labels.tolist() == [0, 1, 0, 0, 1, -1]


@pytest.mark.parametrize(
    ("content", "stream", "named"),
    [
        (b"", None, "is empty"),
        (b"0\n1\n", None, "2 labels for 6 lines"),
        (b"0\n1\n0\n0\nodd\n0\n", None, "line 5 is 'odd'"),
        (b"s,l\nreq-1,0\n", None, "need a stream pattern"),
        (b"s,l\nreq-1,0\nreq-4,1\n", STREAM, "2 of 4 streams have no label, among them req-2"),
        (b"s,l\nreq-1,maybe\n", STREAM, "line 2 is 'maybe'"),
        (b"s,l\nreq-1\n", STREAM, "line 2 has no second column"),
        (b"s,l\nreq-1,0\nreq-1,1\n", STREAM, "line 3 labels 'req-1' again"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, log, content, stream, named):
    with pytest.raises(ConfigError, match=named):
        read(log, stream=stream, labels=put(tmp_path / "labels", content))


def test_lines_without_a_stream_need_a_label_too(tmp_path):
    log = put(tmp_path / "log", [*LINES, b"Mar  9 10:00:06 web1 shopd[7]: no request\n"])
    labels = put(tmp_path / "labels.csv", b"s,l\n" + b"".join(b"req-%d,0\n" % number for number in range(1, 5)))
    with pytest.raises(ConfigError, match=r"1 of 5 streams have no label, among them .lines in which"):
        read(log, stream=STREAM, labels=labels)


def test_a_fraction_is_one_of_the_streams(log):
    corpus = read(log, stream=STREAM)
    assert select(corpus, None, 0.5).streams.tolist() == [0, 1, 0, 1]
    assert select(corpus, 0.5, None).streams.tolist() == [2, 3]
    assert select(corpus, 0.25, 0.75).streams.tolist() == [1, 2, 1]
    assert select(corpus, 0.0, 1.0) is corpus


def test_a_fraction_of_one_stream_is_one_of_its_lines(log):
    assert select(read(log), 0.5, None).ids.tolist() == [1, 2, 1]


def test_halves_share_nothing_and_lose_nothing(log):
    corpus = read(log, stream=STREAM)
    for bound in (0.1, 0.3, 0.5, 0.7):
        assert len(select(corpus, None, bound)) + len(select(corpus, bound, None)) == len(corpus)


def test_a_time_selects_lines_and_those_without_a_time_follow(tmp_path):
    lines = [
        b"2024-05-01T10:00:00+00:00 web1 shopd: one\n",
        b"2024-05-01T10:00:05+00:00 web1 shopd: two\n",
        b"  a line that goes on\n",
        b"2024-05-01T12:00:10+02:00 web1 shopd: three\n",
    ]
    corpus = read(put(tmp_path / "log", lines), times=True)
    start, until = parse_bound("2024-05-01T10:00:05", "--from"), parse_bound("2024-05-01T10:00:10", "--until")
    assert isinstance(start, datetime) and start.tzinfo is UTC
    assert select(corpus, start, None).ids.tolist() == corpus.ids[1:].tolist()
    assert select(corpus, start, until).ids.tolist() == corpus.ids[1:3].tolist()


@pytest.mark.parametrize("text", ["-0.1", "1.5", "nan", "noon", "2024-13-01", ""])
def test_bounds_that_are_none(text):
    with pytest.raises(ConfigError, match="--from"):
        parse_bound(text, "--from")


def test_selections_that_leave_nothing(tmp_path, log):
    corpus = read(log, stream=STREAM)
    with pytest.raises(ConfigError, match="no line of 6 is left"):
        select(corpus, 0.5, 0.5)
    timeless = read(put(tmp_path / "timeless", b"one\ntwo\n"), times=True)
    with pytest.raises(ConfigError, match="no line shows a time"):
        select(timeless, parse_bound("2024-05-01", "--from"), None)


def test_compact_forgets_what_no_line_has(log):
    some = compact(read(log).subset(np.array([2, 4])))
    assert some.ids.tolist() == [1, 1] and some.texts[0] == "" and len(some.texts) == 2
    assert "answered" in some.texts[1]


def test_the_split_is_by_time(log):
    corpus = read(log, stream=STREAM)
    train, validation = split(corpus, 0.25, "streams")
    assert train.streams.tolist() == [0, 1, 0, 2, 1] and validation.streams.tolist() == [3]
    train, validation = split(read(log, log), 0.34, "last of each stream")
    assert train.streams.tolist() == [0, 0, 0, 0, 1, 1, 1, 1] and validation.streams.tolist() == [0, 0, 1, 1]


def test_a_fraction_is_one_of_the_streams_that_are_left_in_the_order_of_their_lines(log):
    late = select(read(log, stream=STREAM), 0.25, None)  # req-2, 3, 2, 4
    backwards = late.subset(np.arange(len(late))[::-1])
    assert [backwards.keys[stream] for stream in backwards.stream_order()] == [b"req-4", b"req-2", b"req-3"]
    assert select(backwards, None, 0.3).streams.tolist() == [3]
    assert select(backwards, 0.3, 0.6).streams.tolist() == [1, 1]


def test_labels_find_streams_that_are_not_in_the_order_of_their_names(tmp_path):
    log = put(tmp_path / "log", LINES[::-1])
    labels = put(tmp_path / "labels", b"s,l\nreq-1,1\nreq-2,0\nreq-3,-\nreq-4,0\n")
    assert read(log, stream=STREAM, labels=labels).labels.tolist() == [0, 0, -1, 1, 0, 1]


def test_the_last_lines_validate(tmp_path):
    corpus = read(put(tmp_path / "log", [b"step %s\n" % word for word in b"one two three four five".split()]))
    for by in ("streams", "last of each stream", "last lines"):  # there is one stream
        train, validation = split(corpus, 0.4, by)
        assert (train.ids.tolist(), validation.ids.tolist()) == ([1, 2, 3], [4, 5])


def test_every_column_follows_the_lines_that_are_taken(tmp_path):
    lines = [b"2026-03-01T00:00:%02dZ host app: step\n" % second for second in range(5)]
    some = read(put(tmp_path / "log", lines), read=read_time, times=True).subset(np.array([4, 1]))
    assert some.numbers.tolist() == [[4], [1]] and (some.times - some.times[1]).tolist() == [3, 0]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=30),
    st.integers(2, 5),
    st.booleans(),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_windows_are_those_of_the_agent(lines, size, pad, end, random):
    ids, keys = (np.array(column, np.int32) for column in zip(*lines, strict=True))
    clock = np.arange(len(ids), dtype=np.float64)
    streams = Streams(size, 1)
    expected, places = [], []
    for _, windowed in streams.push(
        "", [b"%d" % key for key in keys.tolist()], ids, clock[:, None].astype(np.float32) + 1
    ):
        for row in range(len(ids)):
            if pad or windowed.counts[row] >= size:
                expected.append((windowed.ids[row].tolist(), windowed.features[row, :, 0].tolist()))
                places.append((row, False))
    for key in np.unique(keys).tolist() if end else ():
        tail, features, count = streams.tail(streams.slot("", b"%d" % key))
        if pad or count >= size - 1:
            expected.append(([*tail.tolist(), 0], [*features[:, 0].tolist(), 0.0]))
            places.append((int(np.flatnonzero(keys == key)[-1]), True))
    windows = Windows(Corpus([], ids, keys, ids * 0, clock[:, None], None, [], [], None), size, pad, end)
    assert list(zip(windows.lines.tolist(), windows.is_end.tolist(), strict=True)) == places
    rows = list(range(len(windows)))
    random.shuffle(rows)
    order = np.array(rows, np.int64)
    assert windows.ids(order).tolist() == [expected[row][0] for row in rows]
    # where there is no line the agent has zeros, the training NaN
    assert np.nan_to_num(windows.numbers(order)[..., 0] + 1).tolist() == [expected[row][1] for row in rows]


def test_the_end_of_a_stream_is_a_place_of_its_own():
    ids, streams = np.array([5, 6, 7, 8], np.int32), np.array([0, 1, 0, 0], np.int32)
    corpus = Corpus([""] * 9, ids, streams, np.zeros(4, np.int8), None, None, [], [], None)
    windows = Windows(corpus, 3, pad=True, end=True)
    assert windows.is_end.tolist() == [False] * 4 + [True] * 2
    assert windows.lines.tolist() == [0, 1, 2, 3, 3, 1]
    assert windows.ids(np.arange(6)).tolist() == [[0, 0, 5], [0, 0, 6], [0, 5, 7], [5, 7, 8], [7, 8, 0], [0, 6, 0]]
    assert Windows(corpus, 3, pad=False, end=True).ids(np.arange(2)).tolist() == [[5, 7, 8], [7, 8, 0]]
