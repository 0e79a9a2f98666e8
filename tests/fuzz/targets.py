"""The targets: each takes bytes, and an exception of it is a fault. Refusals in words are none."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from agent.alerting.anomaly_rate import AnomalyRate
from agent.alerting.breaker import Breaker, Candidate
from agent.alerting.notices import Notices
from agent.alerting.repeats import RepeatFolder
from agent.bundle.manifest import read_manifest
from agent.config import load_config
from agent.errors import BundleError, ConfigError
from agent.sources.decoding.encoding import check_encoding
from agent.sources.decoding.line_reader import LineReader
from agent.sources.decoding.multiline import Multiline
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.factory import read_checkpoint
from agent.sources.journal.entries import decode_entry, fields_of, is_left_out, line_of
from agent.sources.journal.entry_splitter import EntrySplitter
from agent.sources.journal.follower import JournalCheckpoint
from agent.sources.live import StreamCheckpoint, decode_checkpoint
from agent.sources.network.framing import Framer, one_line
from agent.text.canonical import Normalizer
from agent.text.escape import MAX_MESSAGE, escape
from agent.text.headers import CHOICES, detect, line_times, parse_header, read_clocks
from agent.text.lines import Block, LineSplitter
from agent.text.record_reader import RecordReader
from agent.text.records import Records
from agent.text.stored import DamagedBlob

_ENCODINGS = ("auto", "utf-8", "utf-16", "utf-16-le", "utf-32-be", "latin-1", "shift_jis", "gb18030")
_MULTILINE = (Multiline(indentation=True), Multiline(continuation=r"\s+at "), Multiline(start=r"\d+", max_lines=3))
_YEARS, _HOURS = (1, 1970, 2026, 9999), (-14, 0, 14)
_NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def _pieces(data: bytes) -> Iterator[bytes]:
    """The same bytes in pieces, whose lengths the first byte tells."""
    size = 1 + (data[0] % 13 if data else 0)
    return (data[at : at + size] for at in range(0, len(data), size))


def _block(data: bytes) -> Block | None:
    return LineSplitter("log").feed(data + b"\n")


def headers(data: bytes) -> None:
    """Every format finds a time, a host, a program and a message in any line, or nothing."""
    block = _block(data)
    assert block is not None
    first = data[0] if data else 0
    zone = timezone(timedelta(hours=_HOURS[first % 3]))
    reference = datetime(_YEARS[first // 3 % 4], 6, 15, tzinfo=zone)
    for header in CHOICES:
        for line in block.lines():
            found = parse_header(line, header, reference)
            assert found.time is None or found.time.utcoffset() is not None
            assert found.program.encode("utf-8", "surrogatepass") in line or not line.isascii()
        assert len(line_times(block, header, reference)) == len(block)
    read_clocks(block)
    assert detect(block)


def canonical(data: bytes) -> None:
    """The canonical text is printable and does not depend on the cache."""
    block = _block(data)
    assert block is not None
    masks = ["num", "hex", "ip"]
    cached, plain = (Normalizer("auto", masks, cache=cache) for cache in (True, False))
    texts = [cached.table[int(one)] for one in cached.ids(block)]
    assert texts == [plain.table[int(one)] for one in plain.ids(block)]
    for line in block.lines():
        shown = escape(line)
        assert shown.isprintable() and len(shown.encode()) <= MAX_MESSAGE


def framing(data: bytes) -> None:
    """The messages of a connection do not depend on how its bytes come, and each becomes one line."""
    most = (8, 64, 4096)[len(data) % 3]

    def run(pieces: Iterator[bytes]) -> list[tuple[bytes, int]]:
        framer = Framer(most, lambda complaint: None)
        messages = [message for piece in pieces for message in framer.feed(piece)]
        last = framer.finish()
        return messages if last is None else [*messages, last]

    whole = run(iter([data]))
    assert run(_pieces(data)) == whole
    for message in whole:
        text, left_out = one_line(message, b"host", most)
        assert len(text) <= most and left_out >= 0 and not set(text) & {0, 10}


def journal(data: bytes) -> None:
    """What journalctl shows becomes one line an entry, however it comes, or is left out."""
    splitter = EntrySplitter()
    entries = [entry for piece in _pieces(data + b"\n") for entry in splitter.feed(piece)]
    assert repr(entries) == repr(EntrySplitter().feed(data + b"\n"))
    for raw in data.splitlines():
        with suppress(ValueError):
            entry = decode_entry(raw)
            line = line_of(entry)
            assert line.count(b"\n") == 1 and line.endswith(b"\n")
            assert all(len(value) <= 1024 or name == "__CURSOR" for name, value in fields_of(entry).items())
            is_left_out(entry)
            parse_header(line[:-1], "auto", _NOON)


def state(data: bytes) -> None:
    """What the state holds of a source is taken or is damage, whatever it is; what was taken can be used."""
    for kind in (StreamCheckpoint, JournalCheckpoint):
        decode_checkpoint(data, kind, "log")
    read_checkpoint(data, "log")
    notices = Notices("web1", data)
    notices.post("loss", "log", "x", _NOON)
    notices.take(_NOON)
    with suppress(DamagedBlob):
        breaker = Breaker(0.1, 100)
        breaker.restore("log", data)
        breaker.advance("log", 100, 0.0)
        breaker.may_alert("log", Candidate("app", 1.0, "x", 0.0))
        breaker.blob("log")
    with suppress(DamagedBlob):
        folder = RepeatFolder(100)
        folder.restore("log", data)
        folder.count("log", "text", 1, "t")
        folder.blob("log")
    with suppress(DamagedBlob):
        rate = AnomalyRate(0.1)
        rate.restore("log", data)
        rate.advance("log", 1)
        rate.alarm("log")
        rate.blob("log")


def _in_file(data: bytes, name: str, read: Callable[[Path], object], refusal: type[Exception]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            read(path)
        except refusal as error:
            assert str(error).isprintable() and len(str(error)) < 4000, str(error)


def manifest(data: bytes) -> None:
    """A manifest is read or refused in words."""
    _in_file(data, "manifest.json", lambda path: read_manifest(path.parent), BundleError)


def configuration(data: bytes) -> None:
    """A configuration is read or refused in words."""
    _in_file(data, "agent.yaml", load_config, ConfigError)


def records(data: bytes) -> None:
    """Delimited records give as many cells as there are columns, and their texts are printable."""
    block = _block(data)
    assert block is not None
    delimiter = ",\t|; "[len(data) % 5]
    for columns in (["a"], ["a", "b", "c"]):
        with suppress(ConfigError):
            reader = RecordReader(Records(columns, time=columns[0] if len(columns) > 1 else None, delimiter=delimiter))
            for key in reader.keys(block):
                text = reader.text(key)
                assert delimiter == "\t" or text.isprintable()
                assert len(reader.records.row(text)) == len(reader.records.selected)
                reader.shorten(text, 5)
            assert len(reader.times(block)) == len(reader.clocks(block)) == len(block)
            for line in block.lines():
                reader.fields(line)
                reader.time(line)
            reader.take_warnings()


def _lines(reading: ReadingSettings, pieces: Iterator[bytes]) -> tuple[list[bytes], list[int]]:
    reader = LineReader("log", 0, 1, reading)
    blocks = [reader.feed(piece) for piece in pieces]
    blocks += [reader.flush(), reader.finish()]
    kept = [block for block in blocks if block is not None]
    return [line for block in kept for line in block.lines()], [int(at) for block in kept for at in block.offsets]


def encodings(data: bytes) -> None:
    """The lines of any encoding do not depend on how the bytes come, and are UTF-8 in ascending places."""
    for encoding in _ENCODINGS:
        check_encoding(encoding)
        reading = ReadingSettings(64, encoding)
        lines, offsets = _lines(reading, iter([data]))
        assert (lines, offsets) == _lines(reading, _pieces(data))
        assert all(np.diff(offsets) > 0)
        assert encoding in ("auto", "utf-8") or all(line.decode() is not None for line in lines)


def multiline(data: bytes) -> None:
    """Records of several lines do not depend on how the bytes come, and are one line each of bounded length."""
    for rules in _MULTILINE:
        reading = ReadingSettings(64, "utf-8", rules)
        lines, offsets = _lines(reading, iter([data]))
        assert (lines, offsets) == _lines(reading, _pieces(data))
        assert all(len(line) <= 64 and b"\n" not in line for line in lines)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        headers,
        canonical,
        framing,
        journal,
        state,
        manifest,
        configuration,
        records,
        encodings,
        multiline,
    )
}
