"""A generator of one host's syslog, for demonstrations, tests and semi-synthetic measurements. Pure standard library.

Services act by the clock or at random (training.services); one seed gives one log. An incident can be put in at two
thirds.
"""

import heapq
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random
from typing import NamedTuple, TextIO

from agent.errors import ConfigError
from training.services import SERVICES, Host, Part, Service

HOST = "web1"
START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
FORMATS = ("rfc3164", "iso8601")
INCIDENTS = ("segfault", "none")
LEAST = 300  # lines; with fewer an incident would be most of the log
_CRASHES = 15


class Line(NamedTuple):
    """A line of syslog before it has its form; pid None where the program names none."""

    time: datetime
    program: str
    pid: int | None
    message: str


def generate(
    count: int, seed: int = 0, incident: str = "none", services: Sequence[str] = tuple(SERVICES)
) -> Iterator[Line]:
    """`count` lines in the order of their times, those of the incident among them; the same for the same arguments."""
    if incident not in INCIDENTS:
        raise ConfigError(f"unknown incident {incident!r}; choose one of {', '.join(INCIDENTS)}")
    unknown = [name for name in services if name not in SERVICES]
    if unknown or not services:
        raise ConfigError(f"unknown service {', '.join(unknown)!r}; choose of {', '.join(SERVICES)}")
    if count < (1 if incident == "none" else LEAST):
        raise ConfigError(f"{count} lines are too few; with an incident it takes {LEAST}, without one 1")
    chosen = [service for name in services for service in SERVICES[name]]
    host = Host(Random(seed))
    lines = _lines(host, chosen)
    return islice(lines, count) if incident == "none" else _break(lines, count, host)


def _break(lines: Iterator[Line], count: int, host: Host) -> Iterator[Line]:
    """`count` lines with the incident after two thirds of them."""
    yield from islice(lines, 2 * count // 3)
    crashed = list(_place(next(lines).time, segfault(host)))
    yield from crashed
    late = (line for line in lines if line.time >= crashed[-1].time)
    yield from islice(late, count - 2 * count // 3 - len(crashed))


def _lines(host: Host, services: Sequence[Service]) -> Iterator[Line]:
    """All that the services write, in order, without end. The heap holds what is written next and who acts next."""
    heap: list[tuple[float, int, Line | Service]] = []
    number = iter(range(sys.maxsize))
    for service in services:
        heapq.heappush(heap, (service.after(host.random, 0.0), next(number), service))
    while True:
        seconds, _, item = heapq.heappop(heap)
        if isinstance(item, Line):
            yield item
            continue
        for line in _place(START + timedelta(seconds=seconds), item.write(host)):
            heapq.heappush(heap, ((line.time - START).total_seconds(), next(number), line))
        heapq.heappush(heap, (item.after(host.random, seconds), next(number), item))


def _place(start: datetime, parts: Iterable[Part]) -> Iterator[Line]:
    """Gives parts their times, the first one's pause counted from `start`."""
    for pause, program, pid, message in parts:
        start += timedelta(seconds=pause)
        yield Line(start, program, pid, f"{_kernel_clock(start)} {message}" if program == "kernel" else message)


def _kernel_clock(now: datetime) -> str:
    """What the kernel puts before its messages: the seconds since the boot, which was an hour before the first day."""
    return f"[{(now - START).total_seconds() + 3600:12.6f}]"


def segfault(host: Host) -> list[Part]:
    """The incident: a bad block, then a program that crashes on it again and again while systemd restarts it."""
    block = "EXT4-fs error (device vda1): ext4_find_entry:1455: inode #131077: comm shopd: reading directory lblock 0"
    parts: list[Part] = [(0.5, "kernel", None, block)]
    base = 0x7F3A2C190000
    for crash in range(1, _CRASHES + 1):
        address, stack = host.random.randrange(16, 64, 8), 0x7FFD5E300000 + host.random.randrange(0, 0xFFFF0, 16)
        fault = f"shopd[{host.new_pid()}]: segfault at {address:x} ip {base + 0x24E10:016x} sp {stack:016x} error 4"
        parts += [
            (host.random.uniform(0.5, 2), "kernel", None, f"{fault} in libshop.so.2[{base:x}+4f000]"),
            (0.1, "systemd", 1, "shopd.service: Main process exited, code=killed, status=11/SEGV"),
            (0.0, "systemd", 1, "shopd.service: Failed with result 'signal'."),
            (0.2, "systemd", 1, f"shopd.service: Scheduled restart job, restart counter is at {crash}."),
            (0.0, "systemd", 1, "Started Web shop."),
        ]
    return parts


def format_line(line: Line, form: str) -> str:
    """The line as a syslog daemon writes it to a file, without a line feed."""
    tag = line.program if line.pid is None else f"{line.program}[{line.pid}]"
    if form == "rfc3164":
        stamp = f"{line.time:%b} {line.time.day:2d} {line.time:%H:%M:%S}"
    elif form == "iso8601":
        stamp = line.time.isoformat(timespec="microseconds")
    else:
        raise ConfigError(f"unknown format {form!r}; choose one of {', '.join(FORMATS)}")
    return f"{stamp} {HOST} {tag}: {line.message}"


def write_log(out: str, lines: Iterable[Line], form: str = "rfc3164", rate: float | None = None) -> int:
    """Writes lines to a new file, or to standard output where `out` is -; how many.

    With a `rate` in lines a second it appends to the file in real time, as a syslog daemon does; each line bears the
    present time. A ConfigError where the file cannot be written, or exists and no rate is given.
    """
    if form not in FORMATS:
        raise ConfigError(f"unknown format {form!r}; choose one of {', '.join(FORMATS)}")
    if rate is not None and not 0 < rate <= 10_000:
        raise ConfigError(f"a rate of {rate:g} lines a second is not possible; from more than 0 to 10000 are")
    count = 0
    with _open(out, "x" if rate is None else "a") as file:
        for line in lines if rate is None else _paced(lines, rate):
            file.write(format_line(line, form) + "\n")
            if rate is not None:
                file.flush()
            count += 1
    return count


def _open(out: str, mode: str) -> "nullcontext[TextIO] | TextIO":
    if out == "-":
        return nullcontext(sys.stdout)
    try:
        return Path(out).open(mode, encoding="utf-8")
    except FileExistsError:
        raise ConfigError(f"{out} exists; name a file that does not, or append to it with --rate") from None
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {os.strerror(error.errno or 0)}") from None


def _paced(lines: Iterable[Line], rate: float) -> Iterator[Line]:
    began = time.monotonic()
    for index, line in enumerate(lines):
        time.sleep(max(0.0, began + index / rate - time.monotonic()))
        yield line._replace(time=datetime.now().astimezone())
