"""The scorer of the language models: how surprising a line's tokens are, each after those before it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.bundle.manifest import Manifest
from agent.bundle.signature import graph_of
from agent.errors import BundleError
from agent.scoring.model import ScoringModel
from agent.text.text_table import TextTable
from agent.text.tokenizers import is_cut, pad

REDUCTIONS = ("mean", "max", "sum")
_VALUES = 1 << 20  # of a batch's log_probabilities, at most
_MOST_LINES = 256
_STEP = 8  # lines are padded to a multiple of this, so that the shape of a line's input depends on it alone


class SurpriseScorer:
    """Scores single lines by the negative log likelihood of their tokens, in nats.

    A model that carries no state gives a text the same score wherever it stands, so scores are remembered by text id.
    """

    def __init__(self, model: ScoringModel, texts: TextTable, cache: bool = True) -> None:
        graph = model.manifest.graphs["model"]
        self._run, self._tokenizer, self._texts, self._cache = model.run, model.tokenizer, texts, cache
        self._reduce = model.manifest.settings["reduce"]
        self._state = [tensor.name for tensor in model.manifest.state]
        self.outputs = [tensor.name for tensor in graph.outputs]
        self._tokens: dict[int, tuple[NDArray[np.int32], bool]] = {}
        self._scores = np.zeros(0, np.float32)
        self._cut = np.zeros(0, bool)
        self.cut_lines = 0
        texts.subscribe(self)

    def score(self, windows: NDArray[np.int32], features: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """float32 [lines]: the scores of the last line of each window, int32 [lines, size], text ids."""
        ids = windows[:, -1]
        self._reserve(int(ids.max(initial=0)) + 1)
        if not self._cache:
            self._scores[:] = np.nan
        unique = np.unique(ids)
        missing = unique[np.isnan(self._scores[unique])]
        if len(missing):
            sequences = [self._encode(text_id) for text_id in missing.tolist()]
            self._scores[missing] = self._compute([tokens for tokens, _ in sequences], [])[0]
            self._cut[missing] = [cut for _, cut in sequences]
        self.cut_lines += int(self._cut[ids].sum())
        return self._scores[ids]

    def advance(
        self, ids: NDArray[np.int32], slots: NDArray[np.int64], carried: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float32], list[NDArray[Any]]]:
        """Scores lines in order, of streams whose states are the rows `slots` of `carried`, which go on.

        float32 [lines], and what each line's stream carried before it.
        """
        scores = np.empty(len(ids), np.float32)
        before = [np.empty((len(ids), *one.shape[1:]), one.dtype) for one in carried]
        self._reserve(int(ids.max(initial=0)) + 1)
        for rows in _rounds(slots):
            indices = slots[rows]
            for kept, one in zip(before, carried, strict=True):
                kept[rows] = one[indices]
            lines = [self._remembered(text_id) for text_id in ids[rows].tolist()]
            self._cut[ids[rows]] = [cut for _, cut in lines]
            self.cut_lines += sum(cut for _, cut in lines)
            scores[rows], states = self._compute([tokens for tokens, _ in lines], [kept[rows] for kept in before])
            for one, state in zip(carried, states, strict=True):
                one[indices] = state
        return scores, before

    def all_outputs(self, text: str, before: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every output of the model for one line, by name; before: what its stream carried, one row each."""
        ids, lengths = pad([self._tokenizer.encode(text)])
        states = dict(zip(self._state, (one[None] for one in before), strict=True))
        found = dict(zip(self.outputs, self._run("model", {"ids": ids, "lengths": lengths} | states), strict=True))
        return {name: values[0] for name, values in found.items()}

    def output(self, name: str, texts: Sequence[str], before: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """One output of the model for lines that have as many tokens each.

        before: what their streams carried, a row each.
        """
        ids, lengths = pad([self._tokenizer.encode(text) for text in texts])
        states = dict(zip(self._state, before, strict=True))
        return self._run("model", {"ids": ids, "lengths": lengths} | states, [name])[0]

    def is_cut(self, ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool [ids]: which of the texts of lines that were just scored have more tokens than the model reads."""
        return self._cut[ids]

    def renumber(self, moved: NDArray[np.int32]) -> None:
        """Follows the table: what is remembered by text id is computed anew when needed."""
        self._tokens, self._scores, self._cut = {}, np.zeros(0, np.float32), np.zeros(0, bool)

    def _reserve(self, size: int) -> None:
        more = max(size, 2 * len(self._scores)) - len(self._scores)
        if size > len(self._scores):
            self._scores = np.concatenate([self._scores, np.full(more, np.nan, np.float32)])
            self._cut = np.concatenate([self._cut, np.zeros(more, bool)])

    def _remembered(self, text_id: int) -> tuple[NDArray[np.int32], bool]:
        if not self._cache:
            return self._encode(text_id)
        tokens = self._tokens.get(text_id)
        if tokens is None:
            tokens = self._tokens[text_id] = self._encode(text_id)
        return tokens

    def _encode(self, text_id: int) -> tuple[NDArray[np.int32], bool]:
        """The tokens of a text, and whether it has more than the model reads."""
        text = self._texts[text_id]
        tokens = self._tokenizer.encode(text)
        cut = len(tokens) == self._tokenizer.max_tokens and is_cut(self._tokenizer, text)
        return np.array(tokens, np.int32), cut

    def _compute(
        self, sequences: list[NDArray[np.int32]], states: Sequence[NDArray[Any]]
    ) -> tuple[NDArray[np.float32], list[NDArray[Any]]]:
        """The scores of token sequences and the states after them; those of one padded length are run together."""
        lengths = np.array([len(sequence) for sequence in sequences], np.int64)
        padded = np.minimum(-(-lengths // _STEP) * _STEP, self._tokenizer.max_tokens)
        scores, after = np.empty(len(sequences), np.float32), [np.empty_like(state) for state in states]
        for width in np.unique(padded).tolist():
            rows = np.flatnonzero(padded == width)
            most = max(1, min(_MOST_LINES, _VALUES // ((width + 1) * len(self._tokenizer))))
            for start in range(0, len(rows), most):
                part = rows[start : start + most]
                ids = np.zeros((len(part), width), np.int64)
                for row, index in zip(ids, part.tolist(), strict=True):
                    row[: lengths[index]] = sequences[index]
                scores[part] = self._batch(ids, lengths[part], [state[part] for state in states], after, part)
        return scores, after

    def _batch(
        self,
        ids: NDArray[np.int64],
        lengths: NDArray[np.int64],
        states: Sequence[NDArray[Any]],
        after: Sequence[NDArray[Any]],
        part: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """The scores of one run of the graph; the new states go into `after`.

        A line alone is run twice over: onnxruntime multiplies one row by another rule than several, so that its last
        bits would depend on whether other lines came with it.
        """
        names = ["losses", *(f"next_{name}" for name in self._state)]
        inputs = {"ids": ids, "lengths": lengths} | dict(zip(self._state, states, strict=True))
        if len(ids) == 1:
            inputs = {name: np.repeat(value, 2, axis=0) for name, value in inputs.items()}
        losses, *new = (output[: len(ids)] for output in self._run("model", inputs, names))
        for one, state in zip(after, new, strict=True):
            one[part] = state
        return reduce(losses, lengths + (losses.shape[1] - ids.shape[1]), self._reduce)


def reduce(losses: NDArray[np.float32], counts: NDArray[np.int64], how: str) -> NDArray[np.float32]:
    """float32 [lines]: mean, max or sum of the first `counts` of each row of losses.

    Sums run from left to right in 64 bits, so that padding changes nothing.
    """
    last = (np.arange(len(losses)), counts - 1)
    if how == "max":
        return np.maximum.accumulate(losses, axis=1)[last]
    sums = np.cumsum(losses, axis=1, dtype=np.float64)[last]
    return (sums if how == "sum" else sums / counts).astype(np.float32)


def _rounds(slots: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The places of lines, first those that are the first of their streams, then the second ones, and so on."""
    order = np.argsort(slots, kind="stable")
    _, first, counts = np.unique(slots[order], return_index=True, return_counts=True)
    rank = np.empty(len(slots), np.int64)
    rank[order] = np.arange(len(slots)) - np.repeat(first, counts)
    by_rank = np.argsort(rank, kind="stable")
    return np.split(by_rank, np.cumsum(np.bincount(rank))[:-1]) if len(slots) else []


def check_surprise(manifest: Manifest) -> None:
    """Whether the settings, the graph and the carried state are those of a language model."""
    if manifest.window.size != 1:
        raise BundleError(f"window.size: {manifest.window.size} does not go with the scorer surprise, which takes 1")
    if manifest.settings.get("reduce") not in REDUCTIONS:
        raise BundleError(f"the setting 'reduce' must be one of {', '.join(REDUCTIONS)}; export it again")
    graph = graph_of(manifest, "model")
    carried = [(tensor.name, tensor.dtype, tensor.axes) for tensor in manifest.state]
    inputs = [(tensor.name, tensor.dtype, tensor.axes) for tensor in graph.inputs]
    if inputs != [("ids", "int64", ["batch", "tokens"]), ("lengths", "int64", ["batch"]), *carried]:
        raise BundleError(f"the graph model takes {[name for name, _, _ in inputs]}; with its state that cannot be")
    outputs = {tensor.name: (tensor.dtype, len(tensor.axes)) for tensor in graph.outputs}
    needed = {"losses": ("float32", 2), "log_probabilities": ("float32", 3)}
    needed |= {f"next_{name}": (dtype, len(axes)) for name, dtype, axes in carried}
    for name, kind in needed.items():
        if outputs.get(name) != kind:
            raise BundleError(f"the graph model needs an output {name} of the type and rank {kind}; export it again")
    for tensor in manifest.state:
        if tensor.axes[:1] != ["batch"] or not all(isinstance(axis, int) for axis in tensor.axes[1:]):
            raise BundleError(f"state: {tensor.name} has the axes {tensor.axes}; all but the first must be fixed")
