"""The scorers of the two-stage family: how far a line's vector is from what the lines before it predict."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agent.bundle.manifest import Manifest
from agent.bundle.signature import check_lengths, graph_of
from agent.errors import BundleError
from agent.scoring.model import ScoringModel
from agent.scoring.scorers.judges import Judge, by_codebook, by_distance
from agent.text.text_table import PADDING, TextTable
from agent.text.tokenizers import Tokenizer, is_cut, pad

Encode = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""Token ids int64 [batch, tokens] and lengths int64 [batch] -> vectors float32 [batch, width]."""
_BATCH = 256
_ENCODER = ([("ids", "int64"), ("lengths", "int64")], ["float32"])
_DETECTORS = {  # of each scorer: inputs by name and type, outputs by type
    "vectors": ([("windows", "float32")], ["float32"]),
    "codebook": ([("windows", "float32"), ("actual", "float32")], ["float32", "float32"]),
}


class VectorScorer:
    """Scores windows of text ids.

    Vectors of texts and scores of windows are remembered: a score depends on its window alone, whatever else is scored
    with it.
    """

    def __init__(
        self,
        encode: Encode,
        judge: Judge,
        tokenizer: Tokenizer,
        texts: TextTable,
        cache: bool = True,
        max_windows: int = 16384,
    ) -> None:
        self._encode, self._judge, self._tokenizer, self._texts = encode, judge, tokenizer, texts
        self._cache = cache
        self.cut_lines = 0
        self._max_windows = max_windows
        self._vectors = np.zeros((0, 0), np.float32)
        self._have = np.zeros(0, bool)
        self._cut = np.zeros(0, bool)
        self._young: dict[bytes, float] = {}
        self._old: dict[bytes, float] = {}
        texts.subscribe(self)

    def score(self, windows: NDArray[np.int32], features: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """float32 [lines]: the distance of the last line of each window from its prediction.

        windows   int32 [lines, size], text ids, 0 where there is no line
        features  float32 [lines, size, width], appended to the vectors, or None
        """
        scores = self._scores(windows, features)
        if self._cut.any():
            self.cut_lines += int(self._cut[windows[:, -1]].sum())
        return scores

    def _scores(self, windows: NDArray[np.int32], features: NDArray[np.float32] | None) -> NDArray[np.float32]:
        if features is not None or not self._cache:
            return self._compute(windows, features)
        keys = np.ascontiguousarray(windows).view(f"V{4 * windows.shape[1]}").ravel().tolist()
        found = list(map(self._young.get, keys))
        if None in found:
            self._fill(found, keys, windows)
        return np.array(found, np.float32)

    def _fill(self, found: list[float | None], keys: list[bytes], windows: NDArray[np.int32]) -> None:
        missing: dict[bytes, int] = {}
        for index, score in enumerate(found):
            if score is None and (old := self._old.get(keys[index])) is not None:
                found[index] = old
            elif score is None:
                missing.setdefault(keys[index], index)
        if missing:
            computed = self._compute(windows[list(missing.values())], None)
            new = dict(zip(missing, computed.tolist(), strict=True))
            for index, score in enumerate(found):
                if score is None:
                    found[index] = new[keys[index]]
            if len(self._young) + len(new) > self._max_windows // 2:
                self._old, self._young = self._young, {}
            self._young.update(new)

    def _compute(self, windows: NDArray[np.int32], features: NDArray[np.float32] | None) -> NDArray[np.float32]:
        scores = np.empty(len(windows), np.float32)
        for start in range(0, len(windows), _BATCH):
            part = slice(start, start + _BATCH)
            rows = self._rows(windows[part], None if features is None else features[part])
            scores[part] = self._judge(*_apart(rows))[0]
        return scores

    def _rows(self, windows: NDArray[np.int32], features: NDArray[np.float32] | None) -> NDArray[np.float32]:
        vectors = self.vectors(windows.ravel()).reshape(*windows.shape, -1)
        if features is None:
            return vectors
        return np.concatenate([vectors, np.where(windows[..., None] == PADDING, 0, features)], axis=2, dtype=np.float32)

    def expected(self, window: NDArray[np.int32], features: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """float32 [width]: the vector expected where the window's last line stands, features left out."""
        rows = self._rows(window[None], None if features is None else features[None])
        return self._judge(*_apart(rows))[1][0, : self._vectors.shape[1]]

    def vectors(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [ids, width]: the vectors of texts; zeros for 0."""
        unique = np.unique(ids)
        unique = unique[unique != PADDING]
        if not self._cache:
            self._have[:] = False
        self._reserve(int(ids.max(initial=0)) + 1)
        missing = unique[~self._have[unique]]
        if len(missing):
            texts = [self._texts[text_id] for text_id in missing.tolist()]
            encoded = self._encode_texts(texts)
            self._cut[missing] = [is_cut(self._tokenizer, text) for text in texts]
            self._widen(encoded.shape[1])
            self._vectors[missing] = encoded
            self._have[missing] = True
        elif not self._vectors.shape[1]:
            self._widen(self._encode_texts([""]).shape[1])
        return self._vectors[ids]

    def _encode_texts(self, texts: list[str]) -> NDArray[np.float32]:
        return self.encode_tokens([self._tokenizer.encode(text) for text in texts])

    def encode_tokens(self, sequences: list[list[int]]) -> NDArray[np.float32]:
        """float32 [texts, width]: the vectors of token sequences, those of like length together."""
        order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
        parts = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
        encoded = [self._encode(*pad([sequences[index] for index in part])) for part in parts]
        vectors = np.concatenate(encoded)
        vectors[order] = vectors.copy()
        return vectors

    def _reserve(self, size: int) -> None:
        if size > len(self._have):
            more = max(size, 2 * len(self._have)) - len(self._have)
            self._have = np.concatenate([self._have, np.zeros(more, bool)])
            self._cut = np.concatenate([self._cut, np.zeros(more, bool)])
            self._vectors = np.concatenate([self._vectors, np.zeros((more, self._vectors.shape[1]), np.float32)])

    def _widen(self, width: int) -> None:
        if self._vectors.shape[1] != width:
            self._vectors = np.zeros((len(self._have), width), np.float32)

    def is_cut(self, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool [ids]: which of the texts of lines that were just scored have more tokens than the model reads."""
        return self._cut[ids]

    def renumber(self, moved: NDArray[np.int32]) -> None:
        """Follows the table: vectors and scores of the texts that stay are computed anew when needed."""
        self._have, self._cut = np.zeros(0, bool), np.zeros(0, bool)
        self._vectors = np.zeros((0, self._vectors.shape[1]), np.float32)
        self._young, self._old = {}, {}


def _apart(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Windows [batch, lines, width] as those without their last lines, and the last lines."""
    return np.ascontiguousarray(rows[:, :-1]), np.ascontiguousarray(rows[:, -1])


def distance_scorer(model: ScoringModel, texts: TextTable, cache: bool) -> VectorScorer:
    """The distance from one predicted vector."""
    judge = by_distance(
        lambda windows: model.run("detector", {"windows": windows})[0], model.manifest.settings["distance"]
    )
    return VectorScorer(_encoder(model), judge, model.tokenizer, texts, cache)


def codebook_scorer(model: ScoringModel, texts: TextTable, cache: bool) -> VectorScorer:
    """The surprise at a vector among predicted ones."""
    judge = by_codebook(
        lambda windows, actual: model.run("detector", {"windows": windows, "actual": actual}),
        model.manifest.settings["width"],
    )
    return VectorScorer(_encoder(model), judge, model.tokenizer, texts, cache)


def _encoder(model: ScoringModel) -> Encode:
    return lambda ids, lengths: model.run("encoder", {"ids": ids, "lengths": lengths})[0]


def check_vectors(manifest: Manifest) -> None:
    """Whether the settings and graphs are those of the scorer, and fit each other and the window."""
    settings = manifest.settings
    if manifest.window.size < 2:
        raise BundleError(f"window.size: {manifest.window.size} is too small; the least is 2")
    if manifest.state:
        raise BundleError(f"the scorer {manifest.scorer} carries no state, the manifest has one; export it again")
    for name, kind in (("distance", str), ("time_of_day", bool), ("width", int)):
        if not isinstance(settings.get(name), kind):
            raise BundleError(f"the manifest lacks the setting {name!r} or its value is wrong; export it again")
    for name, expected in (("encoder", _ENCODER), ("detector", _DETECTORS[manifest.scorer])):
        graph = graph_of(manifest, name)
        found = [(tensor.name, tensor.dtype) for tensor in graph.inputs], [tensor.dtype for tensor in graph.outputs]
        if found != expected:
            raise BundleError(f"the graph {name} has the tensors {found}, it needs {expected}; export it again")
    detector, vector = manifest.graphs["detector"], settings["width"]
    seen = vector + 2 * settings["time_of_day"]
    windows, scored = [manifest.window.size - 1, seen], manifest.scorer == "vectors"
    check_lengths(manifest.graphs["encoder"].outputs, [[vector]], "encoder gives")
    check_lengths(detector.inputs, [windows] if scored else [windows, [vector]], "detector takes")
    check_lengths(detector.outputs, [[seen]] if scored else [[], [vector]], "detector gives")
