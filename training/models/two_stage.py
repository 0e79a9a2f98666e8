"""The two-stage family: a text autoencoder gives every line a vector, a detector predicts it from those before it.

After DeepSentry: stage 1 learns on single lines and keeps the encoder alone; stage 2 learns to predict the last vector
of a window. A line's score is the distance of its vector from the predicted one.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from agent.bundle import manifest
from agent.scoring.features import Read, TimeOfDay, read_time
from agent.text.tokenizers import BEGIN, PAD
from training.config import HeldOut, Positive, Rate, RunConfig, StageConfig, WindowConfig
from training.data.corpus import Windows
from training.models.base import Data, GraphSpec, Stage
from training.models.examples import TextExamples, token_tensors
from training.models.layers import Recurrent

_TEXTS_AT_ONCE = 1024
_NEVER = -1e9  # a logarithm of a probability


class EncoderConfig(StageConfig, forbid_unknown_fields=True):
    """Stage 1: widths of the word embedding, the LSTM's state (each way) and a line's vector; dropout in training.

    It ends when a twentieth of a nat a word is lost: from there on unlike texts only drift apart, which made the
    detector worse where it was measured (docs/experiments.md).
    """

    embedding: Positive = 64
    hidden: Positive = 64
    vector: Positive = 128
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    goal: Annotated[float, Meta(ge=0)] = 0.05
    steps_per_epoch: Positive | None = 300


class DetectorConfig(StageConfig, forbid_unknown_fields=True):
    """Stage 2: the width of the LSTM's state, each way, and the head.

    It ends after the first epoch that lowers the validation loss by less than a twentieth: what is learnt later makes
    predictions bolder, and normal lines that come in another order more odd (docs/experiments.md).

    head       regression: predicts one vector. codebook: gives each vector of the training set a probability
    max_codes  codebook: how many vectors, those of the most frequent texts
    bandwidth  codebook: the standard deviation of the Gaussian around each vector; vectors have the length 1
    """

    patience: Positive = 1
    improvement: Annotated[float, Meta(ge=0, lt=1)] = 0.05
    hidden: Positive = 64
    head: Literal["regression", "codebook"] = "regression"
    max_codes: Positive = 1024
    bandwidth: Rate = 0.1


class Config(RunConfig, forbid_unknown_fields=True):
    """The family's configuration. time_of_day: the detector sees cosine and sine of each line's second of the day."""

    window: WindowConfig = msgspec.field(default_factory=WindowConfig)
    encoder: EncoderConfig = msgspec.field(default_factory=EncoderConfig)
    detector: DetectorConfig = msgspec.field(default_factory=DetectorConfig)
    distance: Literal["euclidean", "manhattan", "cosine"] = "euclidean"
    time_of_day: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.relative != "none" and self.lines().end:
            raise ValueError("relative scores do not go with window.end: true, whose end is no line; set it to false")

    def lines(self) -> manifest.Window:
        """The window, with pad and end resolved."""
        of_streams = self.stream is not None
        pad, end = (of_streams if wanted is None else wanted for wanted in (self.window.pad, self.window.end))
        return manifest.Window(self.window.size, pad, end)

    def reads(self) -> Read | None:
        """The second of the day, where the detector sees it."""
        return read_time if self.time_of_day else None

    def held_out(self) -> HeldOut:
        """The last streams whole, or the last lines of each file."""
        return "last of each stream" if self.stream is None else "streams"

    def width(self) -> int:
        """Of what the detector sees of a line."""
        return self.encoder.vector + 2 * self.time_of_day


class TextEncoder(nn.Module):
    """Token ids -> a line's vector: embedding, BiLSTM, a rectified linear layer over both final states, length 1.

    So the vectors of unlike texts are near to orthogonal, not opposite, and a distance means the same for every text.
    """

    def __init__(self, config: EncoderConfig, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, config.embedding, padding_idx=PAD)
        self.lstm = Recurrent(config.embedding, config.hidden, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(2 * config.hidden, config.vector)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """ids int64 [B, T], lengths int64 [B] -> [B, Z]."""
        _, states = self.lstm(self.dropout(self.embedding(ids)), lengths)
        return normalize(self.dense(self.dropout(states.flatten(1))).relu(), dim=1)


class TextDecoder(nn.Module):
    """A line's vector, repeated, and the words before -> the logits of each word."""

    def __init__(self, config: EncoderConfig, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, config.embedding, padding_idx=PAD)
        self.lstm = Recurrent(config.embedding + config.vector, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.dense = nn.Linear(config.hidden, vocabulary)

    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """vectors [B, Z], the true ids int64 [B, T] (teacher forcing) -> [B, T, V]."""
        before = nn.functional.pad(ids[:, :-1], (1, 0), value=BEGIN)
        scaled = vectors * vectors.shape[1] ** 0.5  # to components of about 1
        repeated = scaled[:, None].expand(-1, ids.shape[1], -1)
        outputs, _ = self.lstm(torch.cat([self.dropout(self.embedding(before)), repeated], dim=2))
        return self.dense(self.dropout(outputs))


class Autoencoder(nn.Module):
    """Stage 1: the encoder with a decoder that is thrown away after it."""

    def __init__(self, encoder: TextEncoder, decoder: TextDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, ids: Tensor, lengths: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Texts and how often each occurs, float32 [B] -> the sums of the cross entropy and of the real tokens."""
        logits = self.decoder(self.encoder(ids, lengths), ids)
        losses = cross_entropy(logits.transpose(1, 2), ids, ignore_index=PAD, reduction="none")
        return (losses.sum(1) * weights).sum(), (lengths * weights).sum()


class Detector(nn.Module):
    """The vectors of the lines before -> the vector of the next: BiLSTM, and a linear layer over both final states."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = Recurrent(width, hidden, bidirectional=True)
        self.dense = nn.Linear(2 * hidden, width)

    def forward(self, windows: Tensor) -> Tensor:
        """[B, W - 1, Z] -> [B, Z]."""
        _, states = self.lstm(windows)
        return self.dense(states.flatten(1))


class CodebookDetector(nn.Module):
    """The vectors of the lines before -> a density of the next: a Gaussian around each code, with learnt weights.

    A mixture density network (Bishop 1994) whose components stand still. The score is the negative logarithm of the
    density, the constant of the Gaussian left out: about -log p of a known text; an unknown one adds its squared
    distance from the codes.
    """

    def __init__(self, config: DetectorConfig, width: int, vector: int) -> None:
        super().__init__()
        self.bandwidth = config.bandwidth
        self.lstm = Recurrent(width, config.hidden, bidirectional=True)
        self.dense = nn.Linear(2 * config.hidden, config.max_codes)
        self.register_buffer("codes", torch.zeros(config.max_codes, vector))
        self.register_buffer("unused", torch.zeros(config.max_codes))  # _NEVER where a place holds no code
        self.register_buffer("ones", torch.ones(vector, 1), persistent=False)

    def set_codes(self, codes: Tensor) -> None:
        """Takes the codes, at most max_codes: [K, Z]."""
        self.codes[: len(codes)] = codes
        self.unused[:] = _NEVER
        self.unused[: len(codes)] = 0

    def log_weights(self, windows: Tensor) -> Tensor:
        """[B, W - 1, Z] -> [B, K]: the logarithm of each code's probability."""
        _, states = self.lstm(windows)
        return (self.dense(states.flatten(1)) + self.unused).log_softmax(1)

    def nearest(self, vectors: Tensor) -> Tensor:
        """[B, Z] -> int64 [B]: the nearest code of each vector."""
        return (self._squares(vectors) - self.unused).argmin(1)

    def _squares(self, vectors: Tensor) -> Tensor:
        """[B, Z] -> [B, K]: squared distances from the codes.

        A product sums each row in the same order whatever stands beside it; onnxruntime's sum does not.
        """
        lengths = vectors.square() @ self.ones + self.codes.square().sum(1)
        return (lengths - 2 * vectors @ self.codes.T).clamp(min=0)

    def forward(self, windows: Tensor, actual: Tensor) -> tuple[Tensor, Tensor]:
        """[B, W - 1, Z + 2 or Z] and the vectors that follow, [B, Z] -> scores [B], and the likeliest codes [B, Z]."""
        weights = self.log_weights(windows)
        scores = -torch.logsumexp(weights - self._squares(actual) / (2 * self.bandwidth**2), 1)
        return scores, self.codes[weights.argmax(1)]


class Coding(nn.Module):
    """Stage 2 with a codebook: the detector under the cross entropy of the code of the window's last vector."""

    def __init__(self, detector: CodebookDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Whole windows [B, W, Z + 2 or Z] -> the sum of the cross entropies and the number of windows."""
        codes = self.detector.nearest(windows[:, -1, : self.detector.codes.shape[1]])
        losses = nn.functional.nll_loss(self.detector.log_weights(windows[:, :-1]), codes, reduction="none")
        return losses.sum(), torch.ones_like(losses).sum()


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
        self.detector: Detector | CodebookDetector
        if config.detector.head == "codebook":
            self.detector = CodebookDetector(config.detector, config.width(), config.encoder.vector)
        else:
            self.detector = Detector(config.width(), config.detector.hidden)


def build(config: Config, vocabulary: int) -> TwoStage:
    """A new model for this many words."""
    return TwoStage(config, vocabulary)


class WindowExamples:
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


def stages(config: Config, model: TwoStage, data: Data) -> Iterator[Stage]:
    """First the autoencoder, then the detector on windows of the finished encoder's vectors.

    The autoencoder sees single texts, each distinct one equally often.
    """
    decoder = TextDecoder(config.encoder, model.encoder.embedding.num_embeddings)
    distinct = np.resize(np.unique(data.train.ids), len(data.train))  # a rare line needs a good vector too
    lines = TextExamples(data, distinct, np.ones(len(distinct), np.int64))
    held_out = TextExamples(data, *np.unique(data.validation.ids, return_counts=True))
    yield Stage("encoder", Autoencoder(model.encoder, decoder), config.encoder, lines, held_out)
    vectors = encode_texts(model.encoder, data)
    window = config.lines()
    train, validation = (
        WindowExamples(Windows(corpus, window.size, window.pad, window.end), vectors)
        for corpus in (data.train, data.validation)
    )
    module: nn.Module
    if isinstance(model.detector, CodebookDetector):
        model.detector.set_codes(torch.from_numpy(_codes(config, data, vectors)))
        module = Coding(model.detector)
    else:
        module = Regression(model.detector)
    yield Stage("detector", module, config.detector, train, validation)


def _codes(config: Config, data: Data, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [codes, Z]: the distinct vectors of the most frequent training texts; no line's first, if ends count."""
    texts, counts = np.unique(data.train.ids, return_counts=True)
    frequent = texts[np.argsort(-counts, kind="stable")]
    distinct = {data.tokens[text].tobytes(): text for text in frequent[::-1]}
    chosen = [text for text in frequent if distinct[data.tokens[text].tobytes()] == text]
    nothing = [0] if config.lines().end else []
    return vectors[np.array(nothing + chosen)[: config.detector.max_codes]]


@torch.no_grad()
def encode_texts(encoder: TextEncoder, data: Data) -> NDArray[np.float32]:
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


def graphs(config: Config, model: TwoStage) -> list[GraphSpec]:
    """The encoder: token ids -> vectors; the detector: windows of vectors -> the predicted ones, or scores."""
    most = config.tokenizer.max_tokens
    vocabulary = model.encoder.embedding.num_embeddings

    def texts(batch: int, length: int, draw: np.random.Generator) -> dict[str, NDArray]:
        lengths = draw.integers(1, length + 1, batch)
        lengths[0] = length
        ids = draw.integers(1, vocabulary, (batch, length))
        return {"ids": np.where(np.arange(length) < lengths[:, None], ids, PAD), "lengths": lengths}

    tensor = manifest.Tensor
    inputs = [tensor("ids", "int64", ["batch", "tokens"]), tensor("lengths", "int64", ["batch"])]
    vectors = [tensor("vectors", "float32", ["batch", config.encoder.vector])]
    lengths = tuple(sorted({min(length, most) for length in (1, 3, 17, most)}))
    return [GraphSpec("encoder", model.encoder, inputs, vectors, texts, lengths), _detector_graph(config, model)]


def _detector_graph(config: Config, model: TwoStage) -> GraphSpec:
    width, lines, vector = config.width(), config.window.size - 1, config.encoder.vector
    tensor = manifest.Tensor

    def windows(batch: int, length: int, draw: np.random.Generator) -> dict[str, NDArray]:
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


def scorer(config: Config) -> str:
    """The agent's scorer of the model."""
    return "codebook" if config.detector.head == "codebook" else "vectors"


def state(config: Config) -> list[manifest.Tensor]:
    """Nothing is carried from line to line but the window."""
    return []


def settings(config: Config) -> dict[str, Any]:
    """The scorer's settings: the distance, whether vectors carry the time of day, and the width of a line's vector."""
    return {"distance": config.distance, "time_of_day": config.time_of_day, "width": config.encoder.vector}
