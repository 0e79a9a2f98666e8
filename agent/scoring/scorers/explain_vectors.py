"""Why a line is anomalous, by texts: was it ever seen, what known text is nearest, what was expected instead."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.bundle.known_texts import Known
from agent.scoring.reasons import DistanceReason, KnownText
from agent.scoring.scorers.vectors import VectorScorer
from agent.text.tokenizers import PAD, Tokenizer

_TIGHT = re.compile(r" ([,.:;)\]}?!%'/@=])|([(\[{'/@=]) |(?<=\w) (\()(?=\w)")


class VectorExplainer:
    """Explains distances by the known texts, whose vectors are computed at the first call."""

    def __init__(self, scorer: VectorScorer, tokenizer: Tokenizer, known: Known) -> None:
        self._scorer, self._tokenizer, self._known = scorer, tokenizer, known
        self._vectors: NDArray[np.float32] | None = None

    def reason(
        self,
        text: str,
        window: NDArray[np.int32],
        features: NDArray[np.float32] | None,
        before: Sequence[NDArray[Any]],
        score: float,
        limit: float,
    ) -> DistanceReason:
        """The reason for a score. window int32 [size], features float32 [size, width] or None."""
        new = text not in self._known
        nearest, expected = self._nearest(window, features, new)
        return DistanceReason(
            distance=score,
            threshold=limit,
            new_text=new,
            unknown_words=self._tokenizer.unknown(text)[:10],
            nearest=nearest,
            expected=expected,
        )

    def _nearest(
        self, window: NDArray[np.int32], features: NDArray[np.float32] | None, new: bool
    ) -> tuple[KnownText | None, KnownText | None]:
        if not len(self._known.tokens):
            return None, None
        expected = self._scorer.expected(window, features)
        own = self._scorer.vectors(window[-1:])[0]
        return self._closest(own) if new else None, self._closest(expected)

    def _closest(self, vector: NDArray[np.float32]) -> KnownText:
        if self._vectors is None:
            self._vectors = self._scorer.encode_tokens([row[row != PAD].tolist() for row in self._known.tokens])
        distances = np.sqrt(np.square(self._vectors - vector).sum(axis=1))
        best = int(distances.argmin())
        return KnownText(self._text(self._known.tokens[best]), float(distances[best]))

    def _text(self, tokens: NDArray[np.int64]) -> str:
        text = self._tokenizer.decode(tokens[tokens != PAD].tolist())
        if self._tokenizer.kind != "word":
            return text
        return _TIGHT.sub(lambda match: match[1] or match[2] or match[3], text)
