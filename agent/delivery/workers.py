"""The workers that send alerts from the outbox to the sinks: one thread a sink, in order, tried until it is taken."""

import logging
import random
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from agent.alerting.alert import Alert
from agent.delivery.sinks import Sink
from agent.delivery.sinks.redaction import shown
from agent.errors import AlertRefused, ConfigError, SinkError, StateUnavailable
from agent.state.store import State

_LOG = logging.getLogger(__name__)
FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0  # seconds between tries
_DRAINING_DELAY = 0.2  # seconds between tries while draining
_BATCH = 64


class Delivery:
    """Sends what the state's outbox holds to every sink, at least once and in order.

    A sink that fails or blocks holds up neither the others nor the pipeline. Logged is when a sink begins to
    fail and when it works again, when alerts are dropped because the outbox is full, and when a sink does not want one.
    """

    def __init__(self, state: State, sinks: Sequence[Sink]) -> None:
        self._state = state
        self._couriers: list[_Courier] = []
        self._register(sinks)
        state.on_drop = self._count_dropped

    def _register(self, sinks: Sequence[Sink]) -> None:
        self.names = check_names(sinks)
        for name, count in self._state.register_sinks(self.names).items():
            _LOG.warning(
                "sink %s is configured no more; the alerts that it lacks (%d) are given up", shown(name), count
            )
        self._send_through(sinks)

    def _send_through(self, sinks: Sequence[Sink]) -> None:
        """Gives each sink a courier, which goes on after the one before it at that sink."""
        before = {courier.sink.name: courier for courier in self._couriers}
        self._couriers = [_Courier(self._state, sink, before.get(sink.name)) for sink in sinks]

    def replace(self, sinks: Sequence[Sink]) -> None:
        """Goes on with other sinks, or with the same ones made anew; what waits for one that stays still waits.

        Where the state cannot be written, now or ever, the sinks stay as they were.
        """
        before = [courier.sink for courier in self._couriers]
        self.stop()
        try:
            self._register(sinks)
        except SinkError:
            self._send_through(before)
            raise
        finally:
            self.start()

    def _count_dropped(self, lost: dict[str, int]) -> None:
        for courier in self._couriers:
            courier.dropped(lost.get(courier.sink.name, 0))

    def start(self) -> None:
        """Starts the threads."""
        for courier in self._couriers:
            courier.thread.start()

    def drain(self, timeout: float) -> dict[str, int]:
        """Waits up to `timeout` seconds until everything queued is delivered, and tries failing sinks often meanwhile.

        Returns how many alerts each sink that does not have all of them still lacks; empty when all is delivered.
        """
        self._set_draining(True)
        self._state.wait(lambda: not self._undelivered(), timeout)
        self._set_draining(False)
        return self._undelivered()

    def failing(self) -> set[str]:
        """The sinks that did not take the last alert that they were given."""
        return {courier.sink.name for courier in self._couriers if courier.failing}

    def _set_draining(self, draining: bool) -> None:
        for courier in self._couriers:
            courier.draining = draining
        self._state.wake()

    def _undelivered(self) -> dict[str, int]:
        counts = {courier.shown: self._state.backlog(courier.sink.name) for courier in self._couriers}
        return {name: count for name, count in counts.items() if count}

    def stop(self, timeout: float = 5.0) -> None:
        """Ends the threads, each after the alert in hand; a word of those that are busy after `timeout` seconds."""
        for courier in self._couriers:
            courier.stopped = True
        self._state.wake()
        deadline = time.monotonic() + timeout
        for courier in self._couriers:
            if courier.thread.ident is None:
                courier.sink.close()
                continue
            courier.thread.join(max(0.0, deadline - time.monotonic()))
            if courier.thread.is_alive():
                _LOG.warning("sink %s is still busy with an alert and is left alone", courier.shown)


def check_names(sinks: Sequence[Sink]) -> list[str]:
    """The names of sinks; a ConfigError where one comes twice."""
    names = [sink.name for sink in sinks]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"sink {shown(name)} is named twice; name it once")
    return names


class _Courier:
    """Brings the alerts of the outbox to one sink, in a thread of its own, once the courier `before` has ended.

    What that one brought is not brought again, also where the state could not note it.
    """

    def __init__(self, state: State, sink: Sink, before: "_Courier | None" = None) -> None:
        self.sink, self.shown = sink, shown(sink.name)
        self.draining = False
        self.stopped = False
        self.thread = threading.Thread(target=self._run, name=f"oddline {self.shown}", daemon=True)
        self._before = before
        self._state = state
        self._delivered = 0  # the number of the last alert that the sink took, whether or not the state could note it
        self._stored = 0
        self.failing = False
        self._delay = FIRST_DELAY
        self._refused: list[AlertRefused] = []  # of the alerts since the last that the sink took
        self._skipped = 0  # alerts that the sink refused and that are not noted yet
        self._warned_refusal = False
        self._dropped = 0

    def dropped(self, count: int) -> None:
        """Notes that the outbox was full and so many alerts will never come; told once until the sink is up to date."""
        if count and not self._dropped:
            _LOG.warning(
                "sink %s lacks more than %d alerts (max_outbox); "
                "the oldest are dropped and counted until it takes them again",
                self.shown,
                self._state.max_outbox,
            )
        self._dropped += count

    @property
    def busy(self) -> threading.Thread | None:
        """The thread that has an alert in hand for the sink though it was stopped: before this courier, or its own."""
        before = self._before.busy if self._before else None
        return before or (self.thread if self.thread.is_alive() else None)

    def _run(self) -> None:
        while self._before is not None and (busy := self._before.busy) and not self.stopped:
            busy.join(_DRAINING_DELAY)
        self._take_over()
        while not self.stopped:
            try:
                self._state.wait(self._is_due)
                self._deliver()
            except Exception as error:  # noqa: BLE001 - whatever it is, the alerts stay queued
                self._fail(error)
        with suppress(Exception):
            self.sink.close()

    def _take_over(self) -> None:
        """Takes over what the courier before it has brought."""
        if self._before is not None and not self._before.busy:
            before, self._before = self._before, None
            before._take_over()  # noqa: SLF001 - of this class too
            self._delivered, self._stored, self._skipped = before._delivered, before._stored, before._skipped  # noqa: SLF001

    def _is_due(self) -> bool:
        return self.stopped or self._state.backlog(self.sink.name) > 0

    def _deliver(self) -> None:
        """Sends the next alerts; what the sink has taken is noted also where it then fails."""
        name, self._refused = self.sink.name, []
        try:
            for number, alert in self._state.pending(name, _BATCH):
                if self.stopped:
                    return
                if number > self._delivered and self._state.lacks(name, number):
                    self._offer(number, alert)
        finally:
            self._store_progress()
        if self._refused:
            raise self._refused[0]
        self._recover()

    def _offer(self, number: int, alert: Alert) -> None:
        """Sends an alert. One that is refused is skipped when the sink takes a later one, and is kept until then.

        So an alert that cannot be taken holds up no other, and a sink that refuses all, because its address or its
        key is wrong, loses none.
        """
        try:
            self.sink.send(alert)
        except AlertRefused as error:
            self._refused.append(error)
            return
        self._delivered, self._delay = number, FIRST_DELAY
        if self._refused and not self._warned_refusal:
            self._warned_refusal = True
            _LOG.warning(
                "sink %s refuses an alert: %s; such alerts are skipped and counted", self.shown, self._refused[0]
            )
        self._skipped += len(self._refused)
        self._refused = []

    def _store_progress(self) -> None:
        if self._delivered > self._stored:
            self._state.delivered(self.sink.name, self._delivered, self._skipped)
            self._stored, self._skipped = self._delivered, 0

    def _recover(self) -> None:
        if self.failing:
            self.failing = False
            _LOG.info("sink %s works again", self.shown)
        if self._dropped and not self._state.backlog(self.sink.name):
            _LOG.info("sink %s is up to date again; %d alerts were dropped", self.shown, self._dropped)
            self._dropped = 0

    def _fail(self, error: Exception) -> None:
        if not self.failing:
            self.failing = True
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            how = "waits" if isinstance(error, StateUnavailable) else "fails"
            _LOG.warning("sink %s %s: %s; its alerts are kept and tried again", self.shown, how, reason)
        self._pause()

    def _pause(self) -> None:
        if self.draining:
            self._state.wait(lambda: self.stopped, _DRAINING_DELAY)
            return
        self._state.wait(lambda: self.stopped or self.draining, self._delay * random.uniform(0.5, 1.0))
        self._delay = min(2 * self._delay, LONGEST_DELAY)
