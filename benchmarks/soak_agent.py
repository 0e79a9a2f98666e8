"""The agent of the soak: a process of its own that is started, watched, asked to reload, ended and killed."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_COMMAND = [sys.executable, "-c", "from agent.cli import main; main()"]
_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
SEEN_AFTER = 10.0  # seconds without a kill after which the agent must have seen what was there before them
_WAYS = {"SIGKILL": 8, "SIGTERM": 2, "SIGHUP": 2}  # how often each signal comes
_STUCK = 60.0  # seconds that a start or an end may take


class Sample(NamedTuple):
    """The process at one moment: seconds since its start, resident bytes, open file handles; and the moment."""

    age: float
    resident: int
    handles: int
    at: float


class Run(NamedTuple):
    """One life of the process. how: its signal. sent: how long the file of alerts was at its end."""

    how: str
    sent: int
    samples: list[Sample]


class Agent:
    """Runs `agent run --config`, and sends it signals at random times, SIGKILL about every so many seconds."""

    def __init__(self, work: Path, sources: list[str], every: float, seed: int) -> None:
        self.work, self.state, self.alerts, self.config = work, work / "state", work / "alerts", work / "agent.yaml"
        self.said = work / "said"
        self.events: Counter[str] = Counter()
        self.runs: list[Run] = []
        self.starts: list[float] = []  # seconds until the agent was ready, after a kill
        self.cpu = self.up = 0.0  # seconds of the processor and of the clock, over all lives
        self.faults: list[str] = []
        self._every, self._draw, self._port = every, random.Random(seed), _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._began = self._ready = self._asked = 0.0
        self._samples: list[Sample] = []
        self._used = self._last_seen = 0.0
        self._start_at, self._how = time.monotonic(), ""
        self._hit_at = self._start_at + self._pause()
        content = {"sources": sources, "from": "start", "state": str(self.state), "sinks": [f"jsonl:{self.alerts}"]}
        self.config.write_text(json.dumps(content | {"metrics": f"127.0.0.1:{self._port}"}))

    @property
    def seen(self) -> float:
        """Up to which moment the agent must have seen everything."""
        now = time.monotonic()
        return now - SEEN_AFTER if self._ready and now - self._ready >= SEEN_AFTER else self._last_seen

    @property
    def last(self) -> Sample | None:
        """The last sample of the process that runs."""
        return self._samples[-1] if self._samples else None

    @property
    def is_ready(self) -> bool:
        """Whether it reads."""
        return self._ready > 0

    def step(self, may_hit: bool) -> None:
        """Does what is due: starts it, finds that it is ready or has ended, sends it a signal."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at:
                self._start()
        elif self._process.poll() is not None:
            self._ended(now)
        elif not self._ready:
            self._look(now)
        elif self._asked:
            if now - self._asked > _STUCK:
                self._kill(f"SIGTERM did not end the agent within {_STUCK:.0f} s")
        elif now >= self._hit_at:
            self._hit_at = now + self._pause()
            if may_hit:
                self._hit(now)

    def _pause(self) -> float:
        return self._draw.uniform(0.2, 1.8) * self._every * _WAYS["SIGKILL"] / sum(_WAYS.values())

    def _start(self) -> None:
        self._samples, self._used, self._ready, self._asked = [], 0.0, 0.0, 0.0
        self._began, self._how = time.monotonic(), ""
        with self.said.open("ab") as said:
            self._process = subprocess.Popen(
                [*_COMMAND, "run", "--config", self.config],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # Ctrl-C is not for it
            )

    def _look(self, now: float) -> None:
        if self.ask("/readyz") is not None:
            self._ready = now
            if self.runs:
                self.starts.append(now - self._began)
        elif now - self._began > _STUCK:
            self._kill(f"the agent was not ready {_STUCK:.0f} s after its start")

    def _hit(self, now: float) -> None:
        way = self._draw.choices([*_WAYS], [*_WAYS.values()])[0]
        if way == "SIGHUP":
            self.events[way] += 1
            self._process.send_signal(signal.SIGHUP)
        elif way == "SIGTERM":
            self.end()
        else:
            self._how = way
            self._process.kill()

    def _kill(self, fault: str) -> None:
        self.faults.append(fault)
        self._how = "SIGKILL"
        self._process.kill()

    def end(self) -> None:
        """Asks the agent to end."""
        if self._process is not None and not self._asked:
            self._how, self._asked = "SIGTERM", time.monotonic()
            self._process.terminate()

    def _ended(self, now: float) -> None:
        expected = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 0}.get(self._how)
        if self._process.returncode != expected:
            self.faults.append(f"the agent ended by itself ({self._process.returncode}); its last words: {self.words}")
        self._last_seen = self.seen
        self.events[self._how or "ended by itself"] += 1
        self.runs.append(Run(self._how, self._size(), self._samples))
        self.cpu, self.up = self.cpu + self._used, self.up + now - self._began
        self._process, self._ready = None, 0.0
        self._start_at = now + self._draw.choice([0.0, 0.0, self._draw.uniform(0, 4)])

    @property
    def words(self) -> str:
        """The last that the agent said."""
        return " / ".join(self.said.read_text("utf-8", "replace").splitlines()[-3:]) if self.said.exists() else ""

    def _size(self) -> int:
        return self.alerts.stat().st_size if self.alerts.exists() else 0

    def sample(self) -> None:
        """Looks at the process, once a second."""
        if self._process is None or self._process.poll() is not None:
            return
        with suppress(OSError):  # it ends just now
            folder = Path("/proc") / str(self._process.pid)
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            self._used = (int(fields[11]) + int(fields[12])) / _TICKS
            resident = int((folder / "statm").read_text().split()[1]) * _PAGE
            now = time.monotonic()
            self._samples.append(Sample(now - self._began, resident, len(os.listdir(folder / "fd")), now))

    def ask(self, path: str) -> str | None:
        """What the agent serves at a path; None where it does not, or says no."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            return None

    def kill(self) -> None:
        """Ends the process at once, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wait_ended(self) -> None:
        """Ends the agent and waits for it."""
        self.end()
        while self._process is not None:
            self.step(False)
            time.sleep(0.05)

    def status(self) -> dict:
        """What `agent status --json` says."""
        command = [*_COMMAND, "status", "--json", "--config", self.config]
        done = subprocess.run(command, capture_output=True, timeout=_STUCK, check=False)
        if done.returncode:
            self.faults.append(f"agent status ended with {done.returncode}: {done.stderr.decode().strip()}")
            return {}
        return json.loads(done.stdout)

    def reference(self, folder: Path) -> Path:
        """The alerts of another agent that reads whole logs, `*.log` in a folder, at one go; the file they are in."""
        alerts, state = self.work / "reference", self.work / "reference-state"
        command = [*_COMMAND, "tail", f"{folder}/*.log", "--from", "start", "--once", "--state", state]
        for _ in range(3):  # what is not delivered within a few seconds of the end is delivered by the next run
            done = subprocess.run([*command, "--sink", f"jsonl:{alerts}"], stderr=subprocess.PIPE, check=False)
            if done.returncode == 0:
                return alerts
        self.faults.append(f"the run for comparison failed: {done.stderr.decode().splitlines()[-1:]}")
        return alerts


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
