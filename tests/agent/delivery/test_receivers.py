"""The whole agent against receivers that are stopped, gone, slow or deaf: what it reads, tells, keeps and delivers."""

import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from helpers.made_up import made_up_lines
from helpers.processes import require_program, run_agent, start_agent
from helpers.rsyslog import Rsyslog
from helpers.waiting import rows_of, until, whole_lines

from agent.commands.status import Status, read_status
from agent.errors import ConfigError

pytestmark = pytest.mark.usefixtures("no_thread_left")
ODD_PLACES = tuple(range(20, 400, 25))
LINES = made_up_lines(400, seed=4, odd=ODD_PLACES)
HALF = 200
SMALL = 2048  # bytes that the kernel keeps at least for a socket; an alert has about 1300


class Agent:
    """`agent tail` over a growing log, with one sink under test and one that always works, in the file `alerts`."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self.folder, self._bundle = folder, bundle
        self.log, self.state = folder / "app.log", folder / "state"
        self.log.touch()
        self.process: subprocess.Popen | None = None

    def start(self, url: str) -> None:
        self.url = url
        sinks = "--sink", url, "--sink", f"jsonl:{self.folder}/alerts"
        command = ("tail", self.log, "--from", "start", "--state", self.state, "--bundle", self._bundle, *sinks)
        with open(self.folder / "said", "ab") as said:
            self.process = start_agent(*command, stdout=subprocess.DEVNULL, stderr=said)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def write(self, lines: list[bytes]) -> None:
        with self.log.open("ab") as file:
            file.writelines(lines)

    def said(self) -> list[str]:
        return [line.decode().removeprefix("oddline: ") for line in whole_lines(self.folder / "said")]

    def status(self) -> Status | None:
        try:
            return read_status(self.state)
        except ConfigError:  # not there yet
            return None

    def waiting(self) -> int:
        return {sink.name: sink.waiting for sink in self.status().sinks}[self.url]

    def lines_read(self) -> int:
        status = self.status()
        return 0 if status is None else status.totals.lines_read

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts of the sink that always works."""
        file = self.folder / "alerts"
        return rows_of(file)

    def has_read(self, count: int) -> bool:
        """Whether so many lines are read, and all of their alerts are in the file."""
        if self.lines_read() < count:
            return False
        status = self.status()
        return len(self.alerts()) == status.totals.alerts > 0 and len(status.sinks) == 2

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGKILL)


@pytest.fixture
def agent(tmp_path: Path, bundle: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path, bundle)
    yield agent
    agent.kill()
    assert not [line for line in agent.said() if "Traceback" in line or "fault of oddline" in line]


class Daemon(Rsyslog):
    """A private rsyslogd that may be halted."""

    def signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    @property
    def port(self) -> int:
        return int(self.urls["tcp"].rpartition(":")[2])


@pytest.fixture
def rsyslog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(require_program("rsyslogd"), tmp_path_factory.mktemp("rsyslog"))
    yield daemon
    daemon.signal(signal.SIGCONT)
    daemon.stop()


def places(daemon: Daemon) -> list[int]:
    """The lines of the log that the daemon was told of, in the order of their coming."""
    return [int(re.search(r" line (\d+)(?:, seen \d+ times)?$", message["msg"])[1]) for message in daemon.received()]


def wanted(agent: Agent) -> list[int]:
    return [alert["line"] for alert in agent.alerts()]


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_daemon_that_goes_and_comes_back(agent: Agent, rsyslog: Daemon, kind: str) -> None:
    rsyslog.start()
    agent.start(rsyslog.urls[kind])
    agent.write(LINES[:HALF])
    until(lambda: agent.has_read(HALF) and places(rsyslog) == wanted(agent))
    rsyslog.stop()
    agent.write(LINES[HALF:])
    until(lambda: agent.has_read(400) and agent.waiting())
    before = len(places(rsyslog))
    assert agent.waiting() == len(wanted(agent)) - before
    rsyslog.start()
    until(lambda: places(rsyslog) == wanted(agent))
    assert agent.end() == 0
    told = [line for line in agent.said() if line.startswith(f"sink {agent.url}")]
    assert len(told) == 2 and "fails" in told[0] and "works again" in told[1]


def test_a_port_that_is_closed_until_after_a_kill(agent: Agent, rsyslog: Daemon) -> None:
    agent.start(rsyslog.urls["tcp"])
    agent.write(LINES[:HALF])
    until(lambda: agent.has_read(HALF) and agent.waiting() == len(agent.alerts()))
    agent.end(signal.SIGKILL)
    shown = run_agent("status", "--state", agent.state).stdout.decode()
    assert f"sink {agent.url}: 0 delivered, {len(agent.alerts())} waiting" in shown
    agent.start(agent.url)
    agent.write(LINES[HALF:])
    until(lambda: agent.has_read(400))
    rsyslog.start()
    until(lambda: places(rsyslog) == wanted(agent))
    until(lambda: agent.waiting() == 0)
    assert agent.end() == 0


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_daemon_that_is_halted(agent: Agent, rsyslog: Daemon, kind: str) -> None:
    """The kernel takes for it what its buffers hold; no alert is lost, and none comes twice."""
    rsyslog.start()
    agent.start(rsyslog.urls[kind])
    rsyslog.signal(signal.SIGSTOP)
    agent.write(LINES)
    until(lambda: agent.has_read(400))
    assert places(rsyslog) == []
    rsyslog.signal(signal.SIGCONT)
    until(lambda: places(rsyslog) == wanted(agent))
    assert agent.end() == 0


class Trickle:
    """A proxy before a TCP port that passes a few bytes at a time on, and nothing while its gate is closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = small_listener()
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.gate, self._stopped = threading.Event(), False
        self.passed = 0
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while not self._stopped:
                client = self._listener.accept()[0]
                with client, socket.create_connection(("127.0.0.1", self._port)) as server:
                    self._pass(client, server)

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not self._stopped and (data := client.recv(23)):
            while not self.gate.wait(0.1):
                if self._stopped:
                    return
            server.sendall(data)
            self.passed += len(data)

    def close(self) -> None:
        self._stopped = True
        self.gate.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


def small_listener(port: int = 0) -> socket.socket:
    """A listener whose kernel buffers are as small as they can be, so that they are full after an alert or two."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    return listener


def test_a_slow_receiver_gets_every_alert_in_order(agent: Agent, rsyslog: Daemon) -> None:
    """At least once: an alert that is not acknowledged for ten seconds is sent again."""
    rsyslog.start()
    proxy = Trickle(rsyslog.port)
    try:
        agent.start(proxy.url)
        agent.write(LINES)
        until(lambda: agent.has_read(400))
        assert proxy.passed == 0 and agent.waiting() > len(agent.alerts()) // 2
        proxy.gate.set()
        until(lambda: list(dict.fromkeys(places(rsyslog))) == wanted(agent))
        assert agent.end() == 0
    finally:
        agent.kill()
        proxy.close()


def frames(data: bytes) -> Iterator[bytes]:
    """The whole messages of a stream that tells the length of each."""
    while found := re.match(rb"(\d+) ", data):
        end = found.end() + int(found[1])
        if end > len(data):
            return
        yield data[found.end() : end]
        data = data[end:]


class Deaf:
    """A receiver that accepts every connection and reads nothing, until it is told to read on."""

    def __init__(self, port: int) -> None:
        self._listener = small_listener(port)
        self.connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self.connections.append(self._listener.accept()[0])

    def kept(self) -> set[int]:
        """Closes the port, and reads what the kernel has kept of each connection: the lines of whole messages."""
        self.close()
        lines = set()
        for connection in self.connections:
            data = b""
            with connection, suppress(OSError):
                while more := connection.recv(65536):
                    data += more
            lines |= {int(re.search(rb' line="(\d+)"', message)[1]) for message in frames(data)}
        return lines

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


def test_a_receiver_that_never_reads_holds_up_nothing_but_itself(agent: Agent, rsyslog: Daemon) -> None:
    deaf, url = Deaf(rsyslog.port), rsyslog.urls["tcp"]
    try:
        agent.start(url)
        agent.write(LINES[:HALF])
        until(lambda: any("did not acknowledge" in line for line in agent.said()), timeout=60)
        agent.write(LINES[HALF:])
        until(lambda: agent.has_read(400))
        shown = run_agent("status", "--state", agent.state).stdout.decode()
        assert re.search(rf"sink {url}: \d+ delivered, [1-9]\d* waiting\n", shown)
        assert agent.end() == 0
        left = agent.waiting()
        assert left > 0
        assert f"alerts not delivered yet: {left} to {url}; they are kept" in agent.said()[-1]
    finally:
        agent.kill()
        kept = deaf.kept()
    rsyslog.start()
    agent.start(url)
    until(lambda: agent.waiting() == 0 and kept | set(places(rsyslog)) == set(wanted(agent)))
    assert len(set(places(rsyslog))) >= left
    assert agent.end() == 0
