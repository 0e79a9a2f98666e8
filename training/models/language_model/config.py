"""The settings of the language-model family: what the model is made of, and how it is trained."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from training.config import Positive, RunConfig, StageConfig


class LanguageModelConfig(StageConfig, forbid_unknown_fields=True):
    """The one stage: what the model is made of, and its optimisation.

    architecture   recurrent, or a transformer decoder of the width `embedding`
    cell           of the recurrent layers
    bidirectional  BEM: a token is predicted from those before it and those after it
    tier           T-EM, T-BEM: an upper LSTM steps once a line of a stream and tells its next line the context. What it
                   sees of a line is the mean of the lower states, or their attention (TA-EM, TA-BEM)
    attention      on EM: predictions look back at earlier states
    hidden         the width of each recurrent layer's state; context: of the upper LSTM's
    keys           the width of the attention's keys and queries
    heads          of the transformer; embedding is a multiple of it
    residual       a recurrent layer adds its input to its output where their widths agree
    tie            the output layer's weights are those of the embedding, behind a projection where the widths differ
    lines          tiered: the lines of a stream through which gradients flow, a step
    steps          tiered: after so many steps training begins a stream anew; null: it goes on to the stream's end
    each           what counts equally in training: every line, or every distinct text, so that rare lines are learnt as
                   well as frequent ones
    """

    architecture: Literal["recurrent", "transformer"] = "recurrent"
    cell: Literal["lstm", "gru", "rnn"] = "lstm"
    bidirectional: bool = False
    tier: Literal["none", "mean", "attention"] = "none"
    attention: Literal["none", "fixed", "syntax", "semantic1", "semantic2"] = "none"
    embedding: Positive = 32
    hidden: Positive = 64
    layers: Positive = 1
    context: Positive = 32
    keys: Positive = 32
    heads: Positive = 1
    residual: bool = False
    tie: bool = False
    dropout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    lines: Positive = 3
    steps: Positive | None = 8
    each: Literal["line", "text"] = "line"

    def __post_init__(self) -> None:
        transformer = self.architecture == "transformer"
        clashes = (
            (self.each == "text", "each: text", ("tier",)),
            (transformer, "architecture: transformer", ("bidirectional", "tier", "attention", "residual")),
            (self.attention != "none", f"attention: {self.attention}", ("bidirectional", "tier")),
        )
        for holds, what, others in clashes:
            for name in others:
                if holds and getattr(self, name) not in (False, "none"):
                    raise ValueError(f"{what} does not go with {name}; leave one of them out")
        if transformer and self.embedding % self.heads:
            raise ValueError(f"embedding {self.embedding} is no multiple of heads {self.heads}")

    def tiered(self) -> bool:
        """Whether streams carry a state from line to line."""
        return self.tier != "none"


class LanguageModelRunConfig(RunConfig, forbid_unknown_fields=True):
    """The family's configuration. reduce: how a line's score is made of the surprise at its tokens, in nats."""

    model: LanguageModelConfig = msgspec.field(default_factory=LanguageModelConfig)
    reduce: Literal["mean", "max", "sum"] = "mean"
