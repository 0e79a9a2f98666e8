"""The sequence-autoencoder family: windows of times and events, reconstructed through a narrow latent.

After SecuriteAI. A line's score is the error of its reconstruction; normal sequences are reconstructed well.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import one_hot

from agent.bundle import manifest
from agent.errors import ConfigError
from agent.scoring.features import CYCLIC, Read, TimeAndEvent, read_events
from agent.text.events import FIRST, STRANGE
from training.config import HeldOut, Positive, RunConfig, StageConfig, ThresholdConfig, WindowConfig
from training.data.corpus import Corpus, Windows
from training.models.base import Data, GraphSpec, Stage
from training.models.layers import Recurrent

_WIDTH = CYCLIC + 1
_NEVER = -1e9  # a logarithm of a probability
_MOST = 20.0  # nats: the surprise at an event that training did not see


class ModelConfig(StageConfig, forbid_unknown_fields=True):
    """The autoencoder: the widths of the LSTMs' states and of the latent, the LSTMs on top of each other on either
    side, and dropout in training.

    event       scaled: the id as one number from 0 to 1. embedding: a learnt vector for each event that training saw
    embedding   its width
    max_events  embedding: for how many events there is room
    """

    batch_size: Positive = 64
    epochs: Positive = 100
    patience: Positive = 10
    hidden: Positive = 64
    latent: Positive = 64
    layers: Positive = 2
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.2
    event: Literal["scaled", "embedding"] = "scaled"
    embedding: Positive = 16
    max_events: Positive = 1024


class Config(RunConfig, forbid_unknown_fields=True):
    """The family's configuration.

    score            a line's own error, or the mean error of the window that ends with it
    slow_walk_share  where more of the last 1,000 lines are odd, the agent tells that as an alert of its own; 0: never
    """

    window: WindowConfig = msgspec.field(default_factory=lambda: WindowConfig(size=20))
    threshold: ThresholdConfig = msgspec.field(default_factory=lambda: ThresholdConfig(q=0.995))
    model: ModelConfig = msgspec.field(default_factory=ModelConfig)
    score: Literal["last", "window"] = "last"
    slow_walk_share: Annotated[float, Meta(ge=0, lt=1)] = 0.025

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window.end:
            raise ValueError("window.end: the end of a stream has no time and no event; set it to false")

    def lines(self) -> manifest.Window:
        """The window; pad is resolved: where a stream pattern is set its first lines are scored too."""
        pad = self.stream is not None if self.window.pad is None else self.window.pad
        return manifest.Window(self.window.size, pad, False)

    def reads(self) -> Read:
        """The time and the number of each line."""
        return read_events

    @property
    def looks_at_events(self) -> bool:
        """It does."""
        return True

    def held_out(self) -> HeldOut:
        """The last streams whole, or the last lines of each file."""
        return "last of each stream" if self.stream is None else "streams"


class Stack(nn.Module):
    """LSTMs on top of each other, with dropout between them."""

    def __init__(self, width: int, config: ModelConfig) -> None:
        super().__init__()
        widths = [width] + [config.hidden] * (config.layers - 1)
        self.layers = nn.ModuleList(Recurrent(before, config.hidden) for before in widths)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, W, I] -> the last layer's outputs [B, W, H] and its final state [B, H]."""
        for place, layer in enumerate(self.layers):
            x, state = layer(self.dropout(x) if place else x)
        return x, state[:, 0]


class Autoencoder(nn.Module):
    """Encoder LSTMs -> the latent -> decoder LSTMs over the latent, repeated -> the features of each line.

    What differs between the two kinds of event is in how one enters, how it leaves, and what its error is.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedded = config.event == "embedding"
        self.events = config.max_events + FIRST
        if self.embedded:
            self.embedding = nn.Embedding(self.events, config.embedding)
        self.encoder = Stack(CYCLIC + (config.embedding if self.embedded else 1), config)
        self.narrow = nn.Linear(config.hidden, config.latent)
        self.decoder = Stack(config.latent, config)
        self.wide = nn.Linear(config.hidden, CYCLIC + (self.events if self.embedded else 1))
        self.register_buffer("ones", torch.ones(CYCLIC, 1), persistent=False)
        impossible = torch.where(torch.arange(self.events) == STRANGE, _NEVER, 0.0)
        self.register_buffer("impossible", impossible, persistent=False)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Windows [B, W, 9] -> the error of each line [B, W], the features expected [B, W, 9], the latent [B, Z]."""
        latent = self.encode(windows)
        decoded = self.wide(self.decoder(latent[:, None].expand(-1, windows.shape[1], -1))[0])
        # a product sums each row in the same order whatever stands beside it; onnxruntime's sum does not
        times = ((decoded[..., :CYCLIC] - windows[..., :CYCLIC]).square() @ self.ones)[..., 0]
        event, expected = self._events(windows[..., CYCLIC], decoded[..., CYCLIC:])
        return (times + event) / _WIDTH, torch.cat([decoded[..., :CYCLIC], expected[..., None]], dim=2), latent

    def encode(self, windows: Tensor) -> Tensor:
        """[B, W, 9] -> [B, Z]."""
        if self.embedded:
            places = self.places(windows[..., CYCLIC])
            windows = torch.cat([windows[..., :CYCLIC], self.embedding(places)], dim=2)
        return self.narrow(self.encoder(windows)[1])

    def places(self, feature: Tensor) -> Tensor:
        """The places of events as the embedding knows them: one beyond its size is a strange one."""
        places = feature.long()
        return torch.where(places < self.events, places, torch.ones_like(places))

    def _events(self, feature: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
        """The error of each event [B, W], and the one that was expected: squared, or its surprise in nats."""
        if not self.embedded:
            return (decoded[..., 0] - feature).square(), decoded[..., 0]
        found = one_hot(self.places(feature), self.events).to(decoded.dtype)
        likely = (decoded + self.impossible).log_softmax(2)
        surprise = -(likely[..., None, :] @ found[..., None])[..., 0, 0]
        return surprise.clamp(max=_MOST), likely.argmax(2).to(feature.dtype)


class Reconstruction(nn.Module):
    """The stage: the autoencoder under the mean error of the windows' lines."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """[B, W, 9] -> the sum of the windows' mean errors and the number of windows."""
        errors = self.model(windows)[0].mean(1)
        return errors.sum(), torch.ones_like(errors).sum()


class WindowExamples:
    """The windows of a corpus as features, float32 [B, W, 9]."""

    def __init__(self, corpus: Corpus, config: Config, features: TimeAndEvent) -> None:
        window = config.lines()
        self._windows, self._features = Windows(corpus, window.size, window.pad, False), features

    def __len__(self) -> int:
        return len(self._windows)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """The windows that end in these lines."""
        numbers = self._windows.numbers(rows)
        assert numbers is not None
        return (torch.from_numpy(self._features.of(numbers, self._windows.ids(rows))),)


def build(config: Config, vocabulary: int) -> Autoencoder:
    """A new model; the words of the lines are nothing to it."""
    return Autoencoder(config.model)


def stages(config: Config, model: Autoencoder, data: Data) -> Iterator[Stage]:
    """One: the windows of normal lines; a ConfigError where there is no room for a vector of each event."""
    assert data.events is not None
    count, most = len(data.events.known), config.model.max_events
    if model.embedded and count > most:
        raise ConfigError(
            f"the training lines have {count} events, model.max_events is {most}: set it to {count} or more"
        )
    features = TimeAndEvent(data.events, model.embedded, data.train.texts.__getitem__)
    train, validation = (WindowExamples(corpus, config, features) for corpus in (data.train, data.validation))
    yield Stage("model", Reconstruction(model), config.model, train, validation)


def graphs(config: Config, model: Autoencoder) -> list[GraphSpec]:
    """One graph: windows -> errors, reconstruction, latent."""
    size = config.window.size

    def windows(batch: int, length: int, draw: np.random.Generator) -> dict[str, NDArray]:
        found = draw.normal(size=(batch, length, _WIDTH)).clip(-1, 1)
        if model.embedded:
            found[..., CYCLIC] = draw.integers(0, model.events, (batch, length))
        return {"windows": found.astype(np.float32)}

    tensor = manifest.Tensor
    outputs = [
        tensor("errors", "float32", ["batch", size]),
        tensor("reconstruction", "float32", ["batch", size, _WIDTH]),
        tensor("latent", "float32", ["batch", config.model.latent]),
    ]
    inputs = [tensor("windows", "float32", ["batch", size, _WIDTH])]
    return [GraphSpec("autoencoder", model, inputs, outputs, windows, (size,))]


def scorer(config: Config) -> str:
    """The agent's scorer of the model."""
    return "reconstruction"


def state(config: Config) -> list[manifest.Tensor]:
    """Nothing is carried from line to line but the window."""
    return []


def settings(config: Config) -> dict[str, Any]:
    """What the agent has to know: how an event enters, what a line's score is, when too many lines are odd."""
    return {"event": config.model.event, "score": config.score, "slow_walk_share": config.slow_walk_share}
