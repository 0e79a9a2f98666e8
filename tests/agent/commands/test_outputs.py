"""Whatever a command writes to: a file is replaced whole, and a device, a pipe or a link stays what it is."""

import gzip
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.made_up import made_up_lines
from helpers.requirements import require_module
from helpers.special_files import SPECIAL, reading, snapshot

from agent.telemetry.monitor import Monitor
from agent.telemetry.settings import MetricsSettings
from agent.telemetry.snapshot import Snapshot

Write = Callable[[Path], None]


@pytest.fixture(params=["score", "score sessions", "report", "metrics_file", "plot", "run"])
def write(request, tmp_path_factory, monkeypatch, call_agent) -> Write:
    """Has a command write to a path; an AssertionError where it refuses."""
    log = tmp_path_factory.mktemp("log") / "app.log"
    log.write_bytes(b"".join(made_up_lines(50)))

    def command(*arguments: object) -> None:
        done = call_agent(*arguments)
        assert done.returncode == 0, done.stderr

    def score(path: Path, *options: str) -> None:
        command("score", log, "-o", path, *options)

    def report(path: Path) -> None:
        command("score", log, "-o", log.with_suffix(".jsonl"))
        command("report", log.with_suffix(".jsonl"), "-o", path)

    def metrics(path: Path) -> None:
        monkeypatch.setattr(MetricsSettings, "__post_init__", lambda settings: None)  # which wants .prom
        Monitor(MetricsSettings(file=str(path))).publish(
            Snapshot({}, {}, 0, 0, 0.0, 0.0, ("id", "name"), {}), last=True
        )

    def plot(path: Path) -> None:
        style = require_module("training.plot.style")
        from matplotlib.figure import Figure

        monkeypatch.setattr(Path, "suffix", ".png")
        style.save(Figure(), path)

    def run(path: Path) -> None:
        require_module("torch")
        from training.fitting.run_folder import write

        write(path, b"weights")

    sessions = lambda path: score(path, "--scope", "session")  # noqa: E731
    writers = {"score": score, "score sessions": sessions, "report": report, "metrics_file": metrics, "plot": plot}
    return (writers | {"run": run})[request.param]


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_is_written_to_and_stays_what_it_is(tmp_path, write, kind):
    target = SPECIAL[kind](tmp_path)
    before = snapshot(tmp_path)
    with reading(target) as read:
        write(target)
    assert read() != b"" and snapshot(tmp_path) == before


def test_a_file_that_is_replaced_keeps_its_permissions_but_the_metrics_that_anybody_may_read(tmp_path, write, request):
    target = tmp_path / "target"
    target.write_bytes(b"old")
    target.chmod(0o600)
    write(target)
    open_to_all = "metrics_file" in request.node.name
    assert stat.S_IMODE(target.stat().st_mode) == (0o644 if open_to_all else 0o600)
    assert target.read_bytes() not in (b"", b"old") and os.listdir(tmp_path) == ["target"]


@pytest.mark.parametrize("command", ["score", "report"])
def test_a_socket_is_refused_in_one_line(tmp_path, call_agent, command):
    (tmp_path / "log").write_bytes(b"".join(made_up_lines(5)))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        call_agent("score", tmp_path / "log", "-o", tmp_path / "scores")
        source = tmp_path / {"score": "log", "report": "scores"}[command]
        done = call_agent(command, source, "-o", tmp_path / "socket")
    assert done.returncode == 5 and done.stderr.splitlines() == [
        f"error: {tmp_path}/socket cannot be written: it is a socket; choose another file"
    ]


def test_packed_scores_go_into_a_pipe_whole(tmp_path, call_agent):
    (tmp_path / "log").write_bytes(b"".join(made_up_lines(5)))
    os.mkfifo(tmp_path / "s.gz")
    with reading(tmp_path / "s.gz") as read:
        assert call_agent("score", tmp_path / "log", "-o", tmp_path / "s.gz").returncode == 0
    assert gzip.decompress(read()).count(b"\n") == 5


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("kind", ["sink", "scores", "metrics"])
def test_a_link_that_another_user_made_is_refused_at_the_start(tmp_path, bundle, call_agent, kind):
    log, victim, link = tmp_path / "log", tmp_path / "victim", tmp_path / "link.prom"
    log.write_bytes(b"".join(made_up_lines(5)))
    victim.write_bytes(b"precious")
    link.symlink_to(victim)
    os.chown(link, 65534, -1, follow_symlinks=False)
    (tmp_path / "agent.yaml").write_text(f"metrics_file: {link}\n" if kind == "metrics" else "")
    more = {"sink": ("--sink", f"jsonl:{link}"), "scores": ("--scores", link), "metrics": ()}[kind]
    done = call_agent("tail", log, "--once", "-b", bundle, "--config", tmp_path / "agent.yaml", *more)
    assert done.returncode == (5 if kind == "scores" else 2) and victim.read_bytes() == b"precious"
    (line,) = done.stderr.splitlines()
    assert "is a symbolic link that another user may have made; choose another file" in line
