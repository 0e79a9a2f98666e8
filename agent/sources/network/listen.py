"""Opening the sockets that syslog daemons and devices send to: `listen:udp://`, `listen:tcp://` and `listen:unix:`.

Without a host it is 127.0.0.1, so that nobody else can send; 0.0.0.0 or [::] stands for all addresses of the host.
"""

import errno
import os
import socket
import stat

from agent.errors import ConfigError, SourceError
from agent.host.addresses import MAX_UNIX_PATH, fits_unix_path, is_port, split_host_port
from agent.sources.decoding.settings import PLAIN, ReadingSettings
from agent.sources.live import StreamCheckpoint, decode_checkpoint, message_reading
from agent.sources.network.connections import Connections
from agent.sources.network.datagrams import Datagrams
from agent.sources.network.receiver import Receiver

_KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
_DEFAULT_HOST = "127.0.0.1"
_BUFFER = 8 << 20  # bytes for datagrams that are not read yet
_SO_RCVBUFFORCE = 33  # Linux: above net.core.rmem_max too, with CAP_NET_ADMIN
_MODE = 0o660  # of the socket's file: to send is to write
_WAITING = 128  # connections that wait to be accepted


def open_listener(name: str, stored: bytes | None, reading: ReadingSettings = PLAIN) -> Receiver:
    """The source of a `listen:` URL; a ConfigError where it is not understood, a SourceError where it cannot be had."""
    message_reading(name, reading)  # before anything is bound
    if name.startswith("listen:unix:"):
        path = parse_listen_path(name)
        bound, unbind = _bind_unix(name, path), _Unlink(path)
        return Datagrams(name, decode_checkpoint(stored, StreamCheckpoint, name), reading, bound, unbind)
    kind, host, port = parse_listen(name)
    bound = _bind_network(name, kind, host, port)
    source = Datagrams if kind == socket.SOCK_DGRAM else Connections
    return source(name, decode_checkpoint(stored, StreamCheckpoint, name), reading, bound, lambda: None)


def parse_listen(name: str) -> tuple[socket.SocketKind, str, int]:
    """The kind of socket, the host and the port of a `listen:udp://` or `listen:tcp://` URL."""
    word, _, rest = name.removeprefix("listen:").partition("://")
    address = split_host_port(rest)
    if not name.startswith("listen:") or word not in _KINDS or address is None or not is_port(address.port or 0):
        raise ConfigError(
            f"{name} is not understood; write listen:udp://HOST:PORT or listen:tcp://HOST:PORT, an IPv6 address in "
            "brackets, or listen:unix:PATH"
        )
    return _KINDS[word], address.host or _DEFAULT_HOST, address.port or 0


def parse_listen_path(name: str) -> str:
    """The path of a `listen:unix:` URL."""
    path = name.removeprefix("listen:unix:")
    if not path or not fits_unix_path(path) or "\0" in path:
        raise ConfigError(f"{name} is not understood; write listen:unix:PATH, a path of at most {MAX_UNIX_PATH} bytes")
    return path


def _bind_network(name: str, kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    try:
        family, _, protocol, _, address = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SourceError(f"{name} cannot be listened at: {error.strerror or error}; check the host") from None
    try:
        bound.setblocking(False)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            _enlarge(bound)
        bound.bind(address)
        if kind == socket.SOCK_STREAM:
            bound.listen(_WAITING)
    except OSError as error:
        bound.close()
        raise _cannot_listen(name, error) from None
    return bound


def _enlarge(bound: socket.socket) -> None:
    """Gives a socket the buffer that outlasts a pause of the reader, as far as the system grants it."""
    try:
        bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    except PermissionError:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)


def _cannot_listen(name: str, error: OSError) -> SourceError:
    advice = {
        errno.EADDRINUSE: "another program listens there (`ss -lnp` shows which); choose another or stop it",
        errno.EACCES: "no permission; choose a port above 1023 or give the service CAP_NET_BIND_SERVICE",
        errno.EADDRNOTAVAIL: "this host has no such address; `ip address` shows those it has",
    }.get(error.errno or 0, f"{error.strerror or error}; choose another")
    return SourceError(f"{name} cannot be listened at: {advice}")


class _Unlink:
    """Removes a socket's file, if it still is the one that was made."""

    def __init__(self, path: str) -> None:
        self._path, self._key = path, _key(path)

    def __call__(self) -> None:
        if _key(self._path) == self._key:
            os.unlink(self._path)


def _key(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _bind_unix(name: str, path: str) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        _remove_stale(name, path)
        bound.setblocking(False)
        os.fchmod(bound.fileno(), _MODE)  # bind makes the file with this mode, less the umask
        bound.bind(path)
        os.chmod(path, _MODE)
    except OSError as error:
        bound.close()
        what = "no permission to make the socket" if isinstance(error, PermissionError) else error.strerror
        raise SourceError(f"{name} cannot be listened at: {what}; check the folder of the path") from None
    except SourceError:
        bound.close()
        raise
    return bound


def _remove_stale(name: str, path: str) -> None:
    """Removes the socket of a process that was killed; a SourceError where there is something else at the path."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SourceError(f"{name} cannot be listened at: {path} exists and is no socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        answer = probe.connect_ex(path)
    if answer != errno.ECONNREFUSED:
        raise SourceError(f"{name} cannot be listened at: another program has the socket; choose another path")
    os.unlink(path)
