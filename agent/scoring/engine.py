"""From a block of lines to scores and alerts, with all that has to be carried from block to block."""

import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.alerting.alert import Alert, alert_id
from agent.alerting.anomaly_rate import LINES, AnomalyRate
from agent.alerting.breaker import Breaker
from agent.alerting.context import Contexts
from agent.alerting.echo_guard import EchoGuard
from agent.alerting.repeats import RepeatFolder
from agent.bundle.bundle import Bundle
from agent.bundle.manifest import Threshold
from agent.errors import ConfigError
from agent.scoring.scorers import EXPLAINERS
from agent.scoring.stream_scorer import Piece, build_stream_scorer
from agent.scoring.streams import StreamKey
from agent.scoring.threshold import Limits, p_value, severity
from agent.scoring.validation import validate_bundle
from agent.text.canonical import Normalizer
from agent.text.escape import escape
from agent.text.headers import Format, Header, parse_header
from agent.text.lines import Block
from agent.text.records import Records
from agent.text.text_table import PADDING

T = TypeVar("T")
CONTEXT = 9  # lines told before an odd one where the model looks at single lines
MAX_TEXTS = 8192  # canonical texts kept before those that no window holds are forgotten


def _no_fields(index: int) -> dict[str, str]:
    return {}


class StreamState(msgspec.Struct, array_like=True):
    """A stream as it is stored: canonical texts ("" before its first line), their features, lines so far, raw lines
    before the next.
    """

    texts: list[str | None]
    features: list[list[float]]
    count: int
    context: list[bytes]
    load: list[bytes] = []  # what else the streams of the bundle named carry
    bundle: str = ""


@dataclass(frozen=True)
class Changes:
    """What a block changed, to be stored in one transaction: streams and named memories with their blobs, and streams
    that left.
    """

    streams: list[tuple[str, bytes, bytes]]
    ended: list[tuple[str, bytes]]
    memory: list[tuple[str, bytes]]


@dataclass(frozen=True)
class Odd:
    """What the model saw of an odd line.

    window    int32 [size]: text ids, the line's own last
    features  float32 [size, width], or None
    before    what the model carried before the line, one array for each of its state tensors
    raw       the score before it was told relative to its stream's
    """

    window: NDArray[np.int32]
    features: NDArray[np.float32] | None
    before: list[NDArray]
    raw: float


@dataclass(frozen=True)
class Scored:
    """A block with its scores.

    rows     int64: the indices of the lines that count, all but alerts of ours
    keys     one stream key a line
    scores   float32 [lines]; NaN while a window warms up, and for alerts of ours
    limits   float32 [lines]
    seen     what the model saw of each odd line, by its index, in order
    """

    block: Block
    rows: NDArray[np.int64]
    keys: list[bytes]
    scores: NDArray[np.float32]
    limits: NDArray[np.float32]
    seen: dict[int, Odd]

    @cached_property
    def odd(self) -> list[int]:
        """The indices of the lines above their limits, in order."""
        return list(self.seen)


class Pipeline:
    """Scores the blocks of any number of sources with one bundle. The scores do not depend on how lines are cut into
    blocks.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threshold: Threshold | None = None,
        header: Format | None = None,
        stream: str | None = None,
        max_streams: int = 16384,
        fold_lines: int = 1000,
        max_alert_share: float = 1.0,
        max_alert_burst: int = 1000,
        slow_walk_share: float | None = None,
        guard: EchoGuard | None = None,
        cache: bool = True,
    ) -> None:
        validate_bundle(bundle)
        manifest = bundle.manifest
        if header is not None and isinstance(manifest.header, Records):
            raise ConfigError(f"header {header}: bundle {bundle.path} reads delimited records; leave the header out")
        self.bundle = bundle
        self.header = header or manifest.header
        self.limits = Limits(threshold or manifest.threshold, manifest.scale)
        self.normalizer = Normalizer(self.header, manifest.masks, cache=cache)
        self._lines = build_stream_scorer(bundle, self.normalizer.table, most=max_streams, cache=cache)
        self.scorer, self.streams, self._features = self._lines.scorer, self._lines.streams, self._lines.features
        self.folder = RepeatFolder(fold_lines)
        self.breaker = Breaker(max_alert_share, max_alert_burst)
        share = manifest.settings.get("slow_walk_share", 0.0) if slow_walk_share is None else slow_walk_share
        self.slow_walk = AnomalyRate(share)
        self._breakers: dict[str, bytes] = {}  # as they were stored last
        self.suppressed = 0
        self.own_lines = 0
        self.shortened_lines = 0  # of which the model read the head alone
        self._stream_key = StreamKey(stream or manifest.stream, self.normalizer.records)
        self._explainer = EXPLAINERS[manifest.scorer](self.scorer, bundle.tokenizer, bundle.known)
        self._contexts = Contexts(manifest.window.size - 1 or CONTEXT)
        self._guard = guard
        self._host = socket.gethostname()

    def _text(self, text_id: int) -> str:
        return self.normalizer.table[text_id]

    def score(self, block: Block) -> Scored:
        """The scores of a block; the windows of its streams move on."""
        self._bound_texts()
        keys = self._stream_key.keys(block)
        rows = self._foreign_rows(block)
        scores, limits = np.full((2, len(block)), np.nan, np.float32)
        seen = {}
        for piece in self._lines.push(block.source, *self._inputs(block, keys, rows)):
            lines = rows[piece.rows]
            scores[lines] = piece.scores
            limits[lines] = self.limits.of(block.source, piece.scores)
            self._count_shortened(piece)
            for index in np.flatnonzero(piece.scores > limits[lines]).tolist():
                seen[int(lines[index])] = _odd(piece, index)
        return Scored(block, rows, keys, scores, limits, seen)

    def _count_shortened(self, piece: Piece) -> None:
        ids, scored = piece.windowed.ids[:, -1], ~np.isnan(piece.raw)
        in_part = self.normalizer.is_shortened(ids)
        in_part[scored] |= self.scorer.is_cut(ids[scored])
        self.shortened_lines += int(np.count_nonzero(in_part))

    def prime(self, block: Block) -> None:
        """Takes lines into the windows without scoring them: those before the place where reading starts."""
        keys, rows = self._stream_key.keys(block), self._foreign_rows(block)
        for _ in self.streams.push(block.source, *self._inputs(block, keys, rows)):
            pass
        self._contexts.remember(block, keys, rows)

    def _foreign_rows(self, block: Block) -> NDArray[np.int64]:
        rows = np.arange(len(block))
        if self._guard is None:
            return rows
        own = self._guard.own(block)
        self.own_lines += len(own)
        return np.delete(rows, own)

    def _inputs(
        self, block: Block, keys: list[bytes], rows: NDArray[np.int64]
    ) -> tuple[list[bytes], NDArray[np.int32], NDArray[np.float32] | None]:
        """The stream keys, text ids and features of the lines that count."""
        ids, features = self.normalizer.ids(block)[rows], None
        if self._features is not None:
            features = self._features.of(self._features.read(block, self.normalizer.records)[rows], ids)
        return keys if len(rows) == len(keys) else [keys[row] for row in rows.tolist()], ids, features

    def _bound_texts(self) -> None:
        if len(self.normalizer.table) > MAX_TEXTS:
            self.normalizer.table.compact(self.streams.held())

    def reason(self, scored: Scored, index: int) -> dict[str, Any]:
        """Why an odd line is odd, as JSON data."""
        odd, score, limit = scored.seen[index], float(scored.scores[index]), float(scored.limits[index])
        text, relative = self._text(odd.window[-1]), self.bundle.manifest.relative
        reason = self._explainer.reason(text, odd.window, odd.features, odd.before, score, limit)
        return reason if relative is None else reason | {"relative": relative.kind, "raw": odd.raw}

    def alerts(
        self, scored: Scored, identity: str, read: datetime, fields: Callable[[int], dict[str, str]] = _no_fields
    ) -> list[Alert]:
        """The alerts of a block, repeats folded.

        identity: what names the file whatever its path. read: when, aware. fields: what else is known of a line.
        """
        source, alerts, done = scored.block.source, [], 0
        for index in scored.odd:
            self._advance(source, index + 1 - done)
            done = index + 1
            for alert in self._told(scored, index, identity, read):
                alert.fields = {escape(name): escape(value) for name, value in fields(index).items()}
                alerts.append(alert)
        self._advance(source, len(scored.block) - done)
        self._contexts.remember(scored.block, scored.keys, scored.rows)
        return alerts

    def _advance(self, source: str, lines: int) -> None:
        self.breaker.advance(source, lines)
        self.slow_walk.advance(source, lines)

    def _told(self, scored: Scored, index: int, identity: str, read: datetime) -> Iterator[Alert]:
        """The alert of an odd line, unless it is a repeat, is held back or may be a forged one of ours; and the alarm
        that with it too many are odd.
        """
        block = scored.block
        line, number = block.line(index), block.number(index)
        if self._guard is not None and not self._guard.may_alert(line):
            self.suppressed += 1
            return
        header = parse_header(line, self.header, read)
        time = (header.time or read).isoformat()
        row = self.folder.count(block.source, self._text(scored.seen[index].window[-1]), number, time)
        if row is not None and self.breaker.may_alert(block.source):
            yield self._alert(scored, index, identity, header, time, self.reason(scored, index), row)
        if odd := self.slow_walk.alarm(block.source):
            reason = {"kind": "slow walk", "odd": odd, "lines": LINES}
            alarm = self._alert(scored, index, identity, header, time, reason, (odd, time))
            alarm.id = alert_id(self.bundle.id, identity, alarm.offset, line + b"\0slow walk")
            yield alarm

    def _alert(
        self,
        scored: Scored,
        index: int,
        identity: str,
        header: Header,
        time: str,
        reason: dict[str, Any],
        row: tuple[int, str],
    ) -> Alert:
        block, scale = scored.block, self.bundle.manifest.scale
        score, offset, line = float(scored.scores[index]), int(block.offsets[index]), block.line(index)
        return Alert(
            id=alert_id(self.bundle.id, identity, offset, line),
            time=time,
            host=header.host or self._host,
            source=escape(block.source),
            offset=offset,
            line=block.number(index),
            stream=escape(scored.keys[index]),
            program=header.program,
            message=escape(header.message),
            score=score,
            threshold=float(scored.limits[index]),
            p_value=p_value(score, scale),
            severity=severity(score, scale),
            bundle=self.bundle.manifest.name,
            reason=reason,
            context=self._contexts.before(block, scored.keys, scored.rows, index),
            count=row[0],
            first_seen=row[1],
            last_seen=time,
        )

    def remarks(self) -> list[str]:
        """What there is to say of rows of a wrong width and of lines read in part; the counters start again."""
        count, self.scorer.cut_lines = self.scorer.cut_lines, 0
        lines, most = "1 line has" if count == 1 else f"{count} lines have", self.bundle.tokenizer.max_tokens
        said = f"{lines} more tokens than the model reads ({most}); the rest of each was not scored"
        return self.normalizer.report() + ([said] if count else [])

    def changes(self, scored: Scored) -> Changes:
        """What the block changed; streams in the order of their last lines."""
        source = scored.block.source
        touched = reversed(dict.fromkeys(scored.keys[row] for row in reversed(scored.rows.tolist())))
        streams = [(source, key, blob) for key in touched if (blob := self._stream_state(source, key))]
        ended, self.streams.ended = self.streams.ended, []
        for stream in ended:
            if self.streams.slot(*stream) is None:  # else it has come anew
                self._contexts.forget(stream)
        return Changes(streams, ended, self._memory(source, bool(scored.odd)))

    def _memory(self, source: str, odd: bool) -> list[tuple[str, bytes]]:
        memory = [(f"fold:{source}", self.folder.memory(source))] if odd else []
        memory += [(f"walk:{source}", self.slow_walk.memory(source))] if self.slow_walk.stored(source) else []
        breaker, limits = self.breaker.memory(source), self.limits.memory(source)
        if self._breakers.get(source) != breaker:
            self._breakers[source] = breaker
            memory.append((f"breaker:{source}", breaker))
        return memory if limits is None else [*memory, (f"limits:{source}", limits)]

    def _stream_state(self, source: str, key: bytes) -> bytes | None:
        slot = self.streams.slot(source, key)
        if slot is None:
            return None
        ids, features, count = self.streams.tail(slot)
        texts = [self._text(text_id) if text_id != PADDING else None for text_id in ids.tolist()]
        context, load = self._contexts.of((source, key)), self.streams.load(slot)
        return msgspec.msgpack.encode(StreamState(texts, features.tolist(), count, context, load, self.bundle.id))

    def restore_stream(self, source: str, key: bytes, blob: bytes) -> None:
        """Sets a stream as `changes` gave it, also those of a bundle whose windows had another size.

        Where another bundle's features mean nothing to this one, its lines are left out, and the window warms up anew.
        """
        state = msgspec.msgpack.decode(blob, type=StreamState)
        if self._features is not None and self._features.fitted and state.bundle != self.bundle.id:
            state = StreamState([], [], 0, state.context)
        size, width = self.bundle.manifest.window.size - 1, self.streams.width
        ids = [
            PADDING if text is None else self.normalizer.table.intern(text) for text in _last(state.texts, size, None)
        ]
        features = _last([row for row in state.features if len(row) == width], size, [0.0] * width)
        load = state.load if state.bundle == self.bundle.id else []
        self.streams.restore(source, key, ids, features, state.count, load)
        self._contexts.restore((source, key), state.context)

    def restore(
        self, source: str, streams: Iterable[tuple[bytes, bytes]], recall: Callable[[str], bytes | None]
    ) -> int:
        """Sets a source as its changes were stored: its streams, and what `recall` has of its named memories.

        Returns how many streams there were.
        """
        count = 0
        for key, blob in streams:
            self.restore_stream(source, key, blob)
            count += 1
        for name, part in self._parts(source).items():
            if (memory := recall(name)) is not None:
                part.restore(source, memory)
        return count

    def forget(self, source: str) -> list[str]:
        """Forgets the streams and the named memories of a source that is gone; the names of the latter."""
        for stream in self.streams.forget(source):
            self._contexts.forget(stream)
        parts = self._parts(source)
        for part in parts.values():
            part.forget(source)
        self._breakers.pop(source, None)
        return list(parts)

    def _parts(self, source: str) -> dict[str, RepeatFolder | Limits | Breaker | AnomalyRate]:
        return {
            f"fold:{source}": self.folder,
            f"limits:{source}": self.limits,
            f"breaker:{source}": self.breaker,
            f"walk:{source}": self.slow_walk,
        }


def _odd(piece: Piece, index: int) -> Odd:
    features = piece.windowed.features
    before = [kept[index] for kept in piece.before]
    return Odd(
        piece.windowed.ids[index], None if features is None else features[index], before, float(piece.raw[index])
    )


def _last(rows: list[T], size: int, filler: T) -> list[T]:
    """The last rows, so many; fillers in front where there are fewer."""
    kept = rows[len(rows) - size :] if size < len(rows) else rows
    return [filler] * (size - len(kept)) + kept
