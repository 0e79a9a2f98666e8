"""Waiting for what another process or thread does, and reading what it writes."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def until(ready: Callable[[], object], timeout: float = 30.0) -> None:
    """Waits until `ready()` is true; fails the test where it stays false."""
    deadline = time.monotonic() + timeout
    while not ready():
        assert time.monotonic() < deadline, f"not so after {timeout} s"
        time.sleep(0.01)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file; a last line that is still being written is left out."""
    data = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def free_port() -> int:
    """A port of this host at which nobody listens, very likely for a while."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
