"""What the services of a made-up host share, and what they write."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
BOOT = "(boot)"  # the program of a part that is no line: here the kernel starts again
Part = tuple[float, str, int | None, str]  # seconds after the one before, program, pid, message
_DAEMONS = {"sshd": 700, "shopd": 1040}


class Line(NamedTuple):
    """A line of a log before it has its form; pid None where the program names none.

    `label` is 1 where the line belongs to an incident, `kind` then names that; 0 and "" elsewhere.
    """

    time: datetime
    program: str
    pid: int | None
    message: str
    label: int = 0
    kind: str = ""
    host: str = "web1"


class Counter:
    """Numbers that grow by up to `step` and begin again after `most`: process ids, session numbers."""

    def __init__(self, random: Random, first: int, step: int = 1, most: int = 10**9) -> None:
        self._random, self._first, self._step, self._most = random, first, step, most
        self._value = first

    def next(self) -> int:
        """The next number."""
        self._value += self._random.randint(1, self._step)
        if self._value > self._most:
            self.restart()
        return self._value

    def restart(self) -> None:
        """Begins again, as at a boot."""
        self._value = self._first + self._random.randint(0, self._step)


@dataclass
class Host:
    """What the services of one host share. Each gets the host with a randomness of its own."""

    random: Random
    pids: Counter
    sessions: Counter
    daemons: dict[str, int] = field(default_factory=lambda: dict(_DAEMONS))  # their process ids
    now: float = 0.0  # seconds since START

    def new_daemon(self, name: str) -> int:
        """The process id of a daemon that is started again."""
        self.daemons[name] = self.pids.next()
        return self.daemons[name]

    def boot(self) -> None:
        """All process ids and sessions are those of a machine that has just started."""
        self.pids.restart()
        self.sessions.restart()
        self.daemons.update(_DAEMONS)

    @staticmethod
    def key(user: str) -> str:
        """The fingerprint of a user's key, the same for good."""
        return base64.b64encode(Random(f"key of {user}").randbytes(32)).decode().rstrip("=")


Writer = Callable[[Host], list[Part]]


@dataclass(frozen=True)
class Activity:
    """When a service acts, given a time in seconds since midnight of the first day, and what it then writes."""

    after: Callable[[Random, float], float]
    write: Writer
    job: str = ""  # its name where an incident can silence it


def new_host(seed: int) -> Host:
    """A host that has just been set up."""
    random = Random(f"{seed} host")
    return Host(random, Counter(random, 1200, 40, 32000), Counter(random, 0))
