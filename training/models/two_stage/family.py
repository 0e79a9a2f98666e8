"""What the two-stage family offers to the training, the export and the agent: see training.models.base.Family."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agent.bundle import manifest
from agent.scoring.features import TimeOfDay
from agent.text.tokenizers import PAD
from training.data.windows import Windows
from training.models.base import GraphSpec, Stage, TrainingData
from training.models.examples import TextExamples, token_tensors
from training.models.two_stage.config import TwoStageRunConfig
from training.models.two_stage.networks import (
    CodebookDetector,
    CodebookLoss,
    RegressionLoss,
    TextAutoencoder,
    TextDecoder,
    TextEncoder,
    TwoStage,
)

CONFIG: type[TwoStageRunConfig] = TwoStageRunConfig
_TEXTS_AT_ONCE = 1024


def build(config: TwoStageRunConfig, vocabulary: int) -> TwoStage:
    """A new model for this many tokens."""
    return TwoStage(config, vocabulary)


class VectorWindows:
    """Windows of a corpus as examples of stage 2."""

    def __init__(self, windows: Windows, vectors: NDArray[np.float32]) -> None:
        self._windows, self._vectors = windows, vectors

    def __len__(self) -> int:
        return len(self._windows)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Windows float32 [B, W, Z]; zeros where there is no line."""
        ids, numbers = self._windows.ids(rows), self._windows.numbers(rows)
        vectors = self._vectors[ids]
        if numbers is not None:
            vectors = np.concatenate([vectors, TimeOfDay().of(numbers, ids)], axis=2)
        return (torch.from_numpy(vectors),)


def stages(config: TwoStageRunConfig, model: TwoStage, data: TrainingData) -> Iterator[Stage]:
    """First the autoencoder, then the detector on windows of the finished encoder's vectors.

    The autoencoder sees single texts, each distinct one equally often.
    """
    decoder = TextDecoder(config.encoder, model.encoder.embedding.num_embeddings)
    distinct = np.resize(np.unique(data.train.ids), len(data.train))  # a rare line needs a good vector too
    lines = TextExamples(data, distinct, np.ones(len(distinct), np.int64))
    held_out = TextExamples(data, *np.unique(data.validation.ids, return_counts=True))
    yield Stage("encoder", TextAutoencoder(model.encoder, decoder), config.encoder, lines, held_out)
    vectors = encode_texts(model.encoder, data)
    window = config.score_window()
    train, validation = (
        VectorWindows(Windows(corpus, window.size, window.pad, window.end), vectors)
        for corpus in (data.train, data.validation)
    )
    module: nn.Module
    if isinstance(model.detector, CodebookDetector):
        model.detector.set_codes(torch.from_numpy(_codes(config, data, vectors)))
        module = CodebookLoss(model.detector)
    else:
        module = RegressionLoss(model.detector)
    yield Stage("detector", module, config.detector, train, validation)


def _codes(config: TwoStageRunConfig, data: TrainingData, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [codes, Z]: the distinct vectors of the most frequent training texts; no line's first, if ends count."""
    texts, counts = np.unique(data.train.ids, return_counts=True)
    frequent = texts[np.argsort(-counts, kind="stable")]
    distinct = {data.tokens[text].tobytes(): text for text in frequent[::-1]}
    chosen = [text for text in frequent if distinct[data.tokens[text].tobytes()] == text]
    nothing = [0] if config.score_window().end else []
    codes: NDArray[np.float32] = vectors[np.array(nothing + chosen)[: config.detector.max_codes]]
    return codes


@torch.no_grad()
def encode_texts(encoder: TextEncoder, data: TrainingData) -> NDArray[np.float32]:
    """float32 [texts, Z]: the vector of every text; zeros for no line."""
    device = encoder.dense.weight.device
    encoder.eval()
    vectors = np.zeros((len(data.lengths), encoder.dense.out_features), np.float32)
    order = np.argsort(data.lengths[1:], kind="stable") + 1
    for start in range(0, len(order), _TEXTS_AT_ONCE):
        part = order[start : start + _TEXTS_AT_ONCE]
        ids, lengths = token_tensors(data, part)
        vectors[part] = encoder(ids.to(device), lengths.to(device)).cpu().numpy()
    return vectors


def graphs(config: TwoStageRunConfig, model: TwoStage) -> list[GraphSpec]:
    """The encoder: token ids -> vectors; the detector: windows of vectors -> the predicted ones, or scores."""
    most = config.tokenizer.tokens_per_line()
    vocabulary = model.encoder.embedding.num_embeddings

    def texts(batch: int, length: int, draw: np.random.Generator) -> dict[str, NDArray[Any]]:
        lengths = draw.integers(1, length + 1, batch)
        lengths[0] = length
        ids = draw.integers(1, vocabulary, (batch, length))
        return {"ids": np.where(np.arange(length) < lengths[:, None], ids, PAD), "lengths": lengths}

    tensor = manifest.Tensor
    inputs = [tensor("ids", "int64", ["batch", "tokens"]), tensor("lengths", "int64", ["batch"])]
    vectors = [tensor("vectors", "float32", ["batch", config.encoder.vector])]
    lengths = tuple(sorted({min(length, most) for length in (1, 3, 17, most)}))
    return [GraphSpec("encoder", model.encoder, inputs, vectors, texts, lengths), _detector_graph(config, model)]


def _detector_graph(config: TwoStageRunConfig, model: TwoStage) -> GraphSpec:
    width, lines, vector = config.width(), config.window.size - 1, config.encoder.vector
    tensor = manifest.Tensor

    def windows(batch: int, length: int, draw: np.random.Generator) -> dict[str, NDArray[Any]]:
        before = draw.normal(size=(batch, length, width)) / vector**0.5
        actual = draw.normal(size=(batch, vector)) / vector**0.5
        both = {"windows": before.astype(np.float32), "actual": actual.astype(np.float32)}
        return {one.name: both[one.name] for one in inputs}

    inputs = [tensor("windows", "float32", ["batch", lines, width])]
    if config.detector.head == "codebook":
        inputs.append(tensor("actual", "float32", ["batch", vector]))
        outputs = [tensor("scores", "float32", ["batch"]), tensor("expected", "float32", ["batch", vector])]
    else:
        outputs = [tensor("predicted", "float32", ["batch", width])]
    return GraphSpec("detector", model.detector, inputs, outputs, windows, (lines,))


def scorer(config: TwoStageRunConfig) -> str:
    """The agent's scorer of the model."""
    return "codebook" if config.detector.head == "codebook" else "vectors"


def state(config: TwoStageRunConfig) -> list[manifest.Tensor]:
    """Nothing is carried from line to line but the window."""
    return []


def settings(config: TwoStageRunConfig) -> dict[str, Any]:
    """The scorer's settings: the distance, whether vectors carry the time of day, and the width of a line's vector."""
    return {"distance": config.distance, "time_of_day": config.time_of_day, "width": config.encoder.vector}
