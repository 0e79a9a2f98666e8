"""What the tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy or torch is loaded: more threads get in each other's way

import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from helpers.logs import Collector, drop_collectors
from helpers.made_up import AUTH_HEADER, auth_rows, made_up_lines

from agent.alerting.alert import Alert
from agent.cli import main

# Under nohup and in the background of a script these are ignored, which the programs under test would inherit.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


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
def said() -> Iterator[list[str]]:
    """What the agent tells its operator while a test runs, at every level."""
    logger, collector = logging.getLogger("agent"), Collector()
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(collector)
    yield collector.messages
    logger.removeHandler(collector)
    logger.setLevel(level)


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
        return Alert(**{**values, **fields})

    return make
