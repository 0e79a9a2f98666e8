"""SIGHUP has a running agent read its configuration and bundle anew, or go on with the old ones, and loses nothing."""

import fcntl
import gc
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import termios
import weakref
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import numpy
import pytest
import yaml
from helpers.made_up import made_up_lines
from helpers.processes import refusal, run_agent, start_agent
from helpers.waiting import rows_of, text_of, until, whole_lines

from agent.alerting.pipeline import Pipeline
from agent.app.service import Service
from agent.bundle.bundle import Bundle
from agent.commands.status import read_status
from agent.config import AgentConfig
from agent.errors import ConfigError
from agent.state.store import FILE
from agent.telemetry.summary import Summary

ODD = (40, 90, 130, 170, 210, 260)
LINES = made_up_lines(300, odd=ODD)


class Running:
    """An agent with a configuration file, and what it said and told so far."""

    def __init__(self, folder: Path, bundle: Path, **more: object) -> None:
        self.log, self.config, self.folder = folder / "app.log", folder / "agent.yaml", folder
        self.log.touch()
        self.content = {
            "sources": [str(self.log)],
            "bundle": str(bundle),
            "sinks": [f"jsonl:{folder}/alerts"],
            "state": str(folder / "state"),
            "from": "start",
            **more,
        }
        self.configure()
        self.said = folder / "said"
        with self.said.open("wb") as stderr:
            self.process = start_agent("run", "--config", self.config, stderr=stderr)
        try:
            until(lambda: catches_hangup(self.process) and (self.folder / "state" / FILE).exists())
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise

    def configure(self, **changes: object) -> None:
        self.content |= changes
        self.config.write_text(yaml.safe_dump(self.content))

    def write(self, lines: list[bytes], name: str = "app.log") -> None:
        with (self.folder / name).open("ab") as file:
            file.writelines(lines)

    def heard(self, word: str) -> int:
        return text_of(self.said).count(word)

    def reload(self, outcome: str) -> None:
        before = self.heard(outcome)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: self.heard(outcome) > before)

    def lines_read(self) -> int:
        with suppress(ConfigError):
            return read_status(self.folder / "state").totals.lines_read
        return 0

    def waiting(self) -> int:
        return sum(sink.waiting for sink in read_status(self.folder / "state").sinks)

    def alerts(self, name: str = "alerts") -> list[dict]:
        return rows_of(self.folder / name)

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0 and "Traceback" not in text_of(self.said), text_of(self.said)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    agents: list[Running] = []

    def start(bundle: Path, **more: object) -> Running:
        agents.append(Running(tmp_path, bundle, **more))
        return agents[-1]

    yield start
    for agent in agents:
        agent.process.kill()
        agent.process.communicate()


def told(alerts: list[dict]) -> list[tuple]:
    return [(alert["line"], alert["score"], alert["count"], tuple(alert["context"])) for alert in alerts]


@contextmanager
def expected(folder: Path, bundle: Path, lines: list[bytes]) -> Iterator[list[tuple]]:
    """The alerts of an uninterrupted reading."""
    whole = folder / "whole.log"
    whole.write_bytes(b"".join(lines))
    done = run_agent("tail", whole, "--once", "--from", "start", "-b", bundle, "--sink", "jsonl:-")
    yield told([json.loads(line) for line in done.stdout.splitlines()])


def test_the_windows_and_every_line_outlive_reloads(bundle, tmp_path, running):
    agent = running(bundle)
    for start in range(0, 300, 50):
        agent.write(LINES[start : start + 37])
        agent.reload("reloaded: bundle")
        agent.write(LINES[start + 37 : start + 50])
    until(lambda: agent.lines_read() == 300)
    agent.end()
    with expected(tmp_path, bundle, LINES) as wanted:
        assert told(agent.alerts()) == wanted and len(wanted) >= len(ODD)


def test_sources_sinks_and_the_threshold_change(bundle, tmp_path, running):
    agent = running(bundle)
    agent.write(LINES[:100])
    until(lambda: agent.lines_read() == 100 and not agent.waiting())
    before = len(agent.alerts())
    (tmp_path / "other.log").write_bytes(b"".join(made_up_lines(60, seed=5)))
    agent.configure(
        sources=[str(agent.log), {"path": str(tmp_path / "other.log"), "from": "start"}],
        sinks=[f"jsonl:{tmp_path}/more"],
        threshold={"kind": "fixed", "value": -1.0},
        fold_lines=0,
        max_alert_share=1.0,
    )
    agent.reload("reloaded: bundle")
    agent.write(LINES[100:120])
    until(lambda: agent.lines_read() == 180)
    agent.end()
    assert len(agent.alerts()) == before
    found = [(Path(alert["source"]).name, alert["line"]) for alert in agent.alerts("more")]
    assert [line for name, line in found if name == "app.log"] == list(range(101, 121))
    assert len([line for name, line in found if name == "other.log"]) > 50


def test_what_was_cut_is_counted_once_also_where_a_source_goes_and_comes_again(bundle, tmp_path, running):
    other = tmp_path / "other.log"
    other.write_bytes(b"x" * 1500 + b"\n")
    agent = running(bundle, max_line=500)
    both = [str(agent.log), {"path": str(other), "from": "start"}]
    agent.configure(sources=both)
    agent.reload("reloaded: bundle")
    until(lambda: agent.lines_read() == 1)
    for sources in (both[:1], both):
        agent.configure(sources=sources)
        agent.reload("reloaded: bundle")
    agent.write([b"y" * 600 + b"\n"], "other.log")
    until(lambda: agent.lines_read() == 2)
    agent.end()
    counts = read_status(tmp_path / "state").totals
    assert (counts.cut_lines, counts.cut_bytes) == (2, 1000 + 100)


DEEP = "[" * 100_000 + "]" * 100_000


def spoilt(change):
    """Has the agent name a copy of its bundle that was changed, its hashes right."""

    def do(agent: Running) -> None:
        place = agent.folder / "spoilt"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(agent.content["bundle"], place)
        change(place)
        manifest = place / "manifest.json"
        with suppress(json.JSONDecodeError, RecursionError):
            content = json.loads(manifest.read_text())
            content["files"] = {
                name: hashlib.sha256((place / name).read_bytes()).hexdigest() for name in content["files"]
            }
            manifest.write_text(json.dumps(content))
        agent.configure(bundle=str(place))

    return do


def no_arrays(bundle: Path) -> None:
    with zipfile.ZipFile(bundle / "known.npz", "w") as archive:
        for name in ("hashes.npy", "tokens.npy"):
            archive.writestr(name, b"no array")


def huge_array(bundle: Path) -> None:
    header = io.BytesIO()
    numpy.lib.format.write_array_header_1_0(header, {"descr": "<u8", "fortran_order": False, "shape": (1 << 50,)})
    with zipfile.ZipFile(bundle / "known.npz", "w") as archive:
        archive.writestr("hashes.npy", header.getvalue())


HOSTILE = [
    (lambda agent: agent.config.write_text(DEEP), "nested too deeply"),
    (lambda agent: agent.configure(max_line=10**40), "max_line: 1000"),
    (lambda agent: agent.configure(threshold={"kind": "fixed", "value": float("nan")}), "threshold.value: nan"),
    (lambda agent: agent.configure(stream="a{9999999999}"), "no regular expression"),
    (lambda agent: agent.configure(sources=["a\0b"]), "no path can have"),
    (lambda agent: agent.configure(sources=[{"path": str(agent.log), "encoding": "rot13"}]), "no text encoding"),
    (
        spoilt(lambda bundle: (bundle / "manifest.json").write_text('{"format_version":1,"x":' + DEEP + "}")),
        "nested too deeply",
    ),
    (
        spoilt(lambda bundle: (bundle / "tokenizer.json").write_text('{"kind":"words","x":' + DEEP + "}")),
        "nested too deeply",
    ),
    (spoilt(no_arrays), "known.npz"),
    (spoilt(huge_array), "known.npz"),
]

REFUSED = [
    (lambda agent: agent.config.write_text("sources: [\n"), "is no YAML"),
    (lambda agent: agent.configure(thresold=1), "thresold: unknown key"),
    (lambda agent: agent.configure(bundle="/nowhere"), "/nowhere"),
    (lambda agent: agent.configure(sinks=["gopher://x"]), "gopher://x"),
    (lambda agent: agent.configure(sinks=["console:", "console:"]), "named twice"),
    (lambda agent: agent.configure(sources=[]), "no log to read"),
    (lambda agent: agent.configure(sources=[str(agent.folder)]), "is a directory"),
    (lambda agent: agent.configure(state="/elsewhere"), "state cannot change while the agent runs"),
    (lambda agent: agent.config.unlink(), "does not exist"),
    (lambda agent: agent.configure(sinks=[f"jsonl:{agent.log}"]), "would read its own alerts"),
    (
        lambda agent: agent.configure(sources=[f"{agent.folder}/*.l??"], sinks=[f"jsonl:{agent.folder}/new.log"]),
        "new.log is a file that is tailed",
    ),
]


def test_whatever_an_agent_is_started_with_is_refused_in_one_line(bundle, tmp_path):
    agent = object.__new__(Running)
    agent.folder, agent.log, agent.config = tmp_path, tmp_path / "app.log", tmp_path / "agent.yaml"
    agent.log.touch()
    sound = {"sources": [str(agent.log)], "bundle": str(bundle), "sinks": ["console:"]}
    for number, (break_it, reason) in enumerate(HOSTILE):
        agent.content = dict(sound)
        break_it(agent)
        code, line = refusal("run", "--config", agent.config)
        assert (code, reason in line) == (2 if number < 6 else 3, True), line


def test_what_breaks_only_when_it_is_used_is_refused_and_the_old_is_used_again(bundle, tmp_path, monkeypatch, said):
    log, sinks = tmp_path / "app.log", [f"jsonl:{tmp_path}/alerts"]
    log.write_bytes(b"".join(LINES[:50]))
    config = AgentConfig(sources=[str(log)], bundle=str(bundle), sinks=sinks, start="start")
    service = Service(lambda: config)
    try:
        before, real = service.reader.pipeline, Summary.use

        def use(summary: Summary, pipeline: Pipeline) -> None:
            real(summary, pipeline)
            if pipeline is not before:
                raise IndexError("of a model")

        monkeypatch.setattr(Summary, "use", use)
        service.reload()
        assert service.reader.pipeline is before and "going on as before: IndexError: of a model" in said[-1]
        monkeypatch.undo()
        monkeypatch.setattr(Bundle, "run", lambda *_: 1 / 0)
        service.reload()
        assert service.reader.pipeline is before and "division by zero (ZeroDivisionError)" in said[-1]
    finally:
        service.close()


def test_what_is_no_good_is_refused_and_the_old_goes_on(bundle, tmp_path, running):
    agent = running(bundle)
    agent.write(LINES[:95])
    until(lambda: agent.lines_read() == 95)
    sound = dict(agent.content)
    for break_it, reason in [*REFUSED, *HOSTILE]:
        agent.content = dict(sound)
        break_it(agent)
        agent.reload("reload refused, going on as before: ")
        assert reason in whole_lines(agent.said)[-1].decode()
    agent.write(LINES[95:])
    until(lambda: agent.lines_read() == 300)
    agent.end()
    with expected(tmp_path, bundle, LINES) as wanted:
        assert told(agent.alerts()) == wanted


def test_a_bundle_is_replaced_under_a_running_agent(bundle, padded_bundle, tmp_path, running):
    place = tmp_path / "bundle"
    shutil.copytree(bundle, place)
    agent = running(place)
    agent.write(LINES[:100])
    until(lambda: agent.lines_read() == 100)
    (place / "manifest.json").write_text("{}")
    agent.reload("reload refused")
    agent.write(LINES[100:150])
    until(lambda: agent.lines_read() == 150)
    shutil.rmtree(place)
    shutil.copytree(padded_bundle, place)
    agent.reload("reloaded: bundle")
    agent.write(LINES[150:])
    until(lambda: agent.lines_read() == 300)
    agent.end()
    lines = [alert["line"] for alert in agent.alerts()]
    assert {number + 1 for number in ODD} <= set(lines) and lines == sorted(lines)


def test_without_a_configuration_file_the_bundle_is_read_anew(bundle, tmp_path):
    with tailing(tmp_path, bundle) as process:
        process.send_signal(signal.SIGHUP)
        until(lambda: "reloaded: bundle" in text_of(tmp_path / "said"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_signals_during_the_start_are_kept(bundle, tmp_path):
    """Neither ends the agent in the middle of it: SIGHUP is heeded when it is ready, SIGTERM then ends it cleanly."""
    with tailing(tmp_path, bundle) as process:
        assert "reading" not in text_of(tmp_path / "said")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert "read 0 lines" in text_of(tmp_path / "said")


def test_the_end_of_its_terminal_ends_the_agent(bundle, tmp_path):
    main, terminal = os.openpty()
    with tailing(tmp_path, bundle, stdin=terminal, start_new_session=True, preexec_fn=_take_terminal) as process:
        os.close(terminal)
        process.send_signal(signal.SIGHUP)  # by hand, while the terminal is there
        until(lambda: "reloaded: bundle" in text_of(tmp_path / "said"))
        os.close(main)
        assert process.wait(timeout=60) == 0


@contextmanager
def tailing(folder: Path, bundle: Path, **options: object) -> Iterator[subprocess.Popen]:
    """An agent without a configuration file, ready for signals."""
    (folder / "app.log").touch()
    with (folder / "said").open("wb") as stderr:
        arguments = ("tail", folder / "app.log", "-b", bundle, "--sink", f"jsonl:{folder}/alerts")
        process = start_agent(*arguments, stdout=subprocess.DEVNULL, stderr=stderr, **options)
    try:
        until(lambda: catches_hangup(process))
        yield process
    finally:
        process.kill()
        process.wait()


def catches_hangup(process: subprocess.Popen) -> bool:
    """Whether the agent is so far that it handles SIGHUP; proc_pid_status(5)."""
    assert process.poll() is None
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (caught,) = [line for line in lines if line.startswith("SigCgt")]
    return bool(int(caught.split()[1], 16) & 1 << signal.SIGHUP - 1)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_reload_gives_back_the_memory_of_the_model_before(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.touch()
    config = AgentConfig(sources=[str(log)], sinks=["console:"])
    service = Service(lambda: config)
    gc.disable()
    try:
        before = weakref.ref(service.reader.pipeline)
        service.reload()
        assert before() is None
    finally:
        gc.enable()
        service.close()


def test_a_loss_that_a_start_found_is_counted_once_when_a_reload_opens_the_file_again(tmp_path: Path) -> None:
    """Also where the agent is killed right after the reload, which stored the loss and must store the place too."""
    log, state = tmp_path / "app.log", tmp_path / "state"
    log.write_bytes(b"".join(made_up_lines(20, seed=1)))
    config = AgentConfig(sources=[str(log)], sinks=[f"jsonl:{tmp_path}/alerts"], start="start", state=str(state))
    Service(lambda: config, once=True).run()
    log.write_bytes(b"another beginning\n" + b"".join(made_up_lines(20, seed=2)))
    configs = [config, msgspec.structs.replace(config, max_line=4096)]
    service = Service(lambda: configs.pop(0))
    service.reload()
    service.close()
    Service(lambda: config, once=True).run()
    (source,) = read_status(state).sources
    assert (source.counts.losses, source.counts.lines_read) == (1, 41)
