"""How the bytes of a source are made into lines."""

from typing import NamedTuple

from agent.sources.decoding.encoding import MAX_BOM, UTF_8, TextSplitter, find_codec
from agent.sources.decoding.multiline import RecordJoiner
from agent.sources.decoding.settings import ReadingSettings
from agent.text.lines import Block, LineSplitter


class LeftOut(NamedTuple):
    """What is missing in the lines of a source.

    Lines that were cut and the bytes that were lost by it, NUL bytes that stood before lines, and pieces that could not
    be decoded.
    """

    cut_lines: int = 0
    cut_bytes: int = 0
    zero_bytes: int = 0
    undecodable: int = 0

    def plus(self, other: "LeftOut") -> "LeftOut":
        """The sums of both."""
        return LeftOut(*map(sum, zip(self, other, strict=True)))


class LineReader:
    """Makes lines or records of the bytes of one source; the result does not depend on where the chunks were cut.

    head: the first bytes of the source, where reading does not begin with them. codec: what the lines are decoded by,
    empty for UTF-8 and while it is unknown. skipped: NUL bytes with which the source begins and that were not read.
    """

    def __init__(self, source: str, offset: int, line: int, reading: ReadingSettings, head: bytes = b"") -> None:
        self._reading = reading
        self._first = b""  # bytes that do not tell the encoding yet
        self._splitter = LineSplitter(source, offset, line, reading.max_line)
        self._known = False
        self._joiner = RecordJoiner(source, reading.multiline, reading.max_line) if reading.multiline else None
        self._warned: set[str] = set()  # the kinds of warnings that were given
        self.codec, self.skipped = UTF_8, 0
        self._choose(head[:MAX_BOM], ended=offset > 0)

    @property
    def offset(self) -> int:
        """Where reading may go on from after a restart: the start of the first incomplete line or record."""
        held = self._joiner and self._joiner.held
        return held[0] if held else self._splitter.offset

    @property
    def line(self) -> int:
        """The number of the line that starts at the offset."""
        held = self._joiner and self._joiner.held
        return held[1] if held else self._splitter.line

    @property
    def incomplete(self) -> int:
        """The offset of the first incomplete line."""
        return self._splitter.offset

    @property
    def left_out(self) -> LeftOut:
        """What is missing in the lines so far."""
        lines, records = self._splitter, self._joiner
        return LeftOut(
            lines.cut_lines + (records.cut_lines if records else 0),
            lines.cut_bytes + (records.cut_bytes if records else 0),
            lines.zero_bytes + self.skipped,
            lines.undecodable if isinstance(lines, TextSplitter) else 0,
        )

    def feed(self, chunk: bytes, last: bool = False) -> Block | None:
        """The lines or records that a chunk completes, or None; last: also a record that may go on."""
        data = chunk
        if not self._known:
            data = self._first = self._first + chunk
            if not self._choose(data, ended=False):
                return None
        block = self._splitter.feed(data)
        return self._joiner.join(block, last) if self._joiner else block

    @property
    def holds(self) -> bool:
        """Whether a record is held back since it may go on."""
        return self._joiner is not None and self._joiner.held is not None

    def flush(self) -> Block | None:
        """The record that is held back, or None."""
        return self._joiner.join(None, last=True) if self._joiner else None

    def finish(self) -> Block | None:
        """What is held back: a record, and a line that no line feed ends; or None."""
        if first := self._first:
            self._choose(first, ended=True)
            self._splitter.feed(first)  # it begins a byte order mark, so no line ends in it
        block = self._splitter.finish()
        return self._joiner.join(block, last=True) if self._joiner else block

    def warnings(self) -> list[str]:
        """What to warn of, since it is missing in the lines; each once."""
        found = {}
        zeros, undecodable = self.left_out[2:]
        if zeros:
            found["zeros"] = f"{zeros} NUL bytes before a line were left out; a crash of the system leaves such"
        if undecodable:
            found["encoding"] = f"{undecodable} pieces are no {self.codec} text and became U+FFFD; check `encoding`"
        if self._splitter.first_cut:
            number, left_out = self._splitter.first_cut
            found["lines"] = too_long(f"line {number}", self._splitter.max_line, left_out)
        if self._joiner and self._joiner.first_cut:
            found["records"] = (
                f"the record at line {self._joiner.first_cut} is longer than what is kept of one; what follows in it "
                "is left out; check `multiline`"
            )
        new = [sentence for key, sentence in found.items() if key not in self._warned]
        self._warned |= found.keys()
        return new

    def _choose(self, head: bytes, ended: bool) -> bool:
        """Has the lines split as their encoding wants it, once that is known; whether it is."""
        codec = find_codec(self._reading.encoding, head, ended)
        if codec is None:
            return False
        self.codec = codec
        if codec != UTF_8:
            old = self._splitter
            self._splitter = TextSplitter(old.source, old.offset, old.line, self._reading.max_line, codec)
        self._known, self._first = True, b""
        return True


def too_long(what: str, max_line: int, left_out: int) -> str:
    """The warning of the first line that is longer than what is kept of one. left_out: bytes."""
    return (
        f"{what} is longer than max_line ({max_line} bytes): its head is scored, the rest, {left_out} bytes, is left "
        "out; later ones are only counted (cut_lines)"
    )
