"""What is configured to be read and whether it can be, as the state keeps it and `agent status` shows it."""

from collections.abc import Sequence
from typing import Literal

import msgspec

BLOB = "configured"  # the name under which the state holds the conditions
_SHOWN = 3


class Condition(msgspec.Struct, frozen=True):
    """A path, pattern or URL of the configuration and how it is at present. reason: more on that, or nothing."""

    path: str
    condition: Literal["open", "waiting for the file", "names no file", "cannot be opened", "ended"]
    reason: str = ""


def nothing_to_read(conditions: Sequence[Condition]) -> str:
    """Where nothing that is configured is open: what each is instead; empty where something is, or all is read."""
    if any(one.condition == "open" for one in conditions) or all(one.condition == "ended" for one in conditions):
        return ""
    shown = [f"{one.path}: {one.condition}{because(one)}" for one in conditions[:_SHOWN]]
    more = [f"and {len(conditions) - _SHOWN} more"] if len(conditions) > _SHOWN else []
    return "nothing to read: " + ", ".join(shown + more)


def because(condition: Condition) -> str:
    """The reason of a condition in brackets, or nothing."""
    return f" ({condition.reason})" if condition.reason else ""
