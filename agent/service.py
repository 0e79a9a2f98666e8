"""The running agent: sources, pipeline, state and delivery in one loop."""

import gc
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from agent.config import AgentConfig
from agent.delivery import Delivery
from agent.errors import ConfigError, OddlineError, SinkError, SourceError, StateUnavailable
from agent.guard import Guard, new_key
from agent.headers import detect
from agent.inputs import Inputs, each_descriptor
from agent.ledger import Ledger, memory_name
from agent.limits import raise_file_limit
from agent.lines import Block
from agent.loops import refuse_loops
from agent.monitor import Monitor, watchdog_seconds
from agent.notify import notify
from agent.patience import Patience
from agent.scores import JsonLines, line_records
from agent.setup import Setup, prepare
from agent.signals import Signals
from agent.snapshot import take_snapshot
from agent.sources.contract import Source
from agent.state import State
from agent.state.patient import PatientReads
from agent.telling import say, speaker
from agent.watching import Watcher, Woken

_LOOK = 1.0  # seconds after which sources that may have something new are looked at without any event
_FULL_LOOK = 10.0  # seconds after which those are too that only an event can bring something new to
_SEARCH = 10.0  # seconds after which new files of patterns are looked for without any event
_FINISH = 1.0  # seconds for what sockets and pipes hold at the end
_SHARE = 9  # times as long as a search takes, none follows it: where many files come, it takes a tenth of a core
_DRAIN = 5.0  # seconds for delivery at the end
_CLOSE = 2.0  # seconds for the sinks to end after that
_REMARKS = 3600.0  # seconds between two tellings of lines that were not read whole


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
    ) -> None:
        self._load, self._scores, self._signals = load, scores, signals or Signals()
        self._config = config = load()
        self._once = once
        self._lines = self._bytes = self._alerts = 0
        self._carried: Counter[str] = Counter()  # what the pipelines before the last reload counted
        self._told: set[str] = set()
        self._idle: dict[str, str] = {}  # what a source was reading when it last had nothing new
        self._reloads = {"done": 0, "refused": 0}
        self._next_sign = self._next_remarks = self._next_look = self._next_full_look = self._next_search = (
            self._next_early_search
        ) = 0.0
        self._began, self._started = time.monotonic(), time.time()
        _check(config, scores)
        raise_file_limit()
        with ExitStack() as stack:
            self._state = State(None if config.state is None else Path(config.state), config.max_outbox, say=say)
            stack.callback(self._state.close)
            self._guard = Guard(self._secret())
            self._say = speaker(self._guard)
            self._watcher = Watcher(self._say)
            stack.callback(self._watcher.stop)
            stack.callback(self._signals.sleep)
            self._signals.wake = self._watcher.wake
            self._monitor = Monitor(config.metrics, config.metrics_file, self._say, watchdog_seconds())
            stack.callback(lambda: self._monitor.close())
            self._store = Patience(self._monitor, self._say, lambda: self._signals.stopped or self._once)
            self._reads = PatientReads(self._state, self._store)
            setup = prepare(config, self._guard)
            self._pipeline = setup.pipeline
            self._ledger = Ledger(self._reads, self._pipeline)
            self._inputs = Inputs(self._reads, self._forget, self._say, self._leave)
            stack.callback(self._inputs.close)
            opened = self._inputs.configure(config)
            self._welcome(opened)
            self._delivery = Delivery(self._state, setup.sinks, self._say)
            self._watch()
            self._close = stack.pop_all()

    def _secret(self) -> bytes:
        key = self._state.recall("guard")
        if key is None:
            key = new_key()
            self._state.commit(memory=[("guard", key)])
        return key

    def _welcome(self, opened: list[Source]) -> None:
        """Gives new sources what the state holds of them, or the lines before the place where reading starts."""
        for source in opened:
            self._ledger.open(source.name)
            self._restore(source)
            if self._once:
                source.hurry()
        if starts := self._inputs.starts(opened):
            self._store(lambda: self._state.commit(**starts))
        for source in opened:
            if source.unstored:
                self._note(source)

    def _restore(self, source: Source) -> None:
        name, window = source.name, self._pipeline.bundle.manifest.window
        if self._pipeline.restore(name, self._reads.streams(name), self._reads.recall) or window.pad:
            return
        if (before := source.context(window.size - 1)) is not None:
            self._pipeline.prime(before)

    def _forget(self, name: str, losses: int) -> None:
        """Forgets a name that is gone, of a source or of another one's file, and counts what is lost with it."""
        memories = [*self._pipeline.forget(name), memory_name(name)]
        retired = self._ledger.retire(name, losses)
        self._store(lambda: self._state.forget(name, memories, retired))
        self._idle.pop(name, None)
        self._told.discard(name)

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
                self._finish()
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
            woken = self._watcher.wait(0.0 if active else max(0.0, self._next_look - time.monotonic()))

    def _in_order(self, names: set[str]) -> list[str]:
        """As they are configured."""
        return [name for name in self._inputs.sources if name in names]

    def _hurry(self) -> set[str]:
        """All sources are to be read; in a run that does not wait they learn it."""
        for source in self._inputs.sources.values() if self._once else ():
            source.hurry()
        self._next_look = self._next_full_look = 0.0
        return set(self._inputs.sources)

    def _wanted(self, woken: Woken | None) -> set[str]:
        """The sources that may have something new: with an event, unsettled ones every second, in a while all."""
        self._search(woken)
        return self._due() if woken is None else self._due() | self._woken(woken)

    def _woken(self, woken: Woken) -> set[str]:
        return {
            name
            for name, source in self._inputs.sources.items()
            if not woken.paths.isdisjoint(source.paths) or not woken.descriptors.isdisjoint(source.descriptors)
        }

    def _due(self) -> set[str]:
        now = time.monotonic()
        if now < self._next_look:
            return set()
        self._beat()
        if pipes := self._inputs.open_pipes():
            self._welcome(pipes)
        self._next_look, every = now + _LOOK, now >= self._next_full_look
        self._next_full_look = now + _FULL_LOOK if every else self._next_full_look
        return {name for name, source in self._inputs.sources.items() if every or not source.settled}

    def _search(self, woken: Woken | None) -> None:
        """Looks for new files of patterns after an event in their directories, and once in a while."""
        now = time.monotonic()
        if woken is not None and woken.folders:
            self._next_search = min(self._next_search, self._next_early_search)
        if not self._inputs.has_patterns or now < self._next_search:
            return
        opened = self._inputs.look()
        self._welcome(opened)
        self._next_look = 0.0 if opened else self._next_look
        ended = time.monotonic()
        self._next_search, self._next_early_search = ended + _SEARCH, ended + _SHARE * (ended - now)

    def _watch(self) -> None:
        sources = self._inputs.sources
        paths = {path for source in sources.values() for path in source.paths}
        self._watcher.watch(paths, self._inputs.folders, set(each_descriptor(sources)))

    def _beat(self) -> None:
        """What is due about every second."""
        self._watch()
        self._publish()
        self._tell_remarks()
        notify("WATCHDOG=1\nSTATUS=" + self._status())

    def _show_life(self) -> None:
        """Tells that the loop goes round, also while a round of many sources takes long."""
        self._monitor.look()
        if time.monotonic() >= self._next_sign:
            self._next_sign = time.monotonic() + _LOOK
            notify("WATCHDOG=1")

    def _step(self, name: str, woken: Woken | None) -> bool:
        """Takes the next block of a source; whether there was one."""
        source = self._inputs.sources.get(name)
        if source is None or self._signals.stopped:
            return False
        self._show_life()
        taken = source.bytes_taken
        block = source.read()
        self._suspect(source, woken is None and source.bytes_taken > taken)
        if block is not None:
            self._take(source, block)
        else:
            self._note(source)
        return block is not None

    def _note(self, source: Source) -> None:
        """Stores what happened to a source without any line."""
        memory = self._ledger.look(source)
        if memory or source.unstored:
            marks = self._inputs.marks(source)
            self._store(lambda: self._state.commit(marks, memory=[memory] if memory else []))
            source.unstored = False

    def _suspect(self, source: Source, grown: bool) -> None:
        """Tells the watcher of a file that had nothing new at the last look and now has, without any event."""
        if grown and not source.descriptors and self._idle.get(source.name) == source.identity:
            for path in source.paths:
                self._watcher.missed(path)
        self._idle[source.name] = "" if grown else source.identity

    def _is_done(self) -> bool:
        sources = self._inputs.sources.values()
        if all(source.ended for source in sources) and not self._inputs.has_patterns:
            return True
        return self._once and all(source.ended or source.durable for source in sources)

    def _finish(self) -> None:
        """Takes what would be gone: what sockets and pipes still hold, and last lines that no line feed ends.

        But not where a later run can see them completed.
        """
        deadline = time.monotonic() + _FINISH
        for source in self._inputs.sources.values():
            self._empty(source, deadline)
            waits = source.durable and (self._signals.stopped or self._config.state is not None)
            if not waits and (block := source.finish()):
                self._take(source, block)

    def _empty(self, source: Source, deadline: float) -> None:
        """Takes what a source holds that keeps nothing for later."""
        while not source.durable and time.monotonic() < deadline and (block := source.read()):
            self._take(source, block)

    def _leave(self, source: Source, goes_on: bool) -> None:
        """Closes a source, after what it still holds where no other goes on with that, and counts what is lost."""
        known = source.name in self._ledger.counts
        if known and not goes_on:
            self._empty(source, time.monotonic() + _FINISH)
        marks = self._inputs.marks(source)
        source.close()
        if known and (memory := self._ledger.look(source)):
            self._store(lambda: self._state.commit(marks, memory=[memory]))

    def _take(self, source: Source, block: Block) -> None:
        scored = self._pipeline.score(block)
        read = datetime.now().astimezone()
        alerts = self._pipeline.alerts(scored, source.identity, read, source.fields)
        changes = self._pipeline.changes(scored)
        memory = [*changes.memory, self._ledger.take(source, scored, alerts)]
        marks = self._inputs.marks(source)
        self._store(lambda: self._state.commit(marks, changes.streams, changes.ended, memory, alerts))
        if self._scores is not None:
            self._scores.write(line_records(scored, self._pipeline.header, read))
        self._tell_format(block)
        for word in self._pipeline.breaker.words():
            self._say(word)
        self._lines += len(block)
        self._bytes += len(block.data)
        self._alerts += len(alerts)

    def _reload(self) -> None:
        """Reads the configuration and the bundle anew; where they are no good, what there is goes on."""
        self._signals.hung_up = False
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            config = self._load()
            self._refuse_change(config)
            _check(config, self._scores)
            self._use(prepare(config, self._guard))
        except StateUnavailable:  # that is waited for no more, since the run ends
            raise
        except (OddlineError, OSError) as error:  # the second where no file can be opened, say
            for name in self._inputs.take_reopened():
                self._ledger.open(name)
            self._reloads["refused"] += 1
            self._say(f"reload refused, going on as before: {error}")
        else:
            self._reloads["done"] += 1
            self._say(f"reloaded: bundle {self._pipeline.bundle.manifest.name}, {len(self._inputs.sources)} sources")
        gc.collect()  # the pipeline before, with its models, refers to itself in places
        notify("READY=1\nSTATUS=" + self._status())

    def _refuse_change(self, config: AgentConfig) -> None:
        for key in ("state", "metrics", "metrics_file"):
            if getattr(config, key) != getattr(self._config, key):
                raise ConfigError(f"{key} cannot change while the agent runs; restart it")

    def _use(self, setup: Setup) -> None:
        """Goes on with another configuration. All that was read is stored, so the windows are taken from the state."""
        opened = self._inputs.configure(setup.config)
        self._carried.update(self._counted())
        for remark in self._pipeline.remarks():
            self._say(remark)
        self._config, self._pipeline = setup.config, setup.pipeline
        self._state.max_outbox = setup.config.max_outbox
        self._ledger.use(setup.pipeline)
        fresh = {source.name for source in opened}
        for source in self._inputs.sources.values():
            if source.name not in fresh:
                self._restore(source)
        self._welcome(opened)
        self._store(lambda: self._delivery.replace(setup.sinks))
        self._watch()

    def _tell_format(self, block: Block) -> None:
        if block.source not in self._told:
            self._told.add(block.source)
            self._say(f"reading {block.source} from line {block.first}, format {detect(block, self._pipeline.header)}")

    def _publish(self, last: bool = False) -> None:
        """Tells the monitor, where anybody asked for it, how things stand."""
        if self._monitor.wanted:
            parts = [*self._inputs.sources.values()], self._ledger, self._delivery, self._reads, self._pipeline
            self._monitor.publish(take_snapshot(*parts, self._started, self._reloads), last)

    def _tell_remarks(self) -> None:
        """Says what of the lines could not be read whole, at once the first time and then hourly."""
        if time.monotonic() >= self._next_remarks and (remarks := self._pipeline.remarks()):
            self._next_remarks = time.monotonic() + _REMARKS
            for remark in remarks:
                self._say(remark)

    def _status(self) -> str:
        waiting = sum(self._reads.backlog(name) for name in self._delivery.names)
        return f"{self._lines} lines read, {self._alerts} alerts, {waiting} to deliver"

    def _end(self) -> dict[str, int]:
        try:
            undelivered = self._delivery.drain(_DRAIN)
        finally:
            self._delivery.stop(_CLOSE)
        self._publish(last=True)
        return undelivered

    def _tell_end(self, undelivered: dict[str, int]) -> None:
        self._say(self._summary())
        for remark in self._pipeline.remarks():
            self._say(remark)
        if undelivered:
            lost = ", ".join(f"{count} to {name}" for name, count in undelivered.items())
            if self._config.state is None:
                raise SinkError(f"alerts not delivered: {lost}; they are lost, since no --state folder keeps them")
            kept = f"{lost}; they are kept in {self._config.state} and sent at the next start"
            if self._once:
                raise SinkError(f"alerts not delivered: {kept}")
            self._say(f"alerts not delivered yet: {kept}")

    def _counted(self) -> dict[str, int]:
        """What the present pipeline did with lines, as the summary at the end says it."""
        return {
            "repeats folded": self._pipeline.folder.folded,
            "own alerts left out": self._pipeline.own_lines,
            "alerts about sealed lines of others held back": self._pipeline.suppressed,
            "alerts held back": self._pipeline.breaker.held_back,
        }

    def _summary(self) -> str:
        seconds = time.monotonic() - self._began
        cut = {"lines cut": sum(source.cut_lines for source in self._inputs.sources.values())}
        told = {what: count + self._carried[what] for what, count in (self._counted() | cut).items()}
        counts = [f"{self._alerts} alerts", *(f"{count} {what}" for what, count in told.items() if count)]
        return f"read {self._lines} lines ({self._bytes / 1e6:.1f} MB) in {seconds:.1f} s: {', '.join(counts)}"


def _check(config: AgentConfig, scores: JsonLines | None) -> None:
    if not config.sources:
        raise SourceError("no log to read; name one, or list it under `sources` in the configuration")
    refuse_loops(config, scores)


def run_service(load: Callable[[], AgentConfig], once: bool = False, scores: JsonLines | None = None) -> None:
    """Runs the agent as configured; an OddlineError says why it could not start or what it could not deliver."""
    with Signals() as signals:
        Service(load, once, scores, signals).run()
