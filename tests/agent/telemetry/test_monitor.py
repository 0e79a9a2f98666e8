"""/metrics, /healthz and /readyz: what they answer, whom they refuse, and that nobody holds up the agent."""

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest
from helpers.made_up import made_up_lines
from helpers.waiting import free_port, until

from agent.app.service import Service
from agent.app.signals import Signals
from agent.config import AgentConfig
from agent.errors import ConfigError
from agent.sources.files.follower import FileSource
from agent.telemetry.monitor import WATCHDOG, Monitor, watchdog_seconds
from agent.telemetry.settings import MetricsSettings
from agent.telemetry.snapshot import Snapshot

NOTHING = Snapshot({}, {}, 0, 0, 0.0, 0.0, ("abc", "default"), {})
pytestmark = pytest.mark.usefixtures("no_thread_left")


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def monitor(clock) -> Iterator[Monitor]:
    serving = Monitor(MetricsSettings(f"127.0.0.1:{free_port()}"), 30.0, clock)
    yield serving
    serving.close()


def ask(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> tuple[int, str]:
    with closing(http.client.HTTPConnection(host, port, timeout=30)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def exchange(port: int, request: bytes) -> bytes:
    """What comes back for raw bytes, up to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(4096), b""))


def test_a_loop_that_does_not_look_is_unhealthy(monitor, clock):
    clock.now = 30.0
    assert ask(monitor.port, "/healthz") == (200, "ok\n")
    clock.now = 30.5
    assert ask(monitor.port, "/healthz") == (503, "no look at the sources for 30 s\n")
    monitor.beat()
    assert ask(monitor.port, "/healthz") == (200, "ok\n")


def test_ready_is_told_apart_from_healthy(monitor):
    assert ask(monitor.port, "/readyz") == (503, "not ready\n")
    monitor.ready = True
    assert ask(monitor.port, "/readyz") == (200, "ok\n")


def test_metrics_are_those_that_were_published_last(monitor):
    assert ask(monitor.port, "/metrics") == (503, "nothing is known yet\n")
    monitor.publish(NOTHING)
    status, text = ask(monitor.port, "/metrics?name=x")
    assert status == 200 and "oddline_streams 0\n" in text
    raw = exchange(monitor.port, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in raw and b"Python" not in raw


@pytest.mark.parametrize("path", ["/", "/metric", "/metrics/", "/../etc/passwd", "*"])
def test_other_paths_are_not_there(monitor, path):
    monitor.publish(NOTHING)
    assert ask(monitor.port, path) == (404, "there are /metrics, /healthz and /readyz\n")


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "MOON"])
def test_other_methods_are_refused(monitor, method):
    assert exchange(monitor.port, f"{method} /healthz HTTP/1.1\r\n\r\n".encode()).startswith(b"HTTP/1.0 405 ")


@pytest.mark.parametrize(
    "request_",
    [b"\r\n", b"\x16\x03\x01 hello\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"x" * 99999],
)
def test_what_is_no_http_does_no_harm(monitor, request_, monkeypatch):
    monkeypatch.setattr("agent.telemetry.http._TIMEOUT", 0.5)
    with suppress(ConnectionError):
        exchange(monitor.port, request_)
    assert ask(monitor.port, "/healthz")[0] == 200


def test_silent_clients_are_few_and_end_with_the_agent(monitor):
    before = threading.active_count()
    silent = [socket.create_connection(("127.0.0.1", monitor.port), timeout=30) for _ in range(9)]
    try:
        for client in silent[:5]:
            assert client.recv(1) == b"", "those that came first make room for others"
        assert threading.active_count() <= before + 4
        monitor.close()  # the test fails where their threads stay
    finally:
        for client in silent:
            client.close()


def test_clients_that_send_on_for_ever_hold_nobody_up(monitor, monkeypatch):
    monkeypatch.setattr("agent.telemetry.http._TIMEOUT", 600.0)
    slow = [socket.create_connection(("127.0.0.1", monitor.port), timeout=30) for _ in range(4)]
    try:
        for number in range(6):
            for client in slow:
                with suppress(OSError):
                    client.sendall(b"GET /metrics HTTP/1.1\r\nX" if number == 0 else b"a")
            assert ask(monitor.port, "/healthz") == (200, "ok\n")
    finally:
        for client in slow:
            client.close()


def test_a_request_has_to_come_in_time_however_its_bytes_come(monitor, monkeypatch):
    monkeypatch.setattr("agent.telemetry.http._TIMEOUT", 0.3)
    with socket.create_connection(("127.0.0.1", monitor.port), timeout=30) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
        client.settimeout(0.05)

        def ended() -> bool:
            try:
                client.sendall(b"a")
                return not client.recv(1)
            except TimeoutError:
                return False
            except OSError:
                return True

        until(ended)


def test_a_request_that_is_too_long_is_not_read_on(monitor):
    with socket.create_connection(("127.0.0.1", monitor.port), timeout=30) as client, suppress(ConnectionError):
        client.sendall(b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 2000)
        assert client.recv(1) == b""
    assert ask(monitor.port, "/healthz") == (200, "ok\n")


def test_a_request_may_come_in_pieces(monitor):
    with socket.create_connection(("127.0.0.1", monitor.port), timeout=30) as client:
        for byte in b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n":
            client.sendall(bytes([byte]))
        assert client.recv(99).startswith(b"HTTP/1.0 200 ")


def test_a_port_in_use_is_refused(monitor):
    with pytest.raises(ConfigError, match=r"127.0.0.1:\d+ cannot be listened at: Address already in use; choose"):
        Monitor(MetricsSettings(f"127.0.0.1:{monitor.port}"))


def test_an_address_of_another_host_is_refused():
    with pytest.raises(ConfigError, match="cannot be listened at"):
        Monitor(MetricsSettings("192.0.2.1:9464"))


def test_ipv6_stands_in_brackets():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    serving = Monitor(MetricsSettings(f"[::1]:{free_port()}"))
    try:
        assert ask(serving.port, "/healthz", host="::1")[0] == 200
    finally:
        serving.close()


@pytest.mark.parametrize(("given", "seconds"), [("45000000", 45.0), (None, WATCHDOG), ("moon", WATCHDOG)])
def test_the_limit_is_that_of_the_watchdog(monkeypatch, given, seconds):
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    if given is not None:
        monkeypatch.setenv("WATCHDOG_USEC", given)
    assert watchdog_seconds() == seconds


@pytest.fixture
def config(bundle, tmp_path) -> AgentConfig:
    (tmp_path / "a.log").write_bytes(b"".join(made_up_lines(20)))
    return AgentConfig(
        sources=[str(tmp_path / "a.log")],
        bundle=str(bundle),
        start="start",
        sinks=[f"jsonl:{tmp_path}/alerts"],
        metrics=f"127.0.0.1:{free_port()}",
    )


def beside(work: Callable[[], None], signals: Signals) -> threading.Thread:
    """Runs `work` in a thread beside a service that is stopped after it."""

    def whole() -> None:
        try:
            work()
        finally:
            signals.stop()

    thread = threading.Thread(target=whole)
    thread.start()
    return thread


def test_an_agent_whose_loop_hangs_is_unhealthy_until_it_goes_on(config, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "1500000")
    port, hanging, freed, seen = int(config.metrics.rpartition(":")[2]), threading.Event(), threading.Event(), []
    read = FileSource.read

    def stuck(source: FileSource, most: int = 1 << 20) -> object:
        if hanging.is_set():
            freed.wait(60)
        return read(source, most)

    monkeypatch.setattr(FileSource, "read", stuck)
    signals = Signals()
    service = Service(lambda: config, signals=signals)

    def watch() -> None:
        try:
            until(lambda: ask(port, "/readyz")[0] == 200)
            seen.append(ask(port, "/healthz")[0])
            hanging.set()
            until(lambda: ask(port, "/healthz")[0] == 503)
            seen.append(ask(port, "/metrics")[0])
        finally:
            hanging.clear()
            freed.set()
        until(lambda: ask(port, "/healthz")[0] == 200)
        seen.append(200)

    watcher = beside(watch, signals)
    service.run()
    watcher.join(30)
    assert seen == [200, 200, 200]


def test_an_agent_that_cannot_start_gives_its_port_back(config):
    config.bundle = "/nowhere"
    for _ in range(2):
        with pytest.raises(Exception, match="/nowhere is no folder"):
            Service(lambda: config)
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", int(config.metrics.rpartition(":")[2])))


def test_no_port_is_opened_unless_asked_for(config, tmp_path, monkeypatch):
    config.metrics = None
    monkeypatch.setattr("agent.telemetry.monitor.serve", lambda *_: pytest.fail("a port was opened"))
    Service(lambda: config, once=True).run()
