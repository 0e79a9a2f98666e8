"""Syslog over TLS: a private authority, client certificates, and refusals that TLS 1.3 tells only to who reads."""

import os
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.processes import require_program
from helpers.rsyslog import Rsyslog
from helpers.waiting import until
from helpers.webhook_receiver import Receiver

from agent.delivery.sinks import open_sink, parse_destination
from agent.delivery.sinks.tls import client_context
from agent.errors import ConfigError, SinkError

pytestmark = pytest.mark.usefixtures("no_thread_left")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two authorities, and the pairs that they signed: server and client by ca, stranger by other."""
    folder, openssl = tmp_path_factory.mktemp("keys"), require_program("openssl")

    def call(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for name in ("ca", "other"):
        own = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", "-days", "2")
        call("req", "-x509", *curve, *own, "-addext", "keyUsage=critical,keyCertSign")  # RFC 5280 4.2.1.3
    (folder / "names").write_text(
        "subjectAltName=DNS:localhost\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    for name, signer in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
        call("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}.example.org")
        sign = ("-CA", f"{signer}.pem", "-CAkey", f"{signer}.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        call("x509", "-req", "-in", f"{name}.csr", *sign, "-out", f"{name}.pem")
    call("ec", "-in", "client.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key")
    return folder


class Server:
    """A syslog server that wants certificates of `ca`, for one connection after another; keeps what it received."""

    def __init__(self, keys: Path, version: ssl.TLSVersion) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(keys / "server.pem", keys / "server.key")
        self._context.load_verify_locations(keys / "ca.pem")
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.minimum_version = self._context.maximum_version = version
        self.received, self.connections, self.refused, self._closing = b"", 0, 0, False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            plain, _ = self._socket.accept()
            if self._closing:
                plain.close()
                return
            plain.settimeout(30)
            try:
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    self.connections, self.current = self.connections + 1, connection
                    while data := connection.recv(65536):
                        self.received += data
            except OSError:
                self.refused += 1
                plain.close()

    def close(self) -> None:
        self._closing = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join(30)
        self._socket.close()


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(params=VERSIONS, ids=["1.2", "1.3"])
def server(request: pytest.FixtureRequest, keys: Path) -> Iterator[Server]:
    server = Server(keys, request.param)
    yield server
    server.close()


def url(keys: Path, port: int, pair: str | None = "client", ca: str = "ca", host: str = "localhost") -> str:
    own = "" if pair is None else f"&cert={keys}/{pair}.pem&key={keys}/{pair}.key"
    return f"tls://{host}:{port}?ca={keys}/{ca}.pem{own}"


def messages(received: bytes) -> list[bytes]:
    """The counted frames of a stream."""
    found = []
    while received:
        length, _, received = received.partition(b" ")
        found.append(received[: int(length)])
        received = received[int(length) :]
    return found


def test_alerts_arrive_counted_and_sealed_over_one_connection(server, keys, make_alert):
    sink = open_sink(url(keys, server.port), "h", lambda text: f"#seal {text}")
    for number in range(3):
        sink.send(make_alert(number, message="ö\n"))
    sink.close()
    until(lambda: server.received.count(b"oddline@32473") == 3)
    found = messages(server.received)
    assert [b'line="%d"' % number in message for number, message in enumerate(found)] == [True] * 3
    assert all(message.startswith(b"<27>1 ") and b"] #seal high anomaly: cupsd: " in message for message in found)
    assert server.connections == 1


@pytest.mark.parametrize("pair", [None, "stranger"])
def test_a_refused_certificate_is_told_and_nothing_counts_as_sent(server, keys, make_alert, pair):
    sink = open_sink(url(keys, server.port, pair), "h", str)
    for _ in range(2):
        with pytest.raises(ConnectionAbortedError, match="the peer refuses our certificate or handshake"):
            sink.send(make_alert(1))
    sink.close()
    until(lambda: server.refused == 2)
    assert server.received == b"" and server.connections == 0


def test_a_peer_of_another_authority_is_not_trusted(server, keys, make_alert):
    sink = open_sink(url(keys, server.port, ca="other"), "h", str)
    with pytest.raises(ConnectionAbortedError, match=r"the peer's certificate is not trusted: .*; see ca="):
        sink.send(make_alert(1))
    assert server.received == b""


def test_a_peer_of_another_name_is_not_trusted(server, keys, make_alert):
    sink = open_sink(url(keys, server.port, host="127.0.0.1"), "h", str)
    with pytest.raises(
        ConnectionAbortedError, match=r"not trusted: IP address mismatch.*; see ca= and the host's name"
    ):
        sink.send(make_alert(1))
    assert server.received == b""


def test_versions_before_1_2_are_not_spoken():
    assert client_context("tls://h", {}).minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_peer_that_has_ended_the_connection_gets_the_next_alert_over_a_new_one(server, keys, make_alert):
    sink = open_sink(url(keys, server.port), "h", str)
    sink.send(make_alert(1))
    with socket.socket(fileno=os.dup(server.current.fileno())) as same:
        same.shutdown(socket.SHUT_WR)
    sink.send(make_alert(2))
    until(lambda: b'line="2"' in server.received)
    assert server.connections == 2
    sink.close()


def test_a_restarted_peer_is_connected_anew(keys, make_alert):
    server = Server(keys, ssl.TLSVersion.TLSv1_3)
    sink = open_sink(url(keys, server.port), "h", str)
    sink.send(make_alert(1))
    until(lambda: server.received)
    sink._socket.shutdown(socket.SHUT_RDWR)
    sink.send(make_alert(2))
    until(lambda: len(messages(server.received)) == 2)
    sink.close()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        sink.send(make_alert(3))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("ca={0}/none.pem", "ca .*/none.pem cannot be read: No such file or directory"),
        ("ca={0}/names", "ca .*/names holds no PEM certificate"),
        ("cert={0}/client.pem&key={0}/stranger.key", "key .*/stranger.key is not that of cert .*/client.pem"),
        ("cert={0}/client.pem&key={0}/locked.key", "no PEM certificate and unencrypted key"),
        ("cert={0}/client.pem", "no PEM certificate and unencrypted key"),
        ("key={0}/client.key", "a key without its certificate"),
        ("cert={0}/names&key={0}/names", "no PEM certificate and unencrypted key"),
        ("verify=no", "option 'verify=no' is not understood; use ca=PATH, cert=PATH, key=PATH"),
        ("ca={0}/ca.pem&ca={0}/ca.pem", "each once at most"),
        ("ca=", "option 'ca=' is not understood"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start_in_one_line(keys, query, words):
    with pytest.raises(ConfigError, match=words) as caught:
        open_sink(f"tls://h?{query.format(keys)}", "h", str)
    assert "\n" not in str(caught.value)


def test_the_port_is_6514_and_a_path_may_be_encoded(keys, tmp_path):
    (tmp_path / "a &b.pem").write_bytes((keys / "ca.pem").read_bytes())
    sink = open_sink(f"tls://h?ca={tmp_path}/a%20%26b.pem", "h", str)
    assert sink._address == parse_destination("tls://h", 6514) == ("h", 6514)


def test_rsyslog_takes_alerts_over_tls_and_refuses_who_has_no_certificate(keys, tmp_path, make_alert):
    daemon = Rsyslog(require_program("rsyslogd"), tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "rsyslog.conf").write_text(
        f'global(DefaultNetstreamDriver="gtls" DefaultNetstreamDriverCAFile="{keys}/ca.pem"\n'
        f'DefaultNetstreamDriverCertFile="{keys}/server.pem" DefaultNetstreamDriverKeyFile="{keys}/server.key")\n'
        'module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/certvalid")\n'
        + (tmp_path / "rsyslog.conf").read_text()
        + f'input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="keep")\n'
    )
    daemon.start()
    for pair in (None, "stranger"):
        bad = open_sink(url(keys, port, pair), "h", str)
        with pytest.raises(OSError):
            bad.send(make_alert(1))
    sink = open_sink(url(keys, port), "h", str)
    for number in (2, 3):
        sink.send(make_alert(number, message="two\nlines"))
    sink.close()
    until(lambda: len(daemon.received()) == 2)
    daemon.stop()
    assert [message["msg"].rpartition(" ")[2] for message in daemon.received()] == ["2", "3"]


@pytest.fixture
def receiver(keys: Path) -> Iterator[Receiver]:
    """A receiver of webhooks that wants certificates of `ca`."""
    receiver, context = Receiver(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "server.pem", keys / "server.key")
    context.load_verify_locations(keys / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    thread = threading.Thread(target=receiver.serve_forever, args=(0.01,))
    thread.start()
    yield receiver
    receiver.shutdown()
    thread.join(30)
    receiver.server_close()


def test_a_webhook_verifies_its_receiver_and_shows_its_certificate(receiver, keys, make_alert):
    base, own = f"https://localhost:{receiver.server_port}/#ca={keys}", f"&cert={keys}/client.pem&key={keys}/client.key"
    with pytest.raises(SinkError, match="the peer's certificate is not trusted"):
        open_sink(f"{base}/other.pem{own}", "h", str).send(make_alert(1))
    with pytest.raises(SinkError, match=r"the peer (refuses our|.* want another) certificate.* see cert= and key="):
        open_sink(f"{base}/ca.pem", "h", str).send(make_alert(2))
    open_sink(f"{base}/ca.pem{own}", "h", str).send(make_alert(3))
    assert [b'"line":3,' in body for _, _, body in receiver.posted] == [True]


RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close that resets


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("when", ["reset before the handshake", "reset after it", "closed after it"])
def test_a_webhook_whose_receiver_ends_the_connection_without_a_word_asks_for_the_certificate(
    keys, make_alert, version, when
):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "server.pem", keys / "server.key")
    context.minimum_version = context.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as server:

        def end() -> None:
            connection, _ = server.accept()
            connection.settimeout(30)
            if "after" in when:
                connection = context.wrap_socket(connection, server_side=True)
            if "reset" in when:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            else:
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            connection.close()

        thread = threading.Thread(target=end)
        thread.start()
        sink = open_sink(f"https://localhost:{server.getsockname()[1]}/#ca={keys}/ca.pem", "h", str)
        with pytest.raises(SinkError, match="without a word; does it want another certificate"):
            sink.send(make_alert(1))
        thread.join(30)
