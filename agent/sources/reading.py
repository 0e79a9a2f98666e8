"""How the bytes of a source are made into lines."""

from dataclasses import dataclass

from agent.lines import MAX_LINE


@dataclass(frozen=True)
class Reading:
    """max_line: bytes of a line that are kept."""

    max_line: int = MAX_LINE


PLAIN = Reading()
