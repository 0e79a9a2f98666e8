"""What the tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy or torch is loaded: more threads get in each other's way

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import agent
from agent.alerting.alert import Alert
from agent.cli import main

# Under nohup and in the background of a script these are ignored, which the programs under test would inherit.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
_AGENT = [sys.executable, "-c", "from agent.cli import main; main()"]
_STEPS = (  # 0: any number, 1: the number of the request, 2: a small number
    "sshd[{0}]: Accepted publickey for deploy from 192.0.2.{2} port {0} ssh2",
    "sshd[{0}]: session opened for user deploy(uid={2}) by (uid=0)",
    "shopd[{2}]: req-{1} get /items/{0}",
    "shopd[{2}]: req-{1} answered in {0} ms",
    "CRON[{0}]: (root) CMD (cleanup --older {2} --most 9)",
    "sshd[{0}]: session closed for user deploy after {0} s and {2} bytes",
)
ODD = "shopd[77]: panic: lost the vault of user mallory, melting down 0xdeadbeef"


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


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file; a last line that is still being written is left out."""
    data = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]


def free_port() -> int:
    """A port of this host at which nobody listens, very likely for a while."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def odd_text(number: int) -> str:
    """An odd message, another text for each number, so that one is no repeat of the other."""
    return f"{ODD} {''.join(chr(97 + int(digit)) for digit in str(number))}"


def made_up_lines(count: int, seed: int = 0, odd: tuple[int, ...] = ()) -> list[bytes]:
    """Lines of a syslog in which the same few steps follow each other, with an odd one at each of the places `odd`."""
    draw, lines = random.Random(seed), []
    for number in range(count):
        step = odd_text(number) if number in odd else _STEPS[number % len(_STEPS)]
        clock = f"{number // 360 % 24:02}:{number // 6 % 60:02}:{number % 6 * 10:02}"
        text = step.format(draw.randrange(100, 9000), 1000 + number // len(_STEPS), draw.randrange(1, 255))
        lines.append(f"Mar  9 {clock} web1 {text}\n".encode())
    return lines


COLUMNS = ["time", "user", "source", "target", "kind", "result"]
AUTH_HEADER = {"columns": COLUMNS, "time": "time", "split": {"user": {"at": "@", "into": ["user", "domain"]}}}


def auth_rows(count: int, seed: int = 0) -> list[bytes]:
    """Rows of made-up authentications, a second apart; every user has a computer and a few targets of its own."""
    draw, rows = random.Random(seed), []
    for second in range(count):
        user = draw.randrange(9)
        target = f"S{(user + draw.randrange(2)) % 5}" if draw.random() < 0.9 else f"P{user}"
        kind = draw.choice(["Kerberos", "NTLM"]) if user % 2 else "Kerberos"
        rows.append(f"{second},u{user}@corp,P{user},{target},{kind},{'Fail' if draw.random() < 0.05 else 'Success'}\n")
    return [row.encode() for row in rows]


def environment(more: dict[str, str] | None) -> dict[str, str]:
    """Of a subprocess that finds the agent under test wherever it runs."""
    paths = [str(Path(agent.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"} | (more or {})


def start_agent(*arguments: object, env: dict[str, str] | None = None, **options: object) -> subprocess.Popen:
    """The command `agent` as a process of its own, its output piped unless `options` say otherwise."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([*_AGENT, *map(os.fspath, arguments)], env=environment(env), **pipes)


def run_agent(
    *arguments: object, input: bytes = b"", env: dict[str, str] | None = None, **options: object
) -> subprocess.CompletedProcess[bytes]:
    """Runs the command `agent` to its end; whatever happened, it has shown no traceback."""
    with start_agent(*arguments, env=env, stdin=subprocess.PIPE, **options) as process:
        try:
            stdout, stderr = process.communicate(input, timeout=120)
        except BaseException:
            process.kill()
            raise
    assert b"Traceback" not in (stderr or b""), stderr.decode(errors="replace")
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


def refusal(*arguments: object, **options: object) -> tuple[int, str]:
    """Runs a command that has to refuse: its exit code and the one line that it says."""
    done = run_agent(*arguments, **options)
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return done.returncode, lines[0]


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


def _make_bundle(folder: Path, *settings: str, stream: str | None = None) -> Path:
    """A bundle of a very small two-stage model that learned made-up lines."""
    (folder / "log").write_bytes(b"".join(made_up_lines(600)))
    small = (
        "encoder.epochs=4",
        "encoder.embedding=8",
        "encoder.hidden=8",
        "encoder.vector=6",
        "encoder.learning_rate=0.03",
        "detector.epochs=12",
        "detector.hidden=8",
        "detector.learning_rate=0.02",
        "window.size=4",
        "threshold.q=0.99",
    )
    return _train(folder, None, small + settings, {"stream": stream, "family": "two-stage", "seed": 3})


def _train(folder: Path, config: Path | None, settings: tuple[str, ...], options: dict[str, object]) -> Path:
    pytest.importorskip("torch")
    from export.writer import export_run
    from training.fitting.job import Job, run_job
    from training.fitting.run_folder import load_run

    run_job(Job([folder / "log"], folder / "run", config, settings, options, None, None, None, "cpu", 1, False))
    export_run(load_run(folder / "run"), folder / "bundle", False, [], False)
    return folder / "bundle"


@pytest.fixture(scope="session")
def tiered_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small tiered language model over the fields of `auth_rows`, a stream for each user."""
    folder = tmp_path_factory.mktemp("tiered")
    (folder / "log").write_bytes(b"".join(auth_rows(600)))
    model = {"tier": "mean", "embedding": 8, "hidden": 8, "context": 6, "batch_size": 9, "epochs": 6}
    content = {"family": "language-model", "header": AUTH_HEADER, "stream": r"^[^,]*,([^,]+)", "relative": "mean"}
    content |= {"model": model | {"learning_rate": 0.02}, "threshold": {"q": 0.99}}
    (folder / "config.yaml").write_bytes(msgspec.yaml.encode(content))
    return _train(folder, folder / "config.yaml", (), {})


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose windows have 4 lines of a file. Not to be changed: copy it."""
    return _make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def padded_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of streams of requests whose beginnings are padded and whose ends count."""
    return _make_bundle(tmp_path_factory.mktemp("padded"), "window.pad=true", "window.end=true", stream=r"req-\d+")


@pytest.fixture(scope="session")
def timed_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose detector sees the time of day."""
    return _make_bundle(tmp_path_factory.mktemp("timed"), "time_of_day=true")


@pytest.fixture(scope="session")
def codebook_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose detector has a codebook and sees the time of day."""
    # with 16 values a vector fills a register; a sum over fewer depends on where onnxruntime lays it
    settings = ("detector.head=codebook", "time_of_day=true", "encoder.vector=16")
    return _make_bundle(tmp_path_factory.mktemp("codebook"), *settings)


@pytest.fixture(scope="session")
def char_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a language model of characters that reads 80 of a line; its run lies beside it."""
    folder = tmp_path_factory.mktemp("characters")
    (folder / "log").write_bytes(b"".join(made_up_lines(600)))
    small = ("tokenizer.kind=char", "tokenizer.max_tokens=80", "model.epochs=3", "model.hidden=16")
    settings = (*small, "model.learning_rate=0.03", "model.attention=semantic1", "threshold.q=0.99")
    return _train(folder, None, settings, {"family": "language-model", "seed": 3})


@pytest.fixture(scope="session")
def sequence_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small sequence autoencoder of the plain preset's first normal lines; run and logs lie beside it.

    `log` is what it learnt, `later` the whole with the burst, `labels` those of `later`.
    """
    from training.synth import generate, write_log

    folder = tmp_path_factory.mktemp("sequence")
    labels = folder / "labels"
    write_log(str(folder / "later"), generate(1500, seed=1, preset="plain"), labels=str(labels))
    with (folder / "later").open("rb") as file:
        (folder / "log").write_bytes(b"".join(file.readlines()[:1100]))
    small = ("model.hidden=16", "model.latent=16", "model.epochs=8", "model.learning_rate=0.005", "window.size=10")
    return _train(folder, None, small, {"family": "sequence-autoencoder", "seed": 3})


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
