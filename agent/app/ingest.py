"""From the sources to the state: each block is read, scored, and stored with its alerts in one transaction."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from agent.alerting.alert import Alert
from agent.alerting.pipeline import Pipeline, Processed
from agent.app.batch_size import BatchSize
from agent.app.build import Setup
from agent.app.source_notices import IdleNotice, post_loss, post_losses
from agent.config import AgentConfig
from agent.host.clock import SYSTEM_CLOCK, Clock
from agent.inputs.manager import Inputs
from agent.scorefile.writer import JsonLines, line_records
from agent.sources.base import Source
from agent.sources.condition import BLOB as CONFIGURED
from agent.sources.condition import Condition, nothing_to_read
from agent.state.retrying import RetryingState
from agent.telemetry.counters import Counts, Ledger, blob_name
from agent.telemetry.summary import Summary
from agent.text.lines import Block

_FINISH = 1.0  # seconds for what sockets and pipes hold at the end


class Reader:
    """Reads the sources, scores their lines, and stores how far it is, what it found and what the next lines need.

    inputs: the open sources. ledger: their counts. pipeline: what scores them at present.
    conditions: how the configured sources were when last looked at.
    missed: called with a path that changed though no event said so. draining: whether sources wait for nothing.
    """

    def __init__(
        self,
        state: RetryingState,
        pipeline: Pipeline,
        summary: Summary,
        missed: Callable[[Path], None],
        scores: JsonLines | None = None,
        draining: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._state, self.pipeline, self._summary = state, pipeline, summary
        self._missed, self._scores, self._draining = missed, scores, draining
        self._batch_size, self._clock = BatchSize(), clock
        self._idle_notice, self.conditions = IdleNotice(clock), list[Condition]()
        self._stored_conditions = b""
        self._idle: dict[str, str] = {}  # what a source was reading when it last had nothing new
        self.ledger = Ledger(state, pipeline)
        self.inputs = Inputs(state, self._remove_source, self._close_source)

    @property
    def sources(self) -> dict[str, Source]:
        """The open sources by name."""
        return self.inputs.sources

    def begin(self, config: AgentConfig) -> None:
        """Opens what a configuration names."""
        self._register(self.inputs.configure(config))

    def use(self, setup: Setup) -> None:
        """Goes on with another configuration. All that was read is stored, so the windows are taken from the state."""
        opened = self.inputs.configure(setup.config)
        self._summary.use(setup.pipeline)
        self.pipeline = setup.pipeline
        self.ledger.use(setup.pipeline)
        fresh = {source.name for source in opened}
        for source in self.sources.values():
            if source.name not in fresh:
                self._restore(source)
        self._register(opened)

    def resume(self) -> None:
        """Goes on as before, after a configuration that was refused."""
        for name in self.inputs.take_reopened():
            self.ledger.open(name)

    def scan(self) -> bool:
        """Brings the files of patterns up to date; whether any was opened."""
        opened = self.inputs.scan()
        self._register(opened)
        return bool(opened)

    def open_pipes(self) -> None:
        """Opens the named pipes that were made where no file was."""
        if pipes := self.inputs.open_pipes():
            self._register(pipes)

    def drain(self) -> None:
        """Has the sources wait for nothing, where this is a run that does not wait."""
        for source in self.sources.values() if self._draining else ():
            source.drain()

    def step(self, source: Source, notified: bool) -> bool:
        """Takes the next block of a source, after an event or without any; whether there was one."""
        taken = source.bytes_taken
        block = source.read(self._batch_size.limit)
        self._check_missed_event(source, not notified and source.bytes_taken > taken)
        if block is not None:
            self._process(source, block)
        else:
            self._store_status(source)
        return block is not None

    def finish(self, is_resumed_later: Callable[[], bool]) -> None:
        """Takes what would be gone: what sockets and pipes still hold, and last lines that no line feed ends.

        Where a later run goes on, it can see those lines completed: then they are left to it.
        """
        deadline = self._clock.monotonic() + _FINISH
        for source in self.sources.values():
            self._drain_source(source, deadline)
            if not (source.durable and is_resumed_later()) and (block := source.finish()):
                self._process(source, block)

    def check_inputs(self) -> str:
        """Stores how the configured sources are where that has changed; what there is to say where none is open."""
        self.conditions = self.inputs.conditions()
        blob = msgspec.msgpack.encode(self.conditions)
        if blob != self._stored_conditions:
            self._state.commit(blobs=[(CONFIGURED, blob)])
            self._stored_conditions = blob
        problem = nothing_to_read(self.conditions)
        self._idle_notice.update(problem, self.pipeline.policy.notices)
        return problem

    def store_notices(self) -> None:
        """Queues the notices that are due though no line was read."""
        notices, blobs = self.pipeline.policy.notices.take(self._clock.now())
        if blobs:
            self._state.commit(blobs=blobs, alerts=notices)

    def close(self) -> None:
        """Closes every source."""
        self.inputs.close()

    def _register(self, opened: list[Source]) -> None:
        """Gives new sources what the state holds of them, or the lines before the place where reading starts."""
        for source in opened:
            self.ledger.open(source.name)
            self._restore(source)
            if self._draining:
                source.drain()
        if starts := self.inputs.starts(opened):
            self._state.commit(**starts)
        for source in opened:
            if source.unstored:
                self._store_status(source)

    def _restore(self, source: Source) -> None:
        name, window = source.name, self.pipeline.engine.bundle.manifest.window
        if self.pipeline.restore(name, self._state.streams(name), self._state.blob) or window.pad:
            return
        if (before := source.context(window.size - 1)) is not None:
            self.pipeline.prime(before)

    def _process(self, source: Source, block: Block) -> None:
        began = self._clock.monotonic()
        read = self._clock.now()
        done = self.pipeline.process(block, source.identity, read, source.fields)
        self._batch_size.adapt(len(block.data), self._clock.monotonic() - began)
        changes = done.changes
        counted, notices = self._count(source, read, done)
        blobs, alerts = [*changes.blobs, *counted], [*done.alerts, *notices]
        self._state.commit(self.inputs.checkpoints(source), changes.streams, changes.ended, blobs, alerts)
        if self._scores is not None:
            self._scores.write(line_records(done.scored, self.pipeline.engine.header, read))
        self._summary.add(block, len(done.alerts))

    def _store_status(self, source: Source) -> None:
        """Stores what happened to a source without any line."""
        counted, notices = self._count(source, self._clock.now())
        if counted or source.unstored:
            self._state.commit(self.inputs.checkpoints(source), blobs=counted, alerts=notices)
            source.unstored = False

    def _check_missed_event(self, source: Source, grown: bool) -> None:
        """Reports a file that had nothing new at the last read and now has, without any event."""
        if grown and not source.descriptors and self._idle.get(source.name) == source.identity:
            for path in source.paths:
                self._missed(path)
        self._idle[source.name] = "" if grown else source.identity

    def _drain_source(self, source: Source, deadline: float) -> None:
        """Takes what a source holds that keeps nothing for later."""
        while (
            not source.durable and self._clock.monotonic() < deadline and (block := source.read(self._batch_size.limit))
        ):
            self._process(source, block)

    def _close_source(self, source: Source, handover: bool) -> None:
        """Closes a source, after what it still holds where no other goes on with that, and counts what is lost."""
        known = source.name in self.ledger.counts
        if known and not handover:
            self._drain_source(source, self._clock.monotonic() + _FINISH)
        checkpoints = self.inputs.checkpoints(source)
        source.close()
        counted, notices = self._count(source, self._clock.now()) if known else ([], [])
        if counted:
            self._state.commit(checkpoints, blobs=counted, alerts=notices)

    def _count(
        self, source: Source, now: datetime, done: Processed | None = None
    ) -> tuple[list[tuple[str, bytes]], list[Alert]]:
        """Counts what became of a source, and tells of losses: blobs to be stored, and notices that are due."""
        before, notices = self.ledger.counts[source.name], self.pipeline.policy.notices
        blob = self.ledger.update(source) if done is None else self.ledger.add(source, done)
        if blob is None:
            return [], []
        post_losses(notices, source, before, self.ledger.counts[source.name], now)
        due, noticed = notices.take(now)
        return [blob, *noticed], due

    def _remove_source(self, name: str, lost: str) -> None:
        """Forgets a name that is gone, of a source or of another one's file, and counts what is lost with it."""
        obsolete = [*self.pipeline.forget(name), blob_name(name)]
        counts = self.ledger.counts.get(name, Counts())
        self._state.forget(name, obsolete, self.ledger.retire(name, int(bool(lost))))
        if lost:
            counts = msgspec.structs.replace(counts, losses=counts.losses + 1)
            post_loss(self.pipeline.policy.notices, name, lost, counts, self._clock.now())
            self.store_notices()
        self._idle.pop(name, None)
        self._summary.forget(name)
