"""The contract of a source of lines: what the loop that reads it relies on, and what each source may leave as it is."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path

from agent.text.lines import Block


class Source(ABC):
    """Where lines come from. Nothing here ever waits: what is new is read, and a wait is the caller's.

    name         how its blocks, its state and its metrics are named: the path or the URL
    paths        files whose change may bring something new
    descriptors  what becomes readable when there is something new
    ended        whether nothing can ever come any more
    durable      whether it keeps what is not read for a later run, as a file does and a pipe does not
    unstored     whether its checkpoint should be stored though no line came; whoever stores it sets it back

    Counted since the start: bytes_taken (also of a line that is not complete yet); bytes_read and lines_read; cut_lines
    and cut_bytes (longer than max_line); zero_bytes (NUL bytes left out, of runs that a crash left behind);
    undecodable (how often U+FFFD stands for what is no text in the encoding); rotations,
    truncations (and overwritings), reopened (after the path, the peer or the program was gone), losses (how often
    something was or may have been lost) and bytes_lost (what of it is known). last_loss: what was said of the last.
    """

    name: str
    paths: Collection[Path] = ()
    descriptors: Collection[int] = ()
    ended = False
    durable = True
    unstored = False
    bytes_taken = bytes_read = lines_read = cut_lines = cut_bytes = zero_bytes = undecodable = 0
    rotations = truncations = reopened = losses = bytes_lost = 0
    last_loss = ""

    @abstractmethod
    def read(self, limit: int = 1 << 20) -> Block | None:
        """The next block of complete lines, from pieces of `limit` bytes; None where nothing is new at present."""

    def finish(self) -> Block | None:
        """The last line where nothing ends it, or None: for the end of a run that does not wait."""
        return None

    def context(self, lines: int) -> Block | None:
        """The last complete lines, at most `lines`, before the place where reading began; None where there are none."""
        return None

    @property
    def checkpoint(self) -> bytes | None:
        """Where to go on after the blocks handed out so far, as the state keeps it; None where there is nothing yet."""
        return None

    @property
    def is_open(self) -> bool:
        """Whether it holds what it reads from."""
        return True

    @property
    def settled(self) -> bool:
        """Whether nothing new can come without an event, so that reading it once in a while is enough."""
        return False

    @property
    @abstractmethod
    def identity(self) -> str:
        """Names what the last block came from: with an offset in it, it names a line for all times."""

    def fields(self, index: int) -> dict[str, str]:
        """What else is known of a line of the last block, by the names that the source gives it."""
        return {}

    @property
    def backlog(self) -> int:
        """Bytes that could be read now; 0 where nobody can know."""
        return 0

    def lose(self, text: str, times: int = 1, size: int = 0) -> str:
        """Counts losses, of so many bytes as far as that is known; `text`, which says what they are."""
        self.losses += times
        self.bytes_lost += size
        self.last_loss = text
        return text

    def drain(self) -> None:  # noqa: B027
        """Has the source wait no more for what may still come, such as late lines of a rotated file: the run ends."""

    def close(self) -> None:  # noqa: B027
        """Gives back what it holds; `checkpoint` stays."""
