"""The canonical texts that a model was trained on, as hashes."""

import hashlib

import numpy as np
from numpy.typing import NDArray


class Known:
    """The canonical texts of the training set.

    hashes  uint64 [texts], sorted: every one of them
    tokens  int64 [common, tokens], padded with 0: those common enough to be shown
    """

    def __init__(self, hashes: NDArray[np.uint64], tokens: NDArray[np.int64]) -> None:
        self.hashes = hashes
        self.tokens = tokens

    def __contains__(self, text: object) -> bool:
        sought = text_hash(str(text))
        index = int(np.searchsorted(self.hashes, sought))
        return index < len(self.hashes) and bool(self.hashes[index] == sought)


def text_hash(text: str) -> np.uint64:
    """The first 8 bytes of the SHA-256 of a text."""
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))
