"""The scorer of the sequence-autoencoder family: how badly a window's lines are reconstructed from its latent."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.bundle.bundle import Bundle
from agent.text.events import Events

SCORES = ("last", "window")
_BATCH = 256
GRAPH = "autoencoder"


class ReconstructionScorer:
    """Scores windows of features; a line's score is its own error in the window that ends with it, or the window's
    mean. Each window is computed anew: no two have the same times.
    """

    cut_lines = 0

    def __init__(self, bundle: Bundle, texts: Any = None, cache: bool = True) -> None:
        self._bundle = bundle
        self._whole = bundle.manifest.settings["score"] == "window"
        self.embedded = bundle.manifest.settings["event"] == "embedding"
        assert bundle.events is not None
        self.events: Events = bundle.events

    def score(self, windows: NDArray[np.int32], features: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """float32 [lines]: the errors of the last lines of windows, of features float32 [lines, size, 9]."""
        if not len(windows):  # onnxruntime 1.31 ends the process where an LSTM is given an empty batch
            return np.zeros(0, np.float32)
        errors = self.errors(features)
        return errors.mean(axis=1, dtype=np.float64).astype(np.float32) if self._whole else errors[:, -1]

    def errors(self, features: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """float32 [lines, size]: the error of each line of each window."""
        return self._run("errors", features)

    def latent(self, windows: NDArray[np.int32], features: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """float32 [lines, latent]: what the windows are reconstructed from."""
        return self._run("latent", features)

    def reconstruction(self, features: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """float32 [lines, size, 9]: the features that were expected."""
        return self._run("reconstruction", features)

    def _run(self, output: str, features: NDArray[np.float32] | None) -> NDArray[np.float32]:
        assert features is not None
        parts = [features[start : start + _BATCH] for start in range(0, len(features), _BATCH)]
        return np.concatenate(
            [self._bundle.run(GRAPH, [output], windows=np.ascontiguousarray(one))[0] for one in parts]
        )

    def is_cut(self, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool [ids]: none, since no text is read."""
        return np.zeros(len(ids), bool)

    def renumber(self, moved: NDArray[np.int32]) -> None:
        """Nothing here depends on text ids."""
