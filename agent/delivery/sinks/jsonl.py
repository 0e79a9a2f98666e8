"""Alerts as JSON Lines."""

import errno
import os
import stat
import sys

import msgspec

from agent.alerting.alert import Alert
from agent.delivery.sinks.stdout import ending_with_reader
from agent.host.trust import open_to_append


class JsonlSink:
    """Appends one JSON object a line to a file, opened anew when it was moved or deleted; `-` is standard output."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self._path = path
        self._file: int | None = None

    def send(self, alert: Alert) -> None:
        """Appends an alert by one write; an OSError where it was not taken, and then no part of it stays."""
        line = msgspec.json.encode(alert) + b"\n"
        if self._path == "-":
            with ending_with_reader():
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
        else:
            _append(self._descriptor(), line)

    def _descriptor(self) -> int:
        if self._file is not None and not self._is_current(self._file):
            self.close()
        if self._file is None:
            self._file = _open(self._path)
        return self._file

    def _is_current(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(descriptor))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _open(path: str) -> int:
    """A descriptor that appends; ends a last line that a crash has cut. A pipe without a reader is an OSError."""
    descriptor = open_to_append(path, wait=False)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and _last_byte(descriptor) not in b"\n":
            _append(descriptor, b"\n")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _last_byte(descriptor: int) -> bytes:
    with open(f"/proc/self/fd/{descriptor}", "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        return file.read(1)


def _append(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    if written < len(data):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
