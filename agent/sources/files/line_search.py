"""Where lines begin and end in a file that is not read from its start."""

from agent.sources.decoding.encoding import LineFeed
from agent.sources.decoding.line_reader import LineReader
from agent.sources.decoding.settings import ReadingSettings
from agent.sources.files.checkpoint import Pread
from agent.text.lines import Block

_CHUNK = 1 << 20
_LOOK_BACK = 1 << 18


def last_line_start(pread: Pread, feed: LineFeed) -> tuple[int, int]:
    """The offset after the last line feed and the number of the line that starts there, from 1."""
    offset, at, feeds = 0, 0, 0
    while chunk := pread(_CHUNK, at):
        count, last = feed.skip(chunk)
        offset = at + last if last else offset
        feeds += count
        at += len(chunk)
    return offset, feeds + 1


def lines_before(
    begin: tuple[int, int], lines: int, pread: Pread, feed: LineFeed, source: str, reading: ReadingSettings, head: bytes
) -> Block | None:
    """The last complete lines, at most `lines`, before an offset and the number of its line; None where there are none.

    head: the first bytes of the file. It looks back 256 KiB at most.
    """
    offset, line = begin
    start = max(0, offset - _LOOK_BACK)
    data = pread(offset - start, start)
    skip = feed.find(data) + feed.width if start else 0
    count, end = feed.skip(data[skip:])
    first = line - count - (skip + end < len(data))
    reader = LineReader(source, start + skip, first, reading, head)
    block = reader.feed(data[skip:], last=True)
    return block and block.last(lines)


def after_zeros(pread: Pread, at: int) -> int:
    """The offset of the first byte from an offset on that is not NUL, or the end of the file."""
    while chunk := pread(_CHUNK, at):
        text = chunk.lstrip(b"\0")
        at += len(chunk) - len(text)
        if text:
            break
    return at
