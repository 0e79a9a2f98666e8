"""A snapshot of the agent: its sources, sinks and counts at one moment, for metrics and health checks."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.alerting.pipeline import Pipeline
from agent.delivery.sinks.redaction import shown
from agent.delivery.workers import Delivery
from agent.sources.base import Source
from agent.sources.condition import Condition
from agent.state.retrying import RetryingState
from agent.state.store import State
from agent.telemetry.counters import GONE, Counts, Ledger


@dataclass(frozen=True)
class SourceView:
    """A source at one moment. backlog: bytes. behind: seconds since the last read, where there is a backlog, else 0."""

    counts: Counts
    backlog: int
    behind: float


@dataclass(frozen=True)
class SinkView:
    """A sink at one moment: how many alerts it took, it will never get, by cause, and wait for it; whether it fails."""

    delivered: int
    lost: Mapping[str, int]
    waiting: int
    failing: bool


@dataclass(frozen=True)
class Snapshot:
    """The agent at one moment. Times are in seconds since 1970; bundle: its id and name; reloads: by outcome.

    conditions: of what is configured.
    """

    sources: Mapping[str, SourceView]
    sinks: Mapping[str, SinkView]
    streams: int
    texts: int
    looked: float
    started: float
    bundle: tuple[str, str]
    reloads: Mapping[str, int]
    conditions: Sequence[Condition] = ()


def take_snapshot(
    sources: Sequence[Source],
    ledger: Ledger,
    delivery: Delivery,
    state: State | RetryingState,
    pipeline: Pipeline,
    started: float,
    reloads: Mapping[str, int],
    conditions: Sequence[Condition] = (),
) -> Snapshot:
    """How things stand now. Only the thread that reads the sources may ask."""
    now, failing, bundle = time.time(), delivery.failing(), pipeline.engine.bundle
    return Snapshot(
        _gone(ledger) | {source.name: _view(source, ledger.counts[source.name], now, started) for source in sources},
        {shown(name): _sink_view(state, name, name in failing) for name in delivery.names},
        len(pipeline.engine.streams),
        len(pipeline.engine.normalizer.texts),
        now,
        started,
        (bundle.id, bundle.manifest.name),
        dict(reloads),
        conditions,
    )


def seconds_behind(counts: Counts, backlog: int, now: float, started: float) -> float:
    """For how long a source with a backlog was not read: since its last line, or the start where there was none."""
    return max(0.0, now - (counts.last_read or started)) if backlog else 0.0


def _gone(ledger: Ledger) -> dict[str, SourceView]:
    """The counts of files that are gone: without them the totals would fall."""
    return {GONE: SourceView(ledger.counts[GONE], 0, 0.0)} if GONE in ledger.counts else {}


def _view(source: Source, counts: Counts, now: float, started: float) -> SourceView:
    backlog = source.backlog
    return SourceView(counts, backlog, seconds_behind(counts, backlog, now, started))


def _sink_view(state: State | RetryingState, name: str, failing: bool) -> SinkView:
    return SinkView(state.delivered_count(name), state.lost(name), state.backlog(name), failing)
