"""What every tokenizer offers, and what all of them share."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

PAD, UNKNOWN, BEGIN, END = range(4)
LONGEST = 65_536  # tokens of a text that a model may read
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")


class Tokenizer(Protocol):
    """From canonical text to token ids. Ids 0 to 3 are padding, unknown token, begin and end; `len` counts them too.

    kind        the name that tokenizer.json gives
    max_tokens  the most tokens that a text gives; the rest of it is cut
    """

    kind: str
    max_tokens: int

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """The ids of a text: 1 to `max_tokens`, so that no model sees an empty sequence."""
        ...

    def split(self, text: str) -> list[str]:
        """The pieces of the whole text, of which `encode` takes the first `max_tokens`; an empty text is one piece."""
        ...

    def name(self, token_id: int) -> str:
        """How a token reads, special ones too."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, without padding, begin and end; an unknown token is named."""
        ...

    def unknown(self, text: str) -> list[str]:
        """The pieces that `encode` takes of a text but does not know, in order."""
        ...

    def labels(self) -> list[str] | None:
        """The names of the positions of a sequence, where they have names."""
        ...

    def to_json(self) -> dict[str, Any]:
        """What `load_tokenizer` reads."""
        ...


def pad(sequences: Iterable[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64 [batch, tokens] padded with 0 on the right, and int64 [batch], the length of each."""
    rows = list(sequences)
    lengths = np.array([len(row) for row in rows], np.int64)
    ids = np.zeros((len(rows), int(lengths.max(initial=1))), np.int64)
    for row, sequence in zip(ids, rows, strict=True):
        row[: len(sequence)] = sequence
    return ids, lengths


def is_cut(tokenizer: Tokenizer, text: str) -> bool:
    """Whether a text has more tokens than `encode` gives."""
    return len(tokenizer.split(text)) > tokenizer.max_tokens


def frequent(counts: Counter[str], min_frequency: int) -> list[str]:
    """What occurs `min_frequency` times or more, the most frequent first, in alphabetical order among equals."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [word for word, times in ordered if times >= min_frequency]


def is_words(vocabulary: Any) -> bool:
    """Whether this is a list of strings."""
    return isinstance(vocabulary, list) and all(isinstance(word, str) for word in vocabulary)


def is_length(max_tokens: Any) -> bool:
    """Whether this is an integer above 0, at most LONGEST."""
    return type(max_tokens) is int and 0 < max_tokens <= LONGEST
