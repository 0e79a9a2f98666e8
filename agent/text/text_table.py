"""The table of canonical texts in use, each with an id, and who is notified when ids change."""

from collections.abc import Iterable
from typing import Protocol
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

PADDING = 0  # the id that stands for "no line"
_OBJECT = 80  # bytes of a text beside its characters


class IdHolder(Protocol):
    """Who keeps text ids, or something by text id."""

    def renumber(self, moved: NDArray[np.int32]) -> None:
        """Follows `TextTable.compact`: `moved` is int32 [old ids], the new id of each, PADDING where it is gone."""
        ...


class TextTable:
    """Gives every canonical text an id: 1 and up in the order of first sight; 0 (PADDING) is no line.

    Ids stay valid until `compact`, which tells every subscriber. `texts` is the list that the ids point into.
    """

    def __init__(self, texts: Iterable[str] = ("",)) -> None:
        """`texts` are there from the start, as the list of a corpus: the first of them stands for PADDING."""
        self.texts = list(texts)
        self._index()
        self._holders: WeakSet[IdHolder] = WeakSet()
        self._sizes = np.zeros(0, np.int64)

    def _index(self) -> None:
        self._ids = {text: text_id for text_id, text in enumerate(self.texts) if text_id != PADDING}

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, text_id: int) -> str:
        return self.texts[text_id]

    def sizes(self) -> NDArray[np.int64]:
        """int64 [texts]: the bytes of memory that each text takes; 0 for PADDING."""
        if len(self._sizes) < len(self.texts):
            new = np.fromiter(map(_size, self.texts[len(self._sizes) :]), np.int64)
            self._sizes = np.concatenate([self._sizes, new])
            self._sizes[PADDING] = 0
        return self._sizes

    def intern(self, text: str) -> int:
        """The id of a text."""
        text_id = self._ids.get(text)
        if text_id is None:
            text_id = self._ids[text] = len(self.texts)
            self.texts.append(text)
        return text_id

    def subscribe(self, holder: IdHolder) -> None:
        """Lets `holder` follow every `compact` for as long as anyone else knows it."""
        self._holders.add(holder)

    def compact(self, keep: NDArray[np.int32]) -> None:
        """Forgets all texts but those of the ids in `keep`, and has the subscribers follow."""
        kept = [int(text_id) for text_id in np.unique(keep) if text_id != PADDING]
        moved = np.zeros(len(self.texts), np.int32)
        moved[kept] = np.arange(1, len(kept) + 1)
        self._sizes = self.sizes()[[PADDING, *kept]]
        self.texts = [self.texts[PADDING], *(self.texts[text_id] for text_id in kept)]
        self._index()
        for holder in list(self._holders):
            holder.renumber(moved)


def _size(text: str) -> int:
    """The bytes of a text in memory (PEP 393), without what Python may keep of it in UTF-8."""
    if text.isascii():
        return _OBJECT + len(text)
    last = max(text)
    return _OBJECT + len(text) * (1 if last < "\u0100" else 2 if last < "\U00010000" else 4)
