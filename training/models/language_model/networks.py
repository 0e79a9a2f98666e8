"""The networks of the language-model family, and the losses that they are trained with."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from agent.text.tokenizers import BEGIN, END, PAD
from training.models.language_model.config import LanguageModelConfig
from training.models.layers import Attention, StackedRecurrent, TierSummary, TransformerBlock, reverse


class Decoder(nn.Module):
    """States -> logits; tied, its weights are the embedding's own."""

    def __init__(self, width: int, embedding: nn.Embedding, tie: bool) -> None:
        super().__init__()
        vocabulary, embedded = embedding.weight.shape
        self.project = nn.Linear(width, embedded, bias=False) if tie and width != embedded else nn.Identity()
        self.weight = embedding.weight if tie else nn.Linear(width, vocabulary).weight
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, states: Tensor) -> Tensor:
        """[B, P, H] -> [B, P, V]."""
        return linear(self.project(states), self.weight, self.bias)


class Prediction(NamedTuple):
    """What a lower model makes of lines.

    logits   [B, P, V] of the P predicted positions: the tokens and, one way, the end
    weights  [B, P, P] of the attention, None where the model has none
    states   [B, T, H] after each token, both ways side by side; final [B, H]; None in a transformer
    """

    logits: Tensor
    weights: Tensor | None
    states: Tensor | None
    final: Tensor | None


class OneWay(nn.Module):
    """EM: p_t = softmax(h_(t-1) W + b), with attention softmax([h_(t-1) a_(t-1)] W + b); the end is predicted too."""

    def __init__(self, config: LanguageModelConfig, embedding: nn.Embedding, positions: int) -> None:
        super().__init__()
        width = config.embedding + (config.context if config.tiered() else 0)
        self.extra = config.keys if config.attention == "semantic2" else 0
        self.hidden = config.hidden
        outputs = config.hidden + self.extra
        self.layers = StackedRecurrent(config.cell, width, outputs, config.layers, config.residual, config.dropout)
        attends = config.attention != "none"
        self.attention = Attention(config.attention, config.hidden, config.keys, positions) if attends else None
        self.dropout = nn.Dropout(config.dropout)
        self.decoder = Decoder(config.hidden * (1 + attends), embedding, config.tie)

    def forward(self, x: Tensor, lengths: Tensor) -> Prediction:
        """The embedded begin, tokens and end, [B, T + 2, I], lengths int64 [B]; P is T + 1."""
        outputs = self.layers(x[:, :-1])
        states = outputs[:, :, : self.hidden]
        weights, seen = None, states
        if self.attention is not None:
            found, weights = self.attention(states, outputs[:, :, self.hidden :] if self.extra else None)
            seen = torch.cat([states, found], dim=2)
        return Prediction(self.decoder(self.dropout(seen)), weights, states[:, 1:], _at(states, lengths))


class BothWays(nn.Module):
    """BEM: p_t = softmax(h_(t-1) W + hb_(t+1) Wb + b); a token is never seen where it is predicted."""

    def __init__(self, config: LanguageModelConfig, embedding: nn.Embedding, positions: int) -> None:
        super().__init__()
        width = config.embedding + (config.context if config.tiered() else 0)
        settings = (config.cell, width, config.hidden, config.layers, config.residual, config.dropout)
        self.forward_layers, self.backward_layers = StackedRecurrent(*settings), StackedRecurrent(*settings)
        self.dropout = nn.Dropout(config.dropout)
        self.decoder = Decoder(2 * config.hidden, embedding, config.tie)

    def forward(self, x: Tensor, lengths: Tensor) -> Prediction:
        """The embedded begin, tokens and end, [B, T + 2, I], lengths int64 [B]; P is T."""
        before = self.forward_layers(x[:, :-1])
        after = reverse(self.backward_layers(reverse(x[:, 1:], lengths + 1)), lengths + 1)
        logits = self.decoder(self.dropout(torch.cat([before[:, :-1], after[:, 1:]], dim=2)))
        states = torch.cat([before[:, 1:], after[:, :-1]], dim=2)
        return Prediction(logits, None, states, torch.cat([_at(before, lengths), after[:, 0]], dim=1))


class Transformer(nn.Module):
    """A decoder of masked self-attention over token and learnt position embeddings; the end is predicted too."""

    def __init__(self, config: LanguageModelConfig, embedding: nn.Embedding, positions: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(positions, config.embedding) * 0.02)
        self.blocks = nn.ModuleList(
            TransformerBlock(config.embedding, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.norm, self.dropout = nn.LayerNorm(config.embedding), nn.Dropout(config.dropout)
        self.decoder = Decoder(config.embedding, embedding, config.tie)

    def forward(self, x: Tensor, lengths: Tensor) -> Prediction:
        """The embedded begin, tokens and end, [B, T + 2, I], lengths int64 [B]; P is T + 1."""
        x = self.dropout(x[:, :-1] + self.positions[: x.shape[1] - 1])
        weights = None
        for block in self.blocks:
            x, weights = block(x)
        return Prediction(self.decoder(self.norm(x)), weights, None, None)


class LanguageModel(nn.Module):
    """Any model of the family: a lower model that reads single lines and, tiered, an upper LSTM along each stream."""

    def __init__(self, config: LanguageModelConfig, vocabulary: int, max_tokens: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, config.embedding, padding_idx=PAD)
        if config.architecture == "transformer" or config.tie:
            nn.init.normal_(self.embedding.weight, std=0.02)
        lower = Transformer if config.architecture == "transformer" else OneWay
        self.lower = (BothWays if config.bidirectional else lower)(config, self.embedding, max_tokens + 1)
        self.summary: TierSummary | None = None
        self.upper: nn.LSTMCell | None = None
        if config.tiered():
            width = config.hidden * (1 + config.bidirectional)
            self.summary = TierSummary(config.tier, width)
            self.upper = nn.LSTMCell(2 * width, config.context)

    def predict(self, ids: Tensor, lengths: Tensor, hidden: Tensor | None = None) -> tuple[Prediction, Tensor]:
        """ids int64 [B, T], lengths int64 [B], tiered the context [B, C] -> the prediction, targets int64 [B, P].

        Targets are PAD after a line's last one.
        """
        marked = nn.functional.pad(ids, (0, 1), value=PAD)
        positions = torch.arange(marked.shape[1], device=ids.device)
        marked = torch.where(positions == lengths[:, None], END, marked)
        x = self.embedding(nn.functional.pad(marked, (1, 0), value=BEGIN))
        if hidden is not None:
            x = torch.cat([x, hidden[:, None].expand(-1, x.shape[1], -1)], dim=2)
        prediction = self.lower(x, lengths)
        return prediction, marked if prediction.logits.shape[1] > ids.shape[1] else ids

    def step(
        self, prediction: Prediction, lengths: Tensor, hidden: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The upper tier's states after these lines, [B, C] each, and the weights of its attention [B, T]."""
        assert self.summary is not None and self.upper is not None
        seen, weights = self.summary(prediction.states, prediction.final, lengths)
        return *self.upper(seen, (hidden, cell)), weights

    def forward(
        self, ids: Tensor, lengths: Tensor, hidden: Tensor | None = None, cell: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """ids int64 [B, T], lengths int64 [B], tiered what is carried [B, C] -> the outputs that `graphs` names.

        They are zeros after a line's last target: what a recurrent layer makes of padding means nothing, and may be so
        wild that no two machines agree on it.
        """
        prediction, targets = self.predict(ids, lengths, hidden)
        real = targets != PAD
        log_probabilities = prediction.logits.log_softmax(2) * real[:, :, None]
        losses = -log_probabilities.gather(2, targets[:, :, None])[:, :, 0]
        found = [losses, log_probabilities]
        if prediction.weights is not None:
            found.append(prediction.weights * real[:, :, None])
        if hidden is not None and cell is not None:
            hidden, cell, weights = self.step(prediction, lengths, hidden, cell)
            attends = self.summary is not None and self.summary.attends
            found += [*([weights] if attends else []), hidden, cell]
        return tuple(found)


def _at(states: Tensor, positions: Tensor) -> Tensor:
    """[B, T, H], int64 [B] -> [B, H]: of each row the state at its place."""
    return states.gather(1, positions[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]


class LineLoss(nn.Module):
    """Training on single lines: the cross entropy of their tokens."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, lengths: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Texts and how often each occurs, float32 [B] -> the sums of the cross entropy and of the targets."""
        losses, counts = token_losses(*self.model.predict(ids, lengths))
        return (losses * weights).sum(), (counts * weights).sum()


class StreamLoss(nn.Module):
    """Training along streams: a few lines of each at once, whose states go on from those before, without gradients.

    Only a stream's last step may lack lines: the state after it is of no use.
    """

    def __init__(self, model: LanguageModel, streams: int, width: int) -> None:
        super().__init__()
        self.model = model
        self.hidden = nn.Buffer(torch.zeros(streams, width), persistent=False)
        self.cell = nn.Buffer(torch.zeros(streams, width), persistent=False)

    def forward(self, ids: Tensor, lengths: Tensor, streams: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
        """ids int64 [B, K, T], lengths int64 [B, K] (0: no line), streams int64 [B], each once, fresh bool [B]: its
        first lines -> the sums of the cross entropy and of the targets.
        """
        hidden, cell = (state[streams] * ~fresh[:, None] for state in (self.hidden, self.cell))
        total = count = torch.zeros((), device=ids.device)
        for line in range(ids.shape[1]):
            present, least = lengths[:, line] > 0, lengths[:, line].clamp(min=1)
            prediction, targets = self.model.predict(ids[:, line], least, hidden)
            losses, counts = token_losses(prediction, targets)
            total, count = total + (losses * present).sum(), count + (counts * present).sum()
            hidden, cell, _ = self.model.step(prediction, least, hidden, cell)
        with torch.no_grad():
            self.hidden[streams], self.cell[streams] = hidden.detach(), cell.detach()
        return total, count


def token_losses(prediction: Prediction, targets: Tensor) -> tuple[Tensor, Tensor]:
    """[B]: the sum of each line's cross entropy, and of its targets."""
    losses = cross_entropy(prediction.logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="none")
    return losses.reshape(targets.shape).sum(1), (targets != PAD).sum(1)
