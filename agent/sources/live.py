"""What the sources share whose bytes come once: standard input, named pipes, sockets and the journal."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from agent.errors import ConfigError
from agent.sources.base import Source
from agent.sources.decoding.encoding import UTF_8, find_codec
from agent.sources.decoding.line_reader import LineReader, Reading
from agent.text.lines import Block

_PAUSE = 60.0  # seconds between two sentences of one kind
_KINDS = 1000  # of sentences that are remembered


class Place(msgspec.Struct, frozen=True):
    """How far a source has been handed out since the state first knew it, which `origin` names."""

    origin: str
    offset: int = 0
    line: int = 1


_Place = TypeVar("_Place", bound=Place)


def recall(mark: bytes | None, kind: type[_Place], name: str, say: Callable[[str], None]) -> _Place | None:
    """The place in a mark; None where there is none, or where it cannot be understood, which is said."""
    if mark is None:
        return None
    try:
        place = msgspec.msgpack.decode(mark, type=kind)
        if place.offset < 0 or place.line < 1:
            raise msgspec.ValidationError(f"no place: byte {place.offset}, line {place.line}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        say(f"{name}: the mark in the state cannot be understood ({error}); reading starts as if there were none")
        return None
    return place


def new_origin() -> str:
    """A name that nothing else has: 16 hexadecimal digits."""
    return os.urandom(8).hex()


class Seldom:
    """Says of what happens often only the first, and once a minute how often it happened meanwhile."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._last: dict[str, tuple[float, int]] = {}

    def __call__(self, kind: str, sentence: str) -> None:
        now = self._clock()
        said, held = self._last.get(kind, (now - _PAUSE, 0))
        if now - said < _PAUSE:
            self._last[kind] = said, held + 1
            return
        if len(self._last) >= _KINDS:
            self._last.clear()
        self._last[kind] = now, 0
        self._say(f"{sentence} ({held} more like this meanwhile)" if held else sentence)


def plain(name: str, reading: Reading) -> Reading:
    """How messages are read, each of which is a line of UTF-8; a ConfigError where something else is asked for."""
    if reading.multiline is not None or find_codec(reading.encoding, b"", ended=True) != UTF_8:
        raise ConfigError(
            f"{name}: encoding and multiline are for files and pipes: here each message is a line of its own"
        )
    return Reading(reading.max_line, "utf-8")


class LiveSource(Source):
    """A source whose lines are counted on from a place, since nothing tells where in it they stood."""

    durable = False

    def __init__(self, name: str, place: Place | None, say: Callable[[str], None], reading: Reading) -> None:
        self.name, self._say, self._reading = name, say, reading
        place = place or Place(new_origin())
        self._origin = place.origin
        self._lines = LineReader(name, place.offset, place.line, reading)

    def finish(self) -> Block | None:
        return self._counted(self._lines.finish())

    @property
    def mark(self) -> bytes | None:
        return msgspec.msgpack.encode(Place(self._origin, self._lines.offset, self._lines.line))

    @property
    def identity(self) -> str:
        """Names all that came since the state first knew the source; without a state, since the start."""
        return self._origin

    def _counted(self, block: Block | None) -> Block | None:
        if block is not None:
            self.lines_read += len(block)
            self.bytes_read += block.end - int(block.offsets[0])
        self.cut_lines, self.cut_bytes, self.zero_bytes, self.undecodable = self._lines.left_out
        for remark in self._lines.remarks():
            self._say(f"{self.name}: {remark}")
        return block
