"""What the agent counts of each source, kept in the state in the transaction of the lines that are counted."""

import logging
import time
from collections.abc import Callable, Iterable

import msgspec
import numpy as np

from agent.alerting.pipeline import Pipeline, Processed
from agent.sources.base import Source
from agent.state.retrying import RetryingState
from agent.state.store import State
from agent.text.stored import DamagedBlob, decode_stored

_LOG = logging.getLogger(__name__)
_OF_SOURCE = (
    "bytes_read",
    "lines_read",
    "cut_lines",
    "cut_bytes",
    "zero_bytes",
    "undecodable",
    "rotations",
    "truncations",
    "reopened",
    "losses",
    "bytes_lost",
)
GONE = "(files that are gone)"  # the name of their counts together


class Counts(msgspec.Struct, frozen=True):
    """Totals of a source since the state was made; without a state folder since the start.

    The first eleven are those of Source. shortened_lines: those whose text is longer than what the model reads of one,
    which has its head alone. own_lines: alerts of ours that came back. alerts, folded, forged:
    anomalies that became alerts, that were repeats, and that look like alerts of ours. held_back: alerts that the
    breaker kept back. unscored_lines: how many of the last lines got no score, where they should; 0 where all is well,
    also while a window warms up. last_read: when lines were read last, in seconds since 1970; 0 where never.
    """

    bytes_read: int = 0
    lines_read: int = 0
    cut_lines: int = 0
    cut_bytes: int = 0
    zero_bytes: int = 0
    undecodable: int = 0
    rotations: int = 0
    truncations: int = 0
    reopened: int = 0
    losses: int = 0
    bytes_lost: int = 0
    lines_scored: int = 0
    shortened_lines: int = 0
    own_lines: int = 0
    alerts: int = 0
    folded: int = 0
    forged: int = 0
    held_back: int = 0
    unscored_lines: int = 0
    last_read: float = 0.0


class Ledger:
    """The counts of every source. A Counts that was handed out stays as it is, so that other threads may read it."""

    def __init__(
        self, state: State | RetryingState, pipeline: Pipeline, clock: Callable[[], float] = time.time
    ) -> None:
        self.counts: dict[str, Counts] = {}
        self._state, self._pipeline, self._clock = state, pipeline, clock
        self._seen: dict[str, list[int]] = {}
        self._totals = pipeline.totals
        if state.blob(blob_name(GONE)) is not None:
            self.open(GONE)

    def use(self, pipeline: Pipeline) -> None:
        """Goes on with another pipeline."""
        self._pipeline, self._totals = pipeline, pipeline.totals

    def retire(self, name: str, losses: int = 0) -> list[tuple[str, bytes]]:
        """Adds the counts of a source that is gone to those of all such; the named blob that holds them.

        losses: what is lost with it. The result is empty where nothing was ever counted of the name.
        """
        if name not in self.counts and self._state.blob(blob_name(name)) is None:
            return []
        for one in {name, GONE} - self.counts.keys():
            self.open(one)
        gone = msgspec.structs.replace(self.counts.pop(name), unscored_lines=0)
        self.counts[GONE] = total([self.counts[GONE], gone, Counts(losses=losses)])
        del self._seen[name]
        return [(blob_name(GONE), msgspec.msgpack.encode(self.counts[GONE]))]

    def open(self, name: str) -> None:
        """Goes on with what the state holds of a source."""
        blob = self._state.blob(blob_name(name))
        try:
            self.counts[name] = Counts() if blob is None else decode_stored(blob, Counts)
        except DamagedBlob as error:
            _LOG.warning("the counts of %s in the state cannot be understood (%s); they begin anew", name, error)
            self.counts[name] = Counts()
        self._seen[name] = [0] * len(_OF_SOURCE)

    def add(self, source: Source, processed: Processed) -> tuple[str, bytes]:
        """Counts a block and what became of it; gives the named blob to be stored with it."""
        scored, now, before = processed.scored, self._pipeline.totals, self._totals
        more = {
            "lines_scored": int(np.count_nonzero(~np.isnan(scored.scores))),
            "own_lines": len(scored.block) - len(scored.rows),
            "alerts": len(processed.alerts),
            "folded": now.folded - before.folded,
            "forged": now.forged - before.forged,
            "held_back": now.held_back - before.held_back,
            "shortened_lines": now.shortened_lines - before.shortened_lines,
        }
        self._totals = now
        unscored = self._pipeline.policy.unscored.lines(source.name)
        more["unscored_lines"] = unscored - self.counts[source.name].unscored_lines
        return self._add(source, more, self._clock())

    def update(self, source: Source) -> tuple[str, bytes] | None:
        """What happened to a source without any line, such as a truncation, as a named blob; None where nothing."""
        name = source.name
        if _counters(source) == self._seen[name]:
            return None
        return self._add(source, {}, self.counts[name].last_read)

    def _add(self, source: Source, more: dict[str, int], last_read: float) -> tuple[str, bytes]:
        name, now = source.name, _counters(source)
        more |= {field: new - old for field, new, old in zip(_OF_SOURCE, now, self._seen[name], strict=True)}
        counts = self.counts[name]
        summed = {field: getattr(counts, field) + count for field, count in more.items()}
        self._seen[name] = now
        self.counts[name] = msgspec.structs.replace(counts, last_read=last_read, **summed)
        return blob_name(name), msgspec.msgpack.encode(self.counts[name])


def blob_name(source: str) -> str:
    """Under which name the state holds the counts of a source."""
    return f"count:{source}"


def total(counts: Iterable[Counts]) -> Counts:
    """The sums of several counts, and the latest reading."""
    every = [msgspec.structs.asdict(one) for one in counts]
    sums = {field: sum(one[field] for one in every) for field in Counts.__struct_fields__ if field != "last_read"}
    return Counts(**sums, last_read=max((one["last_read"] for one in every), default=0.0))


def _counters(source: Source) -> list[int]:
    return [getattr(source, field) for field in _OF_SOURCE]
