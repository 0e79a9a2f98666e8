"""Syslog: RFC 3164's short form for the local daemon, RFC 5424 over UDP (RFC 5426) and TCP (RFC 6587)."""

import errno
import fcntl
import os
import re
import select
import socket
import sys
import termios
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime

from agent.alerting.alert import Alert
from agent.alerting.message import alert_text, is_new
from agent.host.log import TAG
from agent.text.escape import escape

SYSLOG_SEVERITY = {"critical": 2, "high": 3, "medium": 4, "low": 5}  # RFC 5424 table 2
FACILITY = 3  # daemon
MAX_DATAGRAM = 8192  # bytes
_DIGITS = {"score": 6, "threshold": 6, "p": 3}
_MAX_VALUE = 512  # bytes of a parameter of structured data
_NOT_PRINTABLE = re.compile(r"[^!-~]")
_ESCAPED = re.compile(r'(["\\\]])')
_TIMEOUT = 5.0  # seconds, to connect or to hand data to the kernel
_ACKNOWLEDGE = 10.0  # seconds that a peer has to acknowledge
_REFUSAL = 0.01  # seconds in which the answer that no one listens comes back over UDP
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def local_datagram(alert: Alert, text: str, when: datetime, pid: int) -> bytes:
    """`<PRI>Mon dd hh:mm:ss tag[pid]: text`, as every daemon reads it from /dev/log: RFC 3164 without the host."""
    stamp = f"{_MONTHS[when.month - 1]} {when.day:2} {when:%H:%M:%S}"
    return f"<{_priority(alert)}>{stamp} {TAG}[{pid}]: {text}".encode()


def rfc5424(alert: Alert, text: str, when: datetime, pid: int, host: str) -> bytes:
    """A message of RFC 5424, section 6, without a byte order mark. `when` has a zone: the time of sending."""
    stamp, kind = when.isoformat(timespec="microseconds"), "notice" if alert.is_notice else "anomaly"
    header = f"<{_priority(alert)}>1 {stamp} {header_field(host, 255)} {TAG} {pid} {kind}"
    return f"{header} {structured_data(alert)} {text}".encode()


def _priority(alert: Alert) -> int:
    return FACILITY * 8 + SYSLOG_SEVERITY[alert.severity]


def header_field(text: str, most: int) -> str:
    """`text` as a field of the header: at most `most` characters of printable ASCII, `-` for none (RFC 5424 6)."""
    return _NOT_PRINTABLE.sub("_", text)[:most] or "-"


def structured_data(alert: Alert) -> str:
    """The fields of an alert that fit, as one element; 32473 is the enterprise number for documentation (RFC 5612)."""
    figures = {"score": alert.score, "threshold": alert.threshold, "p": alert.p_value}
    values = {
        "id": alert.id,
        "time": alert.time,
        "severity": alert.severity,
        **{name: f"{value:.{_DIGITS[name]}g}" for name, value in figures.items() if value is not None},
        "host": alert.host,
        "source": alert.source,
        "offset": alert.offset,
        "line": alert.line,
        **({"peer": alert.peer} if alert.peer else {}),
        "stream": alert.stream,
        "program": alert.program,
        "bundle": alert.bundle,
        "count": alert.count,
        "first_seen": alert.first_seen,
        "last_seen": alert.last_seen,
        "new": int(is_new(alert)),
    }
    parameters = " ".join(f'{name}="{_value(value)}"' for name, value in values.items())
    return f"[oddline@32473 {parameters}]"


def _value(value: object) -> str:
    """A PARAM-VALUE: a quote, a backslash and a closing bracket are escaped (RFC 5424 6.3.3)."""
    return _ESCAPED.sub(r"\\\1", escape(str(value), _MAX_VALUE))


def count_octets(message: bytes) -> bytes:
    """A message in a frame that tells its length (RFC 6587 3.4.1)."""
    return b"%d %b" % (len(message), message)


class SocketSink(ABC):
    """What the syslog sinks share: a socket, opened when it is needed and anew when the daemon was restarted."""

    def __init__(self, name: str, host: str, seal: Callable[[str], str]) -> None:
        self.name = name
        self._host = host
        self._seal = seal
        self._socket: socket.socket | None = None

    @abstractmethod
    def _connect(self) -> socket.socket: ...

    @abstractmethod
    def _transmit(self, connection: socket.socket, alert: Alert, text: str) -> None: ...

    def send(self, alert: Alert) -> None:
        """Sends an alert; an OSError where it was not taken."""
        text = self._seal(alert_text(alert))
        if self._socket is not None and self._sent_as_before(self._socket, alert, text):
            return
        self._socket = self._connect()
        try:
            self._transmit(self._socket, alert, text)
        except OSError:
            self.close()
            raise

    def _sent_as_before(self, connection: socket.socket, alert: Alert, text: str) -> bool:
        """Whether the connection of the last alert served once more; a peer that is slow is no reason for a new one."""
        try:
            self._transmit(connection, alert, text)
        except TimeoutError:
            self.close()
            raise
        except OSError:
            self.close()
            return False
        return True

    def close(self) -> None:
        """Closes the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _rfc5424(self, alert: Alert, text: str) -> bytes:
        return rfc5424(alert, text, datetime.now().astimezone(), os.getpid(), self._host)


class UnixSink(SocketSink):
    """The socket of the local daemon: datagrams or, where it takes none, a stream of records that a NUL ends."""

    def __init__(self, name: str, path: str, host: str, seal: Callable[[str], str]) -> None:
        super().__init__(name, host, seal)
        self._path = path

    def _connect(self) -> socket.socket:
        try:
            return connect_unix(self._path, socket.SOCK_DGRAM)
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
        return connect_unix(self._path, socket.SOCK_STREAM)

    def _transmit(self, connection: socket.socket, alert: Alert, text: str) -> None:
        message = local_datagram(alert, text, datetime.now().astimezone(), os.getpid())
        if connection.type == socket.SOCK_DGRAM:
            connection.send(message)
        else:
            _send_stream(connection, message + b"\0")


class UdpSink(SocketSink):
    """A daemon on the network by UDP, which tells only sometimes that no one listens."""

    def __init__(self, name: str, address: tuple[str, int], host: str, seal: Callable[[str], str]) -> None:
        super().__init__(name, host, seal)
        self._address = address

    def _connect(self) -> socket.socket:
        family, kind, protocol, _, address = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0]
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_TIMEOUT)
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection

    def _transmit(self, connection: socket.socket, alert: Alert, text: str) -> None:
        message = self._rfc5424(alert, text)[:MAX_DATAGRAM].decode("utf-8", "ignore").encode()
        connection.send(message)
        answer = select.poll()
        answer.register(connection, 0)
        answer.poll(_REFUSAL * 1000)
        _raise_error(connection)


class TcpSink(SocketSink):
    """A daemon on the network by TCP; an alert counts as taken when the peer's kernel has acknowledged it."""

    def __init__(self, name: str, address: tuple[str, int], host: str, seal: Callable[[str], str]) -> None:
        super().__init__(name, host, seal)
        self._address = address

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._address, _TIMEOUT)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _transmit(self, connection: socket.socket, alert: Alert, text: str) -> None:
        _send_stream(connection, count_octets(self._rfc5424(alert, text)))


def connect_unix(path: str, kind: int) -> socket.socket:
    """A socket that is connected to the one at a path; an OSError where nobody listens there."""
    connection = socket.socket(socket.AF_UNIX, kind)
    try:
        connection.settimeout(_TIMEOUT)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _send_stream(connection: socket.socket, data: bytes) -> None:
    """Sends all of `data` and waits until the peer has it."""
    _raise_closed(connection)
    connection.sendall(data)
    wait_acknowledged(connection)


def _raise_closed(connection: socket.socket) -> None:
    """Raises an OSError where the peer has closed the connection; drops what it said."""
    readable = select.poll()
    readable.register(connection, select.POLLIN)
    while readable.poll(0):
        if not connection.recv(4096):
            raise ConnectionResetError("the peer has closed the connection")


def wait_acknowledged(connection: socket.socket) -> None:
    """Waits until the send queue is empty, as it is when the peer has acknowledged all (tcp(7), TIOCOUTQ)."""
    deadline, pause = time.monotonic() + _ACKNOWLEDGE, 0.0002
    while int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder):
        _raise_error(connection)
        if time.monotonic() > deadline:
            raise TimeoutError(f"the peer did not acknowledge within {_ACKNOWLEDGE:.0f} s")
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    _raise_error(connection)


def _raise_error(connection: socket.socket) -> None:
    code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))
