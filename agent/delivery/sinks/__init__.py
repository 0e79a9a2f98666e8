"""Where alerts go: one sink for each form of URL."""

from collections.abc import Callable
from typing import Protocol

from agent.alerting.alert import Alert
from agent.delivery.sinks.jsonl import JsonlSink
from agent.delivery.sinks.syslog import TcpSink, UdpSink, UnixSink
from agent.errors import ConfigError
from agent.host.addresses import MAX_UNIX_PATH, fits_unix_path, is_port, split_host_port

FORMS = (
    "console:, jsonl:PATH (jsonl:- is standard output), unix:PATH, journald:, udp://HOST[:PORT], tcp://HOST[:PORT], "
    "tls://HOST[:PORT][?ca=PATH&cert=PATH&key=PATH], http[s]://HOST[:PORT]/PATH[#secret=PATH]"
)
PORT, TLS_PORT = 514, 6514  # RFC 5426 3.3, by custom for TCP too; RFC 5425 4.1


class Sink(Protocol):
    """A destination of alerts, used by one thread at a time.

    Nothing is opened before the first `send`, so that a daemon may come later; after a fault `send` opens anew. An
    alert may come twice, since one is sent again until it is known to be taken. name: the URL, with its secrets; what
    users see is `shown(name)`.
    """

    name: str

    def send(self, alert: Alert) -> None:
        """Hands over an alert and returns once it is taken; a SinkError or OSError where it was not.

        An AlertRefused where the destination works and does not want this very alert.
        """

    def close(self) -> None:
        """Lets go of what the sink holds; it may be used again."""


def open_sink(url: str, host: str, seal: Callable[[str], str]) -> Sink:
    """The sink that a URL names; a ConfigError where it names none.

    host: the name of this host, for syslog. seal: marks the text of syslog messages, so that the agent knows its own.
    """
    scheme, _, rest = url.partition(":")
    if url == "console:":
        return _open_console(url)
    if scheme == "jsonl" and rest:
        return JsonlSink(url, rest)
    if scheme == "unix" and rest:
        return UnixSink(url, _socket_path(url, rest), host, seal)
    if scheme == "journald":
        return _open_journald(url, rest, host, seal)
    if scheme in ("udp", "tcp"):
        kind = UdpSink if scheme == "udp" else TcpSink
        return kind(url, parse_destination(url), host, seal)
    if scheme == "tls":
        return _open_tls(url, host, seal)
    if scheme in ("http", "https"):
        return _open_webhook(url)
    raise ConfigError(f"sink {url!r} is not understood; use one of {FORMS}")


def _socket_path(url: str, path: str) -> str:
    if not fits_unix_path(path):
        raise ConfigError(f"sink {url!r}: a socket's path has at most {MAX_UNIX_PATH} bytes; use a shorter one")
    return path


# What only some need is imported when it is needed: rich takes a tenth of a second, ssl and http.client less.


def _open_console(url: str) -> Sink:
    from agent.delivery.sinks.console import ConsoleSink

    return ConsoleSink(url)


def _open_journald(url: str, path: str, host: str, seal: Callable[[str], str]) -> Sink:
    from agent.delivery.sinks.journald import SOCKET, JournaldSink

    return JournaldSink(url, _socket_path(url, path or SOCKET), host, seal)


def _open_tls(url: str, host: str, seal: Callable[[str], str]) -> Sink:
    from agent.delivery.sinks.tls import FILES, TlsSink, parse_options

    address, _, options = url.partition("?")
    return TlsSink(url, parse_destination(address, TLS_PORT), parse_options(url, options, FILES), host, seal)


def _open_webhook(url: str) -> Sink:
    from agent.delivery.sinks.webhook import WebhookSink

    return WebhookSink(url)


def parse_destination(url: str, port: int = PORT) -> tuple[str, int]:
    """The host and port of udp://HOST[:PORT], also of tcp:// and tls://; an IPv6 address stands in brackets."""
    scheme = f"{url[:3]}://"
    address = split_host_port(url.removeprefix(scheme)) if url.startswith(scheme) else None
    if address is None or not address.host:
        raise ConfigError(f"sink {url!r} is not understood; write {scheme}HOST:PORT, IPv6 addresses in brackets")
    port = address.port if address.port is not None else port
    if not is_port(port):
        raise ConfigError(f"sink {url!r}: a port is a number from 1 to 65535")
    try:
        address.check_ipv6()
    except ValueError as error:
        raise ConfigError(f"sink {url!r}: {error}") from None
    return address.host, port
