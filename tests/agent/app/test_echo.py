"""The agent tails the very file that a real rsyslogd writes its alerts to, and never answers itself."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.made_up import made_up_lines, odd_text
from helpers.processes import require_program, start_agent
from helpers.waiting import text_of, until, whole_lines

SECONDS = float(os.environ.get("ODDLINE_ECHO_SECONDS", "3"))  # of listening for an echo
FORMATS = ("RSYSLOG_TraditionalFileFormat", "RSYSLOG_FileFormat", "RSYSLOG_SyslogProtocol23Format")
CONFIG = """
global(workDirectory="{folder}" maxMessageSize="16k")
module(load="imuxsock" SysSock.Use="off")
ruleset(name="keep") {{
  action(type="omfile" file="{folder}/syslog" template="{template}" asyncWriting="off" flushOnTXEnd="on")
}}
input(type="imuxsock" Socket="{folder}/log" RateLimit.Interval="0" ruleset="keep")
"""  # its own words go nowhere


@pytest.fixture
def syslog(tmp_path) -> Iterator[Callable[[str], Path]]:
    """Starts a private rsyslogd that writes what comes through the socket `log` to the file `syslog` in a format."""
    program, running = require_program("rsyslogd"), []

    def begin(template: str) -> Path:
        (tmp_path / "rsyslog.conf").write_text(CONFIG.format(folder=tmp_path, template=template))
        command = [program, "-n", "-f", tmp_path / "rsyslog.conf", "-i", tmp_path / "pid"]
        with open(tmp_path / "rsyslogd.err", "ab") as errors:
            running.append(subprocess.Popen(command, stderr=errors, stdout=errors))
        until((tmp_path / "log").exists)
        return tmp_path / "syslog"

    yield begin
    for daemon in running:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)


def in_format(lines: list[bytes], template: str) -> bytes:
    """Made-up lines as rsyslogd would have written them."""
    if template == FORMATS[0]:
        return b"".join(lines)
    changed = []
    for line in lines:
        _, _, _, clock, host, tag, message = line.decode().split(" ", 6)
        stamp = f"2026-03-09T{clock}.000000+00:00"
        program, _, pid = tag.rstrip(":]").partition("[")
        old = template == FORMATS[1]
        changed.append(
            f"{stamp} {host} {tag} {message}" if old else f"<30>1 {stamp} {host} {program} {pid} - - {message}"
        )
    return "".join(changed).encode()


@pytest.mark.parametrize("template", FORMATS)
def test_one_odd_line_gives_one_alert_and_no_echo(bundle, syslog, tmp_path, template):
    path = syslog(template)
    path.write_bytes(in_format(made_up_lines(60), template))
    words = tmp_path / "said"
    with words.open("wb") as file:
        sinks = ["--sink", f"unix:{tmp_path}/log", "--sink", f"jsonl:{tmp_path}/alerts"]
        process = start_agent("tail", path, "-b", bundle, "--from", "start", *sinks, stdout=file, stderr=file)
    try:
        until(lambda: "reading" in text_of(words))
        assert not (tmp_path / "alerts").exists(), "nothing is odd so far"
        with path.open("ab") as file:
            file.write(in_format(made_up_lines(61, odd=(60,))[60:], template))
        until(lambda: re.search(r"oddline\[| oddline ", text_of(path)))
        time.sleep(SECONDS)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    (alert,) = whole_lines(tmp_path / "alerts")
    told = [line for line in whole_lines(path) if b"oddline" in line.split(b" #")[0]]
    assert odd_text(60).partition(": ")[2].encode() in alert
    assert len(told) == 1 and odd_text(60).partition(": ")[2].encode() in told[0]
    assert process.returncode == 0 and "1 alerts, 1 own alerts left out" in text_of(words)
