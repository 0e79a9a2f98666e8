"""Records of several lines, such as stack traces, as one line each."""

from collections.abc import Callable

import msgspec
import numpy as np

from agent.errors import ConfigError
from agent.text.lines import MAX_LINE, Block
from agent.text.patterns import Pattern, compile_pattern

_INNER_END = b"\r"  # what stands between the lines of a record


class Multiline(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which lines continue the one before, by one of three rules.

    continuation: a regular expression that they begin with. start: one that all others begin with. indentation: they
    begin with a blank or a tab, or are empty. timeout: seconds without growth after which the last record counts as
    complete. max_lines: how many lines of a record are kept.
    """

    continuation: str | None = None
    start: str | None = None
    indentation: bool = False
    timeout: float = 1.0
    max_lines: int = 500


def check_multiline(rules: Multiline) -> Multiline:
    """The rules where they are possible, else a ConfigError."""
    if (rules.continuation is not None) + (rules.start is not None) + rules.indentation != 1:
        raise ConfigError("multiline: give one of continuation, start and indentation")
    for key in ("continuation", "start"):
        _compile(key, getattr(rules, key) or "")
    if not 0 <= rules.timeout <= 3600:
        raise ConfigError(f"multiline.timeout: {rules.timeout:g} seconds; give 0 to 3600")
    if rules.max_lines < 1:
        raise ConfigError(f"multiline.max_lines: {rules.max_lines} is too small; the least is 1")
    return rules


def _compile(key: str, pattern: str) -> Pattern:
    return compile_pattern(pattern, f"multiline.{key}:", characters=True)


def _continues(rules: Multiline) -> Callable[[bytes], bool]:
    """Whether a line continues the one before."""
    if rules.indentation:
        return lambda line: line[:1] in (b"", b" ", b"\t")
    if rules.continuation is not None:
        continuation = _compile("continuation", rules.continuation)
        return lambda line: continuation.begins(_as_text(line))
    start = _compile("start", rules.start or "")
    return lambda line: not start.begins(_as_text(line))


def _as_text(line: bytes) -> bytes:
    """A line in UTF-8, U+FFFD for what is no text."""
    return line if line.isascii() else line.decode("utf-8", "replace").encode()


class RecordJoiner:
    """Joins the lines of records; the result does not depend on how the lines came in blocks.

    A record is one line, in which a carriage return stands for each inner line end and empty lines at its end are left
    out; its offset and number are those of its first line. It is held back until the next one begins. Of a record
    longer than `max_line` bytes or `max_lines` the head is kept; `cut_lines` counts those, `cut_bytes` what was left
    out, and `first_cut` is the number of the first line of the first of them, also while it is held back. Reading
    begins with a record, whatever the line is.
    """

    def __init__(self, source: str, rules: Multiline, max_line: int = MAX_LINE) -> None:
        self._source = source
        self._continues = _continues(rules)
        self._max_line, self._max_lines = max_line, rules.max_lines
        self.cut_lines = self.cut_bytes = 0
        self.first_cut: int | None = None
        self._parts: list[bytes] = []
        self._offset = self._number = self._size = self._left_out = self._end = 0
        self._done: list[tuple[bytes, int, int]] = []  # records, their offsets and numbers

    @property
    def held(self) -> tuple[int, int] | None:
        """The offset and the number of the first line of the record that is held back; None where none is."""
        return (self._offset, self._number) if self._parts else None

    def join(self, block: Block | None, last: bool = False) -> Block | None:
        """The records that a block completes, or None; last: also the one that would be held back."""
        if block is not None:
            self._add_lines(block)
        if last:
            self._close()
        return self._hand_out(self._offset if self._parts else self._end)

    def _add_lines(self, block: Block) -> None:
        stops = [*block.offsets[1:].tolist(), block.end]
        rows = zip(block.lines(), block.offsets.tolist(), stops, strict=True)
        for number, (line, offset, stop) in enumerate(rows, block.first):
            if self._parts and self._continues(line):
                self._add(line)
            else:
                self._close()
                self._begin(line, offset, number)
            self._end = stop

    def _begin(self, line: bytes, offset: int, number: int) -> None:
        self._parts = [line]
        self._offset, self._number = offset, number
        self._size, self._left_out = len(line), 0

    def _add(self, line: bytes) -> None:
        room = self._max_line - self._size - len(_INNER_END)
        whole = len(self._parts) < self._max_lines and room >= 0
        kept = line[: max(0, room)] if whole else b""
        if whole:
            self._parts.append(kept)
            self._size += len(_INNER_END) + len(kept)
        self._left_out += len(line) - len(kept) + (0 if whole else len(_INNER_END))
        if self._left_out and self.first_cut is None:
            self.first_cut = self._number

    def _close(self) -> None:
        if self._parts:
            self._done.append((_INNER_END.join(self._parts).rstrip(_INNER_END), self._offset, self._number))
            self.cut_lines += self._left_out > 0
            self.cut_bytes += self._left_out
        self._parts, self._left_out = [], 0

    def _hand_out(self, end: int) -> Block | None:
        if not self._done:
            return None
        records, offsets, numbers = zip(*self._done, strict=True)
        self._done = []
        data = b"\n".join([*records, b""])
        return Block(self._source, data, np.array(offsets, np.int64), numbers[0], end, np.array(numbers, np.int64))
