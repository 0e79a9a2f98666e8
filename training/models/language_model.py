"""The language-model family: a line's score is the surprise at its tokens, each line a sentence of its own.

EM, BEM and their tiered forms after Tuor et al. 2018 (Recurrent Neural Network Language Models for Open Vocabulary
Event-Level Cyber Anomaly Detection), attention after Brown et al. 2018 (Recurrent Neural Network Attention Mechanisms
for Interpretable System Log Anomaly Detection), the transformer decoder after Radford et al. 2019 (GPT-2).
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from agent.bundle import manifest
from agent.text.tokenizers import BEGIN, END, PAD
from training.config import Positive, RunConfig, StageConfig
from training.models.base import Data, GraphSpec, Stage
from training.models.examples import StreamSteps, TextExamples
from training.models.layers import Attention, Block, Layers, Summary, reverse

_CHAIN = 20  # lines over which a carried state is compared


class ModelConfig(StageConfig, forbid_unknown_fields=True):
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


class Config(RunConfig, forbid_unknown_fields=True):
    """The family's configuration. reduce: how a line's score is made of the surprise at its tokens, in nats."""

    model: ModelConfig = msgspec.field(default_factory=ModelConfig)
    reduce: Literal["mean", "max", "sum"] = "mean"


class Decoder(nn.Module):
    """States -> logits; tied, its weights are the embedding's own."""

    def __init__(self, width: int, embedding: nn.Embedding, tie: bool) -> None:
        super().__init__()
        vocabulary, wanted = embedding.weight.shape
        self.project = nn.Linear(width, wanted, bias=False) if tie and width != wanted else nn.Identity()
        self.weight = embedding.weight if tie else nn.Linear(width, vocabulary).weight
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, states: Tensor) -> Tensor:
        """[B, P, H] -> [B, P, V]."""
        return linear(self.project(states), self.weight, self.bias)


class Reading(NamedTuple):
    """What a lower model makes of lines.

    logits   [B, P, V] of the P predicted places: the tokens and, one way, the end
    weights  [B, P, P] of the attention, None where the model has none
    states   [B, T, H] after each token, both ways side by side; final [B, H]; None in a transformer
    """

    logits: Tensor
    weights: Tensor | None
    states: Tensor | None
    final: Tensor | None


class OneWay(nn.Module):
    """EM: p_t = softmax(h_(t-1) W + b), with attention softmax([h_(t-1) a_(t-1)] W + b); the end is predicted too."""

    def __init__(self, config: ModelConfig, embedding: nn.Embedding, places: int) -> None:
        super().__init__()
        width = config.embedding + (config.context if config.tiered() else 0)
        self.extra = config.keys if config.attention == "semantic2" else 0
        self.hidden = config.hidden
        outputs = config.hidden + self.extra
        self.layers = Layers(config.cell, width, outputs, config.layers, config.residual, config.dropout)
        attends = config.attention != "none"
        self.attention = Attention(config.attention, config.hidden, config.keys, places) if attends else None
        self.dropout = nn.Dropout(config.dropout)
        self.decoder = Decoder(config.hidden * (1 + attends), embedding, config.tie)

    def forward(self, x: Tensor, lengths: Tensor) -> Reading:
        """The embedded begin, tokens and end, [B, T + 2, I], lengths int64 [B]; P is T + 1."""
        outputs = self.layers(x[:, :-1])
        states = outputs[:, :, : self.hidden]
        weights, seen = None, states
        if self.attention is not None:
            found, weights = self.attention(states, outputs[:, :, self.hidden :] if self.extra else None)
            seen = torch.cat([states, found], dim=2)
        return Reading(self.decoder(self.dropout(seen)), weights, states[:, 1:], _at(states, lengths))


class BothWays(nn.Module):
    """BEM: p_t = softmax(h_(t-1) W + hb_(t+1) Wb + b); a token is never seen where it is predicted."""

    def __init__(self, config: ModelConfig, embedding: nn.Embedding, places: int) -> None:
        super().__init__()
        width = config.embedding + (config.context if config.tiered() else 0)
        settings = (config.cell, width, config.hidden, config.layers, config.residual, config.dropout)
        self.forward_layers, self.backward_layers = Layers(*settings), Layers(*settings)
        self.dropout = nn.Dropout(config.dropout)
        self.decoder = Decoder(2 * config.hidden, embedding, config.tie)

    def forward(self, x: Tensor, lengths: Tensor) -> Reading:
        """The embedded begin, tokens and end, [B, T + 2, I], lengths int64 [B]; P is T."""
        before = self.forward_layers(x[:, :-1])
        after = reverse(self.backward_layers(reverse(x[:, 1:], lengths + 1)), lengths + 1)
        logits = self.decoder(self.dropout(torch.cat([before[:, :-1], after[:, 1:]], dim=2)))
        states = torch.cat([before[:, 1:], after[:, :-1]], dim=2)
        return Reading(logits, None, states, torch.cat([_at(before, lengths), after[:, 0]], dim=1))


class Transformer(nn.Module):
    """A decoder of masked self-attention over token and learnt position embeddings; the end is predicted too."""

    def __init__(self, config: ModelConfig, embedding: nn.Embedding, places: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(places, config.embedding) * 0.02)
        self.blocks = nn.ModuleList(Block(config.embedding, config.heads, config.dropout) for _ in range(config.layers))
        self.norm, self.dropout = nn.LayerNorm(config.embedding), nn.Dropout(config.dropout)
        self.decoder = Decoder(config.embedding, embedding, config.tie)

    def forward(self, x: Tensor, lengths: Tensor) -> Reading:
        """The embedded begin, tokens and end, [B, T + 2, I], lengths int64 [B]; P is T + 1."""
        x = self.dropout(x[:, :-1] + self.positions[: x.shape[1] - 1])
        weights = None
        for block in self.blocks:
            x, weights = block(x)
        return Reading(self.decoder(self.norm(x)), weights, None, None)


class LanguageModel(nn.Module):
    """Any model of the family: a lower model that reads single lines and, tiered, an upper LSTM along each stream."""

    def __init__(self, config: ModelConfig, vocabulary: int, max_tokens: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, config.embedding, padding_idx=PAD)
        if config.architecture == "transformer" or config.tie:
            nn.init.normal_(self.embedding.weight, std=0.02)
        lower = Transformer if config.architecture == "transformer" else OneWay
        self.lower = (BothWays if config.bidirectional else lower)(config, self.embedding, max_tokens + 1)
        self.summary = self.upper = None
        if config.tiered():
            width = config.hidden * (1 + config.bidirectional)
            self.summary = Summary(config.tier, width)
            self.upper = nn.LSTMCell(2 * width, config.context)

    def read(self, ids: Tensor, lengths: Tensor, hidden: Tensor | None = None) -> tuple[Reading, Tensor]:
        """ids int64 [B, T], lengths int64 [B], tiered the context [B, C] -> the reading, targets int64 [B, P].

        Targets are PAD after a line's last one.
        """
        marked = nn.functional.pad(ids, (0, 1), value=PAD)
        places = torch.arange(marked.shape[1], device=ids.device)
        marked = torch.where(places == lengths[:, None], END, marked)
        x = self.embedding(nn.functional.pad(marked, (1, 0), value=BEGIN))
        if hidden is not None:
            x = torch.cat([x, hidden[:, None].expand(-1, x.shape[1], -1)], dim=2)
        reading = self.lower(x, lengths)
        return reading, marked if reading.logits.shape[1] > ids.shape[1] else ids

    def step(self, reading: Reading, lengths: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The upper tier's states after these lines, [B, C] each, and the weights of its attention [B, T]."""
        seen, weights = self.summary(reading.states, reading.final, lengths)
        return *self.upper(seen, (hidden, cell)), weights

    def forward(
        self, ids: Tensor, lengths: Tensor, hidden: Tensor | None = None, cell: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """ids int64 [B, T], lengths int64 [B], tiered what is carried [B, C] -> the outputs that `graphs` names.

        They are zeros after a line's last target: what a recurrent layer makes of padding means nothing, and may be so
        wild that no two machines agree on it.
        """
        reading, targets = self.read(ids, lengths, hidden)
        real = targets != PAD
        log_probabilities = reading.logits.log_softmax(2) * real[:, :, None]
        losses = -log_probabilities.gather(2, targets[:, :, None])[:, :, 0]
        found = [losses, log_probabilities]
        if reading.weights is not None:
            found.append(reading.weights * real[:, :, None])
        if hidden is not None and cell is not None:
            hidden, cell, weights = self.step(reading, lengths, hidden, cell)
            found += [*([weights] if self.summary.attends else []), hidden, cell]
        return tuple(found)


def _at(states: Tensor, places: Tensor) -> Tensor:
    """[B, T, H], int64 [B] -> [B, H]: of each row the state at its place."""
    return states.gather(1, places[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]


class Reader(nn.Module):
    """Training on single lines: the cross entropy of their tokens."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, lengths: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Texts and how often each occurs, float32 [B] -> the sums of the cross entropy and of the targets."""
        losses, counts = token_losses(*self.model.read(ids, lengths))
        return (losses * weights).sum(), (counts * weights).sum()


class StreamReader(nn.Module):
    """Training along streams: a few lines of each at once, whose states go on from those before, without gradients.

    Only a stream's last step may lack lines: the state after it is of no use.
    """

    def __init__(self, model: LanguageModel, streams: int, width: int) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("hidden", torch.zeros(streams, width), persistent=False)
        self.register_buffer("cell", torch.zeros(streams, width), persistent=False)

    def forward(self, ids: Tensor, lengths: Tensor, streams: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
        """ids int64 [B, K, T], lengths int64 [B, K] (0: no line), streams int64 [B], each once, fresh bool [B]: its
        first lines -> the sums of the cross entropy and of the targets.
        """
        hidden, cell = (state[streams] * ~fresh[:, None] for state in (self.hidden, self.cell))
        total = count = torch.zeros((), device=ids.device)
        for line in range(ids.shape[1]):
            present, least = lengths[:, line] > 0, lengths[:, line].clamp(min=1)
            reading, targets = self.model.read(ids[:, line], least, hidden)
            losses, counts = token_losses(reading, targets)
            total, count = total + (losses * present).sum(), count + (counts * present).sum()
            hidden, cell, _ = self.model.step(reading, least, hidden, cell)
        with torch.no_grad():
            self.hidden[streams], self.cell[streams] = hidden.detach(), cell.detach()
        return total, count


def token_losses(reading: Reading, targets: Tensor) -> tuple[Tensor, Tensor]:
    """[B]: the sum of each line's cross entropy, and of its targets."""
    losses = cross_entropy(reading.logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="none")
    return losses.reshape(targets.shape).sum(1), (targets != PAD).sum(1)


def build(config: Config, vocabulary: int) -> LanguageModel:
    """A new model for this many tokens."""
    return LanguageModel(config.model, vocabulary, config.tokenizer.max_tokens)


def stages(config: Config, model: LanguageModel, data: Data) -> Iterator[Stage]:
    """One stage: on the lines as often as they occur, or along their streams where the model is tiered."""
    settings = config.model
    if not settings.tiered():
        lines = data.train.ids if settings.each == "line" else np.resize(np.unique(data.train.ids), len(data.train))
        train, validation = (
            TextExamples(data, texts, np.ones(len(texts), np.int64)) for texts in (lines, data.validation.ids)
        )
        yield Stage("model", Reader(model), settings, train, validation)
        return
    train = StreamSteps(data, data.train, settings.lines, settings.steps)
    validation = StreamSteps(data, data.validation, settings.lines)
    module = StreamReader(model, 1 + max(train.streams, validation.streams), settings.context)
    yield Stage("model", module, settings, train, validation, StreamSteps.plan)


def graphs(config: Config, model: LanguageModel) -> list[GraphSpec]:
    """One graph: token ids and what a stream carries -> the surprise at each token, and what explains it."""
    most, vocabulary = config.tokenizer.max_tokens, model.embedding.num_embeddings
    tensor, carried = manifest.Tensor, state(config)
    places = "tokens" if config.model.bidirectional else "places"

    def sample(batch: int, length: int, draw: np.random.Generator) -> dict[str, NDArray]:
        lengths = draw.integers(1, length + 1, batch)
        lengths[0] = length
        ids = np.where(np.arange(length) < lengths[:, None], draw.integers(4, vocabulary, (batch, length)), PAD)
        states = {one.name: draw.normal(0, 0.5, (batch, *one.axes[1:])).astype(np.float32) for one in carried}
        return {"ids": ids, "lengths": lengths, **states}

    inputs = [tensor("ids", "int64", ["batch", "tokens"]), tensor("lengths", "int64", ["batch"]), *carried]
    outputs = [
        tensor("losses", "float32", ["batch", places]),
        tensor("log_probabilities", "float32", ["batch", places, vocabulary]),
    ]
    if config.model.attention != "none" or config.model.architecture == "transformer":
        outputs.append(tensor("attention", "float32", ["batch", places, places]))
    if config.model.tier == "attention":
        outputs.append(tensor("tier_attention", "float32", ["batch", "tokens"]))
    outputs += [tensor(f"next_{one.name}", one.dtype, one.axes) for one in carried]
    lengths = tuple(sorted({min(length, most) for length in (1, 2, 3, 17, most)}))
    return [GraphSpec("model", model, inputs, outputs, sample, lengths, _CHAIN if carried else 0)]


def state(config: Config) -> list[manifest.Tensor]:
    """What a stream carries from line to line."""
    if not config.model.tiered():
        return []
    return [manifest.Tensor(name, "float32", ["batch", config.model.context]) for name in ("hidden", "cell")]


def scorer(config: Config) -> str:
    """The agent's scorer of the model."""
    return "surprise"


def settings(config: Config) -> dict[str, Any]:
    """The scorer's settings."""
    return {"reduce": config.reduce}
