"""Waiting for a state that cannot be used at present, as on a full disk."""

import logging
from collections.abc import Callable
from typing import TypeVar

from agent.errors import StateUnavailable
from agent.host.clock import SYSTEM_CLOCK, Clock
from agent.host.sd_notify import notify
from agent.telemetry.monitor import Monitor

_LOG = logging.getLogger(__name__)

_PAUSE = 1.0  # seconds between two tries
_Result = TypeVar("_Result")


class StateRetry:
    """Does something with the state, as soon as that is possible: until then nothing more is read, and nothing lost.

    A warning is given once, and the monitor tells that the agent is not ready. Where `gives_up` says so nothing is
    waited for, and the StateUnavailable is raised.
    """

    def __init__(self, monitor: Monitor, gives_up: Callable[[], bool], clock: Clock = SYSTEM_CLOCK) -> None:
        self._monitor, self._gives_up, self._clock = monitor, gives_up, clock

    def __call__(self, action: Callable[[], _Result]) -> _Result:
        """What `action` gives, which may be called several times."""
        last_warning, ready = "", self._monitor.ready
        while True:
            try:
                result = action()
            except StateUnavailable as error:
                if self._gives_up():
                    raise
                last_warning = self._wait(error, last_warning)
            else:
                break
        if last_warning:
            self._monitor.ready = ready
            _LOG.info("the state can be written again; reading on")
        return result

    def _wait(self, error: StateUnavailable, last_warning: str) -> str:
        self._monitor.ready = False
        self._monitor.beat()
        if str(error) != last_warning:
            _LOG.warning("%s; nothing more is read until it can be written, trying again every second", error)
        notify("WATCHDOG=1")
        self._clock.sleep(_PAUSE)  # ended by a signal at most a second late
        return str(error)
