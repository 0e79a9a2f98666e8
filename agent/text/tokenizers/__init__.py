"""From canonical text to token ids: tokenizers of several kinds behind one contract."""

from typing import Any

from agent.errors import BundleError
from agent.text.tokenizers.base import BEGIN, END, PAD, SPECIAL, UNKNOWN, Tokenizer, is_cut, pad
from agent.text.tokenizers.bpe import BpeTokenizer
from agent.text.tokenizers.char import CharTokenizer
from agent.text.tokenizers.fields import FieldTokenizer
from agent.text.tokenizers.word import WordTokenizer

__all__ = ["BEGIN", "END", "PAD", "SPECIAL", "UNKNOWN", "Tokenizer", "is_cut", "load_tokenizer", "pad"]

_KINDS = {kind.kind: kind.from_json for kind in (WordTokenizer, FieldTokenizer, CharTokenizer, BpeTokenizer)}


def load_tokenizer(content: Any) -> Tokenizer:
    """The tokenizer of a tokenizer.json; a BundleError where it is none of ours."""
    if not isinstance(content, dict) or "kind" not in content:
        raise BundleError("tokenizer.json lacks 'kind'")
    kind = content["kind"]
    if not isinstance(kind, str) or kind not in _KINDS:
        raise BundleError(f"tokenizer.json is of the kind {kind!r}; this version knows {', '.join(_KINDS)}")
    try:
        return _KINDS[kind](content)
    except KeyError as error:
        raise BundleError(f"tokenizer.json lacks {error}") from None
