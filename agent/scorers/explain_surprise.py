"""Why a line is surprising: each token's bits, what was likelier, and where the model looked."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.bundle import Known
from agent.scorers.surprise import SurpriseScorer
from agent.tokenizers import BEGIN, END, PAD, Tokenizer

_LIKELIEST = 3
_LOOKED_AT = 3
_FAINT = 0.05  # a smaller weight of attention is not told
_WORD = re.compile(r"\w+|[^\w\s]")


class SurpriseExplainer:
    """Explains scores by the tokens of the line."""

    def __init__(self, scorer: SurpriseScorer, tokenizer: Tokenizer, known: Known) -> None:
        self._scorer, self._tokenizer, self._known = scorer, tokenizer, known

    def reason(
        self,
        text: str,
        window: NDArray[np.int32],
        features: NDArray[np.float32] | None,
        before: Sequence[NDArray],
        score: float,
        limit: float,
    ) -> dict[str, Any]:
        """The reason for a score as JSON data. before: what the line's stream carried before it."""
        tokens = self.tokens(text, before)
        return {
            "kind": "surprise",
            "surprise": score,
            "threshold": limit,
            "new_text": text not in self._known,
            "unknown_words": self._tokenizer.unknown(text)[:10],
            "bits": round(sum(token["bits"] for token in tokens), 3),
            "words": _words(tokens, self._tokenizer.kind),
            "tokens": tokens,
            "tokens_left_out": max(0, len(self._tokenizer.split(text)) - self._tokenizer.max_tokens),
        }

    def tokens(self, text: str, before: Sequence[NDArray]) -> list[dict[str, Any]]:
        """Each token of a line, and its end where that is predicted: text, field, bits, what was likelier with its
        probability, and the earlier tokens that the model looked at, by position (0 is the line's beginning).
        """
        found = self._scorer.look(text, before)
        pieces = self._tokenizer.split(text)[: self._tokenizer.max_tokens]
        ids = self._tokenizer.encode(text)
        if len(found["losses"]) > len(ids):
            pieces, ids = [*pieces, ""], [*ids, END]
        labels = self._tokenizer.labels() or []
        tokens = []
        for place, (piece, token) in enumerate(zip(pieces, ids, strict=True)):
            row: dict[str, Any] = {"text": piece}
            if token == END:
                row["end"] = True
            elif labels:
                row["field"] = labels[place]
            row["bits"] = round(float(found["losses"][place]) / math.log(2), 3)
            row["expected"] = self._likeliest(found["log_probabilities"][place], token)
            if "attention" in found:
                row["looked_at"] = _looked_at(found["attention"][place])
            if "tier_attention" in found and token != END:
                row["kept"] = round(float(found["tier_attention"][place]), 3)
            tokens.append(row)
        return tokens

    def _likeliest(self, log_probabilities: NDArray[np.float32], token: int) -> list[dict[str, Any]]:
        """The three likeliest tokens but the line's own."""
        order = np.argsort(-log_probabilities, kind="stable").tolist()
        others = [one for one in order[: _LIKELIEST + 3] if one not in (token, PAD, BEGIN)][:_LIKELIEST]
        shares = np.exp(log_probabilities[others]).tolist()
        return [
            {"text": self._tokenizer.name(one), "p": round(share, 4)} for one, share in zip(others, shares, strict=True)
        ]


def _looked_at(weights: NDArray[np.float32]) -> list[dict[str, Any]]:
    order = np.argsort(-weights, kind="stable")[:_LOOKED_AT].tolist()
    return [{"position": one, "weight": round(float(weights[one]), 3)} for one in order if weights[one] >= _FAINT]


def _words(tokens: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The words of a line with the bits of their tokens, the most surprising first, at most five."""
    told = [token for token in tokens if "end" not in token]
    if kind in ("char", "bpe"):
        words = _joined(told)
    else:
        kept = ("text", "field", "bits", "expected")
        words = [{name: token[name] for name in kept if name in token} for token in told]
    return sorted(words, key=lambda word: -word["bits"])[:5]


def _joined(tokens: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Words, with the bits of each token in the word where it begins."""
    text = "".join(token["text"] for token in tokens)
    starts = np.cumsum([0, *(len(token["text"]) for token in tokens)])[:-1]
    bits = np.array([token["bits"] for token in tokens])
    words = []
    for match in _WORD.finditer(text):
        within = (starts >= match.start()) & (starts < match.end())
        words.append({"text": match[0], "bits": round(float(bits[within].sum()), 3)})
    return words
