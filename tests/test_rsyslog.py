"""What a real rsyslogd makes of our messages, and how the sinks take its coming and going."""

import json
import os
import re
import signal
import socket
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from conftest import require_program, until

from agent.delivery.sinks import open_sink
from agent.delivery.workers import Delivery
from agent.state.store import State

pytestmark = pytest.mark.usefixtures("no_thread_left")
KINDS = ("unix", "udp", "tcp")
HARD = 'tray "7" is [on fire]\nröd \\ 🔥 <13>1 % \x1b[31m'
SHOWN = 'tray "7" is [on fire]\\nröd \\ 🔥 <13>1 % \\x1b[31m'


class Rsyslog:
    """A private rsyslogd in a folder."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self._process: subprocess.Popen | None = None
        udp, tcp = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
        self.urls = {
            "unix": f"unix:{folder}/log",
            "udp": f"udp://127.0.0.1:{udp}",
            "tcp": f"tcp://127.0.0.1:{tcp}",
        }
        text = (Path(__file__).parent / "rsyslog.conf.in").read_text()
        for name, value in (("DIR", folder), ("UDP", udp), ("TCP", tcp)):
            text = text.replace(f"@{name}@", str(value))
        (folder / "rsyslog.conf").write_text(text)

    def start(self) -> None:
        command = [self._program, "-n", "-f", self._folder / "rsyslog.conf", "-i", self._folder / "pid"]
        with open(self._folder / "rsyslogd.err", "ab") as errors:
            self._process = subprocess.Popen(command, stderr=errors, stdout=errors)
        until(self._is_up)

    def _is_up(self) -> bool:
        assert self._process.poll() is None, (self._folder / "rsyslogd.err").read_text()
        ports = {name: int(self.urls[name].rpartition(":")[2]) for name in ("udp", "tcp")}
        bound = f"0100007F:{ports['udp']:04X} " in Path("/proc/net/udp").read_text()
        with socket.socket() as tcp, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
            answers = tcp.connect_ex(("127.0.0.1", ports["tcp"])), unix.connect_ex(f"{self._folder}/log")
        return bound and answers == (0, 0)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)
            self._process = None

    def received(self) -> list[dict[str, str]]:
        file = self._folder / "received.jsonl"
        text = file.read_text("utf-8") if file.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def free_port(kind: int) -> int:
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def rsyslog(tmp_path_factory):
    daemon = Rsyslog(require_program("rsyslogd"), tmp_path_factory.mktemp("rsyslog"))
    yield daemon
    daemon.stop()


@pytest.fixture
def deliver(rsyslog):
    """Starts the delivery to one sink of the daemon; gives the state, the delivery and what it said."""
    running = []

    def start(kind):
        state, said = State(None), []
        delivery = Delivery(state, [open_sink(rsyslog.urls[kind], "probe", str)], said.append)
        delivery.start()
        running.append((state, delivery))
        return state, delivery, said

    yield start
    for state, delivery in running:
        delivery.stop()
        state.close()


def parameters(sd: str) -> dict[str, str]:
    """The parameters of one element of structured data."""
    assert sd.startswith("[oddline@32473 ") and sd.endswith("]")
    return {name: re.sub(r"\\(.)", r"\1", value) for name, value in re.findall(r' (\w+)="((?:\\.|[^"\\])*)"', sd)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_arrives(rsyslog, make_alert, kind):
    rsyslog.start()
    alert = make_alert(7, message=HARD, source='/var/log/"å]\\.log', stream="blk]1", severity="critical", count=10)
    sink = open_sink(rsyslog.urls[kind], "lügen host", lambda text: f"#mark {text}")
    sink.send(alert)
    sink.close()
    until(rsyslog.received)
    (message,) = rsyslog.received()
    assert message["pri"] == str(3 * 8 + 2)
    assert (message["app"], message["procid"]) == ("oddline", str(os.getpid()))
    blank = " " if kind == "unix" else ""
    assert message["msg"].startswith(f"{blank}#mark critical anomaly: cupsd: {SHOWN} | why: never seen")
    assert message["msg"].endswith('/var/log/"å]\\.log line 7, seen 10 times')
    age = datetime.now().astimezone() - datetime.fromisoformat(message["time"])
    assert abs(age.total_seconds()) < 60
    if kind != "unix":
        assert (message["version"], message["host"], message["msgid"]) == ("1", "l_gen_host", "anomaly")
        sent = parameters(message["sd"])
        assert sent == {
            "id": alert.id,
            "time": alert.time,
            "severity": "critical",
            "score": "3.214",
            "threshold": "1.2",
            "p": "0",
            "host": "web1.example.org",
            "source": '/var/log/"å]\\.log',
            "offset": "700",
            "line": "7",
            "stream": "blk]1",
            "program": "cupsd",
            "bundle": "default",
            "count": "10",
            "first_seen": alert.first_seen,
            "last_seen": alert.last_seen,
            "new": "1",
        }


@pytest.mark.parametrize("kind", KINDS)
def test_a_longest_alert_arrives_whole(rsyslog, make_alert, kind):
    rsyslog.start()
    alert = make_alert(1, message="é" * 1024, source="/" + "å" * 3000, stream='"' * 9000, program="p" * 500)
    sink = open_sink(rsyslog.urls[kind], "h" * 300, str)
    sink.send(alert)
    sink.send(make_alert(2))
    sink.close()
    until(lambda: len(rsyslog.received()) == 2)
    assert rsyslog.received()[0]["msg"].endswith("line 1")
    assert rsyslog.received()[1]["msg"].endswith("line 2")


@pytest.mark.parametrize("kind", KINDS)
def test_a_daemon_that_is_down_gets_the_alerts_when_it_comes(rsyslog, deliver, make_alert, kind):
    state, delivery, said = deliver(kind)
    state.commit(alerts=[make_alert(n) for n in range(5)])
    until(lambda: said)
    rsyslog.start()
    assert delivery.drain(30) == {}
    until(lambda: len(rsyslog.received()) >= 5)
    assert ["on fire" in message["msg"] for message in rsyslog.received()] == [True] * 5
    assert [f"line {n}" in rsyslog.received()[n]["msg"] for n in range(5)] == [True] * 5
    assert len(said) == 2 and said[1] == f"sink {rsyslog.urls[kind]} works again"


@pytest.mark.parametrize("kind", KINDS)
def test_a_restarted_daemon_is_connected_anew(rsyslog, deliver, make_alert, kind):
    state, delivery, said = deliver(kind)
    rsyslog.start()
    for number in range(3):
        state.commit(alerts=[make_alert(number)])
        assert delivery.drain(30) == {}
        until(lambda number=number: len(rsyslog.received()) > number)
        rsyslog.stop()
        rsyslog.start()
    assert [message["msg"].rpartition(" ")[2] for message in rsyslog.received()] == ["0", "1", "2"]
    assert said == [], "the sink connects anew by itself"


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_what_comes_while_the_daemon_is_away_is_not_lost(rsyslog, deliver, make_alert, kind):
    state, delivery, _ = deliver(kind)
    rsyslog.start()
    for number in range(300):
        state.commit(alerts=[make_alert(number)])
        if number % 100 == 50:  # what a daemon has not read when it ends is its own loss
            until(lambda number=number: len(rsyslog.received()) > number)
            rsyslog.stop()
        if number % 100 == 80:
            rsyslog.start()
    assert delivery.drain(60) == {}
    until(lambda: rsyslog.received()[-1]["msg"].endswith("line 299"))
    assert {int(message["msg"].rpartition(" ")[2]) for message in rsyslog.received()} == set(range(300))


def test_a_missing_program_skips_or_fails_as_asked(monkeypatch):
    monkeypatch.delenv("ODDLINE_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-daemon is not installed"):
        require_program("no-such-daemon")
    monkeypatch.setenv("ODDLINE_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-daemon is not installed"):
        require_program("no-such-daemon")
