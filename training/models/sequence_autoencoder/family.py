"""What the sequence-autoencoder family offers to training, export and agent: see training.models.base.Family."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent.bundle import manifest
from agent.errors import ConfigError
from agent.scoring.features import CYCLIC, TimeAndEvent
from agent.text.text_table import TextTable
from training.data.corpus import Corpus
from training.data.windows import Windows
from training.models.base import GraphSpec, Stage, TrainingData
from training.models.sequence_autoencoder.config import SequenceAutoencoderRunConfig
from training.models.sequence_autoencoder.networks import FEATURES, ReconstructionLoss, SequenceAutoencoder

CONFIG: type[SequenceAutoencoderRunConfig] = SequenceAutoencoderRunConfig


class FeatureWindows:
    """The windows of a corpus as features, float32 [B, W, 9]."""

    def __init__(self, corpus: Corpus, config: SequenceAutoencoderRunConfig, features: TimeAndEvent) -> None:
        window = config.score_window()
        self._windows, self._features = Windows(corpus, window.size, window.pad, False), features

    def __len__(self) -> int:
        return len(self._windows)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """The windows that end in these lines."""
        numbers = self._windows.numbers(rows)
        assert numbers is not None
        return (torch.from_numpy(self._features.of(numbers, self._windows.ids(rows))),)


def build(config: SequenceAutoencoderRunConfig, vocabulary: int) -> SequenceAutoencoder:
    """A new model; the words of the lines are nothing to it."""
    return SequenceAutoencoder(config.model)


def stages(config: SequenceAutoencoderRunConfig, model: SequenceAutoencoder, data: TrainingData) -> Iterator[Stage]:
    """One: the windows of normal lines; a ConfigError where there is no room for a vector of each event."""
    assert data.events is not None
    count, most = len(data.events.known), config.model.max_events
    if model.embedded and count > most:
        raise ConfigError(
            f"the training lines have {count} events, model.max_events is {most}: set it to {count} or more"
        )
    features = TimeAndEvent(data.events, model.embedded, TextTable(data.train.texts))
    train, validation = (FeatureWindows(corpus, config, features) for corpus in (data.train, data.validation))
    yield Stage("model", ReconstructionLoss(model), config.model, train, validation)


def graphs(config: SequenceAutoencoderRunConfig, model: SequenceAutoencoder) -> list[GraphSpec]:
    """One graph: windows -> errors, reconstruction, latent."""
    size = config.window.size

    def windows(batch: int, length: int, draw: np.random.Generator) -> dict[str, NDArray[Any]]:
        found = draw.normal(size=(batch, length, FEATURES)).clip(-1, 1)
        if model.embedded:
            found[..., CYCLIC] = draw.integers(0, model.events, (batch, length))
        return {"windows": found.astype(np.float32)}

    tensor = manifest.Tensor
    outputs = [
        tensor("errors", "float32", ["batch", size]),
        tensor("reconstruction", "float32", ["batch", size, FEATURES]),
        tensor("latent", "float32", ["batch", config.model.latent]),
    ]
    inputs = [tensor("windows", "float32", ["batch", size, FEATURES])]
    return [GraphSpec("autoencoder", model, inputs, outputs, windows, (size,))]


def scorer(config: SequenceAutoencoderRunConfig) -> str:
    """The agent's scorer of the model."""
    return "reconstruction"


def state(config: SequenceAutoencoderRunConfig) -> list[manifest.Tensor]:
    """Nothing is carried from line to line but the window."""
    return []


def settings(config: SequenceAutoencoderRunConfig) -> dict[str, Any]:
    """What the agent has to know: how an event enters, what a line's score is, when too many lines are odd."""
    return {"event": config.model.event, "score": config.score, "slow_walk_share": config.slow_walk_share}
