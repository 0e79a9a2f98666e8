"""A private rsyslogd."""

import json
import signal
import socket
import subprocess
from pathlib import Path

from helpers.waiting import free_port, until, whole_lines


class Rsyslog:
    """A private rsyslogd in a folder."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        self._process: subprocess.Popen | None = None
        udp, tcp = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
        self.urls = {
            "unix": f"unix:{folder}/log",
            "udp": f"udp://127.0.0.1:{udp}",
            "tcp": f"tcp://127.0.0.1:{tcp}",
        }
        text = (Path(__file__).parent / "rsyslog.conf.in").read_text()
        for name, value in (("DIR", folder), ("UDP", udp), ("TCP", tcp)):
            text = text.replace(f"@{name}@", str(value))
        (folder / "rsyslog.conf").write_text(text)

    def start(self) -> None:
        command = [self._program, "-n", "-f", self._folder / "rsyslog.conf", "-i", self._folder / "pid"]
        with open(self._folder / "rsyslogd.err", "ab") as errors:
            self._process = subprocess.Popen(command, stderr=errors, stdout=errors)
        until(self._is_up)

    def _is_up(self) -> bool:
        assert self._process.poll() is None, (self._folder / "rsyslogd.err").read_text()
        ports = {name: int(self.urls[name].rpartition(":")[2]) for name in ("udp", "tcp")}
        bound = f"0100007F:{ports['udp']:04X} " in Path("/proc/net/udp").read_text()
        with socket.socket() as tcp, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
            answers = tcp.connect_ex(("127.0.0.1", ports["tcp"])), unix.connect_ex(f"{self._folder}/log")
        return bound and answers == (0, 0)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)
            self._process = None

    def received(self) -> list[dict[str, str]]:
        file = self._folder / "received.jsonl"
        return [json.loads(line) for line in whole_lines(file) if line.endswith(b"}")]
