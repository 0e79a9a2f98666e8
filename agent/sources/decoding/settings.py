"""What may be chosen of how the bytes of a source become lines."""

from dataclasses import dataclass

from agent.errors import ConfigError
from agent.sources.decoding.encoding import check_encoding
from agent.sources.decoding.multiline import Multiline, check_multiline
from agent.text.lines import MAX_LINE

_LEAST_LINE = 64


@dataclass(frozen=True)
class ReadingSettings:
    """The settings of a LineReader; a ConfigError names the one that cannot be.

    max_line: bytes of a line that are kept. encoding: a codec of Python; auto: by the byte order mark, else UTF-8.
    multiline: which lines belong together.
    """

    max_line: int = MAX_LINE
    encoding: str = "auto"
    multiline: Multiline | None = None

    def __post_init__(self) -> None:
        if self.max_line < _LEAST_LINE:
            raise ConfigError(f"max_line: {self.max_line} is too small; the least is {_LEAST_LINE}")
        check_encoding(self.encoding)
        if self.multiline is not None:
            check_multiline(self.multiline)


PLAIN = ReadingSettings()
