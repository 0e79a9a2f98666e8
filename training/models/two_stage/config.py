"""The settings of the two-stage family: what its two networks are made of, and how they are trained."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agent.bundle import manifest
from agent.scoring.features import Read, read_time
from training.config import HeldOut, Positive, Rate, RunConfig, StageConfig, WindowConfig


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


class TwoStageRunConfig(RunConfig, forbid_unknown_fields=True):
    """The family's configuration. time_of_day: the detector sees cosine and sine of each line's second of the day."""

    window: WindowConfig = msgspec.field(default_factory=WindowConfig)
    encoder: EncoderConfig = msgspec.field(default_factory=EncoderConfig)
    detector: DetectorConfig = msgspec.field(default_factory=DetectorConfig)
    distance: Literal["euclidean", "manhattan", "cosine"] = "euclidean"
    time_of_day: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.relative != "none" and self.score_window().end:
            raise ValueError("relative scores do not go with window.end: true, whose end is no line; set it to false")

    def score_window(self) -> manifest.Window:
        """The window, with pad and end resolved."""
        of_streams = self.stream is not None
        pad, end = (of_streams if given is None else given for given in (self.window.pad, self.window.end))
        return manifest.Window(self.window.size, pad, end)

    def line_reader(self) -> Read | None:
        """The second of the day, where the detector sees it."""
        return read_time if self.time_of_day else None

    def held_out(self) -> HeldOut:
        """The last streams whole, or the last lines of each file."""
        return "last of each stream" if self.stream is None else "streams"

    def width(self) -> int:
        """Of what the detector sees of a line."""
        return self.encoder.vector + 2 * self.time_of_day
