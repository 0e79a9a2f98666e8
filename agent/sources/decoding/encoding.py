"""Text in other encodings than UTF-8: which one a file is in, and its lines as UTF-8."""

import codecs
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConfigError
from agent.text.lines import MAX_LINE, Block, LineSplitter

UTF_8 = ""  # how the codec of bytes that are taken as they are is named here
_BOMS = {  # Unicode Standard, section 23.8; that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: UTF_8,
}
MAX_BOM = max(map(len, _BOMS))  # bytes at the start of a file that tell its encoding
_STATEFUL = ("iso2022", "hz", "utf-7")  # what a line means may depend on the one before, where that is broken
_NO_LOGS = ("charmap", "idna", "iso2022_kr", "punycode", "raw-unicode-escape", "undefined", "unicode-escape")
_REPLACED = "\ufffd"


def check_encoding(name: str) -> str:
    """The name of an encoding where files can be read in it, else a ConfigError."""
    if name == "auto":
        return name
    try:
        feed = "\n".encode(name)
        codec = codecs.lookup(name).name
    except Exception:  # noqa: BLE001 - a codec of Python raises what it likes
        feed, codec = b"", "undefined"
    if not feed or codec.startswith(_NO_LOGS) or feed.decode(name) != "\n":
        raise ConfigError(
            f"encoding: Python knows no text encoding {name[:60]!r} whose lines can be read one by one; "
            "leave it out (auto), or name one such as latin-1, cp1252, shift_jis, gb18030 or utf-16-le"
        )
    return name


def find_codec(encoding: str, head: bytes, ended: bool) -> str | None:
    """The codec of a file, by its setting and by what it begins with; None where more bytes could tell another one.

    ended: whether `head` is all that will tell. Where `utf-16` or `utf-32` has no byte order mark it is little-endian.
    """
    if encoding == "auto":
        return _by_bom(head, tuple(_BOMS), ended, UTF_8)
    name = codecs.lookup(encoding).name
    if name in ("utf-8", "utf-8-sig"):
        return UTF_8
    if name in ("utf-16", "utf-32"):
        boms = tuple(bom for bom, codec in _BOMS.items() if codec.startswith(name))
        return _by_bom(head, boms, ended, f"{name}-le")
    return name


def _by_bom(head: bytes, boms: tuple[bytes, ...], ended: bool, other: str) -> str | None:
    if not ended and any(len(head) < len(bom) and bom.startswith(head) for bom in boms):
        return None
    return next((_BOMS[bom] for bom in boms if head.startswith(bom)), other)


class LineFeed(NamedTuple):
    """A line feed in some encoding: its bytes, and the type of the units in which it stands at whole places."""

    data: bytes
    unit: np.dtype

    @classmethod
    def of(cls, codec: str) -> "LineFeed":
        """That of a codec as `find_codec` names it."""
        data = "\n".encode(codec or "utf-8")
        return cls(data, np.dtype(f"{'<' if data[0] else '>'}u{len(data)}"))

    @property
    def width(self) -> int:
        """How many bytes it has."""
        return len(self.data)

    def find(self, data: bytes) -> int:
        """Where the first line feed begins; what precedes the data where there is none."""
        offsets = self.offsets(data[: len(data) - len(data) % self.width])
        return int(offsets[0]) if len(offsets) else -self.width

    def offsets(self, data: bytes) -> NDArray[np.int64]:
        """Where in whole units the line feeds begin."""
        return np.flatnonzero(np.frombuffer(data, self.unit) == np.frombuffer(self.data, self.unit)) * self.width

    def skip(self, data: bytes) -> tuple[int, int]:
        """How many line feeds there are, and what follows the last one: 0 where there is none."""
        if self.width == 1:
            return data.count(self.data), data.rfind(self.data) + 1
        offsets = self.offsets(data[: len(data) - len(data) % self.width])
        return len(offsets), int(offsets[-1]) + self.width if len(offsets) else 0


class TextSplitter(LineSplitter):
    """As LineSplitter, of lines in an encoding that is not UTF-8: `data` is UTF-8, offsets stay those of the source.

    What cannot be decoded becomes U+FFFD; `undecodable` counts those. `max_line` counts the bytes of the source.
    """

    def __init__(self, source: str, offset: int, line: int, max_line: int = MAX_LINE, codec: str = "utf-16-le") -> None:
        self._line_feed = LineFeed.of(codec)
        self._feed = self._line_feed.data
        width = self._line_feed.width
        super().__init__(source, offset, line, max(max_line - max_line % width, width))
        self.undecodable = 0
        self._codec = codec
        self._decoder = codecs.getincrementaldecoder(codec)
        self._by_line = codec.startswith(_STATEFUL)
        self._rest = b""  # of a unit that a chunk ended in

    @property
    def partial(self) -> int:
        """Bytes of the incomplete last line read so far."""
        return self._pending + len(self._rest)

    def feed(self, chunk: bytes) -> Block | None:
        data = self._rest + chunk if self._rest else chunk
        whole = len(data) - len(data) % self._line_feed.width
        self._rest = data[whole:]
        return super().feed(data[:whole])

    def finish(self) -> Block | None:
        if self._rest:
            self._pending += len(self._rest)
            self._rest = b""
            self.undecodable += 1
            if len(self._head) < self.max_line:
                self._head += _REPLACED.encode(self._codec)
        return super().finish()

    def _after_last(self, chunk: bytes) -> int:
        return self._line_feed.skip(chunk)[1]

    def _find(self, chunk: bytes) -> int:
        return int(self._feeds(chunk)[0])

    def _feeds(self, data: bytes) -> NDArray[np.int64]:
        return self._line_feed.offsets(data)

    def _after_zeros(self, data: bytes) -> bytes:
        return super()._after_zeros(data) if self._line_feed.width == 1 else data

    def _without_zeros(self, data: bytes) -> tuple[bytes, NDArray[np.int64] | None]:
        return super()._without_zeros(data) if self._line_feed.width == 1 else (data, None)

    def _text(self, data: bytes, feeds: NDArray[np.int64], cut: NDArray[np.bool_]) -> bytes:
        text = None if self._by_line or cut.any() else self._decode_all(data)
        if text is None or text.count("\n") != len(feeds):
            text = self._decode_lines(data, feeds, cut)
        return text.encode("utf-8", "replace")  # UTF-7 can hold half a pair

    def _decode_all(self, data: bytes) -> str | None:
        """All lines at once; None where that fails: what is broken would be replaced as the next line has it."""
        try:
            return data.decode(self._codec)
        except UnicodeDecodeError:
            return None

    def _decode_lines(self, data: bytes, feeds: NDArray[np.int64], cut: NDArray[np.bool_]) -> str:
        starts = [0, *(feeds[:-1] + self._line_feed.width).tolist()]
        pieces = zip(starts, feeds.tolist(), cut.tolist(), strict=True)
        return "".join(self._decode(data[start:stop], part) + "\n" for start, stop, part in pieces)

    def _decode(self, line: bytes, part: bool) -> str:
        """One line; part: whether it is the head of one, and so may end within a character, which is then left out."""
        text = self._decoder("replace").decode(line, not part)
        if _REPLACED in text:
            text_alone = self._decoder("ignore").decode(line, not part)
            self.undecodable += text.count(_REPLACED) - text_alone.count(_REPLACED)
        return text.replace("\n", "\r")
