"""Whole logs, read once from their first byte: plain or gzip files and standard input."""

import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from io import BufferedReader
from pathlib import Path
from typing import cast

from agent.errors import SourceError, cannot_read

GZIP_MAGIC = b"\x1f\x8b"  # RFC 1952 section 2.3.1
_GZIP = 31  # window bits of zlib: the largest window, a gzip header and trailer


def read_log(path: Path, chunk: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of a plain or gzip log, in pieces of at most about `chunk` bytes; `-` is standard input.

    A file that cannot be read, is damaged or ends early is a SourceError, after all that could be read of it.
    """
    name = "standard input" if path == Path("-") else str(path)
    try:
        with _open(path) as file:
            first = file.read(len(GZIP_MAGIC))
            pieces = _pieces(first, file, chunk)
            yield from unzip(name, pieces, chunk) if first == GZIP_MAGIC else pieces
    except OSError as error:
        raise cannot_read(name, error) from None


def _open(path: Path) -> AbstractContextManager[BufferedReader]:
    return nullcontext(cast("BufferedReader", sys.stdin.buffer)) if path == Path("-") else path.open("rb")


def _pieces(first: bytes, file: BufferedReader, chunk: int) -> Iterator[bytes]:
    """`first` and what follows it, as soon as it can be had: a pipe need not fill a chunk."""
    if first:
        yield first + file.read1(chunk)
    while piece := file.read1(chunk):
        yield piece


def unzip(name: str, pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """The content of gzip members and of what pads them with zeros, in pieces of at most `most` bytes.

    Damaged data or data that ends early is a SourceError, after all that could be read of it.
    """
    member, begun = zlib.decompressobj(_GZIP), False
    try:
        for piece in pieces:
            rest = piece
            while rest or member.eof:
                if member.eof:
                    member, begun = zlib.decompressobj(_GZIP), False
                rest = rest if begun else rest.lstrip(b"\0")
                begun = begun or bool(rest)
                if text := member.decompress(rest, most):
                    yield text
                rest = member.unused_data if member.eof else member.unconsumed_tail
        if text := member.flush():
            yield text
    except zlib.error as error:
        raise SourceError(f"{name} is damaged: {error}; what comes before the damage was read") from None
    if begun and not member.eof:
        raise SourceError(f"{name} is truncated: its gzip data has no end; what there is was read")
