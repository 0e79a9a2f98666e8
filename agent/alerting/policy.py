"""Which anomalous lines become alerts: not our own, not every repeat, not too many of a source, and what each says."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agent.alerting.alert import Alert, alert_id
from agent.alerting.anomaly_rate import LINES, AnomalyRate
from agent.alerting.breaker import Breaker, Candidate, sender_of
from agent.alerting.context import Contexts
from agent.alerting.echo_guard import EchoGuard, looks_sealed
from agent.alerting.notices import DAY, Notices
from agent.alerting.repeats import RepeatFolder
from agent.alerting.settings import AlertSettings
from agent.alerting.unscored import UnscoredLines
from agent.scoring.engine import ScoredBlock, ScoringEngine
from agent.scoring.reasons import Reason, SlowWalkReason
from agent.scoring.threshold import p_value, severity
from agent.text.escape import escape
from agent.text.headers import Header, parse_header

_SAMPLE = 32  # lines, of which one tells what is usual
PEER = "peer"  # the field of a line's sender on the network
_FORGED = (
    "{where} looks like an alert of this agent and is none: of another agent that is read here (leave its lines out "
    "of what this one reads), or made up by somebody; such lines are scored like all others"
)
Fields = Callable[[int], dict[str, str]]
"""What else than the line itself is known of the line at an index."""


def no_fields(index: int) -> dict[str, str]:
    """Nothing else is known of a line."""
    return {}


class PerSource(Protocol):
    """What is carried from block to block for each source."""

    def restore(self, source: str, blob: bytes) -> None:
        """Sets what was stored of a source."""
        ...

    def forget(self, source: str) -> None:
        """Forgets a source that is gone."""
        ...


@dataclass(frozen=True)
class _Line:
    """An anomalous line on its way to an alert. time: ISO 8601, its own or when it was read. read: when it was.

    known: what else the source knows of it.
    """

    scored: ScoredBlock
    index: int
    identity: str
    header: Header
    time: str
    read: datetime
    known: dict[str, str]


class AlertPolicy:
    """Decides by the lines alone, not by the clock: a restart changes nothing. Only a breaker that is open goes by the
    clock too.

    contexts: the raw lines before the next one of each stream. suppressed: how many anomalies looked sealed and were
    left out. notices: what there is to tell of the agent itself.
    """

    def __init__(
        self,
        engine: ScoringEngine,
        settings: AlertSettings | None = None,
        guard: EchoGuard | None = None,
        notices: Notices | None = None,
    ) -> None:
        settings, manifest = settings or AlertSettings(), engine.bundle.manifest
        share = settings.slow_walk_share
        self.repeats = RepeatFolder(settings.fold_lines, guard.fold_key if guard else b"")
        self.breaker = Breaker(settings.max_alert_share, settings.max_alert_burst)
        self.anomaly_rate = AnomalyRate(manifest.settings.get("slow_walk_share", 0.0) if share is None else share)
        self.contexts = Contexts(manifest.window)
        self.unscored = UnscoredLines(1 if manifest.window.pad else manifest.window.size)
        self.forged = 0
        self.notices = notices or Notices(socket.gethostname())
        self._engine, self._guard = engine, guard
        self._stored: dict[str, bytes] = {}  # the blobs that change seldom, by their names
        self._host = socket.gethostname()

    def alerts(self, scored: ScoredBlock, identity: str, read: datetime, fields: Fields = no_fields) -> list[Alert]:
        """The alerts of a block, which is to be the next of its source.

        identity: what names the file whatever its path. read: when, aware. fields: what else is known of a line.
        """
        source, done = scored.block.source, 0
        alerts: list[Alert] = []
        now = read.timestamp()
        for index in sorted({*scored.anomalies, *self._sample(scored)}):
            self._advance(source, index + 1 - done, now)
            done = index + 1
            known = fields(index)
            if index not in scored.anomalies:
                program = parse_header(scored.block.line(index), self._engine.header, read).program
                self.breaker.observe(source, sender_of(known.get(PEER, ""), program))
                continue
            alerts += self._line_alerts(scored, index, identity, read, known)
        self._advance(source, len(scored.block) - done, now)
        self.contexts.remember(scored)
        self._post_breaker(source, read)
        if unscored := self.unscored.observe(scored):
            self.notices.post("unscored source", source, unscored, read)
        return alerts

    def _sample(self, scored: ScoredBlock) -> list[int]:
        """One in so many of the normal lines, by their numbers, which no cutting into blocks changes."""
        first = -scored.block.first % _SAMPLE if scored.block.numbers is None else 0
        rows = range(first, len(scored.block), _SAMPLE if scored.block.numbers is None else 1)
        block, scores = scored.block, scored.scores
        return [row for row in rows if block.number(row) % _SAMPLE == 0 and scores[row] == scores[row]]

    def _advance(self, source: str, lines: int, now: float) -> None:
        self.breaker.advance(source, lines, now)
        self.anomaly_rate.advance(source, lines)

    def _post_breaker(self, source: str, read: datetime) -> None:
        events = self.breaker.take_events()
        for text in events.opened:
            self.notices.post("breaker opened", source, text, read)
        for text in events.closed:
            self.notices.post("breaker closed", source, text, read)

    def _line_alerts(
        self, scored: ScoredBlock, index: int, identity: str, read: datetime, known: dict[str, str]
    ) -> Iterator[Alert]:
        """The alert of an anomalous line, unless it is a repeat or is held back; and the alarm that with it too many
        are anomalous.
        """
        block = scored.block
        raw = block.line(index)
        header = parse_header(raw, self._engine.header, read)
        line = _Line(scored, index, identity, header, (header.time or read).isoformat(), read, known)
        self._note_forged(line)
        text = self._engine.text(scored.anomalies[index])
        row = self.repeats.count(block.source, text, block.number(index), line.time)
        if row is not None and self.breaker.may_alert(block.source, _candidate(line)):
            yield self._alert(line, self._engine.reason(scored, index), *row)
        if count := self.anomaly_rate.alarm(block.source):
            alarm = self._alert(line, SlowWalkReason(count, LINES), count, line.time)
            alarm.id = alert_id(self._engine.bundle.id, identity, alarm.offset, raw + b"\0slow walk")
            yield alarm

    def _note_forged(self, line: _Line) -> None:
        """Counts and tells of a line that has the form of our alerts and is none of them."""
        if self._guard is not None and looks_sealed(line.header):
            self.forged += 1
            where = f"{line.scored.block.source} line {line.scored.block.number(line.index)}"
            self.notices.post("forged seal", "", _FORGED.format(where=where), line.read, every=DAY)

    def _alert(self, line: _Line, reason: Reason, count: int, first_seen: str) -> Alert:
        scored, index, block = line.scored, line.index, line.scored.block
        bundle, scale = self._engine.bundle, self._engine.bundle.manifest.scale
        score, offset = float(scored.scores[index]), int(block.offsets[index])
        return Alert(
            id=alert_id(bundle.id, line.identity, offset, block.line(index)),
            time=line.time,
            host=line.header.host or self._host,
            source=escape(block.source),
            offset=offset,
            line=block.number(index),
            stream=escape(scored.keys[index]),
            program=line.header.program,
            message=escape(line.header.message),
            score=score,
            threshold=float(scored.limits[index]),
            p_value=p_value(score, scale),
            severity=severity(score, scale),
            bundle=bundle.manifest.name,
            reason=reason,
            context=self.contexts.before(scored, index),
            count=count,
            first_seen=first_seen,
            last_seen=line.time,
            fields={name: value for name, value in line.known.items() if name != PEER},
            read=line.read.isoformat(),
            peer=line.known.get(PEER, ""),
        )

    def changed(self, scored: ScoredBlock) -> list[tuple[str, bytes]]:
        """What has to be stored after `alerts`, as named blobs."""
        source = scored.block.source
        blobs = [(f"fold:{source}", self.repeats.blob(source))] if scored.anomalies else []
        if self.anomaly_rate.is_stored(source):
            blobs.append((f"walk:{source}", self.anomaly_rate.blob(source)))
        seldom = {f"breaker:{source}": self.breaker.blob(source), f"unscored:{source}": self.unscored.blob(source)}
        for name, blob in seldom.items():
            if self._stored.get(name) != blob:
                self._stored[name] = blob
                blobs.append((name, blob))
        return blobs

    def parts(self, source: str) -> dict[str, PerSource]:
        """What is carried from block to block, by the names of the blobs of a source."""
        return {
            f"fold:{source}": self.repeats,
            f"breaker:{source}": self.breaker,
            f"walk:{source}": self.anomaly_rate,
            f"unscored:{source}": self.unscored,
        }

    def forget(self, source: str) -> None:
        """Forgets a source that is gone."""
        for name, part in self.parts(source).items():
            part.forget(source)
            self._stored.pop(name, None)


def _candidate(line: _Line) -> Candidate:
    score = float(line.scored.scores[line.index])
    sender = sender_of(line.known.get(PEER, ""), line.header.program)
    return Candidate(sender, score, line.header.message, line.read.timestamp())
