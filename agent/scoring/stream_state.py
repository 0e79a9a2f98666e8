"""How a stream is stored when a block has changed it, and how it is taken up again, also under another bundle."""

from typing import TypeVar

import msgspec

from agent.scoring.streams import Streams
from agent.text.stored import decode_stored
from agent.text.text_table import PADDING, TextTable

T = TypeVar("T")


class StoredStream(msgspec.Struct, array_like=True):
    """A stream as it is stored: canonical texts (None before its first line), their features, lines so far, raw lines
    before the next; and what else the streams of the bundle named carry.
    """

    texts: list[str | None]
    features: list[list[float]]
    count: int
    context: list[bytes]
    load: list[bytes] = []
    bundle: str = ""


class StreamStates:
    """Stores and restores the streams of one bundle, by texts, since ids hold within one process alone.

    fitted: whether the features of another bundle mean nothing to this one.
    """

    def __init__(self, bundle: str, streams: Streams, texts: TextTable, fitted: bool) -> None:
        self._bundle, self._streams, self._texts, self._fitted = bundle, streams, texts, fitted

    def dump(self, source: str, key: bytes, context: list[bytes]) -> bytes | None:
        """A stream with its last raw lines; None where it has left."""
        slot = self._streams.slot(source, key)
        if slot is None:
            return None
        ids, features, count = self._streams.tail(slot)
        texts = [_encodable(self._texts[text_id]) if text_id != PADDING else None for text_id in ids.tolist()]
        stored = StoredStream(texts, features.tolist(), count, context, self._streams.load(slot), self._bundle)
        return msgspec.msgpack.encode(stored)

    def restore(self, source: str, key: bytes, blob: bytes) -> list[bytes]:
        """Sets a stream as `dump` gave it, also by a bundle whose windows have another size; gives its last raw lines.

        Where another bundle's features mean nothing to this one, its lines are left out, and the window warms up anew.
        """
        stored = decode_stored(blob, StoredStream)
        if self._fitted and stored.bundle != self._bundle:
            stored = StoredStream([], [], 0, stored.context)
        size, width = self._streams.size - 1, self._streams.width
        ids = [PADDING if text is None else self._texts.intern(text) for text in _last(stored.texts, size, None)]
        features = _last([row for row in stored.features if len(row) == width], size, [0.0] * width)
        load = stored.load if stored.bundle == self._bundle else []
        self._streams.restore(source, key, ids, features, stored.count, load)
        return stored.context


def _encodable(text: str) -> str:
    """The text, or a copy, since Python keeps with a text that is not ASCII what it was once encoded to."""
    return text if text.isascii() else text.encode().decode()


def _last(rows: list[T], size: int, filler: T) -> list[T]:
    """The last rows, so many; fillers in front where there are fewer."""
    kept = rows[len(rows) - size :] if size < len(rows) else rows
    return [filler] * (size - len(kept)) + kept
