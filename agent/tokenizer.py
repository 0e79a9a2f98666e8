"""From canonical text to token ids."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import BundleError

PAD, UNKNOWN, BEGIN, END = range(4)
SPECIAL = ("<pad>", "<unk>", "<s>", "</s>")

_WORD = re.compile(r"<\w+>|\w+|[^\w\s]")


class WordTokenizer:
    """Words and single punctuation marks of a text, in lower case; masks such as <ip> are one word each.

    Ids 0 to 3 are padding, unknown word, begin and end. A text gives at most `max_tokens` tokens: the rest is cut.
    """

    kind = "word"

    def __init__(self, vocabulary: Sequence[str], max_tokens: int) -> None:
        self.vocabulary = list(vocabulary)
        self.max_tokens = max_tokens
        self._ids = {word: index for index, word in enumerate(self.vocabulary)}

    @classmethod
    def train(
        cls, texts: Mapping[str, int], max_tokens: int, max_vocabulary: int, min_frequency: int
    ) -> "WordTokenizer":
        """A tokenizer of the most frequent words of `texts` (text -> how often it occurs), at most `max_vocabulary`
        with the special ones.
        """
        counts: Counter[str] = Counter()
        for text, times in texts.items():
            for word in cls.words(text):
                counts[word] += times
        known = [
            word
            for word, times in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            if times >= min_frequency
        ]
        return cls([*SPECIAL, *known[: max_vocabulary - len(SPECIAL)]], max_tokens)

    @staticmethod
    def words(text: str) -> list[str]:
        """The words of a text, before any look-up."""
        return _WORD.findall(text.lower())

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """The ids of a text's words; an empty text is one unknown word, so that no model sees an empty sequence."""
        return [self._ids.get(word, UNKNOWN) for word in self.words(text)[: self.max_tokens]] or [UNKNOWN]

    def unknown(self, text: str) -> list[str]:
        """The words of a text that the vocabulary lacks, in order."""
        return [word for word in self.words(text)[: self.max_tokens] if word not in self._ids]

    def to_json(self) -> dict[str, Any]:
        """What `load_tokenizer` reads."""
        return {"kind": self.kind, "max_tokens": self.max_tokens, "vocabulary": self.vocabulary}


def load_tokenizer(content: Any) -> WordTokenizer:
    """The tokenizer of a tokenizer.json; a BundleError where it is none of ours."""
    try:
        kind, vocabulary, max_tokens = content["kind"], content["vocabulary"], content["max_tokens"]
    except (TypeError, KeyError) as error:
        raise BundleError(f"tokenizer.json lacks {error}") from None
    if kind != WordTokenizer.kind:
        raise BundleError(f"tokenizer.json is of the kind {kind!r}; this version knows {WordTokenizer.kind!r}")
    words = isinstance(vocabulary, list) and all(isinstance(word, str) for word in vocabulary)
    if not words or tuple(vocabulary[: len(SPECIAL)]) != SPECIAL or not isinstance(max_tokens, int) or max_tokens < 1:
        raise BundleError("tokenizer.json is damaged: wrong special words or max_tokens")
    return WordTokenizer(vocabulary, max_tokens)


def pad(sequences: Iterable[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64 [batch, tokens] padded with 0 on the right, and int64 [batch], the length of each."""
    rows = list(sequences)
    lengths = np.array([len(row) for row in rows], np.int64)
    ids = np.zeros((len(rows), int(lengths.max(initial=1))), np.int64)
    for row, sequence in zip(ids, rows, strict=True):
        row[: len(sequence)] = sequence
    return ids, lengths
