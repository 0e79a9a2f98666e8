"""A clock that is moved by hand."""

from datetime import UTC, datetime

from agent.host.clock import Clock


class ManualClock(Clock):
    """Stands still but for `sleep`. date: what `now` tells, at all times."""

    def __init__(self, seconds: float = 0.0, date: datetime = datetime(2026, 3, 9, 3, 12, 45, tzinfo=UTC)) -> None:
        self.seconds, self.date = seconds, date

    def monotonic(self) -> float:
        return self.seconds

    def time(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return self.date

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
