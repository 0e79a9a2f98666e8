"""The networks of the two-stage family, and the losses that they are trained with."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from agent.text.tokenizers import BEGIN, PAD
from training.models.layers import Recurrent
from training.models.two_stage.config import DetectorConfig, EncoderConfig, TwoStageRunConfig

_NEVER = -1e9  # a logarithm of a probability


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
        logits: Tensor = self.dense(self.dropout(outputs))
        return logits


class TextAutoencoder(nn.Module):
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
        predicted: Tensor = self.dense(states.flatten(1))
        return predicted


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
        self.codes = nn.Buffer(torch.zeros(config.max_codes, vector))
        self.unused = nn.Buffer(torch.zeros(config.max_codes))  # _NEVER where a place holds no code
        self.ones = nn.Buffer(torch.ones(vector, 1), persistent=False)

    def set_codes(self, codes: Tensor) -> None:
        """Takes the codes, at most max_codes: [K, Z]."""
        self.codes[: len(codes)] = codes
        self.unused[:] = _NEVER
        self.unused[: len(codes)] = 0

    def log_weights(self, windows: Tensor) -> Tensor:
        """[B, W - 1, Z] -> [B, K]: the logarithm of each code's probability."""
        _, states = self.lstm(windows)
        logits: Tensor = self.dense(states.flatten(1)) + self.unused
        return logits.log_softmax(1)

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


class CodebookLoss(nn.Module):
    """Stage 2 with a codebook: the detector under the cross entropy of the code of the window's last vector."""

    def __init__(self, detector: CodebookDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Whole windows [B, W, Z + 2 or Z] -> the sum of the cross entropies and the number of windows."""
        codes = self.detector.nearest(windows[:, -1, : self.detector.codes.shape[1]])
        losses = nn.functional.nll_loss(self.detector.log_weights(windows[:, :-1]), codes, reduction="none")
        return losses.sum(), torch.ones_like(losses).sum()


class RegressionLoss(nn.Module):
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

    def __init__(self, config: TwoStageRunConfig, vocabulary: int) -> None:
        super().__init__()
        self.encoder = TextEncoder(config.encoder, vocabulary)
        self.detector: Detector | CodebookDetector
        if config.detector.head == "codebook":
            self.detector = CodebookDetector(config.detector, config.width(), config.encoder.vector)
        else:
            self.detector = Detector(config.width(), config.detector.hidden)
