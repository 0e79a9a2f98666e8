"""Whatever happens to the logs and to the agent, in any order: its alerts are those of an uninterrupted reading.

A history is a random sequence of events, drawn from a seed, around `agent run` as a process of its own.
"""

import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime
from functools import cache
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from zlib import crc32

import msgspec
import pytest
from helpers.agent_process import AgentProcess
from helpers.made_up import made_up_lines
from helpers.processes import run_agent
from helpers.rotated_log import RotatedLog

from agent.alerting.pipeline import Pipeline
from agent.app.build import load_bundle
from agent.bundle.bundle import Bundle
from agent.bundle.manifest import Threshold
from agent.config import AgentConfig
from agent.text.lines import LineSplitter

pytestmark = [pytest.mark.usefixtures("no_thread_left"), pytest.mark.timeout(0)]
FIXED = range(20)
FRESH = 10
EVENTS = 15
BATCH = 5
AT_ONCE = 2  # of a batch
MOST_FILES = 4  # of a pattern
_DOUBT = " is gone since it was last read: what was written to it after byte "
LONGEST_QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


class History:
    """Logs, the agent that reads them, and what happens to both. An event that cannot be at present returns False.

    There are up to three inputs: a file, a pattern, and a link whose target changes.
    """

    def __init__(self, folder: Path, disk: Path | None, seed: int) -> None:
        self.draw = random.Random(seed)
        self.folder, self.events = folder, list[str]()
        self.logs: list[RotatedLog] = []
        self.gone: list[RotatedLog] = []
        self.linked: RotatedLog | None = None
        self._numbers = count(1)
        for name in ("logs", "many", "targets"):
            (folder / name).mkdir(parents=True)
        kinds = self.draw.sample([self._add_file, self._add_pattern, self._add_link], self.draw.randint(1, 3))
        sources = [add() for add in kinds]
        self.has_pattern = str(folder / "many" / "*.log") in sources
        threshold = self.draw.choice([None, Threshold(kind="fixed", value=0.01)])
        self.config = AgentConfig(sources, threshold=threshold, start=self.draw.choice(["start", "end"]))
        self.agent = AgentProcess(folder, disk, self.config)

    def _add(self, name: Path, path: Path | None = None, is_new: bool = False) -> RotatedLog:
        seed = self.draw.randrange(1 << 30)
        draw = random.Random(seed)
        odd = tuple(number for number in range(2000) if draw.random() < 0.2)
        texts = (line.rstrip() for line in made_up_lines(2000, seed, odd))
        self.logs.append(RotatedLog(name, path or name, texts, draw, is_new))
        return self.logs[-1]

    def _add_file(self) -> str:
        return str(self._add(self.folder / "logs" / "app.log").name)

    def _add_pattern(self) -> str:
        for _ in range(self.draw.randint(0, 2)):
            self._add(self.folder / "many" / f"n{next(self._numbers)}.log")
        return str(self.folder / "many" / "*.log")

    def _add_link(self) -> str:
        name, path = self.folder / "logs" / "link", self.folder / "targets" / f"n{next(self._numbers)}.log"
        name.symlink_to(path)
        self.linked = self._add(name, path)
        return str(name)

    # what happens to a log

    def write(self) -> bool:
        return self._any(RotatedLog.write_some)

    def write_part(self) -> bool:
        return self._any(RotatedLog.write_part)

    def rename(self) -> bool:
        return self._any(RotatedLog.rename)

    def rotate_often(self) -> bool:
        return self._any(RotatedLog.rotate_often)

    def copytruncate(self) -> bool:
        return self._any(RotatedLog.copytruncate)

    def compress(self) -> bool:
        return self._any(RotatedLog.compress)

    def drop_oldest(self) -> bool:
        return self._any(RotatedLog.drop_oldest)

    def _any(self, event: Callable[[RotatedLog], bool | None]) -> bool:
        return bool(self.logs) and event(self.draw.choice(self.logs)) is not False

    def add_to_pattern(self) -> bool:
        files = [log for log in self.logs if log.path.parent.name == "many"]
        if not self.has_pattern or len(files) >= MOST_FILES:
            return False
        self._add(self.folder / "many" / f"n{next(self._numbers)}.log", is_new=True).write_some()
        return True

    def remove_from_pattern(self) -> bool:
        files = [log for log in self.logs if log.path.parent.name == "many"]
        if not files:
            return False
        log = self.draw.choice(files)
        log.write(1)
        self.settle()
        log.path.unlink()
        self.logs.remove(log)
        self.gone.append(log)
        return True

    def swap_target(self) -> bool:
        """The agent reads the present target when the link comes to lead to another one, and that soon after."""
        if self.linked is None:
            return False
        self.linked.write(1)
        self.settle()
        self.linked.write_some()
        self.linked.move_to(self.folder / "targets" / f"n{next(self._numbers)}.log")
        link = self.folder / "logs" / "new"
        link.symlink_to(self.linked.path)
        link.rename(self.linked.name)
        self.linked.write(1)
        self.settle()
        return True

    # what happens to the agent

    def settle(self) -> None:
        """Waits until the agent, with nothing in its way, has read all lines that are complete."""
        self.start()
        self.agent.free()
        self.agent.wait_for_lines(sum(len(log.lines) for log in (*self.logs, *self.gone)))
        for log in self.logs:
            log.see()

    def start(self) -> bool:
        if not self.agent.runs:
            self.agent.start()
            return True
        return False

    def terminate(self) -> bool:
        return self._while_it_runs(self.agent.terminate)

    def kill(self) -> bool:
        return self._while_it_runs(self.agent.kill)

    def kill_early(self) -> bool:
        """Kills it while it starts."""
        if self.agent.runs:
            return False
        self.agent.start(ready=False)
        time.sleep(1.2 * self.draw.random())
        self.agent.kill()
        return True

    def reload(self) -> bool:
        return self._while_it_runs(lambda: self.agent.tell(signal.SIGHUP))

    def toggle_stop(self) -> bool:
        return self._while_it_runs(self.agent.go_on if self.agent.is_stopped else self.agent.stop)

    def flood(self) -> bool:
        """So many events in a folder while the agent is stopped that the kernel drops those that follow."""
        longest = int(LONGEST_QUEUE.read_text())
        if not self.agent.is_awake or longest > 50_000:
            return False
        self.agent.stop()
        noise = self.draw.choice(["logs", "many", "targets"])
        for _ in range(longest // 2 + 1):
            os.close(os.open(self.folder / noise / "noise", os.O_CREAT | os.O_WRONLY))
            (self.folder / noise / "noise").unlink()
        for event in self.draw.choices([self.write, self.rename, self.add_to_pattern], k=3):
            event()
        self.agent.go_on()
        return True

    def take_descriptors(self) -> bool:
        return self._while_it_runs(self.agent.take_descriptors)

    def fill_disk(self) -> bool:
        if self.agent.disk is None:
            return False
        return self._while_it_runs(self.agent.fill_disk)

    def move_sink(self) -> None:
        self.agent.move_sink()

    def free(self) -> bool:
        return self._while_it_runs(self.agent.free)

    def _while_it_runs(self, event: Callable[[], None]) -> bool:
        if self.agent.runs:
            event()
        return self.agent.runs or event in (self.agent.kill, self.agent.terminate)

    def happen(self, event: Callable[[], bool | None]) -> None:
        """An event, and then time for the agent to look, or to leave a rotated file."""
        if self.agent.is_awake:
            for log in self.logs:
                log.meet()
        self.events.append(event.__name__)
        if event() is False:
            self.events.pop()
        else:
            time.sleep(self.draw.choice([0.0, 0.0, 0.02, 0.1, 0.3, 1.2]))

    def run(self) -> None:
        likely = {
            self.write: 8, self.write_part: 2, self.rename: 3, self.rotate_often: 1.5, self.copytruncate: 2,
            self.compress: 3, self.drop_oldest: 1, self.add_to_pattern: 1, self.remove_from_pattern: 0.7,
            self.swap_target: 1, self.settle: 0.5, self.terminate: 0.7, self.kill: 1.5, self.kill_early: 0.5,
            self.start: 3, self.reload: 1, self.toggle_stop: 2, self.flood: 0.5, self.take_descriptors: 1,
            self.fill_disk: 1, self.move_sink: 1, self.free: 2,
        }  # fmt: skip
        self.agent.start()
        for log in self.logs:
            log.write(12)  # more than a window
        while len(self.events) < EVENTS:
            self.happen(*self.draw.choices([*likely], [*likely.values()]))
        for log in self.logs:
            log.write(3)
        self.settle()
        self.agent.terminate()


@cache
def embedded() -> Bundle:
    return load_bundle("default", "cpu")


def expected_alerts(config: AgentConfig, log: RotatedLog) -> list[dict[str, Any]]:
    """The alerts of all lines of a log in one file that nothing happens to."""
    pipeline = Pipeline(embedded(), config.scoring_settings(), config.alert_settings())
    block = LineSplitter(str(log.name)).feed(b"".join(line.text + b"\n" for line in log.lines))
    if block is None:
        return []
    alerts = pipeline.process(block, "", datetime.now().astimezone()).alerts
    places = [log.lines[alert.line - 1] for alert in alerts]
    found = zip(msgspec.to_builtins(alerts), places, strict=True)
    return [alert | {"offset": place.offset, "line": place.number} for alert, place in found]


def comparable(alerts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Alerts without what depends on the inode, and without the times at which lines were read."""
    return [{key: value for key, value in alert.items() if key != "id" and not _is_now(key, value)} for alert in alerts]


def _is_now(key: str, value: object) -> bool:
    return key == "read" or (key in ("time", "first_seen", "last_seen") and "-03-09T" not in str(value))


def without_repeats(rows: list[dict[str, Any]], killed_at: list[int]) -> list[dict[str, Any]]:
    """Alerts without those that came again: these follow a kill and are those that came last before it, in order."""
    ids, again = [row["id"] for row in rows], set[int]()
    for place in killed_at:
        most = min(place, len(ids) - place)
        same = (size for size in range(most, 0, -1) if ids[place - size : place] == ids[place : place + size])
        again |= set(range(place, place + next(same, 0)))
    kept = [row for place, row in enumerate(rows) if place not in again]
    assert len({row["id"] for row in kept}) == len(kept), f"repeated though nothing was killed: {ids}, {killed_at}"
    return kept


def check(history: History) -> int:
    """Holds what the agent told against the lines that were written; the number of alerts."""
    agent, logs = history.agent, [*history.logs, *history.gone]
    told = [row for row in without_repeats(agent.delivered(), agent.killed_at) if row["kind"] == "alert"]
    for log in logs:
        found = [alert for alert in told if alert["source"] == str(log.name)]
        assert comparable(found) == comparable(expected_alerts(history.config, log)), log.name
    assert {alert["source"] for alert in told} <= {str(log.name) for log in logs}
    shown = run_agent("status", "--state", agent.state, "--json")
    assert shown.returncode == 0
    status = json.loads(shown.stdout)
    read = {source["path"]: source["counts"]["lines_read"] for source in status["sources"]}
    written = {str(log.name): len(log.lines) for log in logs}
    forgotten = written.keys() - read.keys()  # those that were removed and for which a restart looked in vain
    assert read.items() <= written.items() and forgotten <= {str(log.name) for log in history.gone}
    assert status["gone"]["lines_read"] == sum(written[name] for name in forgotten)
    totals = status["totals"]
    assert (totals["lines_read"], totals["bytes_lost"]) == (sum(written.values()), 0)
    doubts = [line for line in agent.said().splitlines() if _DOUBT in line]  # nothing tells what came before a removal
    assert totals["losses"] <= len({line.split(_DOUBT)[0] for line in doubts}) <= len(forgotten)
    assert [(sink["waiting"], sink["lost"]) for sink in status["sinks"]] == [(0, {})]
    said = "\n".join(line for line in agent.said().splitlines() if line not in doubts)
    for word in ("Traceback", "fault of oddline", " lost"):
        assert word not in said
    return len(told)


def live(folder: Path, disk: Path | None, seed: int) -> int:
    """A history from its beginning to its end; the number of alerts."""
    history = History(folder, disk, seed)
    try:
        history.run()
        return check(history)
    except BaseException as error:
        raise AssertionError(f"seed {seed}: {error}\n{history.events}\n{history.agent.said()}") from error
    finally:
        history.agent.clean_up()


def batches() -> dict[str, range]:
    """The seeds of some histories each, the same in all processes that run tests: these have a name in common."""
    common = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex()
    fresh = int(os.environ.get("ODDLINE_SEED", crc32(common.encode())))
    count = int(os.environ.get("ODDLINE_AGENT_HISTORIES", FRESH))
    drawn = {"fixed": FIXED, "fresh": range(fresh, fresh + count)}
    parts = {name: [seeds[at : at + BATCH] for at in range(0, len(seeds), BATCH)] for name, seeds in drawn.items()}
    return {f"{name}-{number}": part for name, some in parts.items() for number, part in enumerate(some)}


BATCHES = batches()


@pytest.fixture
def disks(tmp_path) -> Iterator[list[Path | None]]:
    """A small file system for each history that runs at a time; None where mounting is not permitted."""
    found: list[Path | None] = []
    with ExitStack() as mounted:
        for number in range(AT_ONCE):
            disk = tmp_path / f"disk{number}"
            disk.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "oddline-test", disk]
            permitted = shutil.which("mount") and subprocess.run(mount, capture_output=True).returncode == 0
            found.append(disk if permitted else None)
            if permitted:
                mounted.callback(subprocess.run, ["umount", disk], check=True)
        yield found


@pytest.mark.parametrize("seeds", BATCHES.values(), ids=BATCHES)
def test_histories(tmp_path: Path, disks: list[Path | None], seeds: range) -> None:
    free = SimpleQueue[Path | None]()
    for disk in disks:
        free.put(disk)

    def live_on_a_disk(seed: int) -> int:
        disk = free.get()
        try:
            return live(tmp_path / str(seed), disk, seed)
        finally:
            free.put(disk)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            told = list(pool.map(live_on_a_disk, seeds))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    print(f"{sum(told)} alerts in the histories of the seeds {seeds}")
    assert sum(told) >= 2 * len(seeds)
