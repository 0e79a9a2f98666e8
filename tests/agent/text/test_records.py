"""Delimited records: what may be declared, and that rows are read as the csv module reads them, each line alone."""

import csv
import io
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.scoring.streams import StreamKey
from agent.text.canonical import MASKS, MAX_TEXT, Normalizer
from agent.text.headers import check_format, detect, parse_header, read_clocks
from agent.text.lines import Block, LineSplitter
from agent.text.record_reader import RecordReader
from agent.text.records import Records, Split, split_row
from training.config import RunConfig, load

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
COLUMNS = ["time", "user", "host", "result"]
LOGONS = Records(COLUMNS, time="time", split={"user": Split("@", ["name", "domain"])})

marks = st.sampled_from(",;| \u00a6\u20ac^]-\\")
# printable values that are rich in what has a meaning
values = st.text(
    st.sampled_from('a@1 ",;|\u00e9\u00a6\u20ac') | st.characters(exclude_categories=["C", "Z"]), max_size=8
)
rows = st.lists(values, min_size=1, max_size=5)
wild = st.lists(st.binary(max_size=12) | st.text('a",; \r\x01\u00e9', max_size=12).map(str.encode), max_size=12)


def block(*lines: bytes, end: bytes = b"\n") -> Block:
    found = LineSplitter("log").feed(b"".join(line + end for line in lines))
    assert found is not None
    return found


def write_row(row: list[str], mark: str) -> str:
    """A row as the csv module writes it, but for what it alone cannot tell from no row: one empty value."""
    out = io.StringIO()
    csv.writer(out, delimiter=mark, lineterminator="").writerow(row)
    return out.getvalue()


def quote(value: str, mark: str) -> str:
    return '"' + value.replace('"', '""') + '"' if mark in value or '"' in value else value


@given(st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(' ",;'), min_size=1), marks)
@example('"a""b"c"d,e', ",")
@example('a"b,"c', ",")
def test_a_line_is_split_as_the_csv_module_splits_it(text, mark):
    assert split_row(text, mark) == next(csv.reader([text], delimiter=mark))


@given(st.lists(rows, min_size=1, max_size=6), marks)
def test_keys_are_the_rows_that_the_csv_module_wrote(written, mark):
    width = max(map(len, written))
    records = Records([f"c{index}" for index in range(width)], delimiter=mark)
    reader = RecordReader(records)
    lines = [write_row(row, mark).encode() for row in written]
    expected = [[value.strip(" ") for value in row] + [""] * (width - len(row)) for row in written]
    keys = reader.keys(block(*lines))
    assert keys == [mark.join(quote(value, mark) for value in row).encode() for row in expected]
    assert [records.row(reader.text(key)) for key in keys] == expected
    empty = sum(not line for line in lines) if width == 1 else 0
    assert (reader.short, reader.long) == (sum(len(row) < width for row in written) + empty, 0)


@given(wild.map(b"\n".join), marks, st.lists(st.integers(0, 150), max_size=6))
def test_where_blocks_are_cut_does_not_matter(data, mark, cuts):
    data = data + b"\n"
    records = Records(COLUMNS, time="time", delimiter=mark)
    whole, pieces, splitter = RecordReader(records), RecordReader(records), LineSplitter("log")
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [splitter.feed(data[start:end]) for start, end in pairwise(bounds)]
    found = [part for part in parts if part]
    one = block(*data.split(b"\n")[:-1])
    keys = whole.keys(one)
    assert keys == [key for part in found for key in pieces.keys(part)]
    assert (whole.short, whole.long) == (pieces.short, pieces.long)
    np.testing.assert_array_equal(np.concatenate([pieces.times(part) for part in found]), whole.times(one))
    assert len(keys) == len(one) and not any(b"\n" in key for key in keys)
    assert all(len(records.row(whole.text(key))) == 3 for key in keys)


@given(wild)
def test_any_bytes_are_a_row(lines):
    lines = [line.replace(b"\n", b"") for line in lines]
    reader, normalizer = RecordReader(LOGONS), Normalizer(LOGONS, MASKS)
    for line in lines:
        assert list(reader.fields(line)) == COLUMNS
        time, number = reader.time(line), reader.times(block(line))[0]
        assert np.isnan(number) if time is None else abs(time.timestamp() - number) < 1e-3
        text = normalizer.texts[normalizer.ids(block(line))[0]]
        assert text.isprintable() and len(text) <= MAX_TEXT
        assert len(LOGONS.row(text)) == len(LOGONS.parts())


@pytest.mark.parametrize(
    ("line", "key", "short", "long"),
    [
        (b"1,ann@lab,h1,ok", b"ann@lab,h1,ok", 0, 0),
        (b"1, ann@lab ,h1,ok ", b"ann@lab,h1,ok", 0, 0),
        (b"1,ann@lab", b"ann@lab,,", 1, 0),
        (b"1,ann@lab,h1,ok,7,8", b"ann@lab,h1,ok", 0, 1),
        (b'1,"ann"', b"ann,,", 1, 0),
        (b'1,"ann,a","h""1",ok,"7"', b'"ann,a","h""1",ok', 0, 1),
        (b'1,"ann,h1,ok', b'"ann,h1,ok",,', 1, 0),
        (b"", b",,", 1, 0),
        (b"1,\xff\xfe,h1,ok", b"\xff\xfe,h1,ok", 0, 0),
        (b'"1","\xff",h1,ok', b"\xff,h1,ok", 0, 0),
        (b"1,U10,10.0.0.1,0x1f", b"U10,10.0.0.1,0x1f", 0, 0),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_row_and_its_neighbours(line, key, short, long, end):
    reader = RecordReader(LOGONS)
    other = b"2,bob@lab,h2,ok"
    assert reader.keys(block(other, line, other, end=end)) == [other[2:], key, other[2:]]
    assert (reader.short, reader.long) == (short, long)


def test_rows_of_one_column():
    reader = RecordReader(Records(["text"]))
    assert reader.keys(block(b"a b", b"", b"c,d", b'"c,d"', b'""')) == [b"a b", b"", b"c", b'"c,d"', b""]
    assert (reader.short, reader.long) == (1, 1)


def test_the_report_names_both_kinds_and_starts_again():
    reader = RecordReader(LOGONS)
    reader.keys(block(b"1", b"1,a,b,c,d", b"1,a,b,c,d"))
    assert reader.take_warnings() == [
        "2 rows have more fields than the 4 declared columns; those were left out",
        "1 row has fewer fields than the 4 declared columns; the missing ones were taken as empty",
    ]
    assert reader.take_warnings() == []


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("ann@lab,h1,ok", ["ann", "lab", "h1", "ok"]),
        ("ann,h1,ok", ["ann", "", "h1", "ok"]),
        ("ann@lab@west,h1,ok", ["ann", "lab@west", "h1", "ok"]),
        ("", ["", "", "", ""]),
        ("ann@lab", ["ann", "lab", "", ""]),
        ("ann@lab,h1,ok,more,yet", ["ann", "lab", "h1", "ok"]),
        ('"a,n""n@lab",h1,ok', ['a,n"n', "lab", "h1", "ok"]),
        ('"ann@lab,h1', ["ann", "lab,h1", "", ""]),
    ],
)
def test_the_parts_of_a_text(text, row):
    assert LOGONS.parts() == ["name", "domain", "host", "result"]
    assert LOGONS.row(text) == row


def test_fields_take_their_order_from_the_declaration():
    records = Records(COLUMNS, fields=["result", "time", "user"], time="time")
    assert RecordReader(records).keys(block(b"1,ann,h1,ok")) == [b"ok,1,ann"]
    assert records.parts() == ["result", "time", "user"]
    assert str(records) == "csv: 4 columns, text result time user, time time"


def test_all_columns_of_a_row_by_name():
    fields = RecordReader(LOGONS).fields(b'7," a,b ",\xff')
    assert fields == {"time": "7", "user": "a,b", "host": "\ufffd", "result": ""}


@pytest.mark.parametrize(
    ("cell", "time", "clock"),
    [
        (b"1", "1970-01-01T00:00:01+00:00", 1),
        (b" 86399.75 ", "1970-01-01T23:59:59.750000+00:00", 86399),
        (b"-1", "1969-12-31T23:59:59+00:00", 86399),
        (b'"3600"', "1970-01-01T01:00:00+00:00", 3600),
        (b"2026-03-09T10:00:01", "2026-03-09T10:00:01+00:00", 36001),
        (b"2026-03-09 10:00:01.5+02:00", "2026-03-09T10:00:01.500000+02:00", 36001),
        (b"2026-03-09T10:00:01Z", "2026-03-09T10:00:01+00:00", 36001),
        (b"0001-01-01T00:00:00+02:00", None, None),
        (b"", None, None),
        (b"nan", None, None),
        (b"-inf", None, None),
        (b"1e300", None, None),
        (b"2026-02-30T00:00:00", None, None),
        (b"noon", None, None),
        (b"\xff", None, None),
    ],
)
def test_times(cell, time, clock):
    reader, line = RecordReader(LOGONS), cell + b",ann,h1,ok"
    found = reader.time(line)
    assert (found and found.isoformat()) == time
    for lines in ([line], [line, b"x,ann"], [line, b"2.5,ann"]):
        seconds = np.nan if found is None else found.timestamp()
        assert reader.times(block(*lines))[0] == pytest.approx(seconds, nan_ok=True)
        assert read_clocks(block(*lines), reader)[0, 0] == pytest.approx(
            np.nan if clock is None else clock, nan_ok=True
        )


@example(datetime(3059, 1, 1, 0, 0, 0, 999997), 0)
@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)), st.integers(-1439, 1439))
def test_a_zone_moves_the_time_not_the_clock(naive, minutes):
    zoned = naive.replace(tzinfo=UTC).astimezone(UTC) - timedelta(minutes=minutes)
    sign, (hours, rest) = "+" if minutes >= 0 else "-", divmod(abs(minutes), 60)
    reader, row = RecordReader(LOGONS), block(f"{naive.isoformat()}{sign}{hours:02}:{rest:02},ann,h1,ok".encode())
    assert reader.times(row)[0] == zoned.timestamp()
    assert reader.clocks(row)[0].tolist() == [naive.hour * 3600 + naive.minute * 60 + naive.second, naive.day]


def test_without_a_column_of_the_time_there_is_none():
    reader = RecordReader(Records(["user", "host"]))
    assert reader.time(b"1,2") is None
    assert np.isnan(reader.times(block(b"1,2", b""))).all() and np.isnan(reader.clocks(block(b"1,2"))).all()


def test_records_are_a_header_format():
    line = b"2026-03-09T10:00:01,ann,h1,\xff"
    header = parse_header(line, LOGONS, NOW)
    assert (header.time, header.host, header.program) == (datetime(2026, 3, 9, 10, 0, 1, tzinfo=UTC), "", "")
    assert header.message == "2026-03-09T10:00:01,ann,h1,\\xff"
    assert detect(block(line), LOGONS) == "csv" and check_format(LOGONS) is LOGONS


def test_a_text_is_a_row_without_masks():
    normalizer = Normalizer(LOGONS, MASKS)
    ids = normalizer.ids(
        block(b"1,U10@lab,192.0.2.7,a\x01b", b"2,U11@lab,192.0.2.7,ok", b"3,U10@lab,192.0.2.7, a\x02b")
    )
    first, second = "U10@lab,192.0.2.7,a b", "U11@lab,192.0.2.7,ok"
    assert [normalizer.texts[text_id] for text_id in ids] == [first, second, first]
    assert ids[0] == ids[2] and len(normalizer.texts) == 3


def test_what_is_not_printable_adds_no_delimiter():
    records = Records(["a", "b"], delimiter=" ")
    normalizer = Normalizer(records, MASKS)
    text = normalizer.texts[normalizer.ids(block(b"x\x01y z"))[0]]
    assert records.row(text) == ["x y", "z"]


def test_a_long_row_is_cut_but_has_all_parts():
    normalizer = Normalizer(LOGONS, MASKS)
    text = normalizer.texts[normalizer.ids(block(b'1,"' + b"a," * 4000 + b'",h1,ok'))[0]]
    assert len(text) <= MAX_TEXT and LOGONS.row(text)[-2:] == ["h1", "ok"]
    assert normalizer.take_warnings() == ["1 line has a text of more than 1024 characters; what is beyond was left out"]
    assert normalizer.take_warnings() == []


@given(st.lists(st.binary(max_size=12), min_size=1, max_size=30), st.integers(2, 6))
def test_the_cache_of_rows_changes_nothing(lines, most):
    data = block(*(line.replace(b"\n", b",") for line in lines))
    tiny, without = Normalizer(LOGONS, MASKS, max_keys=most), Normalizer(LOGONS, MASKS, cache=False)
    for _ in range(2):
        texts = [[one.texts[text_id] for text_id in one.ids(data)] for one in (tiny, without)]
        assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("{columns: []}", "header: columns: none is named"),
        ("{columns: [a, b, a]}", "header: columns: 'a' is listed twice"),
        ("{columns: [a, b], time: t}", "header: time: 't' is none of its columns; choose from a, b"),
        ("{columns: [a, b], fields: [a, c]}", "header: fields: 'c' is none of its columns; choose from a, b"),
        ("{columns: [a, b], fields: [a, a]}", "header: fields and parts: 'a' is listed twice"),
        ("{columns: [a, b], fields: []}", "header: fields: none is named; choose some of a, b"),
        ("{columns: [t], time: t}", "header: fields: none is named; choose some of t"),
        ("{columns: [t, a], time: t, split: {t: {at: x, into: [y]}}}", "header: split: 't' is none .* choose from a"),
        ("{columns: [a], split: {a: {at: '', into: [y]}}}", "header: split.a: at is empty"),
        ("{columns: [a], split: {a: {at: x, into: []}}}", "header: split.a: into is empty"),
        ("{columns: [a, b], split: {a: {at: x, into: [b, c]}}}", "header: fields and parts: 'b' is listed twice"),
        ("{columns: [a], delimiter: ''}", "header: delimiter: '' is no tab and no single printable character"),
        ("{columns: [a], delimiter: ab}", "header: delimiter: 'ab' is no tab"),
        ("{columns: [a], delimiter: '\"'}", "header: delimiter: '\"' is no tab .* other than a quote"),
        ("{columms: [a]}", "header.columms: unknown key; allowed here: columns, fields, time, delimiter, split"),
        ("{columns: [a], split: {a: {att: x}}}", "unknown key; allowed here: at, into"),
        ("{time: a}", "header: .* missing required field `columns`"),
        ("{columns: [1]}", r"header.columns\[0\]: Expected `str`, got `int`"),
        ("syslog", "header: unknown header format 'syslog'|unknown header format 'syslog'"),
        ("7", "header: Expected `.*`, got `int`"),
    ],
)
def test_a_wrong_declaration_is_one_line_that_names_the_key(header, words):
    with pytest.raises(ConfigError, match=words) as caught:
        load({"any": RunConfig}, None, [f"header={header}"])
    assert "\n" not in str(caught.value)


def test_a_declaration_by_overrides_and_back():
    overrides = ["header.columns=[t, a, b]", "header.time=t", "header.split.a={at: '@', into: [x, y]}"]
    config = load({"any": RunConfig}, None, overrides)
    expected = Records(["t", "a", "b"], time="t", split={"a": Split("@", ["x", "y"])})
    assert config.header == expected
    for encode, decode in ((msgspec.json.encode, msgspec.json.decode), (msgspec.yaml.encode, msgspec.yaml.decode)):
        assert msgspec.convert(decode(encode(config)), RunConfig).header == expected


padded = st.tuples(
    st.sampled_from(["a", " a", "a ", " "]), st.sampled_from(["b", "b "]), st.sampled_from(["\n", "\r\n"])
)


@given(st.lists(padded, max_size=8))
def test_a_row_reads_the_same_alone_and_among_others_whatever_ends_it(rows):
    lines = [f"{one},{other}{end}".encode() for one, other, end in rows]
    alone = [RecordReader(Records(["x", "y"])).keys(LineSplitter("log").feed(line))[0] for line in lines]
    together = RecordReader(Records(["x", "y"])).keys(LineSplitter("log").feed(b"".join(lines))) if lines else []
    assert alone == together and all(b" " not in key for key in together)


def test_tabs_may_delimit_and_a_column_may_name_the_stream():
    records = Records(["user", "host"], delimiter="\t")
    normalizer = Normalizer(records, [])
    lines = LineSplitter("log").feed(b'u1\th1\n"u1"\th2\n u1 \th1\n\n')
    assert [records.row(normalizer.texts[text]) for text in normalizer.ids(lines)][:2] == [["u1", "h1"], ["u1", "h2"]]
    assert StreamKey("user", normalizer.records).keys(lines) == [b"u1", b"u1", b"u1", b""]
    assert StreamKey(r"h\d", normalizer.records).keys(lines) == [b"h1", b"h2", b"h1", b""]
