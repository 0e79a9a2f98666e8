"""Words as tokens."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agent.errors import BundleError
from agent.text.tokenizers.base import BEGIN, END, PAD, SPECIAL, UNKNOWN, frequent, is_length, is_words

_WORD = re.compile(r"<\w+>|\w+|[^\w\s]")


class WordTokenizer:
    """Words and single punctuation marks of a text, in lower case; masks such as <ip> are one word each."""

    kind = "word"

    def __init__(self, vocabulary: Sequence[str], max_tokens: int) -> None:
        self.vocabulary = list(vocabulary)
        self.max_tokens = max_tokens
        self._ids = {word: index for index, word in enumerate(self.vocabulary) if index >= len(SPECIAL)}

    @classmethod
    def train(
        cls, texts: Mapping[str, int], max_tokens: int, max_vocabulary: int, min_frequency: int
    ) -> "WordTokenizer":
        """A tokenizer of the most frequent words of `texts` (text -> how often it occurs).

        They are at most `max_vocabulary` with the special ones.
        """
        counts: Counter[str] = Counter()
        for text, times in texts.items():
            for word in _WORD.findall(text.lower()):
                counts[word] += times
        return cls([*SPECIAL, *frequent(counts, min_frequency)[: max_vocabulary - len(SPECIAL)]], max_tokens)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "WordTokenizer":
        """The tokenizer of which `to_json` made `content`; a BundleError or KeyError where it is damaged."""
        vocabulary, max_tokens = content["vocabulary"], content["max_tokens"]
        special = is_words(vocabulary) and tuple(vocabulary[: len(SPECIAL)]) == SPECIAL
        if not special or not is_length(max_tokens):
            raise BundleError("tokenizer.json is damaged: wrong special words or max_tokens")
        return cls(vocabulary, max_tokens)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """The ids of a text's words; an empty text is one unknown word."""
        return [self._ids.get(word, UNKNOWN) for word in self.split(text)[: self.max_tokens]]

    def split(self, text: str) -> list[str]:
        """The words of a text, before any look-up."""
        return _WORD.findall(text.lower()) or [""]

    def name(self, token_id: int) -> str:
        """The word itself."""
        return self.vocabulary[token_id]

    def decode(self, ids: Iterable[int]) -> str:
        """The words with a space between them."""
        return " ".join(self.vocabulary[token] for token in ids if token not in (PAD, BEGIN, END))

    def unknown(self, text: str) -> list[str]:
        """The words of a text that the vocabulary lacks, in order."""
        return [word for word in self.split(text)[: self.max_tokens] if word and word not in self._ids]

    def labels(self) -> None:
        """Words have places without names."""
        return

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {"kind": self.kind, "max_tokens": self.max_tokens, "vocabulary": self.vocabulary}
