"""The running agent: one loop that waits for something new, has it read, and tells that it lives.

Which sources to look at is the Poller's to say, what becomes of lines the Reader's, and what is told of them the
Summary's; the Heartbeat tells that the loop lives. Alerts are delivered by threads beside the loop.
"""

import gc
import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path

from agent.alerting.echo_guard import EchoGuard
from agent.alerting.notices import BLOB as NOTICES
from agent.alerting.notices import Notices
from agent.app.build import Setup, guard_key, prepare, read_config, refuse_change
from agent.app.heartbeat import Heartbeat
from agent.app.ingest import Reader
from agent.app.poller import Poller
from agent.app.signals import Signals
from agent.app.state_retry import StateRetry
from agent.config import AgentConfig
from agent.delivery.workers import Delivery
from agent.errors import OddlineError, SinkError, StateUnavailable
from agent.host.clock import SYSTEM_CLOCK, Clock
from agent.host.limits import raise_file_limit
from agent.host.log import setup_logging
from agent.host.sd_notify import notify
from agent.scorefile.writer import JsonLines
from agent.state.retrying import RetryingState
from agent.state.store import State
from agent.telemetry.monitor import Monitor, watchdog_seconds
from agent.telemetry.summary import Summary
from agent.watching.watcher import Watcher, Woken

_LOG = logging.getLogger(__name__)
DRAIN = 5.0  # seconds for delivery at the end
_CLOSE = 2.0  # seconds for the sinks to end after that


class Service:
    """Reads the sources of a configuration until it is stopped, or with `once` until their present end.

    load: reads the configuration, at the start and at each SIGHUP. A state that cannot be written is waited for, but
    with `once` it is a StateUnavailable.
    """

    def __init__(
        self,
        load: Callable[[], AgentConfig],
        once: bool = False,
        scores: JsonLines | None = None,
        signals: Signals | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._load, self._scores, self._signals = load, scores, signals or Signals()
        self._config = config = read_config(load, scores)
        self._once, self._clock = once, clock
        setup_logging(config.log_level)
        began, started = clock.monotonic(), clock.time()
        raise_file_limit()
        with ExitStack() as stack:
            self.state = State(None if config.state is None else Path(config.state), config.max_outbox)
            stack.callback(self.state.close)
            self._guard = EchoGuard(guard_key(self.state))
            self._notices = Notices(socket.gethostname(), self.state.blob(NOTICES))
            setup_logging(config.log_level, self._guard.seal)
            self.watcher = Watcher(clock.monotonic)
            stack.callback(self.watcher.stop)
            stack.callback(self._signals.sleep)
            self._signals.wake = self.watcher.wake
            self.monitor = Monitor(config.metrics_settings(), watchdog_seconds())
            stack.callback(self.monitor.close)
            self._store = StateRetry(self.monitor, lambda: self._signals.stopped or self._once, clock)
            state = RetryingState(self.state, self._store)
            self._setup = setup = prepare(config, self._guard, self._notices)
            self.summary = Summary(setup.pipeline, began, clock)
            self.reader = Reader(state, setup.pipeline, self.summary, self.watcher.missed, scores, once, clock)
            stack.callback(self.reader.close)
            self.reader.begin(config)
            self.delivery = Delivery(self.state, setup.sinks)
            watched = self.monitor, self.reader, self.delivery, state, self.summary
            self.heartbeat = Heartbeat(*watched, started, clock)
            self.poller = Poller(self.reader, self.watcher, self.heartbeat, clock)
            self.poller.watch()
            self._resources = stack.pop_all()

    def run(self) -> None:
        """Reads, scores and delivers until a signal or the end of all sources; with `once` until nothing is new."""
        with closing(self):
            try:
                self.delivery.start()
                self.heartbeat.ready()
                self._loop()
                notify("STOPPING=1")
                self.reader.finish(lambda: self._signals.stopped or self._config.state is not None)
            finally:
                self.monitor.ready = False
                undelivered = self.drain()
        self.log_totals(undelivered)

    def close(self) -> None:
        """Closes all that is open; a second call does nothing."""
        self._resources.close()

    def _loop(self) -> None:
        active = self.poller.poll_all_now()
        woken: Woken | None = None
        while not self._signals.stopped:
            if self._signals.hung_up:
                self._signals.hung_up = False
                self.reload()
                active = self.poller.poll_all_now()
            active = self.round(active, woken)
            if not active and self._is_done():
                return
            woken = self.poller.wait(at_once=bool(active))

    def round(self, active: set[str], woken: Woken | None = None) -> set[str]:
        """One turn of the loop: takes a block of each source that may have one; the names of those that had.

        active: those that had one in the round before. woken: what happened since then.
        """
        active = active | self.poller.choose(woken)
        if self.state.fault is not None:
            raise self.state.fault
        in_order = [name for name in self.reader.sources if name in active]  # as they are configured
        return {name for name in in_order if self.step(name, woken)}

    def step(self, name: str, woken: Woken | None = None) -> bool:
        """Takes the next block of a source; whether there was one."""
        source = self.reader.sources.get(name)
        if source is None or self._signals.stopped:
            return False
        self.heartbeat.show_life()
        return self.reader.step(source, notified=woken is not None)

    def _is_done(self) -> bool:
        sources = self.reader.sources.values()
        if all(source.ended for source in sources) and not self.reader.inputs.has_patterns:
            return True
        return self._once and all(source.ended or source.durable for source in sources)

    def reload(self) -> None:
        """Reads the configuration and the bundle anew; where they are no good, what there is goes on."""
        self.heartbeat.reloading()
        outcome = "done"
        try:
            config = read_config(self._load, self._scores)
            refuse_change(self._config, config)
            setup = prepare(config, self._guard, self._notices)
            self._use(setup)
        except StateUnavailable:  # that is waited for no more, since the run ends
            raise
        except (OddlineError, OSError) as error:  # the second where no file can be opened, say
            self.reader.resume()
            outcome = self._refuse(str(error))
        except Exception as error:  # noqa: BLE001 - whatever breaks, the run goes on
            self._use(self._setup)  # some of the new one may be in use
            outcome = self._refuse(f"{type(error).__name__}: {error}")
        else:
            bundle = self.reader.pipeline.engine.bundle
            _LOG.info("reloaded: bundle %s, %d sources", bundle.manifest.name, len(self.reader.sources))
        gc.collect()  # the pipeline before, with its models, refers to itself in places
        self.heartbeat.reloaded(outcome)

    def _use(self, setup: Setup) -> None:
        """Goes on with another configuration."""
        self.reader.use(setup)
        setup_logging(setup.config.log_level, self._guard.seal)
        self._config, self.state.max_outbox = setup.config, setup.config.max_outbox
        self._store(lambda: self.delivery.replace(setup.sinks))
        self.poller.watch()
        self._setup = setup

    @staticmethod
    def _refuse(why: str) -> str:
        _LOG.warning("reload refused, going on as before: %s", why)
        return "refused"

    def drain(self) -> dict[str, int]:
        """Ends the delivery, for which there is some time; how many alerts each sink still lacks."""
        try:
            undelivered = self.delivery.drain(DRAIN)
        finally:
            self.delivery.stop(_CLOSE)
        self.heartbeat.publish(last=True)
        return undelivered

    def log_totals(self, undelivered: dict[str, int]) -> None:
        """Says what the run came to; a SinkError where alerts are lost, or kept and no run is to go on."""
        self.summary.log_totals(sum(source.cut_lines for source in self.reader.sources.values()))
        if undelivered:
            lost = ", ".join(f"{count} to {name}" for name, count in undelivered.items())
            if self._config.state is None:
                raise SinkError(f"alerts not delivered: {lost}; they are lost, since no --state folder keeps them")
            kept = f"{lost}; they are kept in {self._config.state} and sent at the next start"
            if self._once:
                raise SinkError(f"alerts not delivered: {kept}")
            _LOG.warning("alerts not delivered yet: %s", kept)


def run_service(
    load: Callable[[], AgentConfig],
    once: bool = False,
    scores: JsonLines | None = None,
    signals: Signals | None = None,
) -> None:
    """Runs the agent as configured; an OddlineError says why it could not start or what it could not deliver.

    signals: those that are noted already; by default from now on.
    """
    with nullcontext(signals) if signals else Signals() as noted:
        Service(load, once, scores, noted).run()
