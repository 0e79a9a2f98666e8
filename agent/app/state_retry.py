"""Waiting for a state that cannot be used at present, as on a full disk."""

import time
from collections.abc import Callable
from typing import TypeVar

from agent.errors import StateUnavailable
from agent.host.sd_notify import notify
from agent.telemetry.monitor import Monitor

_PAUSE = 1.0  # seconds between two tries
_Result = TypeVar("_Result")


class Patience:
    """Does something with the state, as soon as that is possible: until then nothing more is read, and nothing lost.

    It is said once, and the monitor tells that the agent is not ready. Where `gives_up` says so nothing is waited for,
    and the StateUnavailable is raised.
    """

    def __init__(self, monitor: Monitor, say: Callable[[str], None], gives_up: Callable[[], bool]) -> None:
        self._monitor, self._say, self._gives_up = monitor, say, gives_up

    def __call__(self, action: Callable[[], _Result]) -> _Result:
        """What `action` gives, which may be called several times."""
        told, ready = "", self._monitor.ready
        while True:
            try:
                result = action()
            except StateUnavailable as error:
                if self._gives_up():
                    raise
                told = self._wait(error, told)
            else:
                break
        if told:
            self._monitor.ready = ready
            self._say("the state can be written again; reading on")
        return result

    def _wait(self, error: StateUnavailable, told: str) -> str:
        self._monitor.ready = False
        self._monitor.look()
        if str(error) != told:
            self._say(f"{error}; nothing more is read until it can be written, trying again every second")
        notify("WATCHDOG=1")
        time.sleep(_PAUSE)  # ended by a signal at most a second late
        return str(error)
