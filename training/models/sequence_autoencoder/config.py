"""The settings of the sequence-autoencoder family: what the model is made of, and how it is trained."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agent.bundle import manifest
from agent.scoring.features import Read, read_events
from training.config import HeldOut, Positive, RunConfig, StageConfig, ThresholdConfig, WindowConfig


class AutoencoderConfig(StageConfig, forbid_unknown_fields=True):
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


class SequenceAutoencoderRunConfig(RunConfig, forbid_unknown_fields=True):
    """The family's configuration.

    score            a line's own error, or the mean error of the window that ends with it
    slow_walk_share  where more of the last 1,000 lines are odd, the agent tells that as an alert of its own; 0: never
    """

    window: WindowConfig = msgspec.field(default_factory=lambda: WindowConfig(size=20))
    threshold: ThresholdConfig = msgspec.field(default_factory=lambda: ThresholdConfig(q=0.995))
    model: AutoencoderConfig = msgspec.field(default_factory=AutoencoderConfig)
    score: Literal["last", "window"] = "last"
    slow_walk_share: Annotated[float, Meta(ge=0, lt=1)] = 0.025

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window.end:
            raise ValueError("window.end: the end of a stream has no time and no event; set it to false")

    def score_window(self) -> manifest.Window:
        """The window; pad is resolved: where a stream pattern is set its first lines are scored too."""
        pad = self.stream is not None if self.window.pad is None else self.window.pad
        return manifest.Window(self.window.size, pad, False)

    def line_reader(self) -> Read:
        """The time and the number of each line."""
        return read_events

    @property
    def uses_events(self) -> bool:
        """It does."""
        return True

    def held_out(self) -> HeldOut:
        """The last streams whole, or the last lines of each file."""
        return "last of each stream" if self.stream is None else "streams"
