"""The clock that the running agent goes by, handed down to whatever asks for the time; a test gives its own."""

import time
from datetime import datetime


class Clock:
    """The system's clock."""

    def monotonic(self) -> float:
        """Seconds since some moment, which no setting of the clock changes: for spans of time."""
        return time.monotonic()

    def time(self) -> float:
        """Seconds since 1970, UTC."""
        return time.time()

    def now(self) -> datetime:
        """The local time, with its zone."""
        return datetime.now().astimezone()

    def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(seconds)


SYSTEM_CLOCK = Clock()
