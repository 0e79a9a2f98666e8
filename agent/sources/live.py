"""What sources share whose bytes come only once: standard input, named pipes, sockets and the journal."""

import logging
import os
from typing import TypeVar

import msgspec

from agent.errors import ConfigError
from agent.sources.base import Source
from agent.sources.decoding.encoding import UTF_8, find_codec
from agent.sources.decoding.line_reader import LineReader
from agent.sources.decoding.settings import ReadingSettings
from agent.text.lines import Block
from agent.text.stored import DamagedBlob, decode_stored

_LOG = logging.getLogger(__name__)


class StreamCheckpoint(msgspec.Struct, frozen=True):
    """How far a source has been handed out since the state first knew it, which `origin` names."""

    origin: str
    offset: int = 0
    line: int = 1


_Checkpoint = TypeVar("_Checkpoint", bound=StreamCheckpoint)


def decode_checkpoint(stored: bytes | None, kind: type[_Checkpoint], name: str) -> _Checkpoint | None:
    """A checkpoint as the state keeps it; None where there is none, or where it cannot be understood: a warning."""
    if stored is None:
        return None
    try:
        checkpoint = decode_stored(stored, kind)
        if checkpoint.offset < 0 or checkpoint.line < 1:
            raise DamagedBlob(f"no place: byte {checkpoint.offset}, line {checkpoint.line}")
    except DamagedBlob as error:
        _LOG.warning(
            "%s: the mark in the state cannot be understood (%s); reading starts as if there were none", name, error
        )
        return None
    return checkpoint


def new_origin() -> str:
    """A name that nothing else has: 16 hexadecimal digits."""
    return os.urandom(8).hex()


def message_reading(name: str, reading: ReadingSettings) -> ReadingSettings:
    """How messages are read, each of which is a line of UTF-8; a ConfigError where something else is asked for."""
    if reading.multiline is not None or find_codec(reading.encoding, b"", ended=True) != UTF_8:
        raise ConfigError(
            f"{name}: encoding and multiline are for files and pipes: here each message is a line of its own"
        )
    return ReadingSettings(reading.max_line, "utf-8")


class LiveSource(Source):
    """A source whose lines are counted on from a checkpoint, since nothing tells where in it they stood."""

    durable = False

    def __init__(self, name: str, checkpoint: StreamCheckpoint | None, reading: ReadingSettings) -> None:
        self.name, self._reading = name, reading
        checkpoint = checkpoint or StreamCheckpoint(new_origin())
        self._origin = checkpoint.origin
        self._lines = LineReader(name, checkpoint.offset, checkpoint.line, reading)

    def finish(self) -> Block | None:
        return self._counted(self._lines.finish())

    @property
    def checkpoint(self) -> bytes | None:
        return msgspec.msgpack.encode(StreamCheckpoint(self._origin, self._lines.offset, self._lines.line))

    @property
    def identity(self) -> str:
        """Names all that came since the state first knew the source; without a state, since the start."""
        return self._origin

    def _counted(self, block: Block | None) -> Block | None:
        if block is not None:
            self.lines_read += len(block)
            self.bytes_read += block.end - int(block.offsets[0])
        self.cut_lines, self.cut_bytes, self.zero_bytes, self.undecodable = self._lines.left_out
        for warning in self._lines.warnings():
            _LOG.warning("%s: %s", self.name, warning)
        return block
