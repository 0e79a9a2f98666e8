"""Reading whole logs: plain, gzip, standard input, and all that can be wrong with them."""

import gzip
import io
import os
import sys
import zlib
from pathlib import Path

import pytest

from agent.errors import SourceError
from agent.sources.decoding.whole_file import read_log

LINES = b"".join(b"Jan  1 00:00:00 web1 app[1]: request %d took %d ms\n" % (n, n * n % 97) for n in range(20_000))


def test_a_plain_file_comes_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "plain.log"
    file.write_bytes(LINES)
    pieces = list(read_log(file, 4096))
    assert b"".join(pieces) == LINES
    assert max(map(len, pieces)) <= 4096 + 2


@pytest.mark.parametrize("content", [b"", b"x", b"\x1f", b"no line feed"])
def test_short_files(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "short.log"
    file.write_bytes(content)
    assert b"".join(read_log(file)) == content


@pytest.mark.parametrize("chunk", [1, 7, 1000, 1 << 20])
def test_gzip_members_one_after_another(tmp_path: Path, chunk: int) -> None:
    text = LINES[: 200 if chunk == 1 else len(LINES)]
    file = tmp_path / "rotated.gz"
    file.write_bytes(gzip.compress(text) + b"\0" * 100 + gzip.compress(b"") + gzip.compress(b"more\n") + b"\0" * 9)
    pieces = list(read_log(file, chunk))
    assert b"".join(pieces) == text + b"more\n"
    assert max(map(len, pieces)) <= chunk


def test_a_small_gzip_file_never_fills_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "zeros.gz"
    file.write_bytes(gzip.compress(b"0" * 50_000_000))
    assert {len(piece) for piece in read_log(file, 1 << 20)} <= set(range(1, (1 << 20) + 1))


@pytest.mark.parametrize("lost", [1, 8, 9, 20_000])
def test_a_truncated_gzip_file_gives_what_it_has(tmp_path: Path, lost: int) -> None:
    file = tmp_path / "cut.gz"
    file.write_bytes(gzip.compress(LINES)[:-lost])
    got = b""
    with pytest.raises(SourceError, match=r"cut\.gz is truncated"):
        for piece in read_log(file):
            got += piece
    assert LINES.startswith(got)
    assert len(got) > 10_000


@pytest.mark.parametrize("chunk", [1, 10])
def test_small_pieces_of_a_truncated_file_give_as_much(tmp_path: Path, chunk: int) -> None:
    file = tmp_path / "cut.gz"
    content = gzip.compress(b"again and " * 500)[:-12]
    file.write_bytes(content)
    got = b""
    with pytest.raises(SourceError, match="truncated"):
        for piece in read_log(file, chunk):
            got += piece
    assert got == zlib.decompressobj(31).decompress(content)


@pytest.mark.parametrize("tail", [b"garbage", b"\x1f\x8b garbage"])
def test_damage_is_named_after_what_could_be_read(tmp_path: Path, tail: bytes) -> None:
    file = tmp_path / "bad.gz"
    file.write_bytes(gzip.compress(b"good\n") + tail)
    pieces = read_log(file)
    assert next(pieces) == b"good\n"
    with pytest.raises(SourceError, match=r"bad\.gz is damaged"):
        next(pieces)


def test_standard_input_plain_or_gzip(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"a\nb\n", gzip.compress(b"a\nb\n")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert b"".join(read_log(Path("-"))) == b"a\nb\n"


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    cases = ((tmp_path / "none", "does not exist"), (tmp_path, "is a directory"), (tmp_path / "loop", "Too many"))
    for path, reason in cases:
        with pytest.raises(SourceError, match=reason) as caught:
            list(read_log(path))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_no_permission(tmp_path: Path) -> None:
    file = tmp_path / "secret.log"
    file.touch(mode=0)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may read everything
    try:
        with pytest.raises(SourceError, match=r"secret\.log cannot be read: no permission"):
            list(read_log(file))
    finally:
        os.seteuid(user)
