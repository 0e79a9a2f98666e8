"""Characters as tokens."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from agent.errors import BundleError
from agent.text.tokenizers.base import BEGIN, END, PAD, SPECIAL, UNKNOWN, is_length

_FIRST, _LAST = ord(" "), ord("~")
_SHIFT = _FIRST - len(SPECIAL)
_REPLACEMENT = "\ufffd"


class CharTokenizer:
    """The 95 printable ASCII characters, case kept; all others are one unknown character. There is nothing to train.

    After A. Tuor et al., Recurrent neural network language models for open vocabulary event-level cyber anomaly
    detection, 2018, whose ids are code point - 30; here they are code point - 28, as four special ids come first.
    """

    kind = "char"

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "CharTokenizer":
        """The tokenizer of which `to_json` made `content`; a BundleError or KeyError where it is damaged."""
        if not is_length(content["max_tokens"]):
            raise BundleError("tokenizer.json is damaged: wrong max_tokens")
        return cls(content["max_tokens"])

    def __len__(self) -> int:
        return _LAST - _SHIFT + 1

    def encode(self, text: str) -> list[int]:
        """The ids of a text's first characters; an empty text is one unknown character."""
        codes = np.frombuffer(text[: self.max_tokens].encode("utf-32-le", "surrogatepass"), np.uint32)
        known = (codes >= _FIRST) & (codes <= _LAST)
        return np.where(known, codes - _SHIFT, UNKNOWN).tolist() or [UNKNOWN]

    def split(self, text: str) -> list[str]:
        """The characters of a text."""
        return list(text) or [""]

    def name(self, token_id: int) -> str:
        """The character itself."""
        return SPECIAL[token_id] if token_id < len(SPECIAL) else chr(token_id + _SHIFT)

    def decode(self, ids: Iterable[int]) -> str:
        """The characters, U+FFFD for unknown ones."""
        real = (token for token in ids if token not in (PAD, BEGIN, END))
        return "".join(_REPLACEMENT if token == UNKNOWN else chr(token + _SHIFT) for token in real)

    def unknown(self, text: str) -> list[str]:
        """The characters other than printable ASCII, in order."""
        return [character for character in text[: self.max_tokens] if not " " <= character <= "~"]

    def labels(self) -> None:
        """Characters have places without names."""
        return

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return {"kind": self.kind, "max_tokens": self.max_tokens}
