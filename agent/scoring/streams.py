"""Streams: which stream a line belongs to, its last lines and what a model carries along it, in a bounded number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from agent.scoring.stream_table import StreamTable
from agent.text.lines import Block
from agent.text.patterns import compile_pattern
from agent.text.record_reader import RecordReader

T = TypeVar("T", bound=np.generic)


class StreamKey:
    """The key of the stream that a line belongs to: the first group (or whole match) of a pattern in the raw line.

    Without a pattern all lines of a source are one stream, of the key b""; so are lines in which the pattern does not
    occur. Where lines are records, the name of a column stands for its value.
    """

    def __init__(self, pattern: str | None, records: RecordReader | None = None) -> None:
        self._records = records if records is not None and pattern in records.records.columns else None
        self._column = pattern or ""
        self._pattern = None if pattern is None else compile_pattern(pattern, "the stream pattern")

    def keys(self, block: Block) -> list[bytes]:
        """One key a line."""
        if self._records is not None:
            return self._records.column(block, self._column)
        if self._pattern is None:
            return [b""] * len(block)
        return self._pattern.find(block)


@dataclass(frozen=True)
class Windowed:
    """Lines with the windows that end in them.

    ids       int32 [lines, size]: text ids, the line's own last; 0 before the first line of a stream
    features  float32 [lines, size, width], what goes with each id, or None
    counts    int64 [lines]: how many lines the stream has had, this one counted
    slots     int64 [lines]: the rows of `Streams.carried` that are the line's stream's
    """

    ids: NDArray[np.int32]
    features: NDArray[np.float32] | None
    counts: NDArray[np.int64]
    slots: NDArray[np.int64]


class Streams(StreamTable):
    """The last `size - 1` text ids (and features) of each stream, at most `most` streams, and arrays for what else they
    carry: `carried`, one row a stream, zeros before its first line; others write them.

    When a stream more comes, the eighth that has been silent longest leaves. Pushing lines in one go or one by one is
    the same.
    """

    def push(
        self, source: str, keys: Sequence[bytes], ids: NDArray[np.int32], features: NDArray[np.float32] | None = None
    ) -> Iterator[tuple[slice, Windowed]]:
        """Adds lines in order; yields them in one piece, or in several where streams have to leave in between.

        A piece is the slice of the lines and their windows; it is valid until the next one is taken.
        """
        start = 0
        while start < len(keys):
            slots = self._fitting(self._assign(source, keys[start:]), ids[start:])
            piece = slice(start, start + len(slots))
            yield piece, self._advance(slots, ids[piece], None if features is None else features[piece])
            start = piece.stop
            self._bound_bytes()

    def _assign(self, source: str, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """The slots of as many lines as there is room for, at least one."""
        first = self._slot((source, keys[0]))  # makes room before any other slot is looked up
        if keys.count(keys[0]) == len(keys):
            return np.full(len(keys), first, np.int64)
        found = [self._slots.get((source, key)) for key in keys]
        for index, slot in enumerate(found):
            if slot is None:
                key = (source, keys[index])
                if key not in self._slots and len(self._slots) >= self.most:
                    return np.array(found[:index], np.int64)
                found[index] = self._slot(key)
        return np.array(found, np.int64)

    def _slot(self, key: tuple[str, bytes]) -> int:
        slot = self._slots.get(key)
        if slot is None:
            if len(self._slots) >= self.most:
                self._evict()
            if not self._free:
                self._grow()
            slot = self._slots[key] = self._free.pop()
            self._keys[slot] = key
        return slot

    def _fitting(self, slots: NDArray[np.int64], ids: NDArray[np.int32]) -> NDArray[np.int64]:
        """The slots of the lines up to that with which the streams take too many bytes.

        That is found line by line, so that it depends on the lines alone and not on how they are cut into blocks.
        """
        if self._sizes is None:
            return slots
        sizes = self._sizes()
        new = np.zeros(len(slots), np.int64)
        present, first = np.unique(slots, return_index=True)
        begun = self._counts[present] == 0
        new[first[begun]] = [self._own_bytes(slot) for slot in present[begun].tolist()]
        new += sizes[ids[: len(slots)]]
        if self.bytes + new.sum() <= self.most_bytes:
            return slots
        new -= sizes[self._leaving(slots, ids)]
        over = np.flatnonzero(self.bytes + np.cumsum(new) > self.most_bytes)
        if not len(over):
            return slots
        fitting = slots[: over[0] + 1]
        self._drop(np.setdiff1d(present[begun], fitting))  # they come with the next piece
        return fitting

    def _leaving(self, slots: NDArray[np.int64], ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """int32 [lines]: the text id that leaves the stream of each line by it."""
        left, tails = np.empty(len(slots), np.int32), {int(slot): [*self._ids[slot]] for slot in np.unique(slots)}
        for index, slot in enumerate(slots.tolist()):
            tails[slot].append(ids[index])
            left[index] = tails[slot].pop(0)
        return left

    def _bound_bytes(self) -> None:
        """Where the streams take too many bytes, those of the oldest last lines leave until an eighth is free."""
        if self.bytes <= self.most_bytes:
            return
        slots = np.fromiter(self._slots.values(), np.int64)
        slots = slots[np.argsort(self._last[slots], kind="stable")]
        taken = np.cumsum(self._bytes_of(slots))
        leaving = slots[: np.searchsorted(taken, self.bytes - self.most_bytes * 7 // 8) + 1][: len(slots) - 1]
        self.forgotten += len(leaving)
        self.ended += self._drop(leaving)

    def _evict(self) -> None:
        slots = np.fromiter(self._slots.values(), np.int64)
        oldest = slots[np.argsort(self._last[slots], kind="stable")[: max(1, self.most // 8)]]
        self.ended += self._drop(oldest)

    def _advance(
        self, slots: NDArray[np.int64], ids: NDArray[np.int32], features: NDArray[np.float32] | None
    ) -> Windowed:
        """Windows of the lines, whose streams' tails are laid before them; then the new tails are kept."""
        tail = self.size - 1
        order = np.argsort(slots, kind="stable")
        present, first, counts = np.unique(slots[order], return_index=True, return_counts=True)
        before = int(self._bytes_of(present).sum())
        group = np.repeat(np.arange(len(present)), counts)
        rank = np.arange(len(order)) - first[group]
        at = np.arange(len(order)) + (group + 1) * tail  # where each line stands among tails and lines
        ends = first + counts + (np.arange(len(present)) + 1) * tail
        windows = at[:, None] + np.arange(-tail, 1)
        tails = ends[:, None] + np.arange(-tail, 0)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))

        def lay(kept: NDArray[T], new: NDArray[T]) -> NDArray[T]:
            row = np.empty((len(order) + tail * len(present), *new.shape[1:]), new.dtype)
            row[at] = new[order]
            row[(ends - counts)[:, None] + np.arange(-tail, 0)] = kept[present]
            kept[present] = row[tails]
            laid: NDArray[T] = row[windows[back]]
            return laid

        laid_ids = lay(self._ids, ids)
        laid_features = None if features is None else lay(self._features, features)
        numbers = (self._counts[present][group] + rank + 1)[back]
        self._counts[present] += counts
        self.bytes += int(self._bytes_of(present).sum()) - before
        self._last[slots] = self._lines + np.arange(len(slots))
        self._lines += len(slots)
        return Windowed(laid_ids, laid_features, numbers, slots)

    def restore(
        self,
        source: str,
        key: bytes,
        ids: Sequence[int],
        features: Sequence[Sequence[float]],
        count: int,
        load: Sequence[bytes] = (),
    ) -> None:
        """Sets what a stream carries, as `tail` and `load` gave it."""
        slot = self._slot((source, key))
        before = self._bytes_of(np.array([slot]))
        self._ids[slot], self._counts[slot] = ids, count
        self.bytes += int((self._bytes_of(np.array([slot])) - before).sum())
        if self.width:
            self._features[slot] = features
        for one, content in zip(self.carried, load, strict=False):
            one[slot] = np.frombuffer(content, one.dtype).reshape(one.shape[1:])
        self._last[slot] = self._lines
        self._lines += 1
        self._bound_bytes()
