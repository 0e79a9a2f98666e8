"""TLS for the sinks, and syslog over it: RFC 5425, messages of RFC 5424 with their octets counted."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from agent.alerting.alert import Alert
from agent.delivery.sinks.syslog import TcpSink, count_octets, wait_acknowledged
from agent.errors import ConfigError

FILES = ("ca", "cert", "key")
# Under TLS 1.3 the handshake is over for us before the peer has looked at our certificate. A peer that works says
# something (a session ticket) or nothing within this time; one that refuses sends an alert and closes.
_VERDICT = 0.5  # seconds


def parse_options(url: str, text: str, known: tuple[str, ...]) -> dict[str, str]:
    """`name=PATH&name=PATH` of a sink's URL, paths percent-encoded where need be; a ConfigError names the mistake."""
    options: dict[str, str] = {}
    for part in filter(None, text.split("&")):
        name, _, value = part.partition("=")
        if name not in known or name in options or not value:
            allowed = ", ".join(f"{one}=PATH" for one in known)
            raise ConfigError(f"sink {url!r}: option {part!r} is not understood; use {allowed}, each once at most")
        options[name] = unquote(value)
    return options


def client_context(url: str, files: dict[str, str]) -> ssl.SSLContext:
    """Verifies the peer and its name, from TLS 1.2 on. files: `ca`, else the system's; `cert` and `key` of our own.

    A ConfigError where a file cannot be used.
    """
    for name, path in files.items():
        _check_readable(url, name, path)
    if "key" in files and "cert" not in files:
        raise ConfigError(f"sink {url!r}: a key without its certificate; name that with cert=PATH too")
    try:
        context = ssl.create_default_context(cafile=files.get("ca"))
    except ssl.SSLError:
        raise ConfigError(f"sink {url!r}: ca {files['ca']} holds no PEM certificate; name another") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if "cert" in files:
        _load_pair(context, url, files["cert"], files.get("key"))
    return context


def _check_readable(url: str, name: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ConfigError(f"sink {url!r}: {name} {path} cannot be read: {error.strerror}") from None


def _load_pair(context: ssl.SSLContext, url: str, cert: str, key: str | None) -> None:
    """Without `key` the key lies in the certificate's file. An encrypted one is refused: nobody is there to ask."""
    key = key or cert
    try:
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        fault = f"cert {cert} and key {key} are no PEM certificate and unencrypted key"
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            fault = f"key {key} is not that of cert {cert}"
        raise ConfigError(f"sink {url!r}: {fault}; name the right files") from None


def explain(error: OSError) -> str | None:
    """A fault of a connection that was to speak TLS in words; None for one that TLS has no part in.

    Under TLS 1.3 we may be sending already when the peer refuses our certificate, and its alert is lost where the
    connection is then reset; so an end without a word gets a question that holds either way.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is not trusted: {error.verify_message.rstrip('.')}; see ca= and the host's name"
    if isinstance(error, (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError)):
        return "the peer ended the connection without a word; does it want another certificate? see cert= and key="
    reason = (getattr(error, "reason", None) or "").lower().replace("_", " ")
    if "alert" in reason and any(word in reason for word in ("certificate", "unknown ca", "handshake", "denied")):
        return f"the peer refuses our certificate or handshake ({reason}); see cert= and key="
    return f"TLS fails: {reason or error}" if isinstance(error, ssl.SSLError) else None


class TlsSink(TcpSink):
    """A daemon on the network by TLS; an alert counts as taken when the peer has acknowledged it and did not object."""

    def __init__(
        self, name: str, address: tuple[str, int], files: dict[str, str], host: str, seal: Callable[[str], str]
    ) -> None:
        super().__init__(name, address, host, seal)
        self._files = files
        self._new = False
        client_context(name, files)

    def _connect(self) -> socket.socket:
        """Reads the files anew, so that a renewed certificate needs no restart."""
        context = client_context(self.name, self._files)
        plain = super()._connect()
        try:
            connection = context.wrap_socket(plain, server_hostname=self._address[0])
        except OSError as error:
            plain.close()
            raise _explained(error) from error
        self._new = True
        return connection

    def _transmit(self, connection: socket.socket, alert: Alert, text: str) -> None:
        message = count_octets(self._rfc5424(alert, text))
        try:
            _check_peer(connection, _VERDICT if self._new else 0)
            connection.sendall(message)
            wait_acknowledged(connection)
            _check_peer(connection, _VERDICT if self._new else 0)
        except ConnectionError as error:
            if self._new:
                why = f"the peer closed a new connection ({error}); does it want another certificate?"
                raise ConnectionAbortedError(why) from None
            raise
        except ssl.SSLError as error:
            raise _explained(error) from error
        self._new = False


def _explained(error: OSError) -> OSError:
    words = explain(error)
    return error if words is None else ConnectionAbortedError(words)


def _check_peer(connection: socket.socket, seconds: float) -> None:
    """Reads and drops what the peer says, waiting for its first word; an OSError where it objects or has closed."""
    before = connection.gettimeout()
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            connection.settimeout(0)
        raise ConnectionResetError("the peer has closed the connection")
    except (TimeoutError, ssl.SSLWantReadError):
        pass
    finally:
        connection.settimeout(before)
