"""How the running agent is watched: /metrics, /healthz and /readyz over HTTP, and a file for node_exporter."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from agent.errors import ConfigError
from agent.host.atomic_file import replace_file
from agent.telemetry.http import serve
from agent.telemetry.prometheus import CONTENT_TYPE, exposition, families
from agent.telemetry.settings import MetricsSettings
from agent.telemetry.snapshot import Snapshot

_LOG = logging.getLogger(__name__)
WATCHDOG = 30.0  # seconds without a look at the sources that make the agent unhealthy, where systemd sets none
FILE_EVERY = 15.0  # seconds between two writings of the metrics file


class Monitor:
    """What others may know of the loop, which reports here and never waits for them.

    ready: whether it has started and can store. problem: why there is nothing to read, empty where there is something.
    limit: seconds without a look after which the loop counts as stuck. A port that cannot be had and a file that cannot
    be written are a ConfigError.
    """

    def __init__(
        self,
        settings: MetricsSettings,
        limit: float = WATCHDOG,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ready = False
        self.problem = ""
        self.enabled = settings != MetricsSettings()
        self._file = None if settings.file is None else Path(settings.file)
        self._last_warning = ""
        self._limit, self._clock = limit, clock
        self._looked, self._written = clock(), clock()
        self._snapshot: Snapshot | None = None
        if self._file is not None:
            _check_folder(self._file)
        self._server = None if settings.address is None else serve(settings.address, self.answer)

    @property
    def port(self) -> int:
        """The port that is served; 0 where none is."""
        return 0 if self._server is None else self._server.server_address[1]

    def beat(self) -> None:
        """Notes that the loop goes round."""
        self._looked = self._clock()

    def publish(self, snapshot: Snapshot, last: bool = False) -> None:
        """Sets what is told from now on; writes the file where it is due, or at the end."""
        self._snapshot = snapshot
        if self._file is not None and (last or self._clock() - self._written >= FILE_EVERY):
            self._written = self._clock()
            self._write(self._file, exposition(families(snapshot)))

    def answer(self, path: str) -> tuple[int, str, str]:
        """The status, content type and text for a path."""
        if path == "/metrics" and self._snapshot is not None:
            return 200, CONTENT_TYPE, exposition(families(self._snapshot))
        if path == "/healthz":
            seconds = self._clock() - self._looked
            return _answer(seconds <= self._limit, f"no look at the sources for {seconds:.0f} s")
        if path == "/readyz":
            return _answer(self.ready and not self.problem, self.problem or "not ready")
        if path == "/metrics":
            return _answer(False, "nothing is known yet")
        return 404, "text/plain; charset=utf-8", "there are /metrics, /healthz and /readyz\n"

    def close(self) -> None:
        """Ends the serving, with the requests in hand; a second call does nothing."""
        if self._server is not None:
            self._server.end()
            self._server = None

    def _write(self, file: Path, text: str) -> None:
        try:
            replace_file(file, text.encode(), mode=0o644, wait=False)  # anybody may read it
        except OSError as error:
            problem = f"metrics_file {file} cannot be written: {error.strerror}; trying again every {FILE_EVERY:.0f} s"
            if problem != self._last_warning:
                _LOG.warning("%s", problem)
            self._last_warning = problem
        else:
            self._last_warning = ""


def watchdog_seconds() -> float:
    """After how long without a sign of life systemd ends this service; `WATCHDOG` where it does not."""
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return WATCHDOG


def _check_folder(file: Path) -> None:
    if not os.access(file.parent, os.W_OK | os.X_OK) or file.is_dir():
        raise ConfigError(f"metrics_file {file} cannot be written; name a file in a folder that this user may write to")


def _answer(good: bool, problem: str) -> tuple[int, str, str]:
    return 200 if good else 503, "text/plain; charset=utf-8", "ok\n" if good else f"{problem}\n"
