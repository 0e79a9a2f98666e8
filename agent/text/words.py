"""Tokens as words: where a model's tokens are characters or pieces, a person reads the words that they make up."""

import re
from typing import Any

import numpy as np

_WORD = re.compile(r"<\w+>|\w+(?:[-.@/]\w+)*|[^\w\s]+")
_KEPT = ("text", "field", "unknown", "end", "bits", "expected")


def words(tokens: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The words of a line in order, each with its text and bits.

    tokens: those of a reason; kind: the tokenizer's.

    Characters and pieces are joined, a mask such as <ip> to one word. White space counts with the word before it: it is
    where that word was seen to end. The end of the line, where it is predicted, is a word of its own, without text.
    """
    if kind not in ("char", "bpe"):
        return [{name: token[name] for name in _KEPT if name in token} for token in tokens]
    inner = [token for token in tokens if "end" not in token]
    ends = [{name: token[name] for name in ("text", "end", "bits")} for token in tokens if "end" in token]
    return _joined(inner) + ends


def _joined(tokens: list[dict[str, Any]]) -> list[dict[str, Any]]:
    text = "".join(token["text"] for token in tokens)
    found = list(_WORD.finditer(text))
    if not found:
        return [{"text": text, "bits": round(sum(token["bits"] for token in tokens), 3)}] if tokens else []
    lengths = np.array([len(token["text"]) for token in tokens])
    blanks = lengths - [len(token["text"].lstrip()) for token in tokens]
    shown = lengths.cumsum() - lengths + np.where(blanks < lengths, blanks, 0)
    owners = np.searchsorted([match.start() for match in found], shown, side="right") - 1
    bits = np.bincount(owners.clip(min=0), [token["bits"] for token in tokens], len(found))
    unknown = np.bincount(owners.clip(min=0), ["unknown" in token for token in tokens], len(found)) > 0
    rows = zip(found, bits.tolist(), unknown.tolist(), strict=True)
    return [
        {"text": match[0], **({"unknown": True} if unseen else {}), "bits": round(amount, 3)}
        for match, amount, unseen in rows
    ]
