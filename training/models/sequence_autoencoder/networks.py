"""The network of the sequence-autoencoder family, and the loss that it is trained with."""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from agent.scoring.features import CYCLIC
from agent.text.events import FIRST, UNSEEN_EVENT
from training.models.layers import Recurrent
from training.models.sequence_autoencoder.config import AutoencoderConfig

FEATURES = CYCLIC + 1  # of a line: its time and its event
_NEVER = -1e9  # a logarithm of a probability
_MOST = 20.0  # nats: the surprise at an event that training did not see


class StackedLstm(nn.Module):
    """LSTMs on top of each other, with dropout between them."""

    def __init__(self, width: int, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = [width] + [config.hidden] * (config.layers - 1)
        self.layers = nn.ModuleList(Recurrent(before, config.hidden) for before in widths)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, W, I] -> the last layer's outputs [B, W, H] and its final state [B, H]."""
        for index, layer in enumerate(self.layers):
            x, state = layer(self.dropout(x) if index else x)
        return x, state[:, 0]


class SequenceAutoencoder(nn.Module):
    """Encoder LSTMs -> the latent -> decoder LSTMs over the latent, repeated -> the features of each line.

    What differs between the two kinds of event is in how one enters, how it leaves, and what its error is.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.embedded = config.event == "embedding"
        self.events = config.max_events + FIRST
        if self.embedded:
            self.embedding = nn.Embedding(self.events, config.embedding)
        self.encoder = StackedLstm(CYCLIC + (config.embedding if self.embedded else 1), config)
        self.narrow = nn.Linear(config.hidden, config.latent)
        self.decoder = StackedLstm(config.latent, config)
        self.wide = nn.Linear(config.hidden, CYCLIC + (self.events if self.embedded else 1))
        self.ones = nn.Buffer(torch.ones(CYCLIC, 1), persistent=False)
        impossible = torch.where(torch.arange(self.events) == UNSEEN_EVENT, _NEVER, 0.0)
        self.impossible = nn.Buffer(impossible, persistent=False)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Windows [B, W, 9] -> the error of each line [B, W], the features expected [B, W, 9], the latent [B, Z]."""
        latent = self.encode(windows)
        decoded = self.wide(self.decoder(latent[:, None].expand(-1, windows.shape[1], -1))[0])
        # a product sums each row in the same order whatever stands beside it; onnxruntime's sum does not
        times = ((decoded[..., :CYCLIC] - windows[..., :CYCLIC]).square() @ self.ones)[..., 0]
        event, expected = self._events(windows[..., CYCLIC], decoded[..., CYCLIC:])
        return (times + event) / FEATURES, torch.cat([decoded[..., :CYCLIC], expected[..., None]], dim=2), latent

    def encode(self, windows: Tensor) -> Tensor:
        """[B, W, 9] -> [B, Z]."""
        if self.embedded:
            indices = self.event_indices(windows[..., CYCLIC])
            windows = torch.cat([windows[..., :CYCLIC], self.embedding(indices)], dim=2)
        latent: Tensor = self.narrow(self.encoder(windows)[1])
        return latent

    def event_indices(self, feature: Tensor) -> Tensor:
        """The indices of events as the embedding knows them: one beyond its size is a strange one."""
        indices = feature.long()
        return torch.where(indices < self.events, indices, torch.ones_like(indices))

    def _events(self, feature: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
        """The error of each event [B, W], and the one that was expected: squared, or its surprise in nats."""
        if not self.embedded:
            return (decoded[..., 0] - feature).square(), decoded[..., 0]
        found = one_hot(self.event_indices(feature), self.events).to(decoded.dtype)
        likely = (decoded + self.impossible).log_softmax(2)
        surprise = -(likely[..., None, :] @ found[..., None])[..., 0, 0]
        return surprise.clamp(max=_MOST), likely.argmax(2).to(feature.dtype)


class ReconstructionLoss(nn.Module):
    """The stage: the autoencoder under the mean error of the windows' lines."""

    def __init__(self, model: SequenceAutoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """[B, W, 9] -> the sum of the windows' mean errors and the number of windows."""
        errors = self.model(windows)[0].mean(1)
        return errors.sum(), torch.ones_like(errors).sum()
