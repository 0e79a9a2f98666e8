"""journald by its native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/), which keeps the fields of an alert."""

import errno
import fcntl
import os
import socket
from collections.abc import Callable

import msgspec

from agent.alerting.alert import Alert
from agent.delivery.sinks.syslog import FACILITY, SYSLOG_SEVERITY, SocketSink, connect_unix
from agent.host.log import TAG

SOCKET = "/run/systemd/journal/socket"
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_TOO_LARGE = (errno.EMSGSIZE, errno.ENOBUFS)  # for a datagram


def entry(alert: Alert, text: str, pid: int) -> bytes:
    """An entry: the text for people, and each field of the alert as ODDLINE_NAME, lists and objects as JSON."""
    values = {
        "MESSAGE": text,
        "PRIORITY": SYSLOG_SEVERITY[alert.severity],
        "SYSLOG_FACILITY": FACILITY,
        "SYSLOG_IDENTIFIER": TAG,
        "SYSLOG_PID": pid,
    }
    own = {f"ODDLINE_{name.upper()}": getattr(alert, name) for name in Alert.__struct_fields__}
    return b"".join(_field(name, value) for name, value in (values | own).items())


def _field(name: str, value: object) -> bytes:
    r"""`NAME=value\n`, or for a value with a line feed `NAME\n`, its length in 64 bits little-endian, and `value\n`."""
    text = str(value) if isinstance(value, str | int | float) else msgspec.json.encode(value).decode()
    data = text.encode("utf-8", "backslashreplace")
    if b"\n" not in data:
        return b"%b=%b\n" % (name.encode(), data)
    return b"%b\n%b%b\n" % (name.encode(), len(data).to_bytes(8, "little"), data)


class JournaldSink(SocketSink):
    """The journal of this host."""

    def __init__(self, name: str, path: str, host: str, seal: Callable[[str], str]) -> None:
        super().__init__(name, host, seal)
        self._path = path

    def _connect(self) -> socket.socket:
        return connect_unix(self._path, socket.SOCK_DGRAM)

    def _transmit(self, connection: socket.socket, alert: Alert, text: str) -> None:
        data = entry(alert, text, os.getpid())
        try:
            connection.send(data)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            _send_file(connection, data)


def _send_file(connection: socket.socket, data: bytes) -> None:
    """Sends an entry as a file in memory that nobody can change any more, in a message without bytes of its own."""
    descriptor = os.memfd_create("oddline", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
        socket.send_fds(connection, [b""], [descriptor])
