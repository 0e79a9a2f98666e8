"""The whole agent on what is no file: standard input, a named pipe and sockets give the alerts that a file gives."""

import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from helpers.made_up import made_up_lines
from helpers.processes import refusal, run_agent, start_agent
from helpers.waiting import free_port, rows_of, until

LINES = made_up_lines(200, odd=(60, 120, 170))


def told(text: str | bytes) -> list[tuple]:
    alerts = [json.loads(line) for line in text.splitlines()]
    return [(alert["line"], alert["message"], alert["score"], alert["count"], alert["context"]) for alert in alerts]


@pytest.fixture(scope="module")
def wanted(bundle, tmp_path_factory) -> list[tuple]:
    """What a file with the same lines gives."""
    log = tmp_path_factory.mktemp("whole") / "app.log"
    log.write_bytes(b"".join(LINES))
    done = run_agent("tail", log, "--once", "--from", "start", "-b", bundle, "--sink", "jsonl:-")
    assert len(told(done.stdout)) >= 3
    return told(done.stdout)


@pytest.mark.parametrize("arguments", [["--once"], []])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_standard_input_is_read_to_its_end(bundle, wanted, arguments, end):
    data = b"".join(LINES).removesuffix(b"\n") + end
    done = run_agent("tail", "-", *arguments, "-b", bundle, "--sink", "jsonl:-", input=data)
    assert done.returncode == 0 and told(done.stdout) == wanted and b"read 200 lines" in done.stderr


@pytest.mark.parametrize("state", [True, False])
def test_standard_input_may_be_a_file(bundle, wanted, tmp_path, state):
    (tmp_path / "app.log").write_bytes(b"".join(LINES).removesuffix(b"\n"))
    more = ["--state", tmp_path / "state"] if state else []
    with (tmp_path / "app.log").open("rb") as file:
        process = start_agent("tail", "-", "-b", bundle, "--sink", "jsonl:-", *more, stdin=file)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and told(out) == wanted


def test_an_empty_standard_input(bundle):
    process = start_agent("tail", "-", "-b", bundle, "--sink", "jsonl:-", stdin=subprocess.DEVNULL)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"") and b"read 0 lines" in err


def lines_read(state: Path) -> int:
    return json.loads(run_agent("status", "--state", state, "--json").stdout)["totals"]["lines_read"]


def start_ready(bundle: Path, folder: Path, name: str) -> subprocess.Popen:
    port = free_port()
    with (folder / "said").open("wb") as stderr:
        process = start_agent(
            "tail", name, "-b", bundle, "--sink", f"jsonl:{folder}/alerts", "--state", folder / "state",
            "--metrics", f"127.0.0.1:{port}", stderr=stderr,
        )  # fmt: skip
    until(lambda: process.poll() is not None or ready(port))
    assert process.poll() is None, (folder / "said").read_text()
    return process


def ready(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as web:
            web.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            return b" 200 " in web.recv(100)
    except OSError:
        return False


def end(process: subprocess.Popen, folder: Path, lines: int = len(LINES)) -> list[tuple]:
    try:
        until(lambda: lines_read(folder / "state") == lines)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 0, (folder / "said").read_text()
    finally:
        process.kill()
        process.communicate()
    return told((folder / "alerts").read_text())


def test_a_named_pipe_with_one_writer_after_the_other(bundle, wanted, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start_ready(bundle, tmp_path, str(pipe))
    for start in range(0, 200, 50):
        with pipe.open("wb") as writer:
            writer.writelines(LINES[start : start + 50])
    assert end(process, tmp_path) == wanted


@pytest.mark.parametrize("priority", [b"<13>", b""])
def test_datagrams_over_udp(bundle, wanted, tmp_path, priority):
    port = free_port()
    process = start_ready(bundle, tmp_path, f"listen:udp://127.0.0.1:{port}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for line in LINES:
            sender.sendto(priority + line.removesuffix(b"\n"), ("127.0.0.1", port))
    assert end(process, tmp_path) == wanted


def test_a_stream_over_tcp(bundle, wanted, tmp_path):
    port = free_port()
    process = start_ready(bundle, tmp_path, f"listen:tcp://127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port)) as sender:
        for line in LINES:
            sender.sendall(b"<13>" + line)
    assert end(process, tmp_path) == wanted
    assert {row["peer"] for row in rows_of(tmp_path / "alerts")} == {"127.0.0.1"}


def test_datagrams_to_a_socket_of_the_host_and_its_end(bundle, wanted, tmp_path):
    path = tmp_path / "socket"
    process = start_ready(bundle, tmp_path, f"listen:unix:{path}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(str(path))
        for line in LINES:
            sender.send(b"<13>" + line)
    assert end(process, tmp_path) == wanted and not path.exists()
    assert {row["peer"] for row in rows_of(tmp_path / "alerts")} == {f"uid {os.getuid()}"}


def test_what_cannot_be_listened_at_is_one_line(bundle, tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        code, line = refusal("tail", f"listen:tcp://127.0.0.1:{port}", "-b", bundle, "--sink", "console:")
    assert code == 4 and str(port) in line
    code, line = refusal("tail", "listen:smoke://x", "-b", bundle, "--sink", "console:")
    assert code == 2 and "listen:udp://" in line
    socket_path = tmp_path / "s"
    config = ["tail", f"listen:unix:{socket_path}", "-b", bundle, "--sink", f"unix:{socket_path}"]
    code, line = refusal(*config)
    assert code == 2 and "its own alerts" in line


def test_a_writer_into_a_pipe_waits_for_a_halted_agent_and_loses_nothing(bundle, wanted, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start_ready(bundle, tmp_path, str(pipe))
    process.send_signal(signal.SIGSTOP)
    many = LINES * 10  # more than a pipe holds

    def write() -> None:
        with pipe.open("wb") as writer:
            writer.writelines(many)

    writer = threading.Thread(target=write)
    writer.start()
    process.send_signal(signal.SIGCONT)
    alerts = end(process, tmp_path, len(many))
    writer.join(60)
    assert alerts[: len(wanted)] == wanted
