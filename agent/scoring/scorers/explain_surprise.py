"""Why a line is surprising: each token's bits, what was likelier, and where the model looked."""

import math
from collections.abc import Container, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.scoring.scorers.surprise import SurpriseScorer
from agent.text.tokenizers import BEGIN, END, PAD, SPECIAL, UNKNOWN, Tokenizer
from agent.text.words import words

_LIKELIEST = 3
_LOOKED_AT = 3
_FAINT = 0.05  # a smaller weight of attention is not told
_MOST_WORDS = 5


class SurpriseExplainer:
    """Explains scores by the tokens of the line."""

    def __init__(self, scorer: SurpriseScorer, tokenizer: Tokenizer, known: Container[str]) -> None:
        self._scorer, self._tokenizer, self._known = scorer, tokenizer, known
        self._labels = tokenizer.labels() or []

    def reason(
        self,
        text: str,
        window: NDArray[np.int32],
        features: NDArray[np.float32] | None,
        before: Sequence[NDArray[Any]],
        score: float,
        limit: float,
    ) -> dict[str, Any]:
        """The reason for a score as JSON data: the words are the most surprising ones.

        `carried` tells whether the score depends on what the line's stream carried before it.
        """
        tokens, kind = self.tokens(text, before), self._tokenizer.kind
        left_out = max(0, len(self._tokenizer.split(text)) - self._tokenizer.max_tokens)
        shown = [token for token in tokens if not (left_out and "end" in token)]  # cut, it does not end there
        return {
            "kind": "surprise",
            "surprise": score,
            "threshold": limit,
            "new_text": text not in self._known,
            "unknown_words": self._tokenizer.unknown(text)[:10],
            "bits": round(sum(token["bits"] for token in tokens), 3),
            "carried": bool(before),
            "words": sorted(words(shown, kind), key=lambda word: -word["bits"])[:_MOST_WORDS],
            "tokenizer": kind,
            "tokens": tokens,
            "tokens_left_out": left_out,
        }

    def tokens(self, text: str, before: Sequence[NDArray[Any]]) -> list[dict[str, Any]]:
        """Each token of a line, and its end where that is predicted.

        Of each its text, field, whether the model does not know it, bits, what was likelier with its probability, and
        the earlier tokens that the model looked at, by position (0 is the line's beginning).
        """
        found = self._scorer.all_outputs(text, before)
        pieces = self._tokenizer.split(text)[: self._tokenizer.max_tokens]
        ids = self._tokenizer.encode(text)
        if len(found["losses"]) > len(ids):
            pieces, ids = [*pieces, ""], [*ids, END]
        unknown = set(self._tokenizer.unknown(text))
        rows = enumerate(zip(pieces, ids, strict=True))
        return [self._row(found, place, piece, token, piece in unknown) for place, (piece, token) in rows]

    def _row(self, found: dict[str, NDArray[Any]], place: int, piece: str, token: int, unknown: bool) -> dict[str, Any]:
        row: dict[str, Any] = {"text": piece}
        if token == END:
            row["end"] = True
        else:
            row |= {"field": self._labels[place]} if self._labels else {}
            row |= {"unknown": True} if unknown else {}
        row["bits"] = round(float(found["losses"][place]) / math.log(2), 3)
        row["expected"] = self._likeliest(found["log_probabilities"][place], token)
        if "attention" in found:
            row["looked_at"] = _looked_at(found["attention"][place])
        if "tier_attention" in found and token != END:
            row["kept"] = round(float(found["tier_attention"][place]), 3)
        return row

    def _likeliest(self, log_probabilities: NDArray[np.float32], token: int) -> list[dict[str, Any]]:
        """The three likeliest tokens but the line's own; those that are the end or any unknown token say so."""
        order = np.argsort(-log_probabilities, kind="stable").tolist()
        others = [one for one in order[: _LIKELIEST + 3] if one not in (token, PAD, BEGIN)][:_LIKELIEST]
        return [
            {"text": self._tokenizer.name(one), "p": round(math.exp(log_probabilities[one]), 4), **self._special(one)}
            for one in others
        ]

    def _special(self, token: int) -> dict[str, bool]:
        if token == END:
            return {"end": True}
        unknown = token == UNKNOWN or len(SPECIAL) <= token < len(SPECIAL) + len(self._labels)
        return {"unknown": True} if unknown else {}


def _looked_at(weights: NDArray[np.float32]) -> list[dict[str, Any]]:
    order = np.argsort(-weights, kind="stable")[:_LOOKED_AT].tolist()
    return [{"position": one, "weight": round(float(weights[one]), 3)} for one in order if weights[one] >= _FAINT]
