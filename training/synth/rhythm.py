"""When things happen on a made-up host: by the clock, or at random with the rhythm of the day and the week."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

DAY, HOUR, MINUTE = 86400.0, 3600.0, 60.0
After = Callable[[Random, float], float]  # the next time, in seconds since midnight of the first day, a Monday


@dataclass(frozen=True)
class Rhythm:
    """How busy each hour of a weekday is, in any unit, and how busy the days of a weekend are beside the others."""

    hours: tuple[float, ...]
    weekend: float = 1.0

    def weight(self, now: float) -> float:
        """How busy the moment is; 1 is the mean of a weekday."""
        week = self.weekend if now // DAY % 7 >= 5 else 1.0
        return self.hours[int(now % DAY // HOUR)] * 24 / sum(self.hours) * week

    @property
    def most(self) -> float:
        """No moment is busier."""
        return max(self.hours) * 24 / sum(self.hours) * max(self.weekend, 1.0)


STEADY = Rhythm((1.0,) * 24)
PEOPLE = Rhythm((0.5, 0.3, 0.2, 0.2, 0.2, 0.3, 1, 3, 8, 12, 12, 11, 8, 10, 12, 11, 10, 7, 4, 3, 3, 2, 2, 1), 0.2)
OFFICE = Rhythm(
    (0,) * 9 + (8, 10, 8, 4, 8, 10, 8, 4) + (0,) * 7, 0.0
)  # 9 to 17 o'clock from Monday to Friday, else never
CUSTOMERS = Rhythm((3, 2, 1, 1, 1, 1, 2, 4, 6, 8, 9, 9, 10, 9, 8, 8, 9, 10, 12, 14, 15, 13, 9, 5), 1.3)


def every(period: float, offset: float, jitter: float = 1.0) -> After:
    """Acts by the clock: `offset` after each multiple of `period`, up to `jitter` late."""

    def after(random: Random, now: float) -> float:
        return ((now - offset) // period + 1) * period + offset + random.uniform(0, jitter)

    return after


def about(per_day: float, rhythm: Rhythm = STEADY) -> After:
    """Acts at random, `per_day` times on the mean weekday: a Poisson process, thinned by the rhythm (Lewis and
    Shedler 1979).
    """
    most = rhythm.most

    def after(random: Random, now: float) -> float:
        while True:
            now += random.expovariate(per_day * most / DAY)
            if random.random() * most < rhythm.weight(now):
                return now

    return after
