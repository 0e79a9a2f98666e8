"""Why a line is anomalous to the sequence autoencoder: its event, its time, or both, and what was expected instead."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.bundle.known_texts import Known
from agent.scoring.features import CYCLIC
from agent.scoring.reasons import KnownEvent, ReconstructionReason
from agent.scoring.scorers.reconstruction import ReconstructionScorer
from agent.text.events import FIRST
from agent.text.tokenizers import Tokenizer

_EXACT = 1e7  # an id up to this is exact in a feature, a float32


class ReconstructionExplainer:
    """Explains errors by the features that were expected."""

    def __init__(self, scorer: ReconstructionScorer, tokenizer: Tokenizer, known: Known) -> None:
        self._scorer, self._tokenizer, self._known = scorer, tokenizer, known

    def reason(
        self,
        text: str,
        window: NDArray[np.int32],
        features: NDArray[np.float32] | None,
        before: Sequence[NDArray[Any]],
        score: float,
        limit: float,
    ) -> ReconstructionReason:
        """The reason for a score. window int32 [size], features float32 [size, 9]."""
        assert features is not None
        errors = self._scorer.errors(features[None])[0]
        expected = self._scorer.reconstruction(features[None])[0, -1]
        event, likely = self._event(float(features[-1, CYCLIC])), self._event(float(expected[CYCLIC]), nearest=True)
        squares = float(np.square(expected[:CYCLIC] - features[-1, :CYCLIC], dtype=np.float64).sum())
        total = float(errors[-1]) * features.shape[1]
        return ReconstructionReason(
            error=score,
            threshold=limit,
            new_text=text not in self._known,
            unknown_words=self._tokenizer.unknown(text)[:10],
            event=event,
            expected=None if likely.text == event.text else likely,
            time=min(1.0, squares / total) if total > 0 else 0.0,
            errors=[float(f"{error:.4g}") for error in errors.tolist()],
        )

    def _event(self, feature: float, nearest: bool = False) -> KnownEvent:
        """An event by its feature: its text, and whether training saw it; or the nearest that it saw."""
        events = self._scorer.events
        if self._scorer.embedded:
            index = round(feature) - FIRST
            known = 0 <= index < len(events.known)
            return KnownEvent(events.name(events.known[index]) if known else "", not known)
        event = events.unscaled(feature)
        closest = float(events.known[np.abs(events.known - event).argmin()])
        if nearest or abs(closest - event) <= max(0.01, 1e-6 * abs(event)):
            return KnownEvent(events.name(closest), unseen=False)
        is_exact = feature <= 0 or event <= _EXACT
        return KnownEvent(events.name(event) if is_exact and events.numbered and event >= 0 else "", unseen=True)
