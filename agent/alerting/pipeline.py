"""The pipeline of a block: scored, its anomalies made into alerts, and what is to be stored with them."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from agent.alerting.alert import Alert
from agent.alerting.echo_guard import EchoGuard
from agent.alerting.notices import Notices
from agent.alerting.policy import AlertPolicy, Fields, PerSource, no_fields
from agent.alerting.settings import AlertSettings
from agent.bundle.bundle import Bundle
from agent.scoring.engine import ScoredBlock, ScoringEngine
from agent.scoring.settings import ScoringSettings
from agent.text.lines import Block

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dumps:
    """Streams as they are stored, made one by one, since all together may be large; good until the next block.

    Those that have left, of which `dump` gives nothing, are left out.
    """

    source: str
    keys: list[bytes]
    dump: Callable[[bytes], bytes | None]

    def __iter__(self) -> Iterator[tuple[str, bytes, bytes]]:
        for key in self.keys:
            if (blob := self.dump(key)) is not None:
                yield self.source, key, blob


@dataclass(frozen=True)
class Changes:
    """What a block changed, to be stored in one transaction: streams and other named blobs, and streams that left."""

    streams: Iterable[tuple[str, bytes, bytes]]
    ended: list[tuple[str, bytes]]
    blobs: list[tuple[str, bytes]]


@dataclass(frozen=True)
class Processed:
    """What became of a block."""

    scored: ScoredBlock
    alerts: list[Alert]
    changes: Changes


@dataclass(frozen=True)
class Totals:
    """What a pipeline did with lines so far.

    own_lines: alerts of ours that came back. shortened_lines: those of which the model read the head alone. folded,
    forged, held_back: anomalies that were repeats, that look like alerts of ours, that the breaker kept back.
    """

    own_lines: int
    shortened_lines: int
    folded: int
    forged: int
    held_back: int


class Pipeline:
    """Scores the blocks of any number of sources with one bundle and makes alerts of what is anomalous.

    Scores and alerts do not depend on how lines are cut into blocks. engine, policy: the two halves, for those who ask
    them something; blocks go through `process`.
    """

    def __init__(
        self,
        bundle: Bundle,
        scoring: ScoringSettings | None = None,
        alerting: AlertSettings | None = None,
        guard: EchoGuard | None = None,
        notices: Notices | None = None,
    ) -> None:
        self.engine = ScoringEngine(bundle, scoring, None if guard is None else guard.own)
        self.policy = AlertPolicy(self.engine, alerting, guard, notices)

    def process(self, block: Block, identity: str, read: datetime, fields: Fields = no_fields) -> Processed:
        """The scores and alerts of the next block of a source, and what it changed.

        identity: what names the file whatever its path. read: when, aware. fields: what else is known of a line.
        """
        scored = self.engine.score(block)
        alerts = self.policy.alerts(scored, identity, read, fields)
        return Processed(scored, alerts, self._changes(scored))

    def prime(self, block: Block) -> None:
        """Takes lines into windows and contexts without scoring them: those before the place where reading starts."""
        self.policy.contexts.remember(self.engine.prime(block))

    def _changes(self, scored: ScoredBlock) -> Changes:
        """Streams in the order of their last lines."""
        source, contexts, states = scored.block.source, self.policy.contexts, self.engine.stream_states
        touched = reversed(dict.fromkeys(scored.keys[row] for row in reversed(scored.rows.tolist())))
        streams = Dumps(source, list(touched), lambda key: states.dump(source, key, contexts.of((source, key))))
        ended = self.engine.take_ended()
        for stream in ended:
            if self.engine.streams.slot(*stream) is None:  # else it has come anew
                contexts.forget(stream)
        limits = self.engine.limits.blob(source)
        blobs = self.policy.changed(scored)
        return Changes(streams, ended, blobs if limits is None else [*blobs, (f"limits:{source}", limits)])

    def restore(self, source: str, streams: Iterable[tuple[bytes, bytes]], get: Callable[[str], bytes | None]) -> int:
        """Sets a source as its changes were stored: its streams, and what `get` has under the names of its blobs.

        Returns how many streams there were.
        """
        count = 0
        for key, blob in streams:
            with self._beginning_anew_if_damaged(f"a stream of {source}"):
                context = self.engine.stream_states.restore(source, key, blob)
                self.policy.contexts.restore((source, key), context)
                self.engine.bound_texts()
                count += 1
        for name, part in self._parts(source).items():
            if (stored := get(name)) is not None:
                with self._beginning_anew_if_damaged(name):
                    part.restore(source, stored)
        return count

    @staticmethod
    @contextmanager
    def _beginning_anew_if_damaged(what: str) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            _LOG.warning("what the state holds of %s cannot be understood (%s); it begins anew", what, error)

    def forget(self, source: str) -> list[str]:
        """Forgets the streams and the named blobs of a source that is gone; the names of the latter."""
        for stream in self.engine.streams.forget(source):
            self.policy.contexts.forget(stream)
        self.engine.limits.forget(source)
        self.policy.forget(source)
        return list(self._parts(source))

    def _parts(self, source: str) -> dict[str, PerSource]:
        return self.policy.parts(source) | {f"limits:{source}": self.engine.limits}

    @property
    def totals(self) -> Totals:
        """What became of all lines so far."""
        engine, policy = self.engine, self.policy
        return Totals(
            own_lines=engine.own_line_count,
            shortened_lines=engine.shortened_lines,
            folded=policy.repeats.folded,
            forged=policy.forged,
            held_back=policy.breaker.held_back,
        )

    def take_warnings(self) -> list[str]:
        """What there is to say of lines that were not read whole; the counters start again."""
        return self.engine.take_warnings()
