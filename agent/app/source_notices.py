"""What the agent tells the sinks of its sources: that something is lost, and that there is nothing to read."""

from datetime import datetime

from agent.alerting.notices import HOUR, Notices
from agent.host.clock import SYSTEM_CLOCK, Clock
from agent.sources.base import Source
from agent.telemetry.counters import Counts

IDLE = 60.0  # seconds with nothing to read after which that is told


def post_losses(notices: Notices, source: Source, before: Counts, counts: Counts, now: datetime) -> None:
    """Tells of what a source lost between two counts, in the words that were logged, with all that it lost so far."""
    if counts.losses > before.losses:
        post_loss(notices, source.name, source.last_loss, counts, now)


def post_loss(notices: Notices, source: str, words: str, counts: Counts, now: datetime) -> None:
    """Tells of a loss of a source. words: those that were logged; counts: of the source, the loss included."""
    words = words or "something was or may have been lost before it was read"
    text = f"{words} (losses of {source} so far: {counts.losses}, with {counts.bytes_lost} bytes that are known)"
    notices.post("loss", source, text, now, is_logged=True)


class IdleNotice:
    """Tells that there is nothing to read once that has lasted for a minute, and then hourly while it lasts."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._next: float | None = None  # when it is to be told, while there is nothing to read

    def update(self, problem: str, notices: Notices) -> None:
        """problem: what there is to say of nothing to read, empty where there is something."""
        now = self._clock.monotonic()
        if not problem:
            self._next = None
        elif self._next is None:
            self._next = now + IDLE
        elif now >= self._next:
            self._next = now + HOUR
            notices.post("nothing to read", "", f"{problem}; check `sources` in the configuration", self._clock.now())
