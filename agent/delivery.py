"""From the outbox to the sinks: one thread a sink, in order, tried again until it is taken."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from agent.errors import ConfigError
from agent.sinks import Sink
from agent.state import State

FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0  # seconds between tries
_HURRIED_DELAY = 0.2  # seconds between tries while draining
_BATCH = 64


class Delivery:
    """Sends what the state's outbox holds to every sink, at least once and in order.

    A sink that fails or blocks holds up neither the others nor the pipeline. `warn` gets a line when a sink begins
    to fail and when it works again; it is called from the threads.
    """

    def __init__(self, state: State, sinks: Sequence[Sink], warn: Callable[[str], None]) -> None:
        self.names = [sink.name for sink in sinks]
        for name in self.names:
            if self.names.count(name) > 1:
                raise ConfigError(f"sink {name} is named twice; name it once")
        for name, count in state.register_sinks(self.names).items():
            warn(f"sink {name} is configured no more; the alerts that it lacks ({count}) are given up")
        self._state = state
        self._warn = warn
        self._couriers = [_Courier(state, sink, warn) for sink in sinks]

    def start(self) -> None:
        """Starts the threads."""
        for courier in self._couriers:
            courier.thread.start()

    def drain(self, timeout: float) -> dict[str, int]:
        """Waits up to `timeout` seconds until everything queued is delivered, and tries failing sinks often meanwhile.

        Returns how many alerts each sink that does not have all of them still lacks; empty when all is delivered.
        """
        self._hurry(True)
        self._state.wait(lambda: not self._undelivered(), timeout)
        self._hurry(False)
        return self._undelivered()

    def _hurry(self, hurried: bool) -> None:
        for courier in self._couriers:
            courier.hurried = hurried
        self._state.wake()

    def _undelivered(self) -> dict[str, int]:
        counts = {courier.sink.name: self._state.backlog(courier.sink.name) for courier in self._couriers}
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
                self._warn(f"sink {courier.sink.name} is still busy with an alert and is left alone")


class _Courier:
    """Brings the alerts of the outbox to one sink, in a thread of its own."""

    def __init__(self, state: State, sink: Sink, warn: Callable[[str], None]) -> None:
        self.sink = sink
        self.hurried = False
        self.stopped = False
        self.thread = threading.Thread(target=self._run, name=f"oddline {sink.name}", daemon=True)
        self._state = state
        self._warn = warn
        self._taken = 0  # the number of the last alert that the sink took, whether or not the state could note it
        self._noted = 0
        self._failing = False
        self._delay = FIRST_DELAY

    def _run(self) -> None:
        while not self.stopped:
            try:
                self._state.wait(self._is_due)
                self._deliver()
            except Exception as error:  # whatever a sink raises, its alerts stay queued and are tried again
                self._fail(error)
        with suppress(Exception):
            self.sink.close()

    def _is_due(self) -> bool:
        return self.stopped or self._state.backlog(self.sink.name) > 0

    def _deliver(self) -> None:
        """Sends the next alerts; what the sink has taken is noted also where it then fails."""
        batch = self._state.pending(self.sink.name, _BATCH)
        try:
            for number, alert in batch:
                if self.stopped:
                    return
                if number > self._taken:
                    self.sink.send(alert)
                    self._taken, self._delay = number, FIRST_DELAY
        finally:
            self._note()
        self._recover()

    def _note(self) -> None:
        if self._taken > self._noted:
            self._state.delivered(self.sink.name, self._taken)
            self._noted = self._taken

    def _recover(self) -> None:
        if self._failing:
            self._failing = False
            self._warn(f"sink {self.sink.name} works again")

    def _fail(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            self._warn(f"sink {self.sink.name} fails: {reason}; its alerts are kept and tried again")
        self._pause()

    def _pause(self) -> None:
        if self.hurried:
            self._state.wait(lambda: self.stopped, _HURRIED_DELAY)
            return
        self._state.wait(lambda: self.stopped or self.hurried, self._delay * random.uniform(0.5, 1.0))
        self._delay = min(2 * self._delay, LONGEST_DELAY)
