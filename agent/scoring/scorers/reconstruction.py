"""The scorer of the sequence-autoencoder family: how badly a window's lines are reconstructed from its latent."""

import numpy as np
from numpy.typing import NDArray

from agent.bundle.manifest import Manifest
from agent.bundle.signature import check_lengths, graph_of
from agent.errors import BundleError
from agent.scoring.features import CYCLIC
from agent.scoring.model import ScoringModel
from agent.text.events import Events
from agent.text.templates import FILE as EVENTS
from agent.text.text_table import TextTable

SCORES = ("last", "window")
_BATCH = 256
GRAPH = "autoencoder"
_OUTPUTS = ("errors", "reconstruction", "latent")


class ReconstructionScorer:
    """Scores windows of features; a line's score is its own error in the window that ends with it, or the window's
    mean. Each window is computed anew: no two have the same times.
    """

    cut_lines = 0

    def __init__(self, model: ScoringModel, texts: TextTable | None = None, cache: bool = True) -> None:
        """`texts` and `cache` are not needed: every scorer is made alike."""
        self._model = model
        self._whole = model.manifest.settings["score"] == "window"
        self.embedded = model.manifest.settings["event"] == "embedding"
        assert model.events is not None
        self.events: Events = model.events

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
            [self._model.run(GRAPH, {"windows": np.ascontiguousarray(one)}, [output])[0] for one in parts]
        )

    def is_cut(self, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool [ids]: none, since no text is read."""
        return np.zeros(len(ids), bool)


def check_reconstruction(manifest: Manifest) -> None:
    """Whether the settings and the graph are those of the sequence autoencoder, and fit the window."""
    size, width = manifest.window.size, CYCLIC + 1
    if manifest.state or manifest.window.end:
        raise BundleError("the scorer reconstruction takes neither state nor window.end; export it again")
    for name, allowed in (("event", ("scaled", "embedding")), ("score", SCORES)):
        if manifest.settings.get(name) not in allowed:
            raise BundleError(f"the setting {name!r} must be one of {', '.join(allowed)}; export it again")
    graph = graph_of(manifest, GRAPH)
    if [(one.name, one.dtype) for one in graph.inputs] != [("windows", "float32")]:
        raise BundleError(f"the graph autoencoder takes {[one.name for one in graph.inputs]}, it must take windows")
    if [(one.name, one.dtype) for one in graph.outputs] != [(name, "float32") for name in _OUTPUTS]:
        raise BundleError(
            f"the graph autoencoder gives {[one.name for one in graph.outputs]}, it must give {', '.join(_OUTPUTS)}"
        )
    check_lengths(graph.inputs, [[size, width]], "autoencoder takes")
    check_lengths(graph.outputs[:2], [[size], [size, width]], "autoencoder gives")
    if EVENTS not in manifest.files:
        raise BundleError(f"the manifest lists no {EVENTS}; export it again")
