"""Tokens as words: where a model's tokens are characters or pieces, a person reads the words that they make up."""

import re

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

_WORD = re.compile(r"<\w+>|\w+(?:[-.@/]\w+)*|[^\w\s]+")


class LikelyToken(msgspec.Struct, frozen=True):
    """A token that was likelier, with its probability; whether it is the line's end, or stands for any unknown one."""

    text: str = ""
    p: float = 0.0
    end: bool | UnsetType = UNSET
    unknown: bool | UnsetType = UNSET


class LookedAt(msgspec.Struct, frozen=True):
    """An earlier token that the model looked at: its position, 0 being the line's beginning, and its weight."""

    position: int = 0
    weight: float = 0.0


class Word(msgspec.Struct, frozen=True):
    """A word of a line with the surprise at it in bits. field: of a record. unknown: to the model. end: it stands for
    the end of the line. expected: the likeliest tokens instead.
    """

    text: str = ""
    field: str | UnsetType = UNSET
    unknown: bool | UnsetType = UNSET
    end: bool | UnsetType = UNSET
    bits: float = 0.0
    expected: list[LikelyToken] | UnsetType = UNSET


class Token(Word, frozen=True):
    """A token, likewise. looked_at: where the model looked most. kept: its weight in the state of a tier."""

    looked_at: list[LookedAt] | UnsetType = UNSET
    kept: float | UnsetType = UNSET


def words(tokens: list[Token], kind: str) -> list[Word]:
    """The words of a line in order. tokens: those of a reason; kind: the tokenizer's.

    Characters and pieces are joined, a mask such as <ip> to one word. White space counts with the word before it: it is
    where that word was seen to end. The end of the line, where it is predicted, is a word of its own, without text.
    """
    if kind not in ("char", "bpe"):
        return [Word(one.text, one.field, one.unknown, one.end, one.bits, one.expected) for one in tokens]
    ends = [Word(text=token.text, end=True, bits=token.bits) for token in tokens if token.end]
    return _joined([token for token in tokens if not token.end]) + ends


def _joined(tokens: list[Token]) -> list[Word]:
    text = "".join(token.text for token in tokens)
    found = list(_WORD.finditer(text))
    if not found:
        return [Word(text=text, bits=round(sum(token.bits for token in tokens), 3))] if tokens else []
    lengths = np.array([len(token.text) for token in tokens])
    blanks = lengths - [len(token.text.lstrip()) for token in tokens]
    shown = lengths.cumsum() - lengths + np.where(blanks < lengths, blanks, 0)
    owners = np.searchsorted([match.start() for match in found], shown, side="right") - 1
    bits = np.bincount(owners.clip(min=0), [token.bits for token in tokens], len(found))
    unknown = np.bincount(owners.clip(min=0), [bool(token.unknown) for token in tokens], len(found)) > 0
    rows = zip(found, bits.tolist(), unknown.tolist(), strict=True)
    return [
        Word(text=match[0], unknown=True if is_unknown else UNSET, bits=round(amount, 3))
        for match, amount, is_unknown in rows
    ]
