"""When the sources are polled though no event names them, and when new files of patterns are searched for."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

from agent.host.clock import SYSTEM_CLOCK, Clock

_POLL = 1.0  # seconds after which sources that may have something new are polled without any event
_FULL_POLL = 10.0  # seconds after which those are too that only an event can bring something new to
_SEARCH = 10.0  # seconds after which new files of patterns are searched for without any event
_SHARE = 9  # times as long as a search takes, none follows it: where many files come, it takes a tenth of a core


class Poll(Enum):
    """Which sources are to be polled: none; those that are not settled; all."""

    NONE = auto()
    UNSETTLED = auto()
    ALL = auto()


class Schedule:
    """Says when the next poll of the sources is due, and when the next search for new files. All is due at first."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._next_poll = self._next_full_poll = self._next_search = self._next_early_search = 0.0

    def poll_all_now(self) -> None:
        """Has the next poll be one of all sources, now."""
        self._next_poll = self._next_full_poll = 0.0

    def poll_now(self) -> None:
        """Has the next poll be now."""
        self._next_poll = 0.0

    def pause(self) -> float:
        """The seconds until the next poll."""
        return max(0.0, self._next_poll - self._clock.monotonic())

    def start_poll(self) -> Poll:
        """Which poll is due now; it counts as done."""
        now = self._clock.monotonic()
        if now < self._next_poll:
            return Poll.NONE
        self._next_poll = now + _POLL
        if now < self._next_full_poll:
            return Poll.UNSETTLED
        self._next_full_poll = now + _FULL_POLL
        return Poll.ALL

    def is_search_due(self, has_event: bool) -> bool:
        """Whether to search now; earlier once an event in the directories of the patterns came."""
        if has_event:
            self._next_search = min(self._next_search, self._next_early_search)
        return self._clock.monotonic() >= self._next_search

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Around a search: the next one is set by how long this one takes."""
        began = self._clock.monotonic()
        yield
        ended = self._clock.monotonic()
        self._next_search, self._next_early_search = ended + _SEARCH, ended + _SHARE * (ended - began)
