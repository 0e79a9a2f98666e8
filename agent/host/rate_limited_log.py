"""A log for what may happen often: one message a minute of each kind, and how many were held back."""

import logging
import time
from collections.abc import Callable

_PAUSE = 60.0  # seconds between two messages of one kind
_MOST_KINDS = 1000  # of messages that are remembered


class RateLimitedLog:
    """Warns of what happens often only the first time, and once a minute tells how often it happened meanwhile."""

    def __init__(self, log: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._last: dict[str, tuple[float, int]] = {}  # by kind: when it was logged, and how many were held back since

    def warning(self, kind: str, message: str, *values: object) -> None:
        """As Logger.warning, logged as the caller's; `kind` names what counts as the same message."""
        now = self._clock()
        logged, held = self._last.get(kind, (now - _PAUSE, 0))
        if now - logged < _PAUSE:
            self._last[kind] = logged, held + 1
            return
        if len(self._last) >= _MOST_KINDS:
            self._last.clear()
        self._last[kind] = now, 0
        if held:
            self._log.warning(f"{message} (%d more like this meanwhile)", *values, held, stacklevel=2)
        else:
            self._log.warning(message, *values, stacklevel=2)
