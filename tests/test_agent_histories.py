"""Whatever happens to the logs and to the agent, in any order: its alerts are those of an uninterrupted reading.

A history is a random sequence of events, drawn from a seed, around `agent run` as a process of its own.
"""

import json
import os
import random
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import made_up_lines, run_agent, start_agent, until
from rotated_log import RotatedLog

from agent.bundle import Bundle, Threshold
from agent.config import AgentConfig
from agent.errors import ConfigError
from agent.lines import LineSplitter
from agent.setup import build_pipeline, load_bundle
from agent.status import Status, read_status

pytestmark = [pytest.mark.usefixtures("no_thread_left"), pytest.mark.timeout(0)]
FIXED = range(20)
FRESH = 10
EVENTS = 15
AT_ONCE = 2


class Agent:
    """`agent run` on a configuration; what it says goes into the file `said`, its state and its alerts into folders."""

    def __init__(self, folder: Path, state: Path, config: AgentConfig) -> None:
        self.folder, self.state, self.out = folder, state, folder / "out"
        self.alerts = self.out / "alerts"
        self.killed_at: list[int] = []  # how many alerts were delivered before each kill
        self._process: subprocess.Popen | None = None
        self._config = folder / "agent.yaml"
        self.out.mkdir()
        config = msgspec.structs.replace(config, state=str(state), sinks=[f"jsonl:{self.alerts}"])
        self._config.write_bytes(msgspec.yaml.encode(config))

    @property
    def process(self) -> subprocess.Popen:
        assert self._process is not None
        return self._process

    @property
    def runs(self) -> bool:
        return self._process is not None

    def start(self, ready: bool = True) -> None:
        """ready: only once the agent says so, as it would to systemd."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, open(self.folder / "said", "ab") as said:
            manager.bind(f"\0{self.folder}")
            manager.settimeout(0.2)
            pipes = {"stdout": subprocess.DEVNULL, "stderr": said, "env": {"NOTIFY_SOCKET": f"@{self.folder}"}}
            self._process = start_agent("run", "--config", self._config, **pipes)
            if ready:
                until(lambda: self._is_ready(manager), 120)

    def _is_ready(self, manager: socket.socket) -> bool:
        assert self.process.poll() is None, "the agent ended while it started"
        with suppress(TimeoutError):
            return manager.recv(4096).startswith(b"READY=1\n")
        return False

    def tell(self, number: int) -> None:
        assert self.process.poll() is None, f"the agent has ended with {self.process.returncode}"
        self.process.send_signal(number)

    def terminate(self) -> None:
        self.tell(signal.SIGTERM)
        assert self.process.wait(60) == 0
        self._process = None

    def kill(self) -> None:
        if self._process is not None:
            self.tell(signal.SIGKILL)
            self.process.wait(60)
            self._process = None
            self.killed_at.append(len(self.delivered()))

    def delivered(self) -> list[dict[str, Any]]:
        """The alerts in the sink, in order."""
        return [json.loads(line) for line in self.alerts.read_bytes().splitlines()] if self.alerts.exists() else []

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def status(self) -> Status | None:
        with suppress(ConfigError):
            return read_status(self.state)
        return None


class History:
    """Logs, the agent that reads them, and what happens to both."""

    def __init__(self, folder: Path, state: Path, seed: int) -> None:
        folder.mkdir()
        self.draw = random.Random(seed)
        self.folder, self.events = folder, list[str]()
        self._numbers = count(1)
        self.logs: list[RotatedLog] = []
        self.threshold = self.draw.choice([None, Threshold(kind="fixed", value=0.01)])
        self.make_logs()
        start = self.draw.choice(["start", "end"])
        self.agent = Agent(folder, state, AgentConfig(self.sources(), threshold=self.threshold, start=start))

    def make_logs(self) -> None:
        (self.folder / "logs").mkdir()
        self.add(self.folder / "logs" / "app.log")

    def sources(self) -> list[str]:
        return [str(log.name) for log in self.logs]

    def add(self, name: Path, path: Path | None = None) -> RotatedLog:
        seed = self.draw.randrange(1 << 30)
        draw = random.Random(seed)
        odd = tuple(number for number in range(2000) if draw.random() < 0.2)
        self.logs.append(
            RotatedLog(name, path or name, iter([x.rstrip() for x in made_up_lines(2000, seed, odd)]), draw)
        )
        return self.logs[-1]

    # what happens to a log

    def write(self) -> None:
        self.draw.choice(self.logs).write_some()

    def write_part(self) -> None:
        self.draw.choice(self.logs).write_part()

    def rename(self) -> None:
        self.draw.choice(self.logs).rename()

    def rotate_often(self) -> None:
        self.draw.choice(self.logs).rotate_often()

    def copytruncate(self) -> bool:
        return self.draw.choice(self.logs).copytruncate()

    def compress(self) -> bool:
        return self.draw.choice(self.logs).compress()

    def drop_oldest(self) -> bool:
        return self.draw.choice(self.logs).drop_oldest()

    # what happens to the agent

    def settle(self) -> None:
        """Waits until the agent has read all lines that are complete."""
        if not self.agent.runs:
            self.agent.start()
        until(self._all_read, 60)
        for log in self.logs:
            log.see()

    def _all_read(self) -> bool:
        status = self.agent.status()
        return status is not None and status.totals.lines_read == sum(len(log.lines) for log in self.logs)

    def terminate(self) -> bool:
        if not self.agent.runs:
            return False
        self.agent.terminate()
        return True

    def kill(self) -> bool:
        if not self.agent.runs:
            return False
        self.agent.kill()
        return True

    def start(self) -> bool:
        if self.agent.runs:
            return False
        self.agent.start()
        return True

    def pause(self) -> None:
        """Time for the agent to look, and at times to leave a rotated file."""
        time.sleep(self.draw.choice([0.0, 0.0, 0.02, 0.1, 0.3, 1.2]))

    def happen(self, event: Callable[[], bool | None]) -> None:
        if self.agent.runs:
            for log in self.logs:
                log.meet()
        self.events.append(event.__name__)
        if event() is False:
            self.events.pop()
        self.pause()

    def run(self) -> None:
        likely: dict[Callable[[], bool | None], float] = {
            self.write: 8, self.write_part: 2, self.rename: 3, self.rotate_often: 1.5, self.copytruncate: 2,
            self.compress: 3, self.drop_oldest: 1, self.settle: 1, self.terminate: 1, self.kill: 2, self.start: 3,
        }  # fmt: skip
        self.agent.start()
        while len(self.events) < EVENTS:
            (event,) = self.draw.choices([*likely], [*likely.values()])
            self.happen(event)
        for log in self.logs:
            log.write(3)
        self.settle()
        self.agent.terminate()


@cache
def embedded() -> Bundle:
    return load_bundle("default", "cpu")


def expected_alerts(history: History, log: RotatedLog) -> list[dict[str, Any]]:
    """The alerts of all lines of a log in one file that nothing happens to."""
    pipeline = build_pipeline(embedded(), AgentConfig(threshold=history.threshold))
    block = LineSplitter(str(log.name)).feed(b"".join(line.text + b"\n" for line in log.lines))
    alerts = pipeline.alerts(pipeline.score(block), "", datetime.now().astimezone())
    places = [log.lines[alert.line - 1] for alert in alerts]
    found = zip(msgspec.to_builtins(alerts), places, strict=True)
    return [alert | {"offset": place.offset, "line": place.number} for alert, place in found]


def comparable(alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Alerts without what depends on the inode, and without times at which a line was read that has none of its own."""
    return [{key: value for key, value in alert.items() if key != "id" and not _is_now(key, value)} for alert in alerts]


def _is_now(key: str, value: object) -> bool:
    return key in ("time", "first_seen", "last_seen") and "-03-09T" not in str(value)


def unique(rows: list[dict[str, Any]], killed_at: list[int]) -> list[dict[str, Any]]:
    """Alerts without those that came again; these follow a kill, and are those that came last before it, in order."""
    ids = [row["id"] for row in rows]
    again = set[int]()
    for before in killed_at:
        repeated = next(
            (
                n
                for n in range(min(before, len(ids) - before), 0, -1)
                if ids[before - n : before] == ids[before : before + n]
            ),
            0,
        )
        again |= set(range(before, before + repeated))
    kept = [row for place, row in enumerate(rows) if place not in again]
    assert len({row["id"] for row in kept}) == len(kept), f"repeated though nothing was killed: {ids}, {killed_at}"
    return kept


def check(history: History) -> int:
    """Holds what the agent told against the lines that were written; the number of alerts."""
    agent, logs = history.agent, history.logs
    told = unique(agent.delivered(), agent.killed_at)
    for log in logs:
        found = [alert for alert in told if alert["source"] == str(log.name)]
        assert comparable(found) == comparable(expected_alerts(history, log)), log.name
    assert {alert["source"] for alert in told} <= {str(log.name) for log in logs}
    shown = run_agent("status", "--state", agent.state, "--json")
    assert shown.returncode == 0
    status = json.loads(shown.stdout)
    counts = {source["path"]: source["counts"] for source in status["sources"]}
    assert {str(log.name): len(log.lines) for log in logs} == {
        path: count["lines_read"] for path, count in counts.items()
    }
    assert (status["totals"]["losses"], status["totals"]["bytes_lost"]) == (0, 0)
    assert [(sink["waiting"], sink["lost"]) for sink in status["sinks"]] == [(0, {})]
    for word in ("Traceback", "fault of oddline", " lost"):
        assert word not in agent.said()
    return len(told)


def live_through(folder: Path, state: Path, seed: int) -> int:
    history = History(folder, state, seed)
    try:
        history.run()
        return check(history)
    except BaseException as error:
        said = history.agent.said() if (folder / "said").exists() else ""
        raise AssertionError(f"seed {seed}: {error}\n{history.events}\n{said}") from error
    finally:
        history.agent.kill()


def test_histories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fresh = int(os.environ.get("ODDLINE_SEED", secrets.randbelow(1 << 32)))
    seeds = [*FIXED, *range(fresh, fresh + int(os.environ.get("ODDLINE_AGENT_HISTORIES", FRESH)))]
    with capsys.disabled():
        print(f"\n{len(seeds)} histories, {len(seeds) - len(FIXED)} of them from ODDLINE_SEED={fresh} on")

    def live(seed: int) -> int:
        return live_through(tmp_path / str(seed), tmp_path / f"{seed}.state", seed)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            told = list(pool.map(live, seeds))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    assert sum(told) >= 2 * len(seeds)
