"""Why a line is surprising: each token's bits, what was likelier, and where the model looked."""

import math
from collections.abc import Container, Sequence
from typing import Any

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from agent.scoring.reasons import SurpriseReason
from agent.scoring.scorers.surprise import SurpriseScorer
from agent.scoring.words import LikelyToken, LookedAt, Token, words
from agent.text.tokenizers import BEGIN, END, PAD, SPECIAL, UNKNOWN, Tokenizer

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
    ) -> SurpriseReason:
        """The reason for a score: the words are the most surprising ones.

        `carried` tells whether the score depends on what the line's stream carried before it.
        """
        tokens, kind = self.tokens(text, before), self._tokenizer.kind
        left_out = max(0, len(self._tokenizer.split(text)) - self._tokenizer.max_tokens)
        whole = [token for token in tokens if not (left_out and token.end)]  # cut, it does not end there
        return SurpriseReason(
            surprise=score,
            threshold=limit,
            new_text=text not in self._known,
            unknown_words=self._tokenizer.unknown(text)[:10],
            bits=round(sum(token.bits for token in tokens), 3),
            carried=bool(before),
            words=sorted(words(whole, kind), key=lambda word: -word.bits)[:_MOST_WORDS],
            tokenizer=kind,
            tokens=tokens,
            tokens_left_out=left_out,
        )

    def tokens(self, text: str, before: Sequence[NDArray[Any]]) -> list[Token]:
        """Each token of a line, and its end where that is predicted."""
        found = self._scorer.all_outputs(text, before)
        pieces = self._tokenizer.split(text)[: self._tokenizer.max_tokens]
        ids = self._tokenizer.encode(text)
        if len(found["losses"]) > len(ids):
            pieces, ids = [*pieces, ""], [*ids, END]
        unknown = set(self._tokenizer.unknown(text))
        rows = enumerate(zip(pieces, ids, strict=True))
        return [self._token(found, position, piece, token, piece in unknown) for position, (piece, token) in rows]

    def _token(self, found: dict[str, NDArray[Any]], position: int, piece: str, token: int, unknown: bool) -> Token:
        is_end = token == END
        attention, tier = found.get("attention"), found.get("tier_attention")
        return Token(
            text=piece,
            field=self._labels[position] if self._labels and not is_end else UNSET,
            unknown=True if unknown and not is_end else UNSET,
            end=True if is_end else UNSET,
            bits=round(float(found["losses"][position]) / math.log(2), 3),
            expected=self._likeliest(found["log_probabilities"][position], token),
            looked_at=UNSET if attention is None else _looked_at(attention[position]),
            kept=UNSET if tier is None or is_end else round(float(tier[position]), 3),
        )

    def _likeliest(self, log_probabilities: NDArray[np.float32], token: int) -> list[LikelyToken]:
        """The three likeliest tokens but the line's own; those that are the end or any unknown token say so."""
        order = np.argsort(-log_probabilities, kind="stable").tolist()
        others = [one for one in order[: _LIKELIEST + 3] if one not in (token, PAD, BEGIN)][:_LIKELIEST]
        return [
            LikelyToken(
                text=self._tokenizer.name(one),
                p=round(math.exp(log_probabilities[one]), 4),
                end=True if one == END else UNSET,
                unknown=True if self._is_unknown(one) else UNSET,
            )
            for one in others
        ]

    def _is_unknown(self, token: int) -> bool:
        return token == UNKNOWN or len(SPECIAL) <= token < len(SPECIAL) + len(self._labels)


def _looked_at(weights: NDArray[np.float32]) -> list[LookedAt]:
    order = np.argsort(-weights, kind="stable")[:_LOOKED_AT].tolist()
    return [LookedAt(one, round(float(weights[one]), 3)) for one in order if weights[one] >= _FAINT]
