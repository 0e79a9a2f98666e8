"""The table of streams: of each its last text ids and their features, how many lines it had, and what is carried."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.text.text_table import PADDING

MOST_BYTES = 48 << 20  # of streams, with each text counted for each line in a window
_STREAM = 400  # bytes of the objects of a stream beside its texts


class StreamTable:
    """The streams by source and key, each in a slot of arrays that grow.

    ended: streams that left, for the caller to take. forgotten: how many of these, for the bytes of the others. bytes:
    what all streams take, each text counted for each line that holds it.
    """

    def __init__(
        self,
        size: int,
        width: int = 0,
        most: int = 65536,
        carried: Sequence[NDArray[Any]] = (),
        sizes: Callable[[], NDArray[np.int64]] | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """`carried` holds arrays whose types, and shapes without their first axis, are those of what is carried.

        sizes: the bytes of each text, by its id; where it is not given, only the number of streams is bounded.
        """
        self.size, self.width, self.most = size, width, most
        self.carried = [np.zeros((0, *one.shape[1:]), one.dtype) for one in carried]
        self._slots: dict[tuple[str, bytes], int] = {}
        self._keys: list[tuple[str, bytes] | None] = []
        self._free: list[int] = []
        self._ids = np.zeros((0, size - 1), np.int32)
        self._features = np.zeros((0, size - 1, width), np.float32)
        self._counts = np.zeros(0, np.int64)
        self._last = np.zeros(0, np.int64)  # the number of the last line, over all sources
        self._lines = 0
        self.ended: list[tuple[str, bytes]] = []  # streams that left, for the caller to take
        self.forgotten = 0  # of these, for the bytes of the others
        self.bytes = 0
        self._sizes, self.most_bytes = sizes, most_bytes
        self._row = (size - 1) * 4 * (1 + width) + sum(one[:1].nbytes for one in carried)

    def __len__(self) -> int:
        return len(self._slots)

    def key(self, slot: int) -> tuple[str, bytes]:
        """The source and key of the stream in a slot."""
        key = self._keys[slot]
        assert key is not None
        return key

    def _own_bytes(self, slot: int) -> int:
        """What a stream takes beside its texts."""
        source, key = self.key(slot)
        return _STREAM + len(source) + len(key) + self._row

    def _bytes_of(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [slots]: what streams take; nothing before their first lines."""
        if self._sizes is None:
            return np.zeros(len(slots), np.int64)
        own = np.fromiter(map(self._own_bytes, slots.tolist()), np.int64, len(slots))
        return np.where(self._counts[slots] > 0, own + self._sizes()[self._ids[slots]].sum(axis=1), 0)

    def _grow(self) -> None:
        old, new = len(self._keys), min(self.most, max(16, 2 * len(self._keys)))
        self._keys.extend([None] * (new - old))
        self._ids = np.concatenate([self._ids, np.zeros((new - old, self.size - 1), np.int32)])
        self._features = np.concatenate([self._features, np.zeros((new - old, self.size - 1, self.width), np.float32)])
        self._counts = np.concatenate([self._counts, np.zeros(new - old, np.int64)])
        self._last = np.concatenate([self._last, np.zeros(new - old, np.int64)])
        self.carried = [np.concatenate([one, np.zeros((new - old, *one.shape[1:]), one.dtype)]) for one in self.carried]
        self._free.extend(range(new - 1, old - 1, -1))

    def _drop(self, slots: NDArray[np.int64]) -> list[tuple[str, bytes]]:
        self.bytes -= int(self._bytes_of(slots).sum())
        keys = [self.key(slot) for slot in slots.tolist()]
        for key in keys:
            slot = self._slots.pop(key)
            self._keys[slot] = None
            self._free.append(slot)
        self._ids[slots], self._features[slots], self._counts[slots] = PADDING, 0, 0
        for one in self.carried:
            one[slots] = 0
        return keys

    def forget(self, source: str) -> list[tuple[str, bytes]]:
        """Drops the streams of a source that is gone; which they were."""
        return self._drop(np.array([slot for (name, _), slot in self._slots.items() if name == source], np.int64))

    def by_age(self) -> list[int]:
        """The slots of all streams, in the order of their last lines."""
        return sorted(self._slots.values(), key=self._last.__getitem__)

    def slot(self, source: str, key: bytes) -> int | None:
        """The slot of a stream, or None where it is unknown or has left."""
        return self._slots.get((source, key))

    def tail(self, slot: int) -> tuple[NDArray[np.int32], NDArray[np.float32], int]:
        """What a stream carries: int32 [size - 1], float32 [size - 1, width], and how many lines it has had."""
        return self._ids[slot], self._features[slot], int(self._counts[slot])

    def load(self, slot: int) -> list[bytes]:
        """What else a stream carries, as bytes."""
        return [one[slot].tobytes() for one in self.carried]

    def held(self) -> NDArray[np.int32]:
        """int32: every text id that a stream carries."""
        return np.unique(self._ids)

    def renumber(self, moved: NDArray[np.int32]) -> None:
        """Follows `TextTable.compact`."""
        self._ids = moved[self._ids]
