"""What the tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy or torch is loaded: more threads get in each other's way

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.logs import collect_messages, drop_collectors
from helpers.recipes import BUNDLES, RECIPES, make_once
from helpers.requirements import require_module

from agent.alerting.alert import Alert
from agent.cli import main
from agent.scoring.reasons import Reason, decode_reason

# Under nohup and in the background of a script these are ignored, which the programs under test would inherit.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

_TESTS = Path(__file__).parent
_SLOW = {"histories": -1, "export": 0}  # folders, the slowest first; the others follow


@pytest.hookimpl(tryfirst=True)  # before the workers look for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with what takes longest; one process runs all tests of a file that share a costly fixture."""
    items.sort(key=lambda item: _SLOW.get(item.path.parts[len(_TESTS.parts)], 1))
    for item in items:
        fixtures = item._fixtureinfo.name2fixturedefs
        shared = [name for name, found in fixtures.items() if any(one.scope == "module" for one in found)]
        if shared:
            which = getattr(item, "callspec", None)
            values = [str(which.indices[name]) for name in shared if which and name in which.indices]
            item.add_marker(pytest.mark.xdist_group("-".join([item.path.stem, *values])))


@pytest.fixture
def call_agent(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command `agent` in this process, which is faster; what onnxruntime prints is captured as well."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["agent", *map(os.fspath, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capfd.readouterr())

    return call


@pytest.fixture(scope="session")
def bundle() -> Path:
    """A bundle whose windows have 4 lines of a file. Not to be changed: copy it."""
    return BUNDLES / "two-stage"


@pytest.fixture(scope="session")
def padded_bundle() -> Path:
    """A bundle of streams of requests whose beginnings are padded and whose ends count."""
    return BUNDLES / "padded"


@pytest.fixture(scope="session")
def timed_bundle() -> Path:
    """A bundle whose detector sees the time of day."""
    return BUNDLES / "timed"


@pytest.fixture(scope="session")
def codebook_bundle() -> Path:
    """A bundle whose detector has a codebook and sees the time of day."""
    return BUNDLES / "codebook"


@pytest.fixture(scope="session")
def char_bundle() -> Path:
    """A bundle of a language model of characters that reads 80 of a line."""
    return BUNDLES / "characters"


@pytest.fixture(scope="session")
def tiered_bundle() -> Path:
    """A bundle of a small tiered language model over the fields of `auth_rows`, a stream for each user."""
    return BUNDLES / "tiered"


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all processes that run tests."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def trained(shared: Path) -> Callable[[str], Path]:
    """Makes a bundle by a recipe, its log and its run beside it, once for all processes that run tests."""
    require_module("torch")
    return lambda name: make_once(shared / f"trained-{name}", RECIPES[name]) / "bundle"


@pytest.fixture
def said() -> list[str]:
    """What the commands tell their operator while a test runs, at every level."""
    return collect_messages()


@pytest.fixture(autouse=True)
def _no_collector_left() -> Iterator[None]:
    yield
    drop_collectors()


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
        content = {**values, **fields}
        return Alert(**content | {"reason": decode_reason(Reason, content["reason"])})

    return make
