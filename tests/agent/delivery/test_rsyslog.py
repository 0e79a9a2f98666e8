"""What a real rsyslogd makes of our messages, and how the sinks take its coming and going."""

import os
import re
from datetime import datetime

import pytest
from helpers.processes import require_program
from helpers.rsyslog import Rsyslog
from helpers.waiting import until

from agent.delivery.sinks import open_sink
from agent.delivery.workers import Delivery
from agent.state.store import State

pytestmark = pytest.mark.usefixtures("no_thread_left")
KINDS = ("unix", "udp", "tcp")
HARD = 'tray "7" is [on fire]\nröd \\ 🔥 <13>1 % \x1b[31m'
SHOWN = 'tray "7" is [on fire]\\nröd \\ 🔥 <13>1 % \\x1b[31m'


@pytest.fixture
def rsyslog(tmp_path_factory):
    daemon = Rsyslog(require_program("rsyslogd"), tmp_path_factory.mktemp("rsyslog"))
    yield daemon
    daemon.stop()


@pytest.fixture
def deliver(rsyslog, said):
    """Starts the delivery to one sink of the daemon; gives the state, the delivery and what it said."""
    running = []

    def start(kind):
        state = State(None)
        delivery = Delivery(state, [open_sink(rsyslog.urls[kind], "probe", str)])
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
    until(lambda: len(said) >= 2)
    assert said[1:] == [f"sink {rsyslog.urls[kind]} works again"]


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
