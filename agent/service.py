"""The running agent: sources, pipeline, state and delivery in one loop."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import msgspec

from agent.alerts import escape
from agent.bundle import Bundle
from agent.config import AgentConfig, FileInput
from agent.delivery import Delivery
from agent.errors import ConfigError, SinkError, SourceError
from agent.guard import Guard, new_key
from agent.headers import detect
from agent.ledger import Ledger
from agent.lines import Block
from agent.monitor import Monitor, watchdog_seconds
from agent.notify import notify
from agent.pipeline import Pipeline
from agent.runtime import choose_provider
from agent.scores import JsonLines, line_records
from agent.sinks import open_sink
from agent.snapshot import take_snapshot
from agent.sources.contract import Source
from agent.sources.file import FileSource
from agent.sources.position import Position
from agent.sources.reading import Reading
from agent.sources.watch import Watcher
from agent.state import State

DEFAULT_BUNDLE = Path(__file__).parent / "bundles" / "default"
_LOOK = 1.0  # seconds after which files are looked at without any event
_DRAIN = 10.0  # seconds for delivery at the end
_REMARKS = 3600.0  # seconds between two tellings of lines that were not read whole


def say(message: str) -> None:
    """Tells the operator something on standard error."""
    _write(f"oddline: {escape(message)}")


def _write(line: str) -> None:
    """One write a line: `print` makes two, and lines of several threads would run into each other."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def speaker(guard: Guard) -> Callable[[str], None]:
    """`say` for a service whose standard error goes to the journal, and so perhaps to a log that is tailed: sealed."""
    if "JOURNAL_STREAM" not in os.environ:
        return say
    return lambda message: _write(guard.seal(escape(message)))


def load_bundle(name: str, provider: str) -> Bundle:
    """The bundle of this name, `default` or a folder, on the provider wanted; a fall-back is told."""
    chosen, word = choose_provider(provider)
    if word:
        say(word)
    return Bundle.load(DEFAULT_BUNDLE if name == "default" else Path(name), chosen)


def build_pipeline(bundle: Bundle, config: AgentConfig, guard: Guard | None = None) -> Pipeline:
    """The pipeline that a configuration asks for."""
    return Pipeline(
        bundle,
        threshold=config.threshold,
        header=config.header,
        stream=config.stream,
        max_streams=config.max_streams,
        fold_lines=config.fold_lines,
        guard=guard,
        cache=config.cache,
    )


class Service:
    """Tails the files of a configuration until it is stopped, or with `once` until their present end."""

    def __init__(self, config: AgentConfig, scores: JsonLines | None = None) -> None:
        self._config = config
        self._scores = scores
        self._stopped = False
        self._lines = self._bytes = self._alerts = 0
        self._told: set[str] = set()
        self._next_remarks = 0.0
        self._began, self._started = time.monotonic(), time.time()
        self._refuse_loops()
        with ExitStack() as stack:
            self._state = State(None if config.state is None else Path(config.state), config.max_outbox)
            stack.callback(self._state.close)
            self._guard = Guard(self._secret())
            self._say = speaker(self._guard)
            self._monitor = Monitor(config.metrics, config.metrics_file, self._say, watchdog_seconds())
            stack.callback(self._monitor.close)
            sinks = [open_sink(url, socket.gethostname(), self._guard.seal) for url in config.sinks]
            bundle = load_bundle(config.bundle, config.provider)
            self._pipeline = build_pipeline(bundle, config, self._guard)
            self._ledger = Ledger(self._state, self._pipeline)
            self._sources = [self._open(wanted) for wanted in config.inputs()]
            self._delivery = Delivery(self._state, sinks, self._say)
            self._watcher = Watcher([source.path for source in self._sources], self._say)
            stack.callback(self._watcher.stop)
            self._close = stack.pop_all()

    def _secret(self) -> bytes:
        key = self._state.recall("guard")
        if key is None:
            key = new_key()
            self._state.commit(None, [], [], [("guard", key)], [])
        return key

    def _open(self, wanted: FileInput) -> FileSource:
        path = Path(wanted.path).absolute()
        name, reading = str(path), Reading(self._config.max_line)
        mark = self._state.mark(name)
        position = None if mark is None else msgspec.msgpack.decode(mark, type=Position)
        source = FileSource(path, position, wanted.start or "end", self._say, reading)
        if mark is None:
            before = source.context(self._pipeline.bundle.manifest.window.size - 1)
            if before is not None and not self._pipeline.bundle.manifest.window.pad:
                self._pipeline.prime(before)
        self._ledger.open(name)
        for key, blob in self._state.streams(name):
            self._pipeline.restore_stream(name, key, blob)
        self._pipeline.restore_memory(name, self._state.recall(f"fold:{name}"), self._state.recall(f"limits:{name}"))
        return source

    def _refuse_loops(self) -> None:
        """A file that is tailed may not be written to directly."""
        tailed = {_identity(wanted.path) for wanted in self._config.inputs()}
        for url in self._config.sinks:
            kind, _, target = url.partition(":")
            if kind == "jsonl" and _identity(target) in tailed:
                raise ConfigError(
                    f"{url} is a file that is tailed: the agent would read its own alerts; choose another"
                )
        to_output = {"console:", "jsonl:-"} & set(self._config.sinks)
        if to_output and _identity(sys.stdout.fileno()) in tailed:
            raise ConfigError(
                "standard output goes to a file that is tailed: the agent would read its own alerts; "
                "redirect it elsewhere"
            )
        if self._config.metrics_file is not None and _identity(self._config.metrics_file) in tailed:
            raise ConfigError("metrics_file is a file that is tailed: it would be overwritten; choose another")
        if self._scores is not None and _identity(self._scores.fileno()) in tailed:
            raise ConfigError(
                "--scores goes to a file that is tailed: the agent would read its own scores; choose another"
            )

    def stop(self, *_: object) -> None:
        """Asks the loop to end after the block in hand; safe in a signal handler."""
        self._stopped = True
        self._watcher.wake()

    def run(self, once: bool = False) -> None:
        """Reads, scores and delivers until `stop`, or with `once` until nothing is new."""
        with self._close:
            previous = {number: signal.signal(number, self.stop) for number in (signal.SIGTERM, signal.SIGINT)}
            try:
                self._delivery.start()
                self._publish()
                self._monitor.ready = True
                notify("READY=1\nSTATUS=" + self._status())
                self._loop(once)
                notify("STOPPING=1")
            finally:
                self._monitor.ready = False
                undelivered = self._end()
                for number, handler in previous.items():
                    signal.signal(number, handler)
        self._tell_end(undelivered, once)

    def _loop(self, once: bool) -> None:
        beat = time.monotonic()
        for source in self._sources if once else ():
            source.hurry()
        while not self._stopped:
            worked = [self._step(source) for source in self._sources if not self._stopped]
            if time.monotonic() - beat >= _LOOK:
                beat = time.monotonic()
                self._publish()
                self._tell_remarks()
                notify("WATCHDOG=1\nSTATUS=" + self._status())
            if any(worked):
                continue
            if once:
                self._finish_files()
                return
            self._watcher.wait(_LOOK)

    def _step(self, source: FileSource) -> bool:
        self._monitor.look()
        block = source.read()
        if block is not None:
            self._take(source, block)
        elif memory := self._ledger.look(source):
            self._state.commit(_mark(source), memory=[memory])
        return block is not None

    def _finish_files(self) -> None:
        """Takes unterminated last lines, unless a later run can see them completed."""
        for source in self._sources:
            block = None if self._config.state else source.finish()
            if block is not None:
                self._take(source, block)

    def _take(self, source: FileSource, block: Block) -> None:
        scored = self._pipeline.score(block)
        alerts = self._pipeline.alerts(scored, source.identity, datetime.now().astimezone())
        changes = self._pipeline.changes(scored)
        memory = [*changes.memory, self._ledger.take(source, scored, alerts)]
        self._state.commit(_mark(source), changes.streams, changes.ended, memory, alerts)
        if self._scores is not None:
            self._scores.write(line_records(scored))
        self._tell_format(block)
        self._lines += len(block)
        self._bytes += len(block.data)
        self._alerts += len(alerts)

    def _tell_format(self, block: Block) -> None:
        if block.source not in self._told:
            self._told.add(block.source)
            self._say(f"reading {block.source} from line {block.first}, format {detect(block, self._pipeline.header)}")

    def _publish(self, last: bool = False) -> None:
        """Tells the monitor, where anybody asked for it, how things stand."""
        if self._monitor.wanted:
            parts = self._sources, self._ledger, self._delivery, self._state, self._pipeline
            self._monitor.publish(take_snapshot(*parts, self._started), last)

    def _tell_remarks(self) -> None:
        """Says what of the lines could not be read whole, at once the first time and then hourly."""
        if time.monotonic() >= self._next_remarks and (remarks := self._pipeline.remarks()):
            self._next_remarks = time.monotonic() + _REMARKS
            for remark in remarks:
                self._say(remark)

    def _status(self) -> str:
        waiting = sum(self._state.backlog(name) for name in self._config.sinks)
        return f"{self._lines} lines read, {self._alerts} alerts, {waiting} to deliver"

    def _end(self) -> dict[str, int]:
        undelivered = self._delivery.drain(_DRAIN)
        self._delivery.stop()
        self._publish(last=True)
        return undelivered

    def _tell_end(self, undelivered: dict[str, int], once: bool) -> None:
        seconds = time.monotonic() - self._began
        repeats, cut = self._pipeline.folder.folded, sum(source.cut_lines for source in self._sources)
        extra = [
            f"{count} {what}"
            for count, what in (
                (repeats, "repeats folded"),
                (cut, "lines cut"),
                (self._pipeline.own_lines, "own alerts left out"),
                (self._pipeline.suppressed, "alerts about sealed lines of others held back"),
            )
            if count
        ]
        self._say(
            f"read {self._lines} lines ({self._bytes / 1e6:.1f} MB) in {seconds:.1f} s: "
            + ", ".join([f"{self._alerts} alerts", *extra])
        )
        for remark in self._pipeline.remarks():
            self._say(remark)
        if undelivered:
            lost = ", ".join(f"{count} to {name}" for name, count in undelivered.items())
            if self._config.state is None:
                raise SinkError(f"alerts not delivered: {lost}; they are lost, since no --state folder keeps them")
            if once:
                raise SinkError(
                    f"alerts not delivered: {lost}; they are kept in {self._config.state} and sent at the next start"
                )
            self._say(
                f"alerts not delivered yet: {lost}; they are kept in {self._config.state} and sent at the next start"
            )


def _mark(source: Source) -> tuple[str, bytes] | None:
    mark = source.mark
    return None if mark is None else (source.name, mark)


def _identity(file: str | Path | int) -> tuple[int, int] | str | None:
    """What tells a file from others: device and inode or, where it does not exist yet, where its path leads."""
    try:
        status = os.stat(file)
    except OSError:
        return None if isinstance(file, int) else os.path.realpath(file)
    return status.st_dev, status.st_ino


def run_service(config: AgentConfig, once: bool = False, scores: JsonLines | None = None) -> None:
    """Runs the agent as configured; an OddlineError says why it could not start or what it could not deliver."""
    if not config.sources:
        raise SourceError("no log to read; name one, or list it under `sources` in the configuration")
    Service(config, scores).run(once)
