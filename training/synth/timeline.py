"""Puts what the services and the incidents of a host write into the order of time."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

from training.synth.host import BOOT, START, Activity, Host, Line, Part, new_host

Flow = tuple[float, list[Part]]  # parts, and how many seconds after the incident's beginning their first pause starts
_SLOWEST, _DELAY = 1.2, 9e-4  # of a pause, and seconds beside it
NEARBY = 20  # lines after a due time that was missed; they are what tells of the silence


def most_seconds(parts: Sequence[Part]) -> float:
    """How long parts take at most, from the start of the first one's pause."""
    return sum(part[0] * _SLOWEST + _DELAY for part in parts)


@dataclass(frozen=True)
class Incident:
    """What goes wrong: at most `lines` lines within at most `seconds`, beside those of normal operation.

    `write` is given the names of the host's services. `needs` are services of which the host must have one. `hours`
    are those of the day between which it begins, where it matters. `silences` is the job that does not run meanwhile:
    the first of these whose service the host has.
    """

    name: str
    write: Callable[[Host, Sequence[str]], list[Flow]]
    lines: int
    seconds: float
    needs: tuple[str, ...] = ()
    hours: tuple[float, float] | None = None
    silences: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Planned:
    """An incident, when it begins (in seconds since START), and the job that it silences, if it does."""

    start: float
    incident: Incident
    job: str = ""

    def lasts(self, now: float) -> bool:
        """Whether it has begun and is not over."""
        return self.start <= now <= self.start + self.incident.seconds


@dataclass(frozen=True)
class _Actor:
    service: Activity
    host: Host  # with the actor's own randomness


class Timeline:
    """The lines of a host, without end, in the order of their times.

    The heap holds what is written next and who acts next, so the memory needed does not grow with the log.
    """

    def __init__(
        self, seed: int, services: Mapping[str, Sequence[Activity]], planned: Sequence[Planned] = (), name: str = "web1"
    ) -> None:
        self._host, self._names, self._name, self._seed = new_host(seed), list(services), name, seed
        self._heap: list[tuple[float, int, Line | _Actor | Planned]] = []
        self._number = 0
        self._booted = -3600.0
        self._down_until = 0.0
        self._running: list[Planned] = []
        self._silent = ""  # the job that missed its time last
        self._missed = 0  # lines that are still labelled for that
        for key, group in services.items():
            for index, service in enumerate(group):
                actor = _Actor(service, replace(self._host, random=Random(f"{seed} {key} {index}")))
                self._push(service.after(actor.host.random, 0.0), actor)
        for plan in planned:
            self._push(plan.start, plan)

    def lines(self) -> Iterator[Line]:
        """All lines."""
        while True:
            seconds, _, item = heapq.heappop(self._heap)
            if isinstance(item, Line):
                yield self._nearby(item)
            elif isinstance(item, Planned):
                self._begin(item, seconds)
            else:
                self._act(item, seconds)

    def _push(self, seconds: float, item: Line | _Actor | Planned) -> None:
        self._number += 1
        heapq.heappush(self._heap, (seconds, self._number, item))

    def _nearby(self, line: Line) -> Line:
        if not self._missed:
            return line
        self._missed -= 1
        return line if line.kind else line._replace(label=1, kind="silence")

    def _begin(self, plan: Planned, now: float) -> None:
        if now < self._down_until:
            self._push(self._down_until, replace(plan, start=self._down_until))
            return
        self._running.append(plan)
        host = replace(self._host, random=Random(f"{self._seed} incident {plan.incident.name}"), now=now)
        for offset, parts in plan.incident.write(host, self._names):
            self._schedule(now + offset, parts, host.random, plan.incident.name)

    def _act(self, actor: _Actor, now: float) -> None:
        self._running = [plan for plan in self._running if plan.lasts(now)]
        service = actor.service
        if service.job and any(plan.job == service.job for plan in self._running):
            self._silent, self._missed = service.job, NEARBY
        elif now >= self._down_until:
            if service.job and service.job == self._silent:  # it is back
                self._silent, self._missed = "", 0
            actor.host.now = now
            self._write(service.write(actor.host), now, actor.host.random)
        self._push(service.after(actor.host.random, now), actor)

    def _write(self, parts: list[Part], now: float, random: Random) -> None:
        if all(part[1] != BOOT for part in parts):
            self._schedule(now, parts, random)
        elif not self._running:  # nobody restarts a host that is in trouble
            self._heap = [entry for entry in self._heap if not isinstance(entry[2], Line)]
            heapq.heapify(self._heap)
            self._down_until = self._schedule(now, parts, random)

    def _schedule(self, now: float, parts: list[Part], random: Random, kind: str = "") -> float:
        """Gives parts their times, the first one's pause counted from `now`; the time of the last."""
        for pause, program, pid, message in parts:
            now += pause * random.uniform(0.8, _SLOWEST) + random.uniform(2e-5, _DELAY)
            if program == BOOT:
                self._booted = now
                self._host.boot()
                continue
            text = f"[{now - self._booted:12.6f}] {message}" if program == "kernel" else message
            time = START + timedelta(seconds=now)
            self._push(now, Line(time, program, pid, text, int(bool(kind)), kind, self._name))
        return now
