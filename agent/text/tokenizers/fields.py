"""The values of delimited records as tokens."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from agent.errors import BundleError
from agent.text.records import Records
from agent.text.tokenizers.base import BEGIN, END, PAD, SPECIAL, frequent, is_words


class FieldTokenizer:
    """One token for each part of a record. All parts share the words; what is no word is the unknown one of its part.

    The vocabulary is the special tokens, `<unk NAME>` for each part, then the words. After A. Tuor et al., Recurrent
    neural network language models for open vocabulary event-level cyber anomaly detection, 2018.
    """

    kind = "fields"

    def __init__(self, records: Records, words: Sequence[str]) -> None:
        self.records = records
        self._parts = records.parts()
        self.max_tokens = len(self._parts)
        self.vocabulary = [*_reserved(records), *words]
        self._first = len(SPECIAL) + self.max_tokens
        self._ids = {word: index for index, word in enumerate(words, self._first)}

    @classmethod
    def train(
        cls, texts: Mapping[str, int], records: Records, max_vocabulary: int, min_frequency: int
    ) -> "FieldTokenizer":
        """A tokenizer of the most frequent values in `texts` (text -> how often it occurs), counted over all parts.

        They are at most `max_vocabulary` with the special and the unknown ones.
        """
        counts: Counter[str] = Counter()
        for text, times in texts.items():
            for value in records.row(text):
                counts[value] += times
        most = max(0, max_vocabulary - len(_reserved(records)))
        return cls(records, frequent(counts, min_frequency)[:most])

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "FieldTokenizer":
        """The tokenizer of which `to_json` made `content`; a BundleError or KeyError where it is damaged."""
        vocabulary = content["vocabulary"]
        try:
            records = msgspec.convert(content["records"], Records)
        except msgspec.ValidationError as error:
            raise BundleError(f"tokenizer.json is damaged: records: {error}") from None
        reserved = _reserved(records)
        fits = content["max_tokens"] == len(records.parts()) and is_words(vocabulary)
        if not fits or vocabulary[: len(reserved)] != reserved:
            raise BundleError("tokenizer.json is damaged: its vocabulary is not that of its records")
        return cls(records, vocabulary[len(reserved) :])

    def __len__(self) -> int:
        return len(self.vocabulary)

    def encode(self, text: str) -> list[int]:
        """The id of each part's value."""
        unknown = range(len(SPECIAL), self._first)
        return [self._ids.get(value, other) for value, other in zip(self.records.row(text), unknown, strict=True)]

    def split(self, text: str) -> list[str]:
        """The values of the parts; those of an empty text are empty."""
        return self.records.row(text)

    def name(self, token_id: int) -> str:
        """The value itself."""
        return self.vocabulary[token_id]

    def decode(self, ids: Iterable[int]) -> str:
        """The record with these values, the parts of a split field joined again."""
        values = iter([self.vocabulary[token] for token in ids if token not in (PAD, BEGIN, END)])
        row = io.StringIO()
        fields = [self._field(name, values) for name in self.records.selected]
        csv.writer(row, delimiter=self.records.delimiter, lineterminator="").writerow(fields)
        return row.getvalue()

    def _field(self, name: str, values: Iterator[str]) -> str:
        split = self.records.split.get(name)
        taken = [next(values, "") for _ in (split.into if split else [name])]
        return split.at.join(taken) if split else taken[0]

    def unknown(self, text: str) -> list[str]:
        """The values that are no words, in order."""
        return [value for value in self.records.row(text) if value not in self._ids]

    def labels(self) -> list[str]:
        """The names of the parts."""
        return self._parts

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        records = msgspec.to_builtins(self.records)
        return {"kind": self.kind, "max_tokens": self.max_tokens, "records": records, "vocabulary": self.vocabulary}


def _reserved(records: Records) -> list[str]:
    return [*SPECIAL, *(f"<unk {part}>" for part in records.parts())]
