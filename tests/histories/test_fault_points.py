"""The agent is killed at every write that it makes to its state: no alert is lost, and all counts add up afterwards.

The signal comes when the system call is entered, so the write itself is not made any more. The agent is `agent tail`
as a process of its own, forked from one that has imported it already, since the imports take longer than all the rest.
"""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.made_up import made_up_lines
from helpers.processes import environment, require_program, start_agent
from helpers.waiting import rows_of, text_of, until

from agent.commands.status import read_status
from agent.errors import ConfigError
from agent.state.store import FILE, LOCK

LINES = 60  # a log
LOGS = ("one.log", "two.log")
Alerts = dict[str, list[tuple[int, str]]]
FORKING = """
import ctypes, json, os, signal, sys
import agent.cli, agent.commands.command_line, agent.app.service, agent.delivery.sinks.jsonl, numpy, onnxruntime
for line in sys.stdin:
    arguments, errors, traced = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        if traced:
            ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1))  # PR_SET_PTRACER: anybody may trace this process
            os.kill(os.getpid(), signal.SIGSTOP)
        sys.argv = ["agent", *arguments]
        agent.cli.main()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Agents:
    """Runs the agent on two logs, whole or up to a system call at which it is killed; the state is in `folder`."""

    def __init__(self, tmp_path: Path, bundle: Path, forking: subprocess.Popen) -> None:
        self.folder, self.alerts, self._errors = tmp_path / "state", tmp_path / "out" / "alerts", tmp_path / "errors"
        self.logs = [tmp_path / name for name in LOGS]
        self.command = ["tail", *self.logs, "--from", "start", "-b", bundle, "--state", self.folder]
        self.command += ["--sink", f"jsonl:{self.alerts}"]
        self._forking, self._trace = forking, tmp_path / "trace"

    def clear(self) -> None:
        """Takes away what the runs before have left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.alerts.parent, ignore_errors=True)
        self._errors.unlink(missing_ok=True)
        self.alerts.parent.mkdir()

    def run(self, traced: list[str] | None = None) -> int:
        """Runs the agent to its end or to the system call that strace is told; the exit code."""
        order = [*map(os.fspath, self.command), "--once"], os.fspath(self._errors), traced is not None
        self._forking.stdin.write(json.dumps(order) + "\n")
        self._forking.stdin.flush()
        process = int(self._forking.stdout.readline())
        if traced is None:
            return int(self._forking.stdout.readline())
        until(lambda: Path(f"/proc/{process}/stat").read_text().split()[2] == "T")
        strace = [require_program("strace"), "-qq", "-f", "-o", self._trace, *traced, "-p", str(process)]
        with subprocess.Popen(strace) as tracer:
            until(lambda: f"TracerPid:\t{tracer.pid}\n" in Path(f"/proc/{process}/status").read_text())
            os.kill(process, signal.SIGCONT)
            return int(self._forking.stdout.readline())

    def kill_at(self, call: str, number: int, files: tuple[str, ...]) -> bool:
        """Kills the agent when one of its threads enters a system call on these files so often; whether it did."""
        paths = [part for name in files for part in ("-P", str(self.folder / name))]
        code = self.run([*paths, "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}"])
        assert code in (0, -signal.SIGKILL), self.errors()
        return code != 0

    def sent(self) -> Alerts:
        """The line and id of each alert that was delivered, in order, for each log: which is read first is open."""
        found: Alerts = {str(log): [] for log in self.logs}
        for alert in rows_of(self.alerts):
            found[alert["source"]].append((alert["line"], alert["id"]))
        return found

    def errors(self) -> str:
        return text_of(self._errors)


@pytest.fixture
def agents(tmp_path, bundle) -> Iterator[Agents]:
    require_program("strace")
    for seed, name in enumerate(LOGS):
        lines = made_up_lines(LINES, seed, odd=(20, 30, 40, 50))
        (tmp_path / name).write_bytes(b"".join(lines))
    command, pipe = [sys.executable, "-c", FORKING], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment(None), text=True) as forking:
        yield Agents(tmp_path, bundle, forking)
        forking.stdin.close()


def count_of(alerts: Alerts) -> int:
    return sum(map(len, alerts.values()))


def expected_alerts(agents: Agents) -> Alerts:
    agents.clear()
    assert agents.run() == 0, agents.errors()
    assert_whole(agents, agents.sent())
    assert min(map(len, agents.sent().values())) >= 4
    return agents.sent()


def assert_whole(agents: Agents, expected: Alerts) -> None:
    """What the state tells is that of a run that nothing has interrupted."""
    status = read_status(agents.folder)
    assert [(one.path, one.offset, one.line, one.backlog) for one in status.sources] == [
        (str(log), log.stat().st_size, LINES + 1, 0) for log in agents.logs
    ]
    counts = status.totals
    assert (counts.lines_read, counts.alerts) == (2 * LINES, count_of(expected))
    assert counts.bytes_read == sum(log.stat().st_size for log in agents.logs)
    assert [(one.delivered, one.waiting, one.lost) for one in status.sinks] == [(count_of(expected), 0, {})]


def assert_recovers(agents: Agents, expected: Alerts, point: str) -> None:
    """The next run goes on where the killed one was: only what that had sent and not noted is sent again."""
    before = agents.sent()
    assert agents.run() == 0, agents.errors()
    for log, alerts in agents.sent().items():
        wanted, first = expected[log], len(before[log])
        rest = alerts[first:]
        assert alerts[:first] == wanted[:first] and rest == wanted[len(wanted) - len(rest) :], point
        assert first + len(rest) >= len(wanted), point
    assert_whole(agents, expected)
    assert "damaged" not in agents.errors() and "Traceback" not in agents.errors(), (point, agents.errors())
    assert not list(agents.folder.glob("*.new*")), point


def kill_everywhere(
    agents: Agents, call: str, files: tuple[str, ...], begin: Callable[[], None], most: int = 1000
) -> int:
    """Kills one agent after the other at the first, second, ... of such calls until one has fewer; how many."""
    begin()
    expected, number = expected_alerts(agents), 1
    begin()
    while number <= most and agents.kill_at(call, number, files):
        assert_recovers(agents, expected, f"{call} number {number}")
        number += 1
        begin()
    if number > most:
        return most
    assert agents.sent() == expected
    return number - 1


EVERY = (FILE, f"{FILE}-wal", f"{FILE}.new", LOCK)


@pytest.mark.parametrize(
    ("call", "least"), [("pwrite64", 60), ("fdatasync", 8), ("ftruncate", 3), ("rename", 1), ("unlink", 1)]
)
def test_a_kill_at_any_write_of_the_loop_loses_nothing(agents, call, least):
    count = kill_everywhere(agents, call, EVERY, agents.clear)
    print(f"killed at {count} calls of {call}")
    assert count >= least


@pytest.mark.parametrize(("call", "least"), [("pwrite64", 8), ("fdatasync", 1)])
def test_a_kill_at_any_write_of_a_delivery_loses_nothing(agents, tmp_path, call, least):
    """A state is prepared in which all alerts wait, so that the thread of the sink is the first that writes."""
    prepared = undelivered(agents, tmp_path / "prepared")
    count = kill_everywhere(agents, call, (f"{FILE}-wal",), lambda: begin_with(agents, prepared))
    print(f"killed at {count} calls of {call} in the thread of a sink")
    assert count >= least


@pytest.mark.parametrize(("call", "most"), [("pwrite64", 14), ("fdatasync", 3)])
def test_a_kill_while_a_state_of_version_1_is_migrated_loses_nothing(agents, tmp_path, call, most):
    prepared = undelivered(agents, tmp_path / "prepared")
    db = sqlite3.connect(prepared / FILE)
    db.executescript("DROP TABLE lost; PRAGMA user_version = 1")
    db.close()
    count = kill_everywhere(agents, call, (FILE, f"{FILE}-wal"), lambda: begin_with(agents, prepared), most)
    assert count == most


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_kill_while_a_damaged_state_is_set_aside_is_no_hindrance(agents, tmp_path, number):
    """The database and its log are moved and a new one is put in their place; after each kill the rest is done."""
    prepared, expected = undelivered(agents, tmp_path / "prepared"), expected_alerts(agents)
    with (prepared / FILE).open("r+b") as file:
        file.write(b"junk")
    (prepared / f"{FILE}-shm").unlink()  # so that its name is not moved
    begin_with(agents, prepared)
    assert agents.kill_at("rename", number, EVERY)
    assert count_of(agents.sent()) == 0 and agents.run() == 0, agents.errors()
    assert agents.sent() == expected
    assert_whole(agents, expected)
    names = sorted(path.name for path in agents.folder.glob("*.damaged-*"))
    assert len(names) == 2 and not names[0].endswith("-wal") and names[1].endswith("-wal")
    assert "set aside" in agents.errors() or number == 3


def undelivered(agents: Agents, prepared: Path) -> Path:
    """A state in which all alerts wait, as a kill has left it."""
    agents.clear()
    agents.alerts.parent.rmdir()
    with start_agent(*agents.command, stderr=subprocess.DEVNULL) as process:
        until(lambda: waiting(agents.folder) >= 8 and read_status(agents.folder).totals.lines_read == 2 * LINES)
        process.kill()
    return Path(shutil.move(agents.folder, prepared))


def begin_with(agents: Agents, prepared: Path) -> None:
    agents.clear()
    shutil.copytree(prepared, agents.folder)


def waiting(folder: Path) -> int:
    try:
        return sum(sink.waiting for sink in read_status(folder).sinks)
    except ConfigError:  # not there yet
        return 0
