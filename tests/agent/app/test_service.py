"""The loop of the agent among events in an unlucky order: it goes on, and says so."""

import errno
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from helpers.manual_clock import ManualClock
from helpers.processes import run_agent, start_agent
from helpers.waiting import text_of, until

import agent.app.heartbeat
import agent.app.service
import agent.commands.command_line
import agent.inputs.manager
import agent.sources.files.follower
import agent.sources.files.rotation_search
from agent.app.service import Service
from agent.app.signals import Signals
from agent.commands.status import read_status
from agent.config import AgentConfig, FileInput, check_config
from agent.delivery.sinks import open_sink
from agent.delivery.workers import Delivery
from agent.errors import ConfigError, StateDamaged, StateUnavailable
from agent.host.clock import Clock
from agent.sources.files.follower import FileSource
from agent.sources.files.globs import matches
from agent.state.store import State
from agent.text.lines import Block

pytestmark = pytest.mark.usefixtures("no_thread_left")


def configured(folder: Path, *sources: str | FileInput) -> AgentConfig:
    return AgentConfig(sources=[*sources], sinks=[f"jsonl:{folder}/alerts"], start="start")


def test_a_file_that_is_removed_while_it_is_found_ends_nothing(tmp_path, monkeypatch, capfd):
    def found_too_late(pattern: str, followed: frozenset[Path]) -> Iterator[tuple[Path, tuple[int, int]]]:
        for path, key in matches(pattern, followed):
            path.unlink()
            yield path, key

    (tmp_path / "short.log").touch()
    monkeypatch.setattr(agent.inputs.scan, "matches", found_too_late)
    Service(lambda: configured(tmp_path, f"{tmp_path}/*.log"), once=True).run()
    assert "read 0 lines" in capfd.readouterr().err


def unavailable(*_: object, **__: object) -> None:
    raise StateUnavailable("state x cannot be used: database or disk is full; free space on its disk")


@pytest.mark.parametrize("once", [True, False])
def test_a_state_that_cannot_be_written_at_the_start_is_waited_for_unless_the_run_does_not_wait(
    tmp_path, monkeypatch, capfd, once
):
    (tmp_path / "one.log").write_text("one line\n")
    tries, commit = [], State.commit

    def full_at_first(state: State, *changes: object, **more: object) -> None:
        tries.append(1)
        if len(tries) < 4:
            unavailable()
        commit(state, *changes, **more)

    monkeypatch.setattr(State, "commit", full_at_first)
    monkeypatch.setattr(agent.app.service, "guard_key", lambda state: b"k" * 32)
    config = configured(tmp_path, str(tmp_path / "one.log"))
    if once:
        with pytest.raises(StateUnavailable, match="disk is full"):
            Service(lambda: config, once, clock=ManualClock())
    else:
        Service(lambda: config, once, clock=ManualClock()).close()
        assert capfd.readouterr().err.count("nothing more is read until it can be written") == 1
    assert len(tries) == (1 if once else 4)


READS = ("checkpoint", "checkpoints", "next_streams", "blob", "backlog", "lost", "delivered_count")


@pytest.mark.parametrize("reading", READS)
def test_a_state_that_cannot_be_read_at_times_ends_nothing_and_skips_no_source(tmp_path, monkeypatch, capfd, reading):
    """Every other reading fails, of the loop as well as of the threads that deliver."""

    class NotingClock(Clock):
        def sleep(self, seconds: float) -> None:
            notes.append(service.monitor.ready)
            super().sleep(0.01)

    signals, calls, real = Signals(), [], getattr(State, reading)
    config = configured(tmp_path, f"{tmp_path}/*.log")
    config.state, config.metrics_file = str(tmp_path / "state"), str(tmp_path / "agent.prom")
    service = Service(lambda: config, signals=signals, clock=NotingClock())

    def failing(state: State, *names: object) -> object:
        calls.append(1)
        return unavailable() if len(calls) % 2 else real(state, *names)

    def stop_when_read() -> None:
        signals.stopped = service.summary.lines == 3

    notes = []
    monkeypatch.setattr(State, reading, failing)
    for number in range(3):
        (tmp_path / f"{number}.log").write_text("one line\n")
    monkeypatch.setattr(service.heartbeat, "beat", lambda beat=service.heartbeat.beat: (beat(), stop_when_read()))
    monkeypatch.setattr(service, "drain", lambda drain=service.drain: (monkeypatch.undo(), drain())[-1])
    service.run()
    said = capfd.readouterr().err
    assert calls and "read 3 lines" in said and set(service.reader.ledger.counts) == set(service.reader.sources)
    if notes or reading != "backlog":  # which the threads ask for more often
        assert not any(notes) and said.count("nothing more is read") == said.count("can be written again") > 0


@pytest.mark.parametrize("ends", ["full", "gone", "closed"])
def test_nobody_to_tell_is_no_reason_to_end(tmp_path, ends):
    logs = [tmp_path / name for name in ("one.log", "other.log")]
    for log in logs:
        log.write_text("one line\n")
    with open("/dev/full" if ends == "full" else os.devnull, "wb") as stderr:
        reader, pipe = os.pipe()
        os.close(reader)
        process = start_agent(
            *("tail", *logs, "--once", "--from", "start", "--sink", f"jsonl:{tmp_path}/alerts"),
            *("--state", tmp_path / "state"),
            stderr=pipe if ends == "gone" else stderr,
            **({"preexec_fn": lambda: os.close(2)} if ends == "closed" else {}),
        )
        os.close(pipe)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(run_agent("status", "--state", tmp_path / "state", "--json").stdout)["totals"]["lines_read"] == 2


def test_a_state_that_is_gone_for_good_is_told_when_the_sinks_are_to_change(tmp_path):
    sinks = [open_sink(f"jsonl:{tmp_path}/{name}", "host", str) for name in ("before", "after")]
    state = State(tmp_path / "state")
    delivery = Delivery(state, sinks[:1])
    delivery.start()
    Path(state.file).unlink()
    with pytest.raises(StateDamaged, match="removed or replaced"):
        delivery.replace(sinks[1:])
    delivery.stop()
    state.close()


def lines_read(state: Path) -> int:
    done = run_agent("status", "--state", state, "--json")
    return 0 if done.returncode else json.loads(done.stdout)["totals"]["lines_read"]


def test_a_refused_reload_leaves_a_socket_open_and_counts_on(tmp_path):
    path, state, config, said = (tmp_path / name for name in ("log", "state", "agent.yaml", "said"))
    content = {"sources": [f"listen:unix:{path}"], "sinks": [f"jsonl:{tmp_path}/alerts"], "state": str(state)}
    config.write_text(yaml.safe_dump(content))
    with said.open("wb") as stderr, start_agent("run", "--config", config, stderr=stderr) as process:
        until(path.exists)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            [sender.sendto(b"<13>one line", str(path)) for _ in range(3)]
            until(lambda: lines_read(state) == 3)
            content["sources"] = [{"path": f"listen:unix:{path}", "encoding": "latin-1"}]
            config.write_text(yaml.safe_dump(content))
            process.send_signal(signal.SIGHUP)
            until(lambda: "reload refused" in text_of(said))
            [sender.sendto(b"<13>one line", str(path)) for _ in range(2)]
            until(lambda: lines_read(state) > 3)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0 and lines_read(state) == 5


def test_a_long_round_shows_life(tmp_path, monkeypatch):
    signs, slow = [], FileSource.read

    def read(source: FileSource, most: int = 1 << 20) -> Block | None:
        clock.sleep(20)
        return slow(source, most)

    def notify(state: str) -> None:
        if "WATCHDOG" in state:
            signs.append(clock.seconds)

    clock = ManualClock(time.monotonic())
    logs = [tmp_path / f"{number}.log" for number in range(4)]
    for log in logs:
        log.write_text("one line\n")
    monkeypatch.setattr(FileSource, "read", read)
    monkeypatch.setattr(
        agent.app.heartbeat, "notify", lambda state: "WATCHDOG" in state and signs.append(clock.seconds)
    )
    Service(lambda: configured(tmp_path, *map(str, logs)), once=True, clock=clock).run()
    assert max(later - sign for sign, later in pairwise(signs)) <= 20


def test_the_sinks_that_nobody_named_stay_through_a_reload(tmp_path, monkeypatch):
    loaded, chosen = [], iter([["console:", "unix:/dev/log"], ["console:"]])
    monkeypatch.setattr(agent.commands.command_line, "_default_sinks", lambda: next(chosen))
    monkeypatch.setattr(agent.commands.command_line, "_run", lambda load, *_: loaded.extend(load() for _ in range(2)))
    agent.commands.command_line.tail(SimpleNamespace(obj=None), [str(tmp_path / "app.log")])
    assert [config.sinks for config in loaded] == [["console:", "unix:/dev/log"]] * 2


@pytest.mark.parametrize(
    ("closed", "arguments", "code", "reason"),
    [
        (0, ("tail", "-", "--once", "--sink", "jsonl:/dev/null"), 4, "standard input is closed"),
        (1, ("tail", "/dev/null/log", "--once", "--sink", "console:"), 5, "standard output is closed"),
        (1, ("score", "/dev/null"), 5, "standard output is closed"),
        (1, ("config", "/nowhere.yaml"), 2, "/nowhere.yaml"),
        (2, ("config", "/nowhere.yaml"), 2, ""),
    ],
)
def test_a_closed_descriptor_is_one_clear_line(closed, arguments, code, reason):
    with start_agent(*arguments, preexec_fn=lambda: os.close(closed)) as process:
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == code and stdout == b""
    assert stderr.decode().count("\n") == bool(reason) and reason in stderr.decode() and b"fault" not in stderr


def test_a_refusal_that_nobody_can_be_told_keeps_its_exit_code():
    with open("/dev/full", "wb") as full, start_agent("config", "/nowhere.yaml", stderr=full) as process:
        process.communicate(timeout=60)
    assert process.returncode == 2


@pytest.mark.parametrize("stays", [True, False])
def test_what_a_pipe_holds_at_a_reload_is_read_and_what_is_lost_is_counted(tmp_path, stays):
    pipe, other = tmp_path / "pipe", tmp_path / "other.log"
    os.mkfifo(pipe)
    other.touch()
    kept = [FileInput(str(pipe), encoding="latin-1")] if stays else []
    configs = iter([configured(tmp_path, str(pipe)), configured(tmp_path, str(other), *kept)])
    service = Service(lambda: next(configs))
    service.delivery.start()
    with closing(service), os.fdopen(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK), "wb", buffering=0) as writer:
        writer.write(b"one line\nbegun")
        service.step(str(pipe))
        if not stays:
            writer.write(b" and ended\nbegun")
        service.reload()
        if stays:
            writer.write(b"other line\n")
            service.step(str(pipe))
        counts = service.reader.ledger.counts[str(pipe)]
        assert (counts.lines_read, counts.losses, counts.bytes_lost) == (2, 1, len("begun"))
        assert (str(pipe) in service.reader.sources) == stays
        service.drain()


def test_the_summary_and_the_remarks_outlive_a_reload(tmp_path, monkeypatch, capfd):
    log = tmp_path / "app.log"
    log.write_text("one line\n")
    service = Service(lambda: configured(tmp_path, str(log)), once=True)
    for _ in range(2):
        pipeline = service.reader.pipeline
        policy, pipeline.engine.own_line_count = pipeline.policy, 2
        policy.repeats.folded, policy.forged, policy.breaker.held_back = 1, 3, 4
        monkeypatch.setattr(pipeline, "take_warnings", lambda: ["5 lines were not read whole"])
        service.reload()
    with closing(service):
        service.log_totals(service.drain())
    said = capfd.readouterr().err
    counted = "2 repeats folded, 4 own alerts left out, 6 odd lines that look like own alerts, "
    assert counted + "8 alerts held back" in said.splitlines()[-1]
    assert said.count("5 lines were not read whole") == 2


@pytest.mark.parametrize("before", [b"", b"of a file\n"])
def test_a_named_pipe_that_is_made_later_is_read(tmp_path, monkeypatch, capfd, before):
    monkeypatch.setattr(agent.sources.files.follower, "RELEASE", 0.0)
    log, config = tmp_path / "app.log", configured(tmp_path, str(tmp_path / "app.log"))
    config.state = str(tmp_path / "state")
    if before:
        log.write_bytes(before)
    for number in range(2):  # the second goes on where a pipe is known and nothing is there
        signals = Signals()
        service = Service(lambda: config, signals=signals)
        while service.reader.sources[str(log)].is_open:
            service.step(str(log))
            log.unlink(missing_ok=True)
        os.mkfifo(log)
        service.poller.choose(None)
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_NONBLOCK), "wb") as writer:
            writer.write(b"one line\nother line\n")
        signals.stop()
        service.run()
        assert service.reader.ledger.counts[str(log)].lines_read == bool(before) + 2 * (number + 1)
        log.unlink()
    assert "a FIFO, which" not in capfd.readouterr().err


@pytest.mark.parametrize("path", ["/tmp/a\0b", "/tmp/a\ud800b"])
def test_what_no_path_can_be_is_refused(path):
    with pytest.raises(ConfigError, match=r"sources\[0\].*no path can have"):
        check_config(AgentConfig(sources=[path]), "agent.yaml")


def test_nothing_is_kept_of_files_of_a_pattern_that_come_and_go(tmp_path, monkeypatch):
    monkeypatch.setattr(agent.sources.files.follower, "RELEASE", 0.0)
    clock = ManualClock(1000.0)
    service = Service(lambda: configured(tmp_path, f"{tmp_path}/*.log"), clock=clock)
    for number in range(3):
        log = tmp_path / f"{number}.log"
        log.write_text(f"line {number}\n")
        service.poller.search()
        service.poller.watch()
        clock.sleep(20)
        assert service.step(str(log)) and not service.step(str(log))
        service.watcher.missed(log)
        log.unlink()
        while service.reader.sources:
            [service.step(name) for name in list(service.reader.sources)]
            service.poller.search()
            clock.sleep(20)
        service.poller.watch()
    assert not service.summary._announced and not service.reader._idle
    assert not service.watcher._coverage.missed_events._recorded
    service.close()


def test_rotations_that_cannot_be_looked_through_for_lack_of_descriptors_end_nothing(tmp_path, monkeypatch, capfd):
    """Neither where a file of a pattern is gone, nor where one comes whose place is known."""

    def full(path: Path, forms: object = ()) -> list:
        raise OSError(errno.EMFILE, "Too many open files", str(path.parent))

    monkeypatch.setattr(agent.sources.files.follower, "RELEASE", 0.0)
    log = tmp_path / "one.log"
    log.write_text("line 1\n")
    service = Service(lambda: configured(tmp_path, f"{tmp_path}/*.log"))
    assert service.step(str(log)) and not service.step(str(log))
    log.unlink()
    service.step(str(log))
    with monkeypatch.context() as patched:
        for module in (agent.inputs.identity, agent.sources.files.rotated_files):
            patched.setattr(module, "rotated_files", full)
        service.reader.inputs.scan()
        assert str(log) in service.reader.sources, "it may have rotations"
        service.reader.inputs._opened.close(str(log))
        log.write_text("line 2\n")
        assert service.reader.inputs.scan() == []
    (again,) = service.reader.inputs.scan()
    assert again.name == str(log) and b"line 2" in again.read().data
    assert capfd.readouterr().err.count("Too many open files; trying again") == 1
    service.close()


def test_a_file_that_was_deleted_and_read_whole_before_a_kill_is_no_loss(tmp_path, capfd):
    log, state = tmp_path / "logs" / "one.log", tmp_path / "state"
    log.parent.mkdir()
    log.write_text("line 1\n")
    config = configured(tmp_path, f"{log.parent}/*.log")
    config.state = str(state)
    killed = Service(lambda: config)
    assert killed.step(str(log)) and not killed.step(str(log))
    log.unlink()
    assert not killed.step(str(log))
    killed.close()
    Service(lambda: config, once=True).run()
    status = read_status(state)
    assert (status.totals.lines_read, status.totals.losses) == (1, 0)
    assert "is lost" not in capfd.readouterr().err
