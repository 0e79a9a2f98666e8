"""Scoring: blocks of lines in, a score for each line out, and what the model saw of those above their limit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from agent.bundle.bundle import Bundle
from agent.errors import ConfigError
from agent.scoring.reasons import Reason
from agent.scoring.scorers import EXPLAINERS
from agent.scoring.settings import ScoringSettings
from agent.scoring.stream_scorer import Piece, build_stream_scorer
from agent.scoring.stream_state import StreamStates
from agent.scoring.streams import StreamKey
from agent.scoring.threshold import Limits
from agent.scoring.validation import validate_bundle
from agent.text.canonical import Normalizer
from agent.text.lines import Block
from agent.text.records import Records

MAX_TEXTS = 8192  # canonical texts kept before those that no window holds are forgotten
MAX_TEXT_BYTES = 8 << 20  # of such texts


@dataclass(frozen=True)
class KeyedBlock:
    """A block with the stream of each of its lines.

    rows     int64: the indices of the lines that count, all but alerts of ours
    keys     one stream key a line
    """

    block: Block
    rows: NDArray[np.int64]
    keys: list[bytes]


@dataclass(frozen=True)
class Anomaly:
    """What the model saw of a line above its limit.

    window    int32 [size]: text ids, the line's own last
    features  float32 [size, width], or None
    before    what the model carried before the line, one array for each of its state tensors
    raw       the score before it was told relative to its stream's
    """

    window: NDArray[np.int32]
    features: NDArray[np.float32] | None
    before: list[NDArray[Any]]
    raw: float


@dataclass(frozen=True)
class ScoredBlock(KeyedBlock):
    """A block with its scores.

    scores     float32 [lines]; NaN while a window warms up, and for alerts of ours
    limits     float32 [lines]
    anomalies  what the model saw of each line above its limit, by its index, in order
    positions  int64 [lines]: which line of its stream each is, from 1; 0 for alerts of ours
    """

    scores: NDArray[np.float32]
    limits: NDArray[np.float32]
    anomalies: dict[int, Anomaly]
    positions: NDArray[np.int64]


class ScoringEngine:
    """Scores the blocks of any number of sources with one bundle. The scores do not depend on how lines are cut into
    blocks.

    own_lines: finds the lines of a block that are alerts of ours, which take no part. own_line_count, shortened_lines:
    how many there were of these, and of lines of which the model read the head alone.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: ScoringSettings | None = None,
        own_lines: Callable[[Block], NDArray[np.int64]] | None = None,
    ) -> None:
        validate_bundle(bundle)
        settings, manifest = settings or ScoringSettings(), bundle.manifest
        if settings.header is not None and isinstance(manifest.header, Records):
            raise ConfigError(
                f"header {settings.header}: bundle {bundle.path} reads delimited records; leave the header out"
            )
        self.bundle = bundle
        self._next_bound = MAX_TEXTS, MAX_TEXT_BYTES  # texts, and bytes of them
        self.header = settings.header or manifest.header
        self.limits = Limits(settings.threshold or manifest.threshold, manifest.scale)
        self.normalizer = Normalizer(self.header, manifest.masks, cache=settings.cache)
        self._texts = texts = self.normalizer.table
        self._lines = build_stream_scorer(bundle, texts, most=settings.max_streams, cache=settings.cache)
        self.scorer, self.streams, self._features = self._lines.scorer, self._lines.streams, self._lines.features
        fitted = self._features is not None and self._features.fitted
        self.stream_states = StreamStates(bundle.id, self.streams, texts, fitted)
        self._stream_key = StreamKey(settings.stream or manifest.stream, self.normalizer.records)
        self._explainer = EXPLAINERS[manifest.scorer](self.scorer, bundle.tokenizer, bundle.known)
        self._own_lines = own_lines
        self.own_line_count = self.shortened_lines = 0

    def score(self, block: Block) -> ScoredBlock:
        """The scores of a block; the windows of its streams move on."""
        self.bound_texts()
        keyed = self._keyed(block)
        scores, limits = np.full((2, len(block)), np.nan, np.float32)
        anomalies, positions = {}, np.zeros(len(block), np.int64)
        for piece in self._lines.push(block.source, *self._inputs(keyed)):
            lines = keyed.rows[piece.rows]
            scores[lines], positions[lines] = piece.scores, piece.windowed.counts
            limits[lines] = self.limits.of(block.source, piece.scores)
            self._count_shortened(piece)
            for index in np.flatnonzero(piece.scores > limits[lines]).tolist():
                anomalies[int(lines[index])] = _anomaly(piece, index)
        return ScoredBlock(block, keyed.rows, keyed.keys, scores, limits, anomalies, positions)

    def prime(self, block: Block) -> KeyedBlock:
        """Takes lines into the windows without scoring them: those before the place where reading starts."""
        keyed = self._keyed(block)
        for _ in self.streams.push(block.source, *self._inputs(keyed)):
            pass
        return keyed

    def text(self, anomaly: Anomaly) -> str:
        """The canonical text of an anomalous line."""
        return self._texts[anomaly.window[-1]]

    def reason(self, scored: ScoredBlock, index: int) -> Reason:
        """Why an anomalous line is one."""
        anomaly, score, limit = scored.anomalies[index], float(scored.scores[index]), float(scored.limits[index])
        text, relative = self.text(anomaly), self.bundle.manifest.relative
        reason = self._explainer.reason(text, anomaly.window, anomaly.features, anomaly.before, score, limit)
        return reason if relative is None else replace(reason, relative=relative.kind, raw=anomaly.raw)

    def take_ended(self) -> list[tuple[str, bytes]]:
        """The streams that left since the last call; some may have come anew."""
        ended, self.streams.ended = self.streams.ended, []
        return ended

    def take_warnings(self) -> list[str]:
        """What there is to say of rows of a wrong width and of lines read in part; the counters start again."""
        count, self.scorer.cut_lines = self.scorer.cut_lines, 0
        lines, most = "1 line has" if count == 1 else f"{count} lines have", self.bundle.tokenizer.max_tokens
        cut = f"{lines} more tokens than the model reads ({most}); the rest of each was not scored"
        forgotten, self.streams.forgotten = self.streams.forgotten, 0
        left = (
            f"{forgotten} streams were forgotten, since the last lines of all take more than "
            f"{self.streams.most_bytes >> 20} MiB; where they go on, they begin anew"
        )
        return self.normalizer.take_warnings() + ([cut] if count else []) + ([left] if forgotten else [])

    def _keyed(self, block: Block) -> KeyedBlock:
        rows = np.arange(len(block))
        if self._own_lines is not None:
            own = self._own_lines(block)
            self.own_line_count += len(own)
            rows = np.delete(rows, own)
        return KeyedBlock(block, rows, self._stream_key.keys(block))

    def _inputs(self, keyed: KeyedBlock) -> tuple[list[bytes], NDArray[np.int32], NDArray[np.float32] | None]:
        """The stream keys, text ids and features of the lines that count."""
        block, rows, keys = keyed.block, keyed.rows, keyed.keys
        ids, features = self.normalizer.ids(block)[rows], None
        if self._features is not None:
            features = self._features.of(self._features.read(block, self.normalizer.records)[rows], ids)
        return keys if len(rows) == len(keys) else [keys[row] for row in rows.tolist()], ids, features

    def _count_shortened(self, piece: Piece) -> None:
        ids, scored = piece.windowed.ids[:, -1], ~np.isnan(piece.raw)
        in_part = self.normalizer.is_shortened(ids)
        in_part[scored] |= self.scorer.is_cut(ids[scored])
        self.shortened_lines += int(np.count_nonzero(in_part))

    def bound_texts(self) -> None:
        """Forgets the texts that no window holds, where there are many."""
        texts, (most, most_bytes) = self._texts, self._next_bound
        if len(texts) > most or texts.sizes().sum() > most_bytes:
            texts.compact(self.streams.held())
            self._next_bound = max(MAX_TEXTS, len(texts) + MAX_TEXTS // 2), int(texts.sizes().sum()) + MAX_TEXT_BYTES


def _anomaly(piece: Piece, index: int) -> Anomaly:
    features = piece.windowed.features
    before = [kept[index] for kept in piece.before]
    return Anomaly(
        piece.windowed.ids[index], None if features is None else features[index], before, float(piece.raw[index])
    )
