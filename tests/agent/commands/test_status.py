"""`agent status`: what it says while the agent runs, after kill -9 and after a clean end; it changes nothing."""

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from helpers.made_up import made_up_lines
from helpers.processes import refusal, run_agent, start_agent
from helpers.waiting import until, whole_lines

from agent.alerting.pipeline import Pipeline
from agent.bundle.bundle import Bundle
from agent.commands.status import Status, holder, read_status, show
from agent.delivery.sinks.redaction import shown
from agent.delivery.workers import Delivery
from agent.errors import ConfigError
from agent.sources.files.checkpoint import FileCheckpoint
from agent.state.store import FILE, LOCK, State
from agent.telemetry.counters import GONE, Counts, Ledger, blob_name

LINES = made_up_lines(400, seed=4, odd=tuple(range(20, 400, 25)))
LOG = b"".join(LINES)


@pytest.fixture
def log(tmp_path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(LOG)
    return path


@pytest.fixture
def start(tmp_path, bundle) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts `agent tail` on a state; what still runs at the end of the test is killed."""
    running: list[subprocess.Popen] = []

    def begin(log: Path, state: Path, *more: object) -> subprocess.Popen:
        command = ["tail", log, "--from", "start", "--state", state, "-b", bundle, *more]
        sinks = [] if "--sink" in more else ["--sink", f"jsonl:{tmp_path}/alerts"]
        running.append(start_agent(*command, *sinks, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return running[-1]

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def lines_read(state: Path) -> int:
    try:
        return read_status(state).totals.lines_read
    except ConfigError:  # not there yet
        return 0


def settled(status: Status) -> bool:
    return bool(status.sinks) and not any(sink.waiting for sink in status.sinks)


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def read_unchanged(state: Path) -> Status:
    """The status, read by another process that leaves the folder as it was."""
    before = content(state)
    done = run_agent("status", "--state", state, "--json")
    assert (done.returncode, done.stderr) == (0, b"") and content(state) == before
    return msgspec.json.decode(done.stdout, type=Status)


def alerts_of(tmp_path: Path) -> int:
    return len(whole_lines(tmp_path / "alerts"))


def test_while_it_runs_after_kill_9_and_after_a_clean_end(start, log, tmp_path):
    state = tmp_path / "state"
    process = start(log, state)
    until(lambda: lines_read(state) == 400 and settled(read_status(state)))
    running = read_unchanged(state)
    assert running.agent == process.pid
    (source,), (sink,) = running.sources, running.sinks
    assert (source.path, source.offset, source.line, source.size) == (str(log), len(LOG), 401, len(LOG))
    assert (source.backlog, source.behind) == (0, 0.0)
    assert running.totals == source.counts and source.counts.bytes_read == len(LOG)
    assert (sink.name, sink.waiting, sink.lost) == (f"jsonl:{tmp_path}/alerts", 0, {})
    assert sink.delivered == source.counts.alerts == alerts_of(tmp_path) > 10
    process.kill()
    process.wait(30)
    killed = read_unchanged(state)
    assert killed == msgspec.structs.replace(running, agent=None)
    ended = start(log, state)
    with log.open("ab") as file:
        file.write(LINES[0])
    until(lambda: lines_read(state) == 401 and settled(read_status(state)))
    more = read_unchanged(state)
    assert more.agent == ended.pid
    ended.send_signal(signal.SIGTERM)
    assert ended.wait(60) == 0
    assert read_unchanged(state) == msgspec.structs.replace(more, agent=None)


def test_totals_over_kills_and_restarts_are_those_of_an_uninterrupted_run(start, log, tmp_path):
    whole, parts, other = tmp_path / "whole", tmp_path / "parts", tmp_path / "other.log"
    process = start(log, whole, "--sink", f"jsonl:{tmp_path}/one")
    until(lambda: lines_read(whole) == 400 and settled(read_status(whole)))
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    for at in range(0, len(LOG), 8000):
        with other.open("ab") as file:
            file.write(LOG[at : at + 8000])  # ends within a line
        process = start(other, parts, "--sink", f"jsonl:{tmp_path}/two")
        until(lambda: lines_read(parts) == LOG[: at + 8000].count(b"\n"))  # noqa: B023
        process.kill()
        process.wait(30)
    process = start(other, parts, "--sink", f"jsonl:{tmp_path}/two")
    until(lambda: settled(read_status(parts)))
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    expected, found = read_status(whole), read_status(parts)
    assert msgspec.structs.replace(found.totals, last_read=0.0) == msgspec.structs.replace(
        expected.totals, last_read=0.0
    )
    assert [sink.delivered for sink in found.sinks] == [sink.delivered for sink in expected.sinks]
    assert expected.totals.alerts == expected.sinks[0].delivered > 10


def test_lines_that_the_model_reads_in_part_are_counted_with_their_source(log, tmp_path, bundle):
    other, state = tmp_path / "other.log", tmp_path / "state"
    long = b"Mar  9 00:00:00 web1 shopd[1]: " + b"x" * 2000 + b"\n"
    other.write_bytes(b"".join([*LINES[:10], long, long, *LINES[10:20], long]))
    for found in (3, 4):
        options = "--once", "--from", "start", "--state", state, "-b", bundle, "--sink", f"jsonl:{tmp_path}/alerts"
        done = run_agent("tail", other, log, *options)
        assert done.returncode == 0 and b"a text of more than 1024 characters" in done.stderr, done.stderr.decode()
        status = read_unchanged(state)
        counts = {source.path: source.counts.shortened_lines for source in status.sources}
        assert (counts, status.totals.shortened_lines) == ({str(log): 0, str(other): found}, found)
        assert f", {found} shortened lines, " in show(status)
        with other.open("ab") as file:
            file.write(long)


def test_counts_from_before_a_field_was_added_are_read_on(tmp_path, bundle):
    with closing(State(tmp_path)) as state:
        old = {"bytes_read": 90, "lines_read": 5, "cut_lines": 2, "last_read": 7.0}
        state.commit(blobs=[(blob_name("/a"), msgspec.msgpack.encode(old))])
        ledger = Ledger(state, Pipeline(Bundle.load(bundle)))
        ledger.open("/a")
    assert ledger.counts["/a"] == Counts(**old) and ledger.counts["/a"].shortened_lines == 0


def test_rotation_and_truncation_are_counted_once_over_a_kill(start, log, tmp_path):
    state = tmp_path / "state"
    process = start(log, state)
    until(lambda: lines_read(state) == 400)
    log.rename(tmp_path / "app.log.1")
    log.write_bytes(b"")  # nothing in it: no line says that it was found
    until(lambda: read_status(state).totals.rotations == 1)
    process.kill()
    process.wait(30)
    log.write_bytes(LINES[0] * 20)
    process = start(log, state)
    until(lambda: lines_read(state) == 420)
    log.write_bytes(b"")
    until(lambda: read_status(state).totals.truncations == 1)
    process.kill()
    process.wait(30)
    log.write_bytes(LINES[1])
    start(log, state)
    until(lambda: lines_read(state) == 421)
    totals = read_status(state).totals
    assert (totals.rotations, totals.truncations, totals.losses) == (1, 1, 1)


def once(log: Path, state: Path, bundle: Path, tmp_path: Path) -> None:
    command = ["tail", log, "--once", "--from", "start", "-b", bundle, "--state", state]
    assert run_agent(*command, "--sink", f"jsonl:{tmp_path}/alerts").returncode == 0


def test_the_backlog_of_a_file_that_grew_was_rotated_or_is_gone(bundle, log, tmp_path):
    state = tmp_path / "state"
    once(log, state, bundle, tmp_path)
    with log.open("ab") as file:
        file.write(b"123456789\n")
    read = read_status(state).sources[0].counts.last_read
    (source,) = read_status(state, now=read + 60).sources
    assert (source.size, source.backlog, source.behind) == (len(LOG) + 10, 10, pytest.approx(60))
    assert "  10 bytes not read yet, the last read was 60 s ago" in show(read_status(state, now=read + 60))
    log.rename(tmp_path / "app.log.1")
    (source,) = read_status(state).sources
    assert (source.size, source.backlog) == (None, 10) and "which is gone now" in show(read_status(state))
    log.write_bytes(b"12345\n")
    assert [(one.size, one.backlog) for one in read_status(state).sources] == [(6, 16)]
    (tmp_path / "app.log.1").rename(log)
    log.write_bytes(b"123\n")
    assert [(one.size, one.backlog) for one in read_status(state).sources] == [(4, 4)]


def test_what_waits_for_a_sink_is_shown(bundle, log, tmp_path, call_agent, monkeypatch):
    monkeypatch.setattr("agent.app.service.DRAIN", 0.2)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        command = ["tail", log, "--once", "--from", "start", "-b", bundle, "--state", tmp_path / "state"]
        done = call_agent(*command, "--sink", url, "--sink", f"jsonl:{tmp_path}/alerts")
    assert done.returncode == 5
    status = {sink.name: (sink.delivered, sink.waiting) for sink in read_status(tmp_path / "state").sinks}
    count = alerts_of(tmp_path)
    assert status == {url: (0, count), f"jsonl:{tmp_path}/alerts": (count, 0)} and count > 10
    done = call_agent("status", "--state", tmp_path / "state")
    assert f"sink {url}: 0 delivered, {count} waiting\n" in done.stdout
    assert done.stdout.startswith(f"state {tmp_path}/state: no agent runs\nsource {log}: read up to byte")
    assert f"\ntotal: {len(LOG)} bytes read, 400 lines read, " in done.stdout


def test_the_configuration_names_the_state(bundle, log, tmp_path, call_agent):
    once(log, tmp_path / "state", bundle, tmp_path)
    config = tmp_path / "agent.yaml"
    config.write_text(f"state: {tmp_path}/state\n")
    done = call_agent("status", "--config", config, "--json")
    assert json.loads(done.stdout)["totals"]["lines_read"] == 400
    config.write_text("fold_lines: 3\n")
    done = call_agent("status", "--config", config)
    assert done.returncode == 2 and "names no state" in done.stderr


def test_delivered_alerts_are_counted_each_once(make_alert, tmp_path):
    with_two = State(tmp_path / "state")
    with_two.register_sinks(["a", "b"])
    with_two.commit(alerts=[make_alert(number) for number in range(1, 6)])
    with_two.delivered("a", 3)
    with_two.delivered("a", 3)
    with_two.delivered("b", 5)
    with_two.delivered("a", 4)
    assert (with_two.delivered_count("a"), with_two.delivered_count("b"), with_two.delivered_count("c")) == (4, 5, 0)
    with_two.close()


def refused(call_agent: Callable, state: Path) -> str:
    done = call_agent("status", "--state", state)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    return done.stderr


def test_a_folder_without_a_state_is_refused_and_not_made(call_agent, tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("nowhere", ".", "file"):
        assert "holds no state of an agent; name the folder" in refused(call_agent, tmp_path / name)
    assert os.listdir(tmp_path) == ["file"]


def test_a_source_that_is_no_file_is_shown_without_offsets(call_agent, tmp_path):
    state = State(tmp_path / "state")
    place = {"origin": "00ff", "offset": 700, "line": 8}
    marks = {
        "-": place,
        "journal:nginx": place | {"cursor": "s=0\x1b;i=7"},
        "journal:": place | {"cursor": ""},
        "listen:udp://127.0.0.1:514": {},
        f"{tmp_path}/pipe": place,
        f"{tmp_path}/log": msgspec.to_builtins(FileCheckpoint(1, 2, "3:abc", 700, 8)),
    }
    for name, mark in marks.items():
        state.commit([(name, msgspec.msgpack.encode(mark))], blobs=[(f"count:{name}", msgspec.msgpack.encode({}))])
    state.close()
    sources = {one.path: one for one in read_status(tmp_path / "state").sources}
    assert {(one.offset, one.size, one.backlog) for name, one in sources.items() if "log" not in name} == {
        (None, None, 0)
    }
    told = call_agent("status", "--state", tmp_path / "state").stdout
    for line in (
        "source -: read up to line 7",
        "source journal:: read up to line 7",
        r"source journal:nginx: read up to line 7, cursor s=0\x1b;i=7",
        "source listen:udp://127.0.0.1:514: read up to a place of its own",
        f"source {tmp_path}/pipe: read up to line 7",
        f"source {tmp_path}/log: read up to byte 700 which is gone now, line 7",
    ):
        assert f"{line}\n" in told
    broken = State(tmp_path / "state")
    broken.commit([(f"{tmp_path}/log", msgspec.msgpack.encode({"inode": 3, "line": 5}))])
    broken.close()
    with pytest.raises(ConfigError, match=r"is damaged: .*the next start of the agent sets it aside"):
        read_status(tmp_path / "state")


SECRET = "https://hooks.example.org:8443/services/T000/hunter2?key=hunter3#secret=/etc/hunter4"


@pytest.mark.parametrize(
    ("name", "word"),
    [
        (SECRET, r"https://hooks\.example\.org:8443/\.\.\.[0-9a-f]{8}"),
        ("http://[2001:db8::1]/hunter2", r"http://\[2001:db8::1\]/\.\.\.[0-9a-f]{8}"),
        ("https://me:hunter2@example.org", r"https://example\.org/\.\.\.[0-9a-f]{8}"),
        ("https://example.org?hunter2", r"https://example\.org/\.\.\.[0-9a-f]{8}"),
        ("HTTPS://example.org/hunter2\n/", r"HTTPS://example\.org/\.\.\.[0-9a-f]{8}"),
        ("https://example.org/", r"https://example\.org/"),
        ("http://example.org:80", r"http://example\.org:80"),
        ("jsonl:/var/log/alerts", r"jsonl:/var/log/alerts"),
        ("tls://example.org?ca=/etc/ca.pem", r"tls://example\.org\?ca=/etc/ca\.pem"),
    ],
)
def test_the_name_of_a_sink_is_shown_without_what_may_be_secret(name, word):
    assert re.fullmatch(word, shown(name)) and "hunter" not in shown(name)


def test_the_totals_keep_what_was_counted_of_files_that_are_gone(tmp_path):
    here, gone = Counts(lines_read=3, last_read=7.0), Counts(lines_read=4, rotations=1)
    state = State(tmp_path / "state")
    position = msgspec.msgpack.encode(FileCheckpoint(1, 2, "", 30, 4, "", 0))
    counted = [(blob_name("app.log"), here), (blob_name(GONE), gone)]
    state.commit([("app.log", position)], blobs=[(name, msgspec.msgpack.encode(one)) for name, one in counted])
    state.close()
    found = read_status(tmp_path / "state")
    assert [source.counts for source in found.sources] == [here] and found.gone == gone
    assert found.totals == Counts(lines_read=7, rotations=1, last_read=7.0)
    assert "files that are gone: 4 lines read, 1 rotations" in show(found).splitlines()


def test_two_sinks_at_one_host_are_kept_apart():
    assert len({shown(f"https://example.org/{path}") for path in ("a", "b", "a/", "a?b", os.fsdecode(b"\xff"))}) == 5


def test_no_word_about_a_sink_tells_its_secret(call_agent, make_alert, tmp_path, said):
    state = State(tmp_path / "state", max_outbox=1)
    sink = types.SimpleNamespace(name=SECRET, close=lambda: None)
    sink.send = {}.__getitem__  # raises
    delivery = Delivery(state, [sink])
    delivery.start()
    state.commit(alerts=[make_alert(number) for number in range(3)])
    until(lambda: len(said) == 2)
    left = delivery.drain(0.01)
    delivery.stop()
    gone = Delivery(state, [])
    gone.stop()
    assert len(said) == 3
    assert all(word.startswith(f"sink {shown(SECRET)} ") for word in said) and left == {shown(SECRET): 1}
    with pytest.raises(ConfigError, match="is named twice") as caught:
        Delivery(state, [sink, sink])
    state.register_sinks([SECRET])
    state.close()
    told = call_agent("status", "--state", tmp_path / "state")
    assert f"\nsink {shown(SECRET)}: 0 delivered" in told.stdout
    assert "hunter" not in told.stdout + str(said) + str(caught.value)


@pytest.mark.parametrize("damage", ["junk", "empty", "short", "middle"])
def test_a_damaged_state_is_refused(call_agent, bundle, log, tmp_path, damage):
    state = tmp_path / "state"
    once(log, state, bundle, tmp_path)
    file, data = state / FILE, (state / FILE).read_bytes()
    broken = {
        "junk": b"junk " * 2000,
        "empty": b"",
        "short": data[: len(data) // 2],
        "middle": data[:4096] + b"\xff" * (len(data) - 4096),
    }
    file.write_bytes(broken[damage])
    word = refused(call_agent, state)
    assert f"state {file} " in word and ("is damaged" in word or "another program" in word)
    assert file.read_bytes() == broken[damage]


def test_a_database_of_another_program_is_refused(call_agent, tmp_path):
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("CREATE TABLE positions (source BLOB, position BLOB)")
    db.close()
    assert "is a database of another program" in refused(call_agent, tmp_path)


def test_a_later_version_is_refused(call_agent, tmp_path):
    State(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert "has version 99, this agent knows up to" in refused(call_agent, tmp_path)


def test_without_any_name_there_is_nothing_to_show():
    if Path("/etc/oddline/agent.yaml").exists():
        pytest.skip("this host has an agent")
    code, line = refusal("status")
    assert code == 2 and "name its folder with --state" in line


@pytest.mark.parametrize("word", ["", " open", " damaged: it was cut"])
def test_a_lock_file_that_nobody_holds_is_no_agent(tmp_path, monkeypatch, word):
    State(tmp_path).close()
    (tmp_path / LOCK).write_text(f"{os.getpid()}{word}")
    assert holder(tmp_path) is None
    held = State(tmp_path)
    held.commit(blobs=[("m", b"1")])
    assert (tmp_path / LOCK).read_text() == f"{os.getpid()} open" and holder(tmp_path) == os.getpid()
    line = (tmp_path / LOCK).stat()
    where = f"{os.major(line.st_dev):02x}:{os.minor(line.st_dev):02x}"
    with monkeypatch.context() as patched:  # in a container the kernel may tell no process
        patched.setattr("agent.commands.status._locks", lambda: iter([(line.st_ino, 0, where)]))
        assert holder(tmp_path) == os.getpid()
    held.close()
    assert holder(tmp_path) is None


def test_another_agent_can_start_while_the_state_is_read(tmp_path, monkeypatch):
    State(tmp_path).close()
    monkeypatch.setattr("agent.commands.status.holder", lambda folder: State(folder).close())
    assert read_status(tmp_path).agent is None


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_another_user_sees_it_who_may_read_it(make_alert):
    with tempfile.TemporaryDirectory() as folder:
        state, held = Path(folder, "state"), State(Path(folder, "state"))
        held.register_sinks(["jsonl:a"])
        held.commit(alerts=[make_alert(1)])
        copy = shutil.copytree(state, Path(folder, "copy"))
        os.chmod(folder, 0o755)
        os.seteuid(65534)
        try:
            with pytest.raises(ConfigError, match="cannot be read: Permission denied; run as the user of the agent"):
                read_status(state)
        finally:
            os.seteuid(0)
        for path in (state, copy):
            path.chmod(0o755)
            for name in os.listdir(path):
                (path / name).chmod(0o644)
        os.seteuid(65534)
        try:
            found = [read_status(state), read_status(copy)]
        finally:
            os.seteuid(0)
        held.close()
    assert [(one.agent, one.sinks[0].waiting) for one in found] == [(os.getpid(), 1), (None, 1)]


def test_counts_of_an_older_or_newer_version_are_understood():
    assert msgspec.msgpack.decode(msgspec.msgpack.encode({"lines_read": 3, "moons": 1}), type=Counts).lines_read == 3
