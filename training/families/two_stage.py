"""The two-stage family: a text autoencoder gives every line a vector, a detector predicts a line's vector from those before it.

After DeepSentry: stage 1 learns on single lines and keeps the encoder alone; stage 2 learns to predict the last vector of a
window. A line's score is the distance of its vector from the predicted one.
"""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from agent import bundle
from agent.headers import time_features
from agent.tokenizer import BEGIN, PAD
from training.config import Positive, RunConfig, StageConfig
from training.contracts import Data, GraphSpec, Stage
from training.corpus import Windows
from training.layers import Lstm

SCORER = "vectors"
_TEXTS_AT_ONCE = 1024


class EncoderConfig(StageConfig, forbid_unknown_fields=True):
    """Stage 1: widths of the word embedding, of the LSTM's state (each way) and of a line's vector; dropout in training."""

    embedding: Positive = 64
    hidden: Positive = 64
    vector: Positive = 128
    dropout: float = 0.2


class DetectorConfig(StageConfig, forbid_unknown_fields=True):
    """Stage 2: the width of the LSTM's state, each way."""

    hidden: Positive = 64


class Config(RunConfig, forbid_unknown_fields=True):
    """The configuration of the family. time_of_day: the detector sees cosine and sine of each line's second of the day."""

    encoder: EncoderConfig = msgspec.field(default_factory=EncoderConfig)
    detector: DetectorConfig = msgspec.field(default_factory=DetectorConfig)
    distance: Literal["euclidean", "manhattan", "cosine"] = "euclidean"
    time_of_day: bool = False

    def width(self) -> int:
        """Of what the detector sees of a line."""
        return self.encoder.vector + 2 * self.time_of_day


class TextEncoder(nn.Module):
    """Token ids -> a line's vector: embedding, BiLSTM, and a linear layer over both final states."""

    def __init__(self, config: EncoderConfig, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, config.embedding, padding_idx=PAD)
        self.lstm = Lstm(config.embedding, config.hidden, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(2 * config.hidden, config.vector)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """ids int64 [B, T], lengths int64 [B] -> [B, Z]."""
        _, states = self.lstm(self.dropout(self.embedding(ids)), lengths)
        return self.dense(self.dropout(states.flatten(1)))


class TextDecoder(nn.Module):
    """A line's vector, repeated, and the words before -> the logits of each word."""

    def __init__(self, config: EncoderConfig, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, config.embedding, padding_idx=PAD)
        self.lstm = Lstm(config.embedding + config.vector, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(config.hidden, vocabulary)

    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """vectors [B, Z], the true ids int64 [B, T] (teacher forcing) -> [B, T, V]."""
        before = nn.functional.pad(ids[:, :-1], (1, 0), value=BEGIN)
        repeated = vectors[:, None].expand(-1, ids.shape[1], -1)
        outputs, _ = self.lstm(torch.cat([self.dropout(self.embedding(before)), repeated], dim=2))
        return self.dense(self.dropout(outputs))


class Autoencoder(nn.Module):
    """Stage 1: the encoder with a decoder that is thrown away after it."""

    def __init__(self, encoder: TextEncoder, decoder: TextDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, ids: Tensor, lengths: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Texts and how often each occurs, float32 [B] -> the sums of the cross entropy and of the number of real tokens."""
        logits = self.decoder(self.encoder(ids, lengths), ids)
        losses = cross_entropy(logits.transpose(1, 2), ids, ignore_index=PAD, reduction="none")
        return (losses.sum(1) * weights).sum(), (lengths * weights).sum()


class Detector(nn.Module):
    """The vectors of the lines before -> the vector of the next: BiLSTM, and a linear layer over both final states."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = Lstm(width, hidden, bidirectional=True)
        self.dense = nn.Linear(2 * hidden, width)

    def forward(self, windows: Tensor) -> Tensor:
        """[B, W - 1, Z] -> [B, Z]."""
        _, states = self.lstm(windows)
        return self.dense(states.flatten(1))


class Regression(nn.Module):
    """Stage 2: the detector under the squared error of the window's last vector."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Whole windows [B, W, Z] -> the sum of the mean squared errors and the number of windows."""
        errors = (self.detector(windows[:, :-1]) - windows[:, -1]).square().mean(1)
        return errors.sum(), torch.ones_like(errors).sum()


class TwoStage(nn.Module):
    """What is kept of the training."""

    def __init__(self, config: Config, vocabulary: int) -> None:
        super().__init__()
        self.encoder = TextEncoder(config.encoder, vocabulary)
        self.detector = Detector(config.width(), config.detector.hidden)


def build(config: Config, vocabulary: int) -> TwoStage:
    """A new model for this many words."""
    return TwoStage(config, vocabulary)


class TextExamples:
    """Texts as examples of stage 1, each with a weight; a batch holds an equal text once, with the sum of its weights."""

    def __init__(self, data: Data, texts: NDArray[np.int32], weights: NDArray[np.int64]) -> None:
        self._tokens, self._lengths = data.tokens, data.lengths
        self._texts, self._weights = texts, weights

    def __len__(self) -> int:
        return len(self._texts)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """ids int64 [B, T], lengths int64 [B], weights float32 [B]."""
        texts, inverse = np.unique(self._texts[rows], return_inverse=True)
        weights = np.bincount(inverse, self._weights[rows]).astype(np.float32)
        ids, lengths = _texts(self._tokens, self._lengths, texts)
        return ids, lengths, torch.from_numpy(weights)


class WindowExamples:
    """Windows of a corpus as examples of stage 2."""

    def __init__(self, windows: Windows, vectors: NDArray[np.float32]) -> None:
        self._windows, self._vectors = windows, vectors

    def __len__(self) -> int:
        return len(self._windows)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Windows float32 [B, W, Z]; zeros where there is no line."""
        vectors = self._vectors[self._windows.ids(rows)]
        seconds = self._windows.seconds(rows)
        if seconds is not None:
            features = time_features(seconds.ravel()).reshape(*seconds.shape, 2)
            vectors = np.concatenate([vectors, features], axis=2)
        return (torch.from_numpy(vectors),)


def stages(config: Config, model: TwoStage, data: Data) -> Iterator[Stage]:
    """First the autoencoder on single lines, then the detector on windows of the finished encoder's vectors."""
    decoder = TextDecoder(config.encoder, model.encoder.embedding.num_embeddings)
    lines = TextExamples(data, data.train.ids, np.ones(len(data.train), np.int64))
    held_out = TextExamples(data, *np.unique(data.validation.ids, return_counts=True))
    yield Stage("encoder", Autoencoder(model.encoder, decoder), config.encoder, lines, held_out)
    vectors = encode_texts(model.encoder, data)
    window = config.lines()
    train, validation = (
        WindowExamples(Windows(corpus, window.size, window.pad, window.end), vectors)
        for corpus in (data.train, data.validation)
    )
    yield Stage("detector", Regression(model.detector), config.detector, train, validation)


def _texts(tokens: NDArray[np.int32], lengths: NDArray[np.int64], texts: NDArray) -> tuple[Tensor, Tensor]:
    longest = int(lengths[texts].max(initial=1))
    return torch.from_numpy(tokens[texts, :longest].astype(np.int64)), torch.from_numpy(lengths[texts])


@torch.no_grad()
def encode_texts(encoder: TextEncoder, data: Data) -> NDArray[np.float32]:
    """float32 [texts, Z]: the vector of every text; zeros for no line."""
    device = encoder.dense.weight.device
    encoder.eval()
    vectors = np.zeros((len(data.lengths), encoder.dense.out_features), np.float32)
    order = np.argsort(data.lengths[1:], kind="stable") + 1
    for start in range(0, len(order), _TEXTS_AT_ONCE):
        part = order[start : start + _TEXTS_AT_ONCE]
        ids, lengths = _texts(data.tokens, data.lengths, part)
        vectors[part] = encoder(ids.to(device), lengths.to(device)).cpu().numpy()
    return vectors


def graphs(config: Config, model: TwoStage) -> list[GraphSpec]:
    """The encoder: token ids -> vectors; the detector: windows of vectors -> the predicted ones."""
    width, size, most = config.width(), config.window.size, config.tokenizer.max_tokens
    vocabulary = model.encoder.embedding.num_embeddings

    def texts(batch: int, length: int, draw: np.random.Generator) -> dict[str, NDArray]:
        lengths = draw.integers(1, length + 1, batch)
        lengths[0] = length
        ids = draw.integers(1, vocabulary, (batch, length))
        return {"ids": np.where(np.arange(length) < lengths[:, None], ids, PAD), "lengths": lengths}

    def windows(batch: int, length: int, draw: np.random.Generator) -> dict[str, NDArray]:
        return {"windows": draw.normal(size=(batch, length, width)).astype(np.float32)}

    tensor = bundle.Tensor
    encoder_inputs = [tensor("ids", "int64", ["batch", "tokens"]), tensor("lengths", "int64", ["batch"])]
    vectors = [tensor("vectors", "float32", ["batch", config.encoder.vector])]
    lengths = tuple(sorted({min(length, most) for length in (1, 3, 17, most)}))
    before = [tensor("windows", "float32", ["batch", size - 1, width])]
    predicted = [tensor("predicted", "float32", ["batch", width])]
    return [
        GraphSpec("encoder", model.encoder, encoder_inputs, vectors, texts, lengths),
        GraphSpec("detector", model.detector, before, predicted, windows, (size - 1,)),
    ]


def settings(config: Config) -> dict[str, Any]:
    """The scorer's settings: the distance, whether vectors carry the time of day, and the width of a line's vector."""
    return {"distance": config.distance, "time_of_day": config.time_of_day, "width": config.encoder.vector}
