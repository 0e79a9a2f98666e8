"""What the agent tells of its sources: losses, nothing to read, and the condition of what is configured."""

import http.client
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from helpers.manual_clock import ManualClock
from helpers.processes import run_agent, start_agent
from helpers.waiting import free_port, rows_of, until

from agent.alerting.notices import HOUR, Notices
from agent.app.source_notices import IDLE, IdleNotice
from agent.commands.status import read_status, show
from agent.errors import ConfigError
from agent.sources.condition import Condition, nothing_to_read

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
LINE = b"Mar 10 12:00:00 web1 shopd[1]: a line\n"


@pytest.fixture
def start(tmp_path, bundle) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts the agent on sources; what still runs at the end of the test is killed."""
    running: list[subprocess.Popen] = []

    def begin(*sources: Path, port: int = 0, **env: str) -> subprocess.Popen:
        names = ", ".join(f"{{path: '{one}', from: start}}" for one in sources)
        metrics = f"metrics: 127.0.0.1:{port}\n" if port else ""
        (tmp_path / "agent.yaml").write_text(
            f"sources: [{names}]\nbundle: {bundle}\nstate: {tmp_path}/state\nsinks: ['jsonl:{tmp_path}/out']\n{metrics}"
        )
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running.append(start_agent("run", "--config", tmp_path / "agent.yaml", env=env, **quiet))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait(30)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
    except OSError:  # it has not begun
        return 0, ""


def conditions(state: Path) -> dict[str, str]:
    try:
        return {Path(one.path).name: one.condition for one in read_status(state).configured}
    except ConfigError:  # it has not begun
        return {}


def test_an_agent_without_a_file_is_not_ready_and_lists_what_it_waits_for(start, tmp_path):
    log, port = tmp_path / "a.log", free_port()
    start(log, tmp_path / "*.txt", port=port)
    until(lambda: get(port, "/readyz")[0] == 503 and "nothing to read" in get(port, "/readyz")[1])
    assert get(port, "/healthz")[0] == 200
    until(lambda: conditions(tmp_path / "state") == {"a.log": "waiting for the file", "*.txt": "names no file"})
    assert "nothing to read: " in show(read_status(tmp_path / "state"))
    told = json.loads(run_agent("status", "--state", tmp_path / "state", "--json").stdout)["configured"]
    assert told[1] == {"path": f"{tmp_path}/*.txt", "condition": "names no file", "reason": ""}
    metric = f'oddline_configured{{source="{log}",condition="waiting for the file"}} 1'
    assert metric in get(port, "/metrics")[1]
    log.write_bytes(LINE)
    until(lambda: get(port, "/readyz") == (200, "ok\n"))
    until(lambda: conditions(tmp_path / "state") == {"a.log": "open", "*.txt": "names no file"})
    assert "nothing to read" not in show(read_status(tmp_path / "state"))


def test_what_cannot_be_opened_is_listed_with_the_reason(start, tmp_path):
    log = tmp_path / "a.log"
    start(log)
    until(lambda: conditions(tmp_path / "state") == {"a.log": "waiting for the file"})
    log.mkdir()
    until(lambda: conditions(tmp_path / "state") == {"a.log": "cannot be opened"})
    (condition,) = read_status(tmp_path / "state").configured
    assert "is a directory" in condition.reason


def test_systemd_is_told_that_it_is_ready_with_nothing_to_read(start, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{tmp_path}/notify")
        manager.settimeout(120)
        start(tmp_path / "a.log", NOTIFY_SOCKET=f"{tmp_path}/notify")
        word = manager.recv(4096).decode()
    assert word.startswith("READY=1\nSTATUS=nothing to read: ")


def test_nothing_to_read_is_told_after_a_minute_and_hourly_while_it_lasts():
    clock, notices = ManualClock(date=NOON), Notices("web1")
    idle = IdleNotice(clock)

    def told(seconds: float, problem: str) -> int:
        clock.seconds = seconds
        idle.update(problem, notices)
        return sum(notice.reason.name == "nothing to read" for notice in notices.take(NOON)[0])

    assert told(5, "nothing to read: a") == told(IDLE, "nothing to read: a") == 0
    assert told(30, "") == told(IDLE + 40, "nothing to read: a") == 0
    assert told(2 * IDLE + 40, "nothing to read: a") == 1
    assert told(2 * IDLE + 41, "nothing to read: a") == told(HOUR, "nothing to read: a") == 0


def test_one_open_source_is_something_to_read_and_ended_ones_are_no_problem():
    waiting, opened, ended = (Condition("/a", one) for one in ("waiting for the file", "open", "ended"))
    assert nothing_to_read([waiting] * 5).endswith("and 2 more")
    assert nothing_to_read([waiting, ended]) and not nothing_to_read([waiting, opened])
    assert nothing_to_read([ended, ended]) == nothing_to_read([]) == ""
    refused = Condition("/b", "cannot be opened", "no permission")
    assert nothing_to_read([refused]) == "nothing to read: /b: cannot be opened (no permission)"


def test_a_loss_is_told_once_with_its_words_its_source_and_its_bytes(start, tmp_path):
    log, out = tmp_path / "a.log", tmp_path / "out"
    log.write_bytes(LINE * 5)
    start(log)
    until(lambda: read_lines(tmp_path / "state") == 5)
    for size, lines in ((1, 6), (2, 8)):
        os.truncate(log, 0)
        until(lambda size=size: read_status(tmp_path / "state").totals.truncations >= size)
        with log.open("ab") as file:
            file.write(LINE * size)
        until(lambda lines=lines: read_lines(tmp_path / "state") == lines)
    until(lambda: [row for row in (rows_of(out) if out.exists() else []) if row["kind"] == "notice"])
    (notice,) = (row for row in rows_of(out) if row["kind"] == "notice")
    assert (notice["source"], notice["reason"]["name"]) == (str(log), "loss")
    assert "was truncated or overwritten after" in notice["message"]
    assert f"(losses of {log} so far: 1, with " in notice["message"]


def read_lines(state: Path) -> int:
    try:
        return read_status(state).totals.lines_read
    except ConfigError:
        return 0
