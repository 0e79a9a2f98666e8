"""The agent on many logs that are written and rotated all the time, killed at random times: does all add up at the end?

usage: python benchmarks/soak.py
SOAK_SECONDS (600), SOAK_FILES (200), SOAK_RATE (lines a second in all, 600), SOAK_KILL (mean seconds between two
SIGKILL, 45), SOAK_SEED (random) and SOAK_REFERENCE (1: a second agent reads all lines at one go at the end,
and must find the same) are read from the environment. Ctrl-C ends it early. Exit code 1: something does not add up.
docs/benchmarks/soak.md says what is done and what is checked.
"""

import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from soak_agent import Agent
from soak_logs import Logs
from soak_report import Report, check_alerts, check_counts, check_metrics, check_resources

from agent.commands.status import read_status
from agent.errors import ConfigError

_TICK, _PROGRESS = 0.05, 10.0
_STANDSTILL = 30.0  # seconds at the end in which the agent reads no more


class Soak:
    """One soak in a folder: the logs, the agent, and what is looked at every second."""

    def __init__(self, work: Path, seconds: float, files: int, rate: float, every: float, seed: int) -> None:
        self.seconds = seconds
        patterns = [str(work / "logs" / "a" / "*.log"), str(work / "logs" / "b" / "*")]
        self.agent = Agent(work, patterns, every, seed + 1)
        self.logs = Logs(work / "logs", work / "kept", files, rate, seed, lambda: self.agent.seen - 2 * self._behind)
        self.lag = 0.0
        self._written: deque[tuple[float, int]] = deque()
        self._began = time.monotonic()
        self._next_sample, self._next_word = self._began, self._began + _PROGRESS
        self._behind, self._read = 0.0, 0

    @property
    def _age(self) -> float:
        return time.monotonic() - self._began

    def run(self) -> None:
        """Lets it go on for its time, or until Ctrl-C."""
        self.logs.start()
        while self._age < self.seconds and not self.logs.fault:
            quiet = self.seconds / 3 <= self._age < self.seconds * 7 / 12  # for the slope of the memory
            self.agent.step(not quiet)
            self._look()
            time.sleep(_TICK)

    def catch_up(self) -> None:
        """Ends the writing, and waits until the agent has read and delivered everything, or does no more."""
        self.logs.stop()
        print("the writer has ended; the agent catches up", flush=True)
        read, since = -1, time.monotonic()
        while not self._is_done() and time.monotonic() - since < _STANDSTILL:
            self._wait(1.0)
            read, since = self._read, since if read == self._read else time.monotonic()
        self._wait(3.0)  # until the metrics tell of it too

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.agent.step(False)
            self._look()
            time.sleep(_TICK)

    def _is_done(self) -> bool:
        try:
            status = read_status(self.agent.state)
        except ConfigError:
            return False
        settled = status.totals.rotations + status.totals.truncations >= self.logs.rotations
        waiting = sum(sink.waiting for sink in status.sinks)
        return self.agent.is_ready and status.totals.lines_read >= self.logs.lines and settled and not waiting

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._next_sample:
            return
        self._next_sample = now + 1.0
        self.agent.sample()
        self._measure_lag(now)
        if now >= self._next_word:
            self._next_word = now + _PROGRESS
            self._tell()

    def _measure_lag(self, now: float) -> None:
        """How long ago the first line was written that is not read, to a second."""
        self._written.append((now, self.logs.lines))
        with suppress(ConfigError):  # there is no state yet
            self._read = read_status(self.agent.state).totals.lines_read
        while len(self._written) > 1 and self._written[0][1] <= self._read:
            self._written.popleft()
        self._behind = now - self._written[0][0]
        self.lag = max(self.lag, self._behind)

    def _tell(self) -> None:
        last = self.agent.last
        process = f"{last.resident / 1e6:.0f} MB, {last.handles} handles" if last else "starting"
        events = ", ".join(f"{count} {name}" for name, count in sorted(self.agent.events.items()))
        print(
            f"{self._age:5.0f} s: {self.logs.lines} lines written, {self._read} read, {self._behind:.0f} s behind, "
            f"{self.logs.rotations} rotations; agent: {process}; {events or 'no signal yet'}",
            flush=True,
        )

    def report(self, reference: bool) -> Report:
        """Checks everything."""
        report, agent = Report(), self.agent
        served = agent.ask("/metrics") or ""
        agent.wait_ended()
        status = agent.status()
        report.add("seconds", f"{self._age:.0f}")
        report.add("logs, with those that went and came", len(self.logs.every))
        report.add("signals", _listed(agent.events))
        report.add("rotations", _listed(self.logs.events))
        if status:
            check_counts(report, self.logs, status, agent.runs)
            check_metrics(report, served, status)
            check_alerts(report, self.logs, agent, status, agent.reference(self.logs.kept) if reference else None)
        check_resources(report, agent, self.lag)
        report.faults += [*agent.faults, *filter(None, [self.logs.fault])]
        return report


def _listed(events: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(events.items()))


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    """Runs the soak; the exit code."""
    seed = int(os.environ.get("SOAK_SEED", secrets.randbelow(1 << 31)))
    seconds, files, rate, every, reference = (
        float(os.environ.get(f"SOAK_{name}", default))
        for name, default in (("SECONDS", 600), ("FILES", 200), ("RATE", 600), ("KILL", 45), ("REFERENCE", 1))
    )
    signal.signal(signal.SIGTERM, _interrupt)
    work = Path(tempfile.mkdtemp(prefix="oddline-soak-"))
    print(f"SOAK_SEED={seed}: {files:.0f} logs, {rate:.0f} lines a second, {seconds:.0f} s, in {work}", flush=True)
    soak = Soak(work, seconds, int(files), rate, every, seed)
    report = Report()
    try:
        with suppress(KeyboardInterrupt):
            soak.run()
        soak.catch_up()
        report = soak.report(reference > 0)
        print(report.show(), flush=True)
    except KeyboardInterrupt:
        report.faults.append("ended before it could be checked")
    finally:
        soak.logs.stop()
        soak.agent.kill()
    if report.faults:
        print(f"kept for a look: {work}", flush=True)
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
