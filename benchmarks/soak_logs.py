"""The logs of the soak: made-up lines in many files at once, which are rotated, removed and joined by new ones."""

import gzip
import os
import random
import shutil
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

NAMINGS = ("falling", "rising", "dated")  # how the rotations of a log are called
KEPT = 3  # rotated files of a log
ODD_A_MINUTE = 3  # odd lines of each log
ROTATE = 60.0  # seconds between two rotations of a log, a quarter more or less
_ODD = "shopd[77]: panic: lost the vault of {word}, melting down 0xdeadbeef, seq {number}"
_STEPS = (
    "sshd[{pid}]: Accepted publickey for deploy from 192.0.2.{small} port {pid} ssh2, seq {number}",
    "sshd[{pid}]: pam_unix(sshd:session): session opened for user deploy(uid={small}) by (uid=0), seq {number}",
    "CRON[{pid}]: (root) CMD (cleanup --older {small} --most 9), seq {number}",
    "sshd[{pid}]: pam_unix(sshd:session): session closed for user deploy, seq {number}",
)
_TICK = 0.05  # seconds between two looks at what is due


@dataclass
class Old:
    """A rotated file and when it was rotated."""

    path: Path
    at: float


@dataclass
class Log:
    """A log, and of its present file when it got its first line, and how far it is written.

    lines, bytes: written under its name so far. rest: the end of a line that was begun. naming: of NAMINGS. generation:
    how often it was rotated.
    """

    path: Path
    index: int
    due: float
    rotate_at: float
    lines: int = 0
    bytes: int = 0
    descriptor: int | None = None
    since: float = 0.0
    last: float = 0.0
    offset: int = 0
    line: int = 1
    step: int = 0
    rest: bytes = b""
    ended: bool = False
    naming: str = "falling"
    generation: int = 0
    old: list[Old] = field(default_factory=list)  # the newest first


class Logs:
    """Writes `rate` lines a second to `count` logs in a folder, half of them below `a`, half below `b`, in a thread.

    seen: up to which moment the agent must have seen everything. What it may not have seen is neither removed nor
    truncated, since nobody could read it then. All that is written is also kept, a file for each log, in `kept`.
    """

    def __init__(self, folder: Path, kept: Path, count: int, rate: float, seed: int, seen: Callable[[], float]) -> None:
        self.every: list[Log] = []
        self.owner = array("I")  # of each line by its number, the index of its log
        self.odd: dict[int, tuple[int, int]] = {}  # of each odd line by its number: its offset and line in its file
        self.events: Counter[str] = Counter()
        self.rotations = 0
        self.removed: list[float] = []  # when logs were
        self.fault = ""
        self._folder, self.kept, self._seen, self._draw = folder, kept, seen, random.Random(seed)
        self._period = max(1.0, count / 70)  # seconds between two writes to one log
        self._batch, self._share = rate * self._period / count, ODD_A_MINUTE / 60 * count / rate
        self._later: list[tuple[float, Callable[[], object]]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs")
        for one in (folder / "a", folder / "b", kept):
            one.mkdir(parents=True)
        for _ in range(count):
            self._add()
        self._next_end = time.monotonic() + 20

    @property
    def lines(self) -> int:
        """All lines so far, the one that is being written among them."""
        return len(self.owner)

    @property
    def bytes(self) -> int:
        """All bytes so far."""
        return sum(log.bytes for log in self.every)

    def start(self) -> None:
        """Begins to write and rotate."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it; every line is complete then, and every log is there. A second call does nothing."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()
        for log in self.every:
            self._put(log, self._line(log) if log.old and not log.path.exists() else log.rest)
            log.rest = b""
            self._close(log)

    def _run(self) -> None:
        try:
            while not self._stopped.wait(_TICK):
                self._step(time.monotonic())
        except Exception as error:
            self.fault = f"the writer ended early: {type(error).__name__}: {error}"

    def _step(self, now: float) -> None:
        due = [task for at, task in self._later if now >= at]
        self._later = [(at, task) for at, task in self._later if now < at]
        for task in due:
            task()
        for log in self.every:
            if now >= log.due and not log.ended:
                self._append(log, now)
            if now >= log.rotate_at and not log.ended and 0 < log.since <= self._seen():
                self._rotate(log, now)
        if now >= self._next_end:
            self._next_end = now + self._draw.uniform(5, 25)
            self._end(self._draw.choice([log for log in self.every if not log.ended and log.descriptor is not None]))

    def _add(self) -> None:
        index, now = len(self.every), time.monotonic()
        path = self._folder / "ab"[index % 2] / f"app{index}.log"
        due = now + self._draw.uniform(0, self._period)
        rotate_at = now + self._draw.uniform(0.25, 1.25) * ROTATE
        self.every.append(Log(path, index, due, rotate_at, naming=self._draw.choice(NAMINGS)))

    # what writes

    def _append(self, log: Log, now: float) -> None:
        log.due = now + self._draw.uniform(0.5, 1.5) * self._period
        if log.rest:
            return self._settle(log)
        data = b"".join(self._line(log) for _ in range(int(self._batch + self._draw.random())))
        if data and self._draw.random() < 0.05:  # a line is flushed in two parts
            cut = len(data) - self._draw.randrange(1, 30)
            data, log.rest, log.due = data[:cut], data[cut:], now + self._draw.uniform(0.01, 1.0)
        self._put(log, data)

    def _line(self, log: Log) -> bytes:
        number, draw = len(self.owner), self._draw
        is_odd = log.lines > 20 and draw.random() < self._share
        word = "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=12)) if is_odd else ""
        step = _ODD if is_odd else _STEPS[log.step % len(_STEPS)]
        text = step.format(pid=draw.randrange(1000, 9000), small=draw.randrange(1, 255), word=word, number=number)
        line = f"{time.strftime('%b %e %H:%M:%S')} web1 {text}\n".encode()
        if is_odd:
            self.odd[number] = log.offset, log.line
        self.owner.append(log.index)
        log.step += not is_odd
        log.offset, log.line, log.lines = log.offset + len(line), log.line + 1, log.lines + 1
        return line

    def _put(self, log: Log, data: bytes) -> None:
        if not data:
            return
        if log.descriptor is None:
            log.descriptor = os.open(log.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        if os.write(log.descriptor, data) != len(data):
            raise OSError(f"{log.path} took only a part; is the disk full?")
        with (self.kept / log.path.name).open("ab") as file:
            file.write(data)
        log.bytes += len(data)
        log.last = time.monotonic()
        log.since = log.since or log.last

    def _settle(self, log: Log) -> None:
        rest, log.rest = log.rest, b""
        self._put(log, rest)

    def _close(self, log: Log) -> None:
        if log.descriptor is not None:
            os.close(log.descriptor)
            log.descriptor = None

    # what rotates

    def _rotate(self, log: Log, now: float) -> None:
        log.rotate_at = now + self._draw.uniform(0.75, 1.25) * ROTATE
        ways = self._rename, self._rename_only, self._copytruncate, self._compress, self._compress_later
        self._settle(log)
        self._draw.choice(ways)(log)
        self.rotations += 1
        log.since, log.offset, log.line = 0.0, 0, 1

    def _shift(self, log: Log) -> Path:
        """Makes room for the newest rotated file; its path."""
        while len(log.old) >= KEPT and log.old[-1].at <= self._seen():
            log.old.pop().path.unlink()
            self.events["old generations removed"] += 1
        log.generation += 1
        if log.naming == "falling":
            for place, old in reversed([*enumerate(log.old, 2)]):
                suffix = ".gz" if old.path.suffix == ".gz" else ""
                old.path = old.path.rename(log.path.with_name(f"{log.path.name}.{place}{suffix}"))
        self.events[f"rotations with {log.naming} names"] += 1
        log.old.insert(0, Old(log.path.with_name(self._name(log)), time.monotonic()))
        return log.old[0].path

    def _name(self, log: Log) -> str:
        """What the newest rotated file of a log is called: as logrotate counts, as others do, or after a time."""
        names = {
            "falling": f"{log.path.name}.1",
            "rising": f"{log.path.name}.{log.generation}",
            "dated": f"{log.path.name}-{time.strftime('%Y%m%d-%H%M%S')}.{log.generation:03}",
        }
        return names[log.naming]

    def _rename(self, log: Log, event: str = "rename and create") -> None:
        """At times a last line goes to the old file when the new one is there."""
        self.events[event] += 1
        log.path.rename(self._shift(log))
        log.path.touch()
        if self._draw.random() < 0.3:
            self._put(log, self._line(log))
            self.events["last lines after a rename"] += 1
        self._close(log)

    def _rename_only(self, log: Log) -> None:
        """The program creates its file with its next line, some seconds later."""
        self.events["rename, created later"] += 1
        log.path.rename(self._shift(log))
        self._close(log)
        log.due = time.monotonic() + self._draw.uniform(0.1, 3)

    def _copytruncate(self, log: Log) -> None:
        self.events["copytruncate"] += 1
        shutil.copy(log.path, self._shift(log))
        os.truncate(log.path, 0)

    def _compress(self, log: Log) -> None:
        self._rename(log, "rename and compress")
        self._pack(log.old[0])

    def _compress_later(self, log: Log) -> None:
        self._rename(log, "rename, compressed later")
        old = log.old[0]
        self._later.append((old.at + self._draw.uniform(1, 30), lambda: old in log.old and self._pack(old)))

    def _pack(self, old: Old) -> None:
        """As gzip does: with the times of the file, which goes when its compressed form is complete."""
        packed, status = old.path.with_name(f"{old.path.name}.gz"), old.path.stat()
        with old.path.open("rb") as plain, gzip.open(packed, "wb", 1) as file:
            shutil.copyfileobj(plain, file)
        os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
        old.path.unlink()
        old.path = packed

    def _end(self, log: Log) -> None:
        """Nothing more is written to a log; it is removed when it was seen, and another one comes."""
        self._settle(log)
        self._close(log)
        log.ended = True
        self._remove(log)
        self._add()

    def _remove(self, log: Log) -> None:
        if log.last > self._seen():
            self._later.append((time.monotonic() + 1, lambda: self._remove(log)))
            return
        for path in [*(old.path for old in reversed(log.old)), log.path]:
            path.unlink()
        log.old = []
        self.removed.append(time.monotonic())
        self.events["logs removed"] += 1
