"""When the sources are looked at though no event names them, and when new files of patterns are looked for."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

_LOOK = 1.0  # seconds after which sources that may have something new are looked at without any event
_FULL_LOOK = 10.0  # seconds after which those are too that only an event can bring something new to
_SEARCH = 10.0  # seconds after which new files of patterns are looked for without any event
_SHARE = 9  # times as long as a search takes, none follows it: where many files come, it takes a tenth of a core


class Look(Enum):
    """Which sources are to be looked at: none; those that are not settled; all."""

    NONE = auto()
    UNSETTLED = auto()
    FULL = auto()


class Schedule:
    """Says when the next look at the sources is due, and when the next search for new files. All is due at first."""

    def __init__(self) -> None:
        self._next_look = self._next_full_look = self._next_search = self._next_early_search = 0.0

    def hurry(self) -> None:
        """Has the next look be one at all sources, now."""
        self._next_look = self._next_full_look = 0.0

    def look_soon(self) -> None:
        """Has the next look be now."""
        self._next_look = 0.0

    def pause(self) -> float:
        """The seconds until the next look."""
        return max(0.0, self._next_look - time.monotonic())

    def look(self) -> Look:
        """Which look is due now; it is taken as done."""
        now = time.monotonic()
        if now < self._next_look:
            return Look.NONE
        self._next_look = now + _LOOK
        if now < self._next_full_look:
            return Look.UNSETTLED
        self._next_full_look = now + _FULL_LOOK
        return Look.FULL

    def is_search_due(self, hears: bool) -> bool:
        """Whether to search now; earlier once an event in the directories of the patterns was heard."""
        if hears:
            self._next_search = min(self._next_search, self._next_early_search)
        return time.monotonic() >= self._next_search

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Around a search: the next one is set by how long this one takes."""
        began = time.monotonic()
        yield
        ended = time.monotonic()
        self._next_search, self._next_early_search = ended + _SEARCH, ended + _SHARE * (ended - began)
