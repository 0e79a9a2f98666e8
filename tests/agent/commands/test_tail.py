"""`agent tail` and `agent run` as processes: what they read, tell, deliver and remember, and how they end."""

import json
import os
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.made_up import made_up_lines
from helpers.processes import refusal, run_agent, start_agent
from helpers.waiting import alerts_of, rows_of, text_of, until, whole_lines

ODD_PLACES = tuple(range(20, 400, 25))
LINES = made_up_lines(400, seed=4, odd=ODD_PLACES)
LOG = b"".join(LINES)


@pytest.fixture
def log(tmp_path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(LOG)
    return path


@pytest.fixture
def start(tmp_path, bundle) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts `agent tail`, its words in the file `said`; what still runs at the end of the test is killed."""
    running: list[subprocess.Popen] = []

    def begin(*arguments: object, **options: object) -> subprocess.Popen:
        with open(tmp_path / "said", "ab") as said:
            pipes = {"stdout": subprocess.DEVNULL, "stderr": said} | options
            process = start_agent("tail", *arguments, "--bundle", bundle, **pipes)
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()
    said = text_of(tmp_path / "said")
    assert "Traceback" not in said and "fault of oddline" not in said, said


def end(process: subprocess.Popen, number: int = signal.SIGTERM) -> None:
    process.send_signal(number)
    assert process.wait(60) == 0


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def said(tmp_path: Path) -> list[str]:
    return [line.decode() for line in whole_lines(tmp_path / "said")]


def test_once_live_and_score_give_the_same_scores_and_alerts(bundle, log, start, tmp_path):
    scored = run_agent("score", log, "--bundle", bundle).stdout
    out = (tmp_path / "scores", tmp_path / "alerts")
    once = run_agent(
        "tail", log, "--once", "--from", "start", "-b", bundle, "--scores", out[0], "--sink", f"jsonl:{out[1]}"
    )
    assert once.returncode == 0 and out[0].read_bytes() == scored
    alerts, log_of_pieces = alerts_of(out[1]), tmp_path / "live" / "app.log"
    odd = {row["line"] for row in map(json.loads, scored.splitlines()) if row["anomaly"]}
    assert {place + 1 for place in ODD_PLACES} <= {row["line"] for row in alerts} <= odd
    log_of_pieces.parent.mkdir()
    live = (tmp_path / "live" / "scores", tmp_path / "live" / "alerts")
    process = start(log_of_pieces, "--from", "start", "--scores", live[0], "--sink", f"jsonl:{live[1]}")
    draw, at = random.Random(8), 0
    while at < len(LOG):
        size = draw.choice([1, 7, 60, 500, 3000])
        append(log_of_pieces, LOG[at : at + size])
        at += size
        if draw.random() < 0.3:
            until(lambda: len(rows_of(live[0])) >= LOG[:at].count(b"\n"))  # noqa: B023
    until(lambda: len(rows_of(live[0])) == 400)
    end(process)
    assert live[0].read_bytes().replace(os.fsencode(log_of_pieces), os.fsencode(log)) == scored
    differing = {"id", "source"}
    assert [{key: row[key] for key in row.keys() - differing} for row in alerts_of(live[1])] == [
        {key: row[key] for key in row.keys() - differing} for row in alerts
    ]


def test_from_end_takes_what_is_there_as_context(bundle, log, start, tmp_path):
    scored = [json.loads(line) for line in run_agent("score", log, "--bundle", bundle).stdout.splitlines()]
    log.write_bytes(b"".join(LINES[:70]))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:  # sd_notify(3)
        ready.bind(str(tmp_path / "notify"))
        ready.settimeout(60)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        options = ["--scores", tmp_path / "scores", "--sink", f"jsonl:{tmp_path}/alerts"]
        process = start(log, *options, env=environment)
        assert ready.recv(4096).startswith(b"READY=1\n")
    append(log, b"".join(LINES[70:80]))
    until(lambda: len(rows_of(tmp_path / "scores")) == 10)
    end(process)
    assert rows_of(tmp_path / "scores") == scored[70:80]
    first = rows_of(tmp_path / "alerts")[0]
    assert first["line"] == 71 and first["context"] == [line.decode().rstrip() for line in LINES[67:70]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_delivery(log, start, tmp_path, number):
    process = start(log, "--from", "start", "--sink", f"jsonl:{tmp_path}/alerts", "--scores", tmp_path / "scores")
    until(lambda: len(rows_of(tmp_path / "scores")) == 400)
    end(process, number)
    count = len(rows_of(tmp_path / "alerts"))
    assert count > 3 and "read 400 lines (0.0 MB) in" in said(tmp_path)[-1] and f"{count} alerts" in said(tmp_path)[-1]


def test_a_file_that_does_not_exist_yet_is_waited_for(start, tmp_path):
    late = tmp_path / "late.log"
    process = start(late, "--from", "start", "--sink", f"jsonl:{tmp_path}/alerts")
    until(lambda: (tmp_path / "said").exists() and said(tmp_path))
    late.write_bytes(LOG)
    until(lambda: rows_of(tmp_path / "alerts"))
    end(process)
    assert said(tmp_path)[0] == f"oddline: {late} does not exist yet: waiting for it"
    assert sum("waiting" in line for line in said(tmp_path)) == 1
    assert f"reading {late} from line 1, format rfc3164" in said(tmp_path)[1]


def test_rotation_and_truncation_are_followed(bundle, log, start, tmp_path):
    whole = [json.loads(line) for line in run_agent("score", log, "--bundle", bundle).stdout.splitlines()]
    log.write_bytes(b"".join(LINES[:100]))
    scores = tmp_path / "scores"
    process = start(log, "--from", "start", "--scores", scores, "--sink", f"jsonl:{tmp_path}/alerts")
    until(lambda: len(rows_of(scores)) == 100)
    log.rename(tmp_path / "app.log.1")
    append(tmp_path / "app.log.1", b"".join(LINES[100:150]))
    log.write_bytes(b"".join(LINES[150:300]))
    until(lambda: len(rows_of(scores)) == 300)
    log.write_bytes(b"".join(LINES[300:]))
    until(lambda: len(rows_of(scores)) == 400)
    end(process)
    rows = rows_of(scores)
    assert [row["score"] for row in rows] == [row["score"] for row in whole]
    assert [row["line"] for row in rows] == [*range(1, 151), *range(1, 151), *range(1, 101)]
    assert any("was truncated" in line for line in said(tmp_path))


def first_seen(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({row["id"]: row for row in reversed(rows)}.values())[::-1]


def test_with_a_state_each_run_goes_on_where_the_last_one_stopped(bundle, log, tmp_path):
    def tail(state: str, out: str) -> list[dict[str, Any]]:
        path = tmp_path / out
        more = ["--state", tmp_path / state, "--sink", f"jsonl:{path}", "--scores", tmp_path / f"{out}.scores"]
        assert run_agent("tail", log, "--once", "--from", "start", "-b", bundle, *more).returncode == 0
        return alerts_of(path)

    expected = tail("one", "whole")
    log.write_bytes(b"")  # the same file
    for start in range(0, len(LOG), 12_000):
        append(log, LOG[start : start + 12_000])  # ends within a line
        found = tail("two", "parts")
    assert found == expected and len(expected) > 10
    assert rows_of(tmp_path / "parts.scores") == rows_of(tmp_path / "whole.scores")


def test_kill_9_loses_no_alert_and_invents_none(bundle, log, start, tmp_path):
    out, draw, at = tmp_path / "killed", random.Random(3), 0
    arguments = [log, "--from", "start", "--state", tmp_path / "state", "--sink", f"jsonl:{out}"]
    log.write_bytes(b"")
    for kills in range(4):
        process = start(*arguments)
        stop = len(LOG) * (kills + 1) // 4
        while at < stop:
            append(log, LOG[at : min(at + 900, stop)])
            at = min(at + 900, stop)
            process.poll()
        until(lambda: len(rows_of(out)) >= draw.randrange(2, 5) * (kills + 1))  # noqa: B023
        process.kill()
        process.wait(30)
    assert run_agent("tail", *arguments, "--once", "-b", bundle).returncode == 0
    whole = ["--state", tmp_path / "other", "--sink", f"jsonl:{tmp_path}/whole"]
    assert run_agent("tail", log, "--from", "start", "--once", "-b", bundle, *whole).returncode == 0
    expected = alerts_of(tmp_path / "whole")
    assert first_seen(alerts_of(out)) == expected and len({row["id"] for row in expected}) == len(expected) > 10


def test_once_leaves_an_incomplete_line_to_a_later_run_that_can_know_of_it(bundle, log, tmp_path):
    cut = len(LOG) - 30
    log.write_bytes(LOG[:cut])
    options = ["--once", "--from", "start", "-b", bundle, "--sink", f"jsonl:{tmp_path}/alerts"]
    alone = run_agent("tail", log, *options, "--scores", tmp_path / "alone")
    kept = run_agent("tail", log, *options, "--scores", tmp_path / "kept", "--state", tmp_path / "state")
    assert (alone.returncode, kept.returncode) == (0, 0)
    assert (len(rows_of(tmp_path / "alone")), len(rows_of(tmp_path / "kept"))) == (400, 399)
    append(log, LOG[cut:])
    assert (
        run_agent("tail", log, *options, "--scores", tmp_path / "kept", "--state", tmp_path / "state").returncode == 0
    )
    rows = rows_of(tmp_path / "kept")
    assert len(rows) == 400 and rows[-1]["offset"] == rows_of(tmp_path / "alone")[-1]["offset"]


@pytest.fixture
def short_drain(monkeypatch) -> None:
    """One second for the delivery at the end, not ten."""
    monkeypatch.setattr("agent.app.service.DRAIN", 1.0)


@pytest.fixture
def closed_port() -> Iterator[socket.socket]:
    """A bound socket on which nobody listens yet."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        yield server


def test_alerts_that_a_sink_does_not_take_are_told_as_lost(bundle, log, tmp_path, call_agent, short_drain, closed_port):
    url = f"tcp://127.0.0.1:{closed_port.getsockname()[1]}"
    done = call_agent(
        "tail", log, "--once", "--from", "start", "-b", bundle, "--sink", url, "--sink", f"jsonl:{tmp_path}/alerts"
    )
    count = len(rows_of(tmp_path / "alerts"))
    *words, line = done.stderr.splitlines()
    assert done.returncode == 5 and count > 10
    assert line.startswith(f"error: alerts not delivered: {count} to {url}; they are lost, since no --state folder")
    assert sum("fails" in word for word in words) == 1 and all(word.startswith("oddline: ") for word in words)


def test_with_a_state_they_are_delivered_by_the_next_run(bundle, log, tmp_path, call_agent, short_drain, closed_port):
    url = f"tcp://127.0.0.1:{closed_port.getsockname()[1]}"
    command = ["tail", log, "--once", "--from", "start", "-b", bundle, "--state", tmp_path / "state"]
    command += ["--sink", url, "--sink", f"jsonl:{tmp_path}/alerts"]
    done = call_agent(*command)
    assert done.returncode == 5 and "they are kept in" in done.stderr.splitlines()[-1]
    received = []

    def serve() -> None:
        connection, _ = closed_port.accept()
        with connection:
            while data := connection.recv(65536):
                received.append(data)

    closed_port.listen()
    server = threading.Thread(target=serve)
    server.start()
    done = call_agent(*command)
    server.join(30)
    assert done.returncode == 0 and "error" not in done.stderr
    alerts, messages = rows_of(tmp_path / "alerts"), b"".join(received)
    places = [messages.find(f'id="{alert["id"]}"'.encode()) for alert in alerts]
    assert len(places) > 10 and min(places) > 0 and places == sorted(places)


def test_two_agents_do_not_share_a_state(bundle, log, start, tmp_path):
    state = tmp_path / "state"
    process = start(log, "--state", state, "--sink", f"jsonl:{tmp_path}/alerts")
    until(lambda: (state / "oddline.lock").exists() and (state / "oddline.lock").read_text())
    code, line = refusal("tail", log, "--once", "-b", bundle, "--state", state, "--sink", "console:")
    assert code == 2 and f"in use by another agent (process {process.pid})" in line
    assert process.poll() is None


def test_what_is_written_may_not_go_into_what_is_read(bundle, log, tmp_path, call_agent):
    (tmp_path / "link").symlink_to(log)
    (tmp_path / "hard").hardlink_to(log)
    missing = tmp_path / "later.log"
    command = ["tail", log, missing, "--once", "-b", bundle]
    for path in (log, tmp_path / "link", tmp_path / "hard", missing, tmp_path / "." / "later.log"):
        done = call_agent(*command, "--sink", f"jsonl:{path}")
        assert done.returncode == 2 and f"jsonl:{path} is a file that is tailed" in done.stderr
    for sink in ("console:", "jsonl:-"):
        with log.open("ab") as file:
            code, line = refusal(*command, "--sink", sink, stdout=file)
        assert code == 2 and "standard output goes to a file that is tailed" in line
    done = call_agent(*command, "--sink", "console:", "--scores", log)
    assert done.returncode == 2 and "--scores goes to a file that is tailed" in done.stderr
    assert log.read_bytes() == LOG and not missing.exists()


@pytest.mark.parametrize("sink", ["console:", "jsonl:-"])
def test_a_reader_that_leaves_ends_it_quietly(log, start, tmp_path, sink):
    process = start(log, "--from", "start", "--sink", sink, stdout=subprocess.PIPE)
    assert process.stdout.readline()
    process.stdout.close()
    append(log, LOG)
    assert process.wait(60) == 0
    assert not [line for line in said(tmp_path) if "fails" in line or "error" in line]


def test_the_console_shows_alerts(bundle, log):
    done = run_agent("tail", log, "--once", "--from", "start", "-b", bundle, "--sink", "console:")
    assert done.returncode == 0
    shown = done.stdout.decode()
    assert "CRITICAL 2026-03-09T00:03:20+00:00 web1" in shown or "CRITICAL" in shown
    assert "shopd: panic: lost the vault of user mallory" in shown and "\x1b" not in shown


def has_cuda() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers() and Path("/dev/nvidiactl").exists()


def test_providers(bundle, log, call_agent):
    command = ["tail", log, "--once", "-b", bundle, "--sink", "console:", "--provider"]
    assert call_agent(*command, "auto").returncode == 0
    if has_cuda():
        assert call_agent(*command, "cuda").returncode == 0
        return
    code, line = refusal(*command, "cuda")
    assert code == 6 and "provider cuda cannot be used" in line and "--provider cpu" in line


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--moon"], 2, "--moon"),
        (["--from", "moon"], 2, "from: Invalid enum value 'moon'; choose one of end, start"),
        (["--provider", "moon"], 2, "provider"),
        (["--sink", "moon:"], 2, "sink 'moon:' is not understood"),
        (["--sink", "udp://h:0"], 2, "a port is a number"),
        (["--sink", "console:", "--sink", "console:"], 2, "sink console: is named twice"),
        (["--config", "{folder}/nowhere.yaml"], 2, "nowhere.yaml does not exist"),
        (["--config", "{folder}"], 2, "cannot be read"),
        (["--config", "{folder}/bad.yaml"], 2, "moon: unknown key; allowed here: sources"),
        (["--state", "{folder}/app.log"], 2, "cannot be used"),
        (["--bundle", "{folder}/nowhere"], 3, "nowhere is no folder"),
        (["--scores", "{folder}/nowhere/scores"], 5, "nowhere/scores cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_used_is_refused(bundle, log, tmp_path, call_agent, arguments, code, named):
    (tmp_path / "bad.yaml").write_text("moon: 1\n")
    given = [argument.format(folder=tmp_path) for argument in arguments]
    more = [] if "--bundle" in given else ["--bundle", bundle]
    done = call_agent("tail", log, "--once", *more, *([] if "--sink" in given else ["--sink", "console:"]), *given)
    (line,) = done.stderr.splitlines()
    assert done.returncode == code and line.startswith("error: ") and named in line, line


def test_logs_that_cannot_be_followed(bundle, tmp_path, call_agent):
    (tmp_path / "packed").write_bytes(b"\x1f\x8b\x08 packed")
    for name, named in ((".", "is a directory"), ("packed", "is gzip data")):
        done = call_agent("tail", tmp_path / name, "--once", "-b", bundle, "--sink", "console:")
        (line,) = done.stderr.splitlines()
        assert done.returncode == 4 and named in line


def test_run_takes_everything_from_its_configuration(bundle, log, tmp_path):
    config = tmp_path / "agent.yaml"
    config.write_text(
        f"sources: [{{path: {log}, from: start}}]\nbundle: {bundle}\nsinks: ['jsonl:{tmp_path}/alerts']\n"
        f"state: {tmp_path}/state\nthreshold: {{kind: sigma, k: 3, window: 20}}\n"
    )
    process = start_agent("run", "--config", config)
    until(lambda: rows_of(tmp_path / "alerts"))
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 0 and b"400 lines" in words
    assert len({row["threshold"] for row in rows_of(tmp_path / "alerts")}) > 1, "the threshold moves"


def test_run_without_a_log_is_refused(bundle, tmp_path, call_agent):
    (tmp_path / "agent.yaml").write_text(f"bundle: {bundle}\n")
    done = call_agent("run", "--config", tmp_path / "agent.yaml")
    assert done.returncode == 4 and done.stderr.startswith("error: no log to read")
    assert call_agent("run", "--config", tmp_path / "nowhere").returncode == 2


def test_several_logs_each_have_their_own_windows(bundle, log, tmp_path):
    other = tmp_path / "other.log"
    other.write_bytes(LOG)
    options = ["--once", "--from", "start", "-b", bundle, "--scores", tmp_path / "scores"]
    assert run_agent("tail", log, other, *options, "--sink", f"jsonl:{tmp_path}/alerts").returncode == 0
    rows = rows_of(tmp_path / "scores")
    one, two = ([row["score"] for row in rows if row["source"] == str(path)] for path in (log, other))
    assert one == two and len(one) == 400
    alerts = rows_of(tmp_path / "alerts")
    assert len({row["id"] for row in alerts}) == len(alerts)


def test_lines_that_the_model_read_in_part_are_told_at_the_end(char_bundle, log, tmp_path, call_agent):
    append(log, b"Mar  9 00:10:00 web1 shopd[7]: get %s\n" % (b"x" * 99))
    done = call_agent("tail", log, "--once", "--from", "start", "-b", char_bundle, "--sink", f"jsonl:{tmp_path / 'a'}")
    what = "oddline: 1 line has more tokens than the model reads (80); the rest of each was not scored"
    assert done.returncode == 0 and done.stderr.splitlines()[-1] == what and done.stderr.count(what) == 1
