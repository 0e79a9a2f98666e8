"""Logs in other encodings than UTF-8: their lines as UTF-8, their offsets as they are in the file."""

import codecs
import gzip
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.logs import collect_messages
from helpers.short_lines import cut_at
from hypothesis import given
from hypothesis import strategies as st

from agent.config import AgentConfig, FileInput, check_config, load_config
from agent.errors import ConfigError
from agent.sources.decoding.encoding import LineFeed, check_encoding, find_codec
from agent.sources.decoding.line_reader import LineReader
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.files.checkpoint import FileCheckpoint
from agent.sources.files.follower import FileSource
from agent.text.lines import Block

pytestmark = pytest.mark.usefixtures("no_thread_left")

WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
CODECS = [*WIDE, "latin-1", "cp1252", "shift_jis", "gb18030", "euc_jp", "big5", "iso2022_jp", "hz", "utf-7", "cp037"]
MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}
WORDS = ["disk ", "\t", "\r", "\x85", "äöü", "ÿ", "日本", "ログ", "中文", "\U0001f525", "ઊ", "\u0a0a", "~{", "+-", "%"]
LINE = st.lists(st.sampled_from(WORDS), max_size=6).map("".join)
CUTS = st.lists(st.integers(0, 300), max_size=12)
GARBAGE = [b"\0", b"\x0a", b"\x00\x0a", b"\x0a\x00\x00\x00", b"\xd8\x3d", b"\x3d\xd8", b"\xff", b"\x81", b"\x810", b"A"]
GARBAGE += [
    b"\x8f",
    b"\x1b$B",
    b"~{",
    b"+",
    b"%",
    b"\x25\x0a",
    b"\xfe\xff",
    b"\x00\xd8\x0a\x00",
    b"\0\0\0A",
    b"A\0\0\0",
]

Entry = tuple[bytes, int, int]


def entries(block: Block | None) -> list[Entry]:
    """Every line of a block with its offset and number."""
    if block is None:
        return []
    return [(line, int(block.offsets[index]), block.number(index)) for index, line in enumerate(block.lines())]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at any places."""
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in pairwise(bounds)]


def read(chunks: list[bytes], reading: ReadingSettings) -> tuple[list[Entry], LineReader]:
    reader = LineReader("x", 0, 1, reading)
    found = [entry for chunk in chunks for entry in entries(reader.feed(chunk))]
    return found + entries(reader.finish()), reader


def text_of(raw: bytes, codec: str) -> bytes:
    """A line as it should come out."""
    text = raw.decode(codec, "replace").replace("\n", "\r").encode("utf-8", "replace")
    return text.removesuffix(b"\r")


def expected(data: bytes, codec: str) -> list[Entry]:
    """The lines by the plainest means, where nothing is cut: unit for unit, each line decoded alone."""
    feed, found, start, number = "\n".encode(codec), [], 0, 1
    width = len(feed)
    for at in [*range(0, len(data) - width + 1, width), len(data)]:
        if data[at : at + width] == feed or (at == len(data) and start < at):
            raw = data[start:at]
            zeros = len(raw) - len(raw.lstrip(b"\0")) if width == 1 else 0
            if at < len(data) or zeros < len(raw):
                found.append((text_of(raw[zeros:], codec), start, number))
            start, number = at + width, number + 1
    if found:
        found[0] = (found[0][0].removeprefix(codecs.BOM_UTF8), *found[0][1:])
    return found


@given(st.sampled_from(CODECS), st.lists(LINE, max_size=12), st.booleans(), CUTS)
def test_text_comes_through_whole(codec: str, lines: list[str], ended: bool, cuts: list[int]) -> None:
    known = [line.encode(codec, "ignore").decode(codec).replace("\n", "") for line in lines]
    raws = [(line + "\n").encode(codec) for line in known]
    if raws and not ended:
        raws[-1] = known[-1].encode(codec)
    found, reader = read(pieces(b"".join(raws), cuts), ReadingSettings(encoding=codec))
    starts = [sum(map(len, raws[:place])) for place in range(len(raws))]
    whole = [
        (text.encode().removesuffix(b"\r"), start) for text, start, raw in zip(known, starts, raws, strict=True) if raw
    ]
    assert found == [(text, start, number) for number, (text, start) in enumerate(whole, 1)]
    assert reader.left_out == (0, 0, 0, 0)


@given(st.sampled_from(CODECS), st.lists(st.sampled_from(GARBAGE), max_size=30), CUTS)
def test_garbage_neither_loses_nor_moves_a_line(codec: str, parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    found, reader = read(pieces(data, cuts), ReadingSettings(encoding=codec))
    wanted = expected(data, codec)
    rest = len(data) % LineFeed.of(codec).width
    assert [entry[1:] for entry in found] == [entry[1:] for entry in wanted]
    assert found[: len(found) - bool(rest)] == wanted[: len(wanted) - bool(rest)]
    assert reader.offset == len(data)
    assert (reader.left_out.undecodable > 0) >= any("\ufffd".encode() in line for line, _, _ in wanted)


@given(st.sampled_from(CODECS), st.lists(st.sampled_from(GARBAGE), max_size=30), CUTS, st.integers(4, 20))
def test_any_cut_gives_the_same_lines_and_counts(codec: str, parts: list[bytes], cuts: list[int], most: int) -> None:
    data = b"".join(parts)
    whole, once = read([data], cut_at(most, codec))
    found, reader = read(pieces(data, cuts), cut_at(most, codec))
    assert (found, reader.left_out, reader.offset, reader.line) == (whole, once.left_out, once.offset, once.line)
    bytewise, slow = read([data[at : at + 1] for at in range(len(data))], cut_at(most, codec))
    assert (bytewise, slow.left_out) == (whole, once.left_out)


@given(st.sampled_from([*MARKS, "none"]), st.lists(st.sampled_from([*GARBAGE, b"line\n"]), max_size=20), CUTS)
def test_a_byte_order_mark_tells_the_encoding_however_it_is_cut(name: str, parts: list[bytes], cuts: list[int]) -> None:
    data = MARKS.get(name, b"") + b"".join(parts)
    found, reader = read(pieces(data, cuts), ReadingSettings())
    codec = find_codec("auto", data[:4], ended=True)
    assert reader.codec == codec
    if codec:
        alone, _ = read([data], ReadingSettings(encoding=codec))
        assert found == alone
    else:
        assert found == read([data], ReadingSettings(encoding="utf-8"))[0]


@given(
    st.sampled_from([*CODECS, "auto", "utf-16"]), st.lists(st.sampled_from(GARBAGE), max_size=30), st.integers(0, 99)
)
def test_reading_goes_on_from_any_position(encoding: str, parts: list[bytes], cut: int) -> None:
    data, reading = b"".join(parts), ReadingSettings(encoding=encoding)
    before = LineReader("x", 0, 1, reading)
    first = entries(before.feed(data[:cut]))
    after = LineReader("x", before.offset, before.line, reading, data[: before.offset])
    rest = entries(after.feed(data[before.offset :]))
    assert first + rest + entries(after.finish()) == read([data], reading)[0]


@pytest.mark.parametrize(("name", "mark"), MARKS.items())
def test_each_mark_is_known_and_left_out(name: str, mark: bytes) -> None:
    data = mark + "größe\r\nzwei\n".encode(name)
    second = len(mark + "größe\r\n".encode(name))
    found, _ = read([data[at : at + 1] for at in range(len(data))], ReadingSettings())
    assert found == [("größe".encode(), 0, 1), (b"zwei", second, 2)]


@pytest.mark.parametrize("head", [b"\xff", b"\xff\xfe", b"\xfe", b"\0", b"\0\0\xfe", b"\xef\xbb"])
def test_a_file_that_ends_within_a_mark_is_read(head: bytes) -> None:
    reader = LineReader("x", 0, 1, ReadingSettings())
    assert reader.feed(head) is None
    assert reader.offset == 0
    block = reader.finish()
    assert reader.offset == len(head)
    assert block is None or len(block) == 1


def test_utf_16_without_a_mark_is_little_endian() -> None:
    assert read(["zwölf\n".encode("utf-16-le")], ReadingSettings(encoding="utf-16"))[0] == [("zwölf".encode(), 0, 1)]
    assert read(["zwölf\n".encode("utf-16")], ReadingSettings(encoding="utf-16"))[0] == [("zwölf".encode(), 0, 1)]
    marked = codecs.BOM_UTF16_BE + "zwölf\n".encode("utf-16-be")
    assert read([marked], ReadingSettings(encoding="utf-16"))[0] == [("zwölf".encode(), 0, 1)]


def test_a_long_line_is_cut_between_characters() -> None:
    fire = "\U0001f525"
    found, reader = read([f"{fire * 9}\nshort\n".encode("utf-16-le")], cut_at(10, "utf-16-le"))
    assert found == [((fire * 2).encode(), 0, 1), (b"short", 38, 2)]
    assert reader.left_out == (1, 26, 0, 0)
    found, reader = read(["日本日本\n".encode("shift_jis")], cut_at(5, "shift_jis"))
    assert found == [("日本".encode(), 0, 1)]
    assert reader.left_out == (1, 3, 0, 0)


@pytest.mark.parametrize(
    ("encoding", "kept", "undecodable"),
    [
        ("auto", b"br\xff\xe9 \x81", 0),
        ("utf-8", b"br\xff\xe9 \x81", 0),
        ("ascii", "br\ufffd\ufffd \ufffd".encode(), 3),
        ("cp1252", "br\xff\xe9 \ufffd".encode(), 1),
        ("latin-1", "br\xff\xe9 \x81".encode(), 0),
    ],
)
def test_bytes_that_are_no_utf_8_stay_as_they_are_and_those_of_other_encodings_are_counted(
    encoding: str, kept: bytes, undecodable: int
) -> None:
    reader = LineReader("x", 0, 1, ReadingSettings(encoding=encoding))
    assert list(reader.feed(b"br\xff\xe9 \x81\nnext\n").lines()) == [kept, b"next"]
    assert reader.left_out.undecodable == undecodable and len(reader.warnings()) == bool(undecodable)


def test_wide_text_without_a_mark_or_a_setting_is_taken_for_what_a_crash_left() -> None:
    reader = LineReader("x", 0, 1, ReadingSettings())
    assert list(reader.feed("ab\ncd\n".encode("utf-16-le")).lines()) == [b"a\0b\0", b"c\0d\0"]
    (sentence,) = reader.warnings()
    assert sentence == "1 NUL bytes before a line were left out; a crash of the system leaves such"


def test_what_cannot_be_decoded_is_counted_and_told_once() -> None:
    reader = LineReader("x", 0, 1, ReadingSettings(encoding="shift_jis"))
    block = reader.feed(b"good\nbad \x81\nworse \xff\xff\n")
    assert list(block.lines()) == [b"good", "bad \ufffd".encode(), "worse \ufffd\ufffd".encode()]
    assert reader.left_out.undecodable == 3
    (sentence,) = reader.warnings()
    assert "3 pieces are no shift_jis text" in sentence
    reader.feed(b"\xff\n")
    assert reader.warnings() == []


def test_a_line_feed_that_is_spelt_out_ends_no_line() -> None:
    found, _ = read([b"one+AAo-two\nthree\n"], ReadingSettings(encoding="utf-7"))
    assert found == [(b"one\rtwo", 0, 1), (b"three", 12, 2)]


def test_a_codec_that_makes_more_line_feeds_makes_no_more_lines() -> None:
    """Whatever codec a system adds to those of Python."""

    class Decoder(codecs.IncrementalDecoder):
        def decode(self, data: bytes, final: bool = False) -> str:
            return bytes(data).decode("latin-1").replace(";", "\n")

    def search(name: str) -> codecs.CodecInfo | None:
        known = name == "semicolons"
        return codecs.CodecInfo(codecs.latin_1_encode, decode, incrementaldecoder=Decoder, name=name) if known else None

    def decode(data: bytes, errors: str = "strict") -> tuple[str, int]:
        return Decoder().decode(data), len(data)

    codecs.register(search)
    try:
        found, _ = read([b"one;two\nthree\n"], ReadingSettings(encoding="semicolons"))
    finally:
        codecs.unregister(search)
    assert found == [(b"one\rtwo", 0, 1), (b"three", 8, 2)]


@pytest.mark.parametrize(("codec", "broken"), [("iso2022_jp", b"\x1b$B"), ("hz", b"~{"), ("utf-7", b"+2D0")])
def test_a_line_that_does_not_switch_back_leaves_the_next_one_alone(codec: str, broken: bytes) -> None:
    found, _ = read([broken + b"\nF|K\\\n"], ReadingSettings(encoding=codec))
    assert found[1][0] == b"F|K\\"


def test_a_replacement_character_in_the_log_is_not_counted() -> None:
    reader = LineReader("x", 0, 1, ReadingSettings(encoding="utf-16-le"))
    block = reader.feed("told \ufffd\n".encode("utf-16-le") + b"\x00\xdc\n\0")
    assert list(block.lines()) == ["told \ufffd".encode(), "\ufffd".encode()]
    assert reader.left_out.undecodable == 1


def test_zeros_before_a_line_are_left_out_in_one_byte_encodings_alone() -> None:
    found, reader = read([b"\0\0gr\xfc\xdfe\n\0\0\0\xe4\n"], ReadingSettings(encoding="latin-1"))
    assert found == [("grüße".encode(), 0, 1), ("ä".encode(), 8, 2)]
    assert reader.left_out.zero_bytes == 5
    found, reader = read(["\0\0ä\n".encode("utf-16-be")], ReadingSettings(encoding="utf-16-be"))
    assert found == [("\0\0ä".encode(), 0, 1)]
    assert reader.left_out.zero_bytes == 0


@pytest.mark.parametrize(
    "name", ["utf-99", "hex", "rot13", "", "unicode_escape", "charmap", "idna", "ä\0", "undefined", "iso-2022-kr"]
)
def test_an_unknown_encoding_is_refused_by_its_key(name: str) -> None:
    config = AgentConfig(sources=["/log", FileInput("/other", encoding=name)])
    with pytest.raises(ConfigError, match=r"agent.yaml: sources\[1\]\.encoding: .*latin-1"):
        check_config(config, "agent.yaml")


@pytest.mark.parametrize("name", ["auto", "utf-8", "UTF-16", "Latin-1", "cp1252", "shift_jis", "gb18030", "utf-16-le"])
def test_an_encoding_is_taken_from_the_configuration(tmp_path: Path, name: str) -> None:
    (tmp_path / "agent.yaml").write_text(f"sources:\n- path: /log\n  encoding: {name}\nfrom: start\n")
    (source,) = load_config(tmp_path / "agent.yaml").inputs()
    assert (source.reading.encoding, source.start) == (name, "start")
    assert check_encoding(name) == name


class Follower:
    """A source in UTF-16 that does not wait, and what it said."""

    def __init__(
        self, path: Path, checkpoint: FileCheckpoint | None = None, start: str = "start", encoding: str = "auto"
    ) -> None:
        self.said = collect_messages()
        self.source = FileSource(path, checkpoint, start, ReadingSettings(encoding=encoding), grace=0)

    def lines(self, most: int = 1 << 20) -> list[str]:
        blocks = iter(lambda: self.source.read(most), None)
        return [line.decode() for block in blocks for line in block.lines()]

    def leave(self) -> FileCheckpoint:
        self.source.close()
        return self.source.file_checkpoint


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


def wide(text: str, mark: bool = False) -> bytes:
    return (codecs.BOM_UTF16_LE if mark else b"") + text.encode("utf-16-le")


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_wide_log_is_followed_through_halves_of_its_units(log: Path, follow: Callable[..., Follower]) -> None:
    data = wide("erste\n\U0001f525 ઊ zweite\r\ndritte\n", mark=True)
    log.touch()
    follower, found = follow(), []
    for at in range(len(data)):
        append(log, data[at : at + 1])
        found += follower.lines()
    assert found == ["erste", "\U0001f525 ઊ zweite", "dritte"]
    source = follower.source
    assert (source.lines_read, source.bytes_read, source.file_checkpoint.offset) == (3, len(data), len(data))
    assert follower.said == []


def test_a_big_endian_log_without_a_mark_begins_with_a_zero(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes("eins\nzwei\n".encode("utf-16-be"))
    follower = follow(encoding="utf-16-be")
    assert follower.lines() == ["eins", "zwei"]
    assert follower.source.zero_bytes == 0


def test_a_wide_log_is_rotated_by_rename(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(wide("eins\nzw", mark=True))
    follower = follow()
    assert follower.lines(most=3) == ["eins"]
    old = log.rename(log.with_name("app.log.1"))
    append(old, wide("ei\nohne Ende"))
    log.write_bytes(codecs.BOM_UTF16_BE + "drei\n".encode("utf-16-be"))
    assert follower.lines(most=3) == ["zwei", "ohne Ende", "drei"]
    assert (follower.source.rotations, follower.said) == (1, [])


def test_a_wide_log_is_truncated(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(wide("eins\nTeil", mark=True))
    follower = follow()
    assert follower.lines() == ["eins"]
    log.write_bytes(wide("z\n", mark=True))
    assert follower.lines() == ["Teil", "z"]
    assert follower.source.truncations == 1


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("encoding", ["auto", "utf-16"])
def test_the_rest_of_a_wide_log_is_read_in_its_rotation(
    log: Path, follow: Callable[..., Follower], packed: bool, encoding: str
) -> None:
    log.write_bytes(wide("eins\n" * 2000 + "zw", mark=True))
    first = follow(encoding=encoding)
    assert len(first.lines(most=1000)) == 2000
    checkpoint = first.leave()
    assert (checkpoint.offset, checkpoint.line) == (2 + 2000 * 10, 2001)
    append(log, wide("ei\ndrei\n"))
    old = log.rename(log.with_name("app.log.1"))
    if packed:
        log.with_name("app.log.1.gz").write_bytes(gzip.compress(old.read_bytes()))
        os.utime(log.with_name("app.log.1.gz"), ns=(old.stat().st_atime_ns, old.stat().st_mtime_ns))
        old.unlink()
    log.write_bytes(wide("vier\n", mark=True))
    second = follow(checkpoint=checkpoint, encoding=encoding)
    assert second.lines(most=7) == ["zwei", "drei", "vier"]
    assert "app.log.1" in second.said[0]


def test_a_wide_log_goes_on_at_its_end_and_has_a_context(log: Path, follow: Callable[..., Follower]) -> None:
    log.write_bytes(wide("".join(f"ઊ Zeile {number}\n" for number in range(1, 30_001)) + "Te", mark=True))
    follower = follow(start="end")
    block = follower.source.context(2)
    assert [line.decode() for line in block.lines()] == ["ઊ Zeile 29999", "ઊ Zeile 30000"]
    assert (block.first, block.end) == (29_999, log.stat().st_size - 4)
    assert block.offsets.tolist() == [block.end - 28 * 2 + 28 * k for k in (0, 1)]
    append(log, wide("il\n"))
    last = follower.source.read()
    assert (last.line(0), last.first, last.offsets.tolist()) == (b"Teil", 30_001, [block.end])


def test_undecodable_bytes_are_told_with_the_path_and_counted_over_files(
    log: Path, follow: Callable[..., Follower]
) -> None:
    log.write_bytes(wide("gut\n", mark=True) + b"\x00\xdc\n\0\x00\xdc\n\0")
    follower = follow()
    assert follower.lines() == ["gut", "\ufffd", "\ufffd"]
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(wide("gut\n", mark=True) + b"\x00\xdc\n\0")
    assert follower.lines() == ["gut", "\ufffd"]
    assert follower.source.undecodable == 3
    follower.source.close()
    assert follower.source.undecodable == 3
    assert [sentence.partition(" pieces")[0] for sentence in follower.said] == [f"{log}: 2", f"{log}: 1"]
