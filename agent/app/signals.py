"""What signals ask of the running agent: to end, or to read its configuration anew."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Self


class Signals:
    """Notes signals from the moment on that it is entered, also while the agent still starts.

    stopped: SIGTERM or SIGINT came, or the terminal is gone that the agent was started at. hung_up: SIGHUP came. `wake`
    is called after each; it has to be safe in a signal handler.
    """

    def __init__(self) -> None:
        self.stopped = self.hung_up = False
        self.sleep()
        self._terminal = _has_terminal()

    def __enter__(self) -> Self:
        handlers = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop, signal.SIGHUP: self._hang_up}
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
            del handlers[signal.SIGHUP]
        self._previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def sleep(self) -> None:
        """Has signals wake nobody."""
        self.wake: Callable[[], None] = _nobody

    def stop(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Asks for the end."""
        self.stopped = True
        self.wake()

    def _hang_up(self, number: int, frame: FrameType | None) -> None:
        self.stopped = self.stopped or (self._terminal and not _has_terminal())
        self.hung_up = True
        self.wake()


def _nobody() -> None:
    pass


def _has_terminal() -> bool:
    """Whether there is a terminal that controls this process; it is gone after a hang-up."""
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
        return True
    return False
