"""Waiting for what another process or thread does, and reading what it writes."""

import json
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def until(ready: Callable[[], object], timeout: float = 120.0) -> None:
    """Waits until `ready()` is true; fails the test where it stays false. The time is that of a busy machine."""
    deadline = time.monotonic() + timeout
    while not ready():
        assert time.monotonic() < deadline, f"not so after {timeout} s"
        time.sleep(0.01)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file; a last line that is still being written is left out."""
    return [json.loads(line) for line in whole_lines(path)]


def alerts_of(path: Path) -> list[dict[str, Any]]:
    """The alerts in a file, without the times at which their lines were read, and without notices."""
    rows = rows_of(path)
    return [{key: row[key] for key in row if key != "read"} for row in rows if row["kind"] == "alert"]


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that somebody may be writing: without one that has no end yet, and none where it is not."""
    data = path.read_bytes() if path.exists() else b""
    return data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]


def text_of(path: Path) -> str:
    """The whole lines of a file that somebody may be writing, as text."""
    return b"".join(line + b"\n" for line in whole_lines(path)).decode()


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port of this host at which nobody listens, and which the kernel gives to nobody who names none."""
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket(type=kind) as server:
            try:
                server.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
