"""What the tests share."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from agent.alerts import Alert


def require_program(name: str) -> str:
    """The path of a program; where it is missing the test skips, or fails under ODDLINE_REQUIRE_ALL=1."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        missing = pytest.fail if os.environ.get("ODDLINE_REQUIRE_ALL") == "1" else pytest.skip
        missing(f"{name} is not installed")
    return path


def until(ready: Callable[[], object], timeout: float = 30.0) -> None:
    """Waits until `ready()` is true; fails the test where it stays false."""
    deadline = time.monotonic() + timeout
    while not ready():
        assert time.monotonic() < deadline, f"not so after {timeout} s"
        time.sleep(0.01)


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """Fails a test that leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(5)
    assert not [thread.name for thread in left if thread.is_alive()]


@pytest.fixture
def make_alert() -> Callable[..., Alert]:
    """Makes alerts that differ by number; any field can be named."""

    def make(number: int = 1, **fields: object) -> Alert:
        values = {
            "id": f"{number:016x}",
            "time": "2026-03-09T03:12:45.5+01:00",
            "host": "web1.example.org",
            "source": "/var/log/syslog",
            "offset": 100 * number,
            "line": number,
            "stream": "",
            "program": "cupsd",
            "message": f"paper tray {number} is on fire",
            "score": 3.214,
            "threshold": 1.2,
            "p_value": 0.0,
            "severity": "high",
            "bundle": "default",
            "reason": {
                "kind": "distance",
                "distance": 3.214,
                "threshold": 1.2,
                "new_text": True,
                "unknown_words": ["fire"],
                "nearest": {"text": "paper tray <num> is empty", "distance": 2.5},
                "expected": {"text": "job <num> is done", "distance": 3.1},
            },
            "context": ["Mar  9 03:12:44 web1 cupsd[7]: job 4 starts"],
            "count": 1,
            "first_seen": "2026-03-09T03:12:45.5+01:00",
            "last_seen": "2026-03-09T03:12:45.5+01:00",
        }
        return Alert(**{**values, **fields})

    return make
