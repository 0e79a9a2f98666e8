"""The loop's reports: that it lives to systemd, how things stand to the monitor, warnings to the operator's log."""

from agent.app.ingest import Reader
from agent.delivery.workers import Delivery
from agent.host.clock import SYSTEM_CLOCK, Clock
from agent.host.sd_notify import notify
from agent.state.retrying import RetryingState
from agent.telemetry.monitor import Monitor
from agent.telemetry.snapshot import take_snapshot
from agent.telemetry.summary import Summary

_SIGN = 1.0  # seconds between two signs of life in a round of many sources


class Heartbeat:
    """Tells that the loop goes round and what it came to. started: when the run did, in seconds since 1970."""

    def __init__(
        self,
        monitor: Monitor,
        reader: Reader,
        delivery: Delivery,
        state: RetryingState,
        summary: Summary,
        started: float,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._monitor, self._reader, self._delivery = monitor, reader, delivery
        self._state, self._summary = state, summary
        self._started, self._clock = started, clock
        self._next_sign = 0.0
        self._reloads = {"done": 0, "refused": 0}

    def ready(self) -> None:
        """Tells that the agent has started."""
        self._check_inputs()
        self.publish()
        self._monitor.ready = True
        self._notify("READY=1")

    def reloading(self) -> None:
        """Tells that a reload begins."""
        notify(f"RELOADING=1\nMONOTONIC_USEC={int(self._clock.monotonic() * 1e6)}")

    def reloaded(self, outcome: str) -> None:
        """Tells that a reload is over, and counts it: `done` or `refused`."""
        self._reloads[outcome] += 1
        self._notify("READY=1")

    def beat(self) -> None:
        """What is due about every second."""
        self._reader.store_notices()
        self._check_inputs()
        self.publish()
        self._summary.log_warnings()
        self._notify("WATCHDOG=1")

    def show_life(self) -> None:
        """Tells that the loop goes round, also while a round of many sources takes long."""
        self._monitor.beat()
        if self._clock.monotonic() >= self._next_sign:
            self._next_sign = self._clock.monotonic() + _SIGN
            notify("WATCHDOG=1")

    def publish(self, last: bool = False) -> None:
        """Tells the monitor, where anybody asked for it, how things stand."""
        if self._monitor.enabled:
            reader = self._reader
            parts = [*reader.sources.values()], reader.ledger, self._delivery, self._state, reader.pipeline
            self._monitor.publish(take_snapshot(*parts, self._started, self._reloads, reader.conditions), last)

    def _check_inputs(self) -> None:
        """Has it told and stored how the configured sources are, and whether there is anything to read."""
        self._monitor.problem = self._reader.check_inputs()

    def _notify(self, word: str) -> None:
        waiting = sum(self._state.backlog(name) for name in self._delivery.names)
        counts = f"{self._summary.counts()}, {waiting} to deliver"
        notify(f"{word}\nSTATUS={'; '.join(filter(None, [self._monitor.problem, counts]))}")
