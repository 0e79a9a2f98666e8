"""The content of Zstandard data (RFC 8878), by Python's own module where it has one, else by the package zstandard."""

import importlib
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

from agent.errors import SourceError

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # of a frame that is not to be skipped
_CHUNK = 1 << 10  # whose content is 45 MB at most, whatever it is


def unpack_zstd(name: str, file: BufferedReader) -> Iterator[bytes]:
    """The content of all frames of a file, piece by piece.

    Damaged data or data that ends early is a SourceError after all that could be read of it, and so is a host where
    nothing reads it, which is told at once.
    """
    codec, new = _codec(name)
    frame, begun = new(), False
    try:
        while piece := file.read(_CHUNK):
            while piece:
                if frame.eof:
                    frame = new()
                if text := frame.decompress(piece):
                    yield text
                begun, piece = True, frame.unused_data if frame.eof else b""
    except codec.ZstdError as error:
        raise SourceError(f"{name} is damaged: {error}; what comes before the damage was read") from None
    if begun and not frame.eof:
        raise SourceError(f"{name} is truncated: its zstd data has no end; what there is was read")


def _codec(name: str) -> tuple[Any, Any]:
    """The module that reads it, and what makes the decompressor of a frame."""
    try:
        codec = importlib.import_module("compression.zstd")  # Python 3.14
    except ImportError:
        try:
            codec = importlib.import_module("zstandard")
        except ImportError:
            raise SourceError(f"{name} may hold lines, and is not read without the package zstandard") from None
        return codec, lambda: codec.ZstdDecompressor().decompressobj()
    return codec, codec.ZstdDecompressor
