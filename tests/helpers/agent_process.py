"""`agent run` as a process of its own, and what can be done to it while it runs."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from agent.commands.status import Status, read_status
from agent.config import AgentConfig
from agent.errors import ConfigError
from helpers.processes import start_agent
from helpers.waiting import rows_of, text_of, until


class AgentProcess:
    """The agent on a configuration; what it says goes into the file `said`, its alerts into the folder `out`.

    disk: a small file system to keep its state on, which can be filled; None where there is none.
    killed_at: how many alerts were delivered before each kill.
    """

    def __init__(self, folder: Path, disk: Path | None, config: AgentConfig) -> None:
        self.folder, self.disk = folder, disk
        self.state = (disk or folder) / "state"
        self.killed_at: list[int] = []
        self.is_stopped = False
        self._out, self._process, self._config = folder / "out", None, folder / "agent.yaml"
        self._limits: tuple[int, int] | None = None
        self._out.mkdir()
        config = msgspec.structs.replace(config, state=str(self.state), sinks=[f"jsonl:{self._out / 'alerts'}"])
        self._config.write_bytes(msgspec.yaml.encode(config))

    @property
    def runs(self) -> bool:
        return self._process is not None

    @property
    def is_awake(self) -> bool:
        return self.runs and not self.is_stopped

    @property
    def process(self) -> subprocess.Popen:
        assert self._process is not None
        return self._process

    def start(self, ready: bool = True) -> None:
        """ready: returns only when the agent says that it is, as it does to systemd."""
        self.empty_disk()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, open(self.folder / "said", "ab") as said:
            manager.bind(f"\0{self.folder}")
            manager.settimeout(0.2)
            pipes = {
                "stdout": subprocess.DEVNULL,
                "stderr": said,
                "env": {"ODDLINE_DEBUG": "1", "NOTIFY_SOCKET": f"@{self.folder}"},
            }
            self._process = start_agent("run", "--config", self._config, **pipes)
            if ready:
                until(lambda: self._is_ready(manager), 120)

    def _is_ready(self, manager: socket.socket) -> bool:
        self.require_alive()
        with suppress(TimeoutError):
            return manager.recv(4096).startswith(b"READY=1\n")
        return False

    def require_alive(self) -> None:
        assert self.process.poll() is None, f"the agent has ended with {self.process.returncode}"

    def tell(self, number: int) -> None:
        self.require_alive()
        self.process.send_signal(number)

    def terminate(self) -> None:
        """Ends it as systemd does, with nothing in its way."""
        self.tell(signal.SIGTERM)
        self.free()
        assert self.process.wait(60) == 0
        self._process = None

    def kill(self) -> None:
        self.tell(signal.SIGKILL)
        self.process.wait(60)
        self._process, self._limits, self.is_stopped = None, None, False
        self.killed_at.append(len(self.delivered()))

    def clean_up(self) -> None:
        """Leaves nothing behind, whatever happened."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
        self.empty_disk()
        shutil.rmtree(self.state, ignore_errors=True)

    def stop(self) -> None:
        """Holds it with SIGSTOP; once this returns it does nothing any more."""
        self.tell(signal.SIGSTOP)
        until(lambda: Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
        self.is_stopped = True

    def go_on(self) -> None:
        if self.is_stopped:
            self.tell(signal.SIGCONT)
            self.is_stopped = False

    def take_descriptors(self) -> None:
        """Lets it open no file more than it has."""
        used = {int(name) for name in os.listdir(f"/proc/{self.process.pid}/fd")}
        least = next(number for number in count() if number not in used)
        self._limits = self._limits or resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (least, self._limits[1]))

    def give_descriptors(self) -> None:
        if self._limits is not None:
            resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, self._limits)
            self._limits = None

    def fill_disk(self) -> None:
        assert self.disk is not None
        with open(self.disk / "filler", "wb", buffering=0) as filler, suppress(OSError):
            for size in (1 << 16, 1 << 12):
                with suppress(OSError):
                    while filler.write(bytes(size)):
                        pass

    def empty_disk(self) -> None:
        if self.disk is not None:
            (self.disk / "filler").unlink(missing_ok=True)

    def move_sink(self) -> None:
        """Takes the folder of the alerts away."""
        if self._out.exists():
            self._out.rename(self.folder / "away")

    def bring_sink(self) -> None:
        if not self._out.exists():
            (self.folder / "away").rename(self._out)

    def free(self) -> None:
        """Takes away all that is in its way."""
        self.empty_disk()
        self.bring_sink()
        self.give_descriptors()
        self.go_on()

    def delivered(self) -> list[dict[str, Any]]:
        """The alerts in the sink, in order, without the notices of the agent on itself."""
        alerts = (self._out if self._out.exists() else self.folder / "away") / "alerts"
        return [row for row in rows_of(alerts) if row["kind"] == "alert"]

    def said(self) -> str:
        return text_of(self.folder / "said")

    def status(self) -> Status | None:
        with suppress(ConfigError):
            return read_status(self.state)
        return None

    def wait_for_lines(self, lines: int) -> None:
        """Waits until it has read and stored so many."""
        deadline, read, status = time.monotonic() + 120, -1, None
        while read != lines:
            self.require_alive()
            assert time.monotonic() < deadline, f"it has read {read} lines of {lines}: {status}"
            time.sleep(0.05)
            status = self.status()
            read = -1 if status is None else status.totals.lines_read
