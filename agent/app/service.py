"""The running agent: one loop that waits for something new, has it read, and tells that it lives.

When to look without any event is the Schedule's to say, what becomes of lines the Reader's, and what is told of them
the Summary's; alerts are delivered by threads beside the loop.
"""

import gc
import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from agent.alerting.echo_guard import EchoGuard, new_key
from agent.app.build import Setup, check_inputs, prepare, refuse_change
from agent.app.ingest import Reader
from agent.app.schedule import Poll, Schedule
from agent.app.signals import Signals
from agent.app.state_retry import StateRetry
from agent.config import AgentConfig
from agent.delivery.workers import Delivery
from agent.errors import OddlineError, SinkError, StateUnavailable
from agent.host.clock import SYSTEM_CLOCK, Clock
from agent.host.limits import raise_file_limit
from agent.host.log import setup_logging
from agent.host.sd_notify import notify
from agent.inputs.manager import each_descriptor
from agent.scorefile.writer import JsonLines
from agent.state.retrying import RetryingState
from agent.state.store import State
from agent.telemetry.monitor import Monitor, watchdog_seconds
from agent.telemetry.snapshot import take_snapshot
from agent.telemetry.summary import Summary
from agent.watching.watcher import Watcher, Woken

_LOG = logging.getLogger(__name__)
_SIGN = 1.0  # seconds between two signs of life in a round of many sources
_DRAIN = 5.0  # seconds for delivery at the end
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
        self._config = config = load()
        self._once, self._clock = once, clock
        setup_logging(config.log_level)
        self._reloads = {"done": 0, "refused": 0}
        self._schedule, self._next_sign = Schedule(clock), 0.0
        began, self._started = clock.monotonic(), clock.time()
        check_inputs(config, scores)
        raise_file_limit()
        with ExitStack() as stack:
            self._state = State(None if config.state is None else Path(config.state), config.max_outbox)
            stack.callback(self._state.close)
            self._guard = EchoGuard(self._secret())
            setup_logging(config.log_level, self._guard.seal)
            self._watcher = Watcher(clock.monotonic)
            stack.callback(self._watcher.stop)
            stack.callback(self._signals.sleep)
            self._signals.wake = self._watcher.wake
            self._monitor = Monitor(config.metrics, config.metrics_file, watchdog_seconds())
            stack.callback(lambda: self._monitor.close())
            self._store = StateRetry(self._monitor, lambda: self._signals.stopped or self._once, clock)
            self._kept = RetryingState(self._state, self._store)
            setup = prepare(config, self._guard)
            self._summary = Summary(setup.pipeline, began, clock)
            self._reader = Reader(self._kept, setup.pipeline, self._summary, self._watcher.missed, scores, once, clock)
            stack.callback(self._reader.close)
            self._reader.begin(config)
            self._delivery = Delivery(self._state, setup.sinks)
            self._watch()
            self._close = stack.pop_all()

    def _secret(self) -> bytes:
        key = self._state.blob("guard")
        if key is None:
            key = new_key()
            self._state.commit(blobs=[("guard", key)])
        return key

    def run(self) -> None:
        """Reads, scores and delivers until a signal or the end of all sources; with `once` until nothing is new."""
        with self._close:
            try:
                self._delivery.start()
                self._publish()
                self._monitor.ready = True
                notify("READY=1\nSTATUS=" + self._status())
                self._loop()
                notify("STOPPING=1")
                self._reader.finish(lambda: self._signals.stopped or self._config.state is not None)
            finally:
                self._monitor.ready = False
                undelivered = self._end()
        self._tell_end(undelivered)

    def _loop(self) -> None:
        active = self._hurry()
        woken: Woken | None = None
        while not self._signals.stopped:
            if self._signals.hung_up:
                self._reload()
                active = self._hurry()
            active |= self._wanted(woken)
            if self._state.fault is not None:
                raise self._state.fault
            active = {name for name in self._in_order(active) if self._step(name, woken)}
            if not active and self._is_done():
                return
            woken = self._watcher.wait(0.0 if active else self._schedule.pause())

    def _in_order(self, names: set[str]) -> list[str]:
        """As they are configured."""
        return [name for name in self._reader.sources if name in names]

    def _hurry(self) -> set[str]:
        """All sources are to be read; in a run that does not wait they learn it."""
        self._reader.hurry()
        self._schedule.poll_all_now()
        return set(self._reader.sources)

    def _wanted(self, woken: Woken | None) -> set[str]:
        """The sources that may have something new: with an event, unsettled ones every second, in a while all."""
        self._search(woken)
        return self._due() if woken is None else self._due() | self._woken(woken)

    def _woken(self, woken: Woken) -> set[str]:
        return {
            name
            for name, source in self._reader.sources.items()
            if not woken.paths.isdisjoint(source.paths) or not woken.descriptors.isdisjoint(source.descriptors)
        }

    def _due(self) -> set[str]:
        poll = self._schedule.start_poll()
        if poll is Poll.NONE:
            return set()
        self._beat()
        self._reader.open_pipes()
        return {name for name, source in self._reader.sources.items() if poll is Poll.ALL or not source.settled}

    def _search(self, woken: Woken | None) -> None:
        """Looks for new files of patterns after an event in their directories, and once in a while."""
        is_due = self._schedule.is_search_due(woken is not None and woken.folders)
        if is_due and self._reader.inputs.has_patterns:
            with self._schedule.searching():
                found = self._reader.look()
            if found:
                self._schedule.poll_now()

    def _watch(self) -> None:
        sources = self._reader.sources
        paths = {path for source in sources.values() for path in source.paths}
        self._watcher.watch(paths, self._reader.inputs.folders, set(each_descriptor(sources)))

    def _beat(self) -> None:
        """What is due about every second."""
        self._watch()
        self._publish()
        self._summary.tell_remarks()
        notify("WATCHDOG=1\nSTATUS=" + self._status())

    def _show_life(self) -> None:
        """Tells that the loop goes round, also while a round of many sources takes long."""
        self._monitor.look()
        if self._clock.monotonic() >= self._next_sign:
            self._next_sign = self._clock.monotonic() + _SIGN
            notify("WATCHDOG=1")

    def _step(self, name: str, woken: Woken | None) -> bool:
        """Takes the next block of a source; whether there was one."""
        source = self._reader.sources.get(name)
        if source is None or self._signals.stopped:
            return False
        self._show_life()
        return self._reader.step(source, heard=woken is not None)

    def _is_done(self) -> bool:
        sources = self._reader.sources.values()
        if all(source.ended for source in sources) and not self._reader.inputs.has_patterns:
            return True
        return self._once and all(source.ended or source.durable for source in sources)

    def _reload(self) -> None:
        """Reads the configuration and the bundle anew; where they are no good, what there is goes on."""
        self._signals.hung_up = False
        notify(f"RELOADING=1\nMONOTONIC_USEC={int(self._clock.monotonic() * 1e6)}")
        try:
            config = self._load()
            refuse_change(self._config, config)
            check_inputs(config, self._scores)
            self._use(prepare(config, self._guard))
        except StateUnavailable:  # that is waited for no more, since the run ends
            raise
        except (OddlineError, OSError) as error:  # the second where no file can be opened, say
            self._reader.go_on()
            self._reloads["refused"] += 1
            _LOG.warning("reload refused, going on as before: %s", error)
        else:
            self._reloads["done"] += 1
            bundle = self._reader.pipeline.engine.bundle
            _LOG.info("reloaded: bundle %s, %d sources", bundle.manifest.name, len(self._reader.sources))
        gc.collect()  # the pipeline before, with its models, refers to itself in places
        notify("READY=1\nSTATUS=" + self._status())

    def _use(self, setup: Setup) -> None:
        """Goes on with another configuration."""
        self._reader.use(setup)
        setup_logging(setup.config.log_level, self._guard.seal)
        self._config, self._state.max_outbox = setup.config, setup.config.max_outbox
        self._store(lambda: self._delivery.replace(setup.sinks))
        self._watch()

    def _publish(self, last: bool = False) -> None:
        """Tells the monitor, where anybody asked for it, how things stand."""
        if self._monitor.wanted:
            reader = self._reader
            parts = [*reader.sources.values()], reader.ledger, self._delivery, self._kept, reader.pipeline
            self._monitor.publish(take_snapshot(*parts, self._started, self._reloads), last)

    def _status(self) -> str:
        waiting = sum(self._kept.backlog(name) for name in self._delivery.names)
        return f"{self._summary.counts()}, {waiting} to deliver"

    def _end(self) -> dict[str, int]:
        try:
            undelivered = self._delivery.drain(_DRAIN)
        finally:
            self._delivery.stop(_CLOSE)
        self._publish(last=True)
        return undelivered

    def _tell_end(self, undelivered: dict[str, int]) -> None:
        self._summary.tell_end(sum(source.cut_lines for source in self._reader.sources.values()))
        if undelivered:
            lost = ", ".join(f"{count} to {name}" for name, count in undelivered.items())
            if self._config.state is None:
                raise SinkError(f"alerts not delivered: {lost}; they are lost, since no --state folder keeps them")
            kept = f"{lost}; they are kept in {self._config.state} and sent at the next start"
            if self._once:
                raise SinkError(f"alerts not delivered: {kept}")
            _LOG.warning("alerts not delivered yet: %s", kept)


def run_service(load: Callable[[], AgentConfig], once: bool = False, scores: JsonLines | None = None) -> None:
    """Runs the agent as configured; an OddlineError says why it could not start or what it could not deliver."""
    with Signals() as signals:
        Service(load, once, scores, signals).run()
