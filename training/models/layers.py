"""Layers that the families share, made so that the exporter can trace them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CELLS: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@torch.library.custom_op("oddline::recurrent", mutates_args=())
def recurrent(
    x: Tensor, lengths: Tensor, weight: Tensor, state_weight: Tensor, bias: Tensor, cell: str
) -> tuple[Tensor, Tensor]:
    """One recurrent layer over sequences of unequal length, as one operator that the exporter translates to ONNX's.

    x [B, T, I]; lengths int64 [B], from 1; weight [D, G * H, I], state_weight [D, G * H, H], bias [D, 2 * G * H], D = 1
    or 2 directions, the G gates in torch's order. Gives the outputs [B, T, D * H], zeros after a sequence's end, and
    the final states [B, D, H].
    """
    directions, _, hidden = state_weight.shape
    layer = CELLS[cell](
        x.shape[2], hidden, batch_first=True, bidirectional=directions == 2, device=x.device, dtype=x.dtype
    )
    for direction, suffix in enumerate(("", "_reverse")[:directions]):
        values = (weight[direction], state_weight[direction], *bias[direction].chunk(2))
        for name, value in zip(_WEIGHTS, values, strict=True):
            getattr(layer, f"{name}_l0{suffix}").data.copy_(value)
    with torch.no_grad():
        outputs, states = _run(layer, x, lengths)
    return outputs.contiguous(), states.contiguous()


@recurrent.register_fake
def _(
    x: Tensor, lengths: Tensor, weight: Tensor, state_weight: Tensor, bias: Tensor, cell: str
) -> tuple[Tensor, Tensor]:
    directions, _, hidden = state_weight.shape
    return x.new_empty(x.shape[0], x.shape[1], directions * hidden), x.new_empty(x.shape[0], directions, hidden)


def _run(layer: nn.RNNBase, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Outputs [B, T, D * H] and final states [B, D, H] of a layer; without lengths all sequences are whole."""
    if lengths is None:
        outputs, states = layer(x)
    else:
        packed, states = layer(pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False))
        outputs = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])[0]
    return outputs, (states[0] if isinstance(states, tuple) else states).transpose(0, 1)


class Recurrent(nn.Module):
    """A recurrent layer, in one direction or both. The exporter sees it as the operator `oddline::recurrent`."""

    def __init__(self, width: int, hidden: int, bidirectional: bool = False, cell: str = "lstm") -> None:
        super().__init__()
        self.cell = cell
        self.layer = CELLS[cell](width, hidden, batch_first=True, bidirectional=bidirectional)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, T, I], lengths int64 [B] or None -> outputs [B, T, D * H] and final states [B, D, H]."""
        if not torch.compiler.is_exporting():
            return _run(self.layer, x, lengths)
        if lengths is None:
            lengths = torch.full_like(x[:, 0, 0], x.shape[1], dtype=torch.int64)
        suffixes = ("_l0", "_l0_reverse") if self.layer.bidirectional else ("_l0",)
        weights = [[getattr(self.layer, name + suffix) for suffix in suffixes] for name in _WEIGHTS]
        weight, state_weight, *biases = (torch.stack(values) for values in weights)
        arguments = (x, lengths, weight, state_weight, torch.cat(biases, dim=1), self.cell)
        outputs, states = torch.ops.oddline.recurrent(*arguments)
        return outputs, states


class StackedRecurrent(nn.Module):
    """Recurrent layers above each other, in one direction; `residual` adds a layer's input where the widths agree."""

    def __init__(self, cell: str, width: int, hidden: int, layers: int, residual: bool, dropout: float) -> None:
        super().__init__()
        widths = [width] + [hidden] * (layers - 1)
        self.layers = nn.ModuleList(Recurrent(before, hidden, cell=cell) for before in widths)
        self.residual, self.dropout = residual, nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, I] -> [B, T, H]; a state depends on what came before it alone."""
        for layer in self.layers:
            outputs, _ = layer(self.dropout(x))
            x = outputs + x if self.residual and outputs.shape[2] == x.shape[2] else outputs
        return x


def reverse(x: Tensor, lengths: Tensor) -> Tensor:
    """[B, T, I] with the first `lengths` [B] positions of each row turned round and the rest left in place."""
    positions = torch.arange(x.shape[1], device=x.device)
    order = torch.where(positions < lengths[:, None], lengths[:, None] - 1 - positions, positions)
    return x.gather(1, order[:, :, None].expand(-1, -1, x.shape[2]))


class Attention(nn.Module):
    """Dot-product attention on the states before each place (Brown et al. 2018): K = tanh(V Wa), d = softmax(q K^T).

    fixed: one q. syntax: one q for each place. semantic1: q = tanh(h Wq). semantic2: q is a part of the state itself,
    given by the caller. The first place has nothing before it: its weights and its result are zero.
    """

    def __init__(self, kind: str, hidden: int, width: int, positions: int) -> None:
        super().__init__()
        self.kind = kind
        self.keys = nn.Linear(hidden, width, bias=False)
        if kind == "semantic1":
            self.queries = nn.Linear(hidden, width, bias=False)
        elif kind in ("fixed", "syntax"):
            self.query = nn.Parameter(torch.randn(1 if kind == "fixed" else positions, width) / width**0.5)

    def forward(self, states: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States [B, T, H], with semantic2 queries [B, T, A] -> results [B, T, H] and weights [B, T, T]."""
        keys = self.keys(states).tanh()
        products = self._queries(states, queries) @ keys.transpose(1, 2)
        weights = masked_softmax(products, causal_mask(states, strict=True))
        return weights @ states, weights

    def _queries(self, states: Tensor, queries: Tensor | None) -> Tensor:
        if self.kind == "semantic1":
            found: Tensor = self.queries(states).tanh()
            return found
        if queries is not None:
            return queries
        queries = self.query if self.kind == "syntax" else self.query.expand(states.shape[1], -1)
        return queries[: states.shape[1]].expand(states.shape[0], -1, -1)


def causal_mask(x: Tensor, strict: bool) -> Tensor:
    """bool [T, T] of x [B, T, H]: whether the place of a row may look at that of a column; strict: not at itself."""
    positions = torch.arange(x.shape[1], device=x.device)
    return positions[:, None] > positions if strict else positions[:, None] >= positions


def masked_softmax(products: Tensor, mask: Tensor) -> Tensor:
    """The softmax over the last axis of what the mask lets through, zeros elsewhere, also where that is all."""
    return products.masked_fill(~mask, _NEVER).softmax(-1) * mask


_NEVER = -1e9


class TierSummary(nn.Module):
    """What the upper tier sees of a line: its states' mean, or their attention (Brown et al. 2018), and the final one.

    With attention q = tanh(h_T Wt), K = tanh(V Wa), d = softmax(q K^T), a = d V.
    """

    def __init__(self, tier: str, hidden: int) -> None:
        super().__init__()
        self.attends = tier == "attention"
        if self.attends:
            self.query = nn.Linear(hidden, hidden, bias=False)
            self.keys = nn.Linear(hidden, hidden, bias=False)

    def forward(self, states: Tensor, final: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States [B, T, H], the final one [B, H], lengths int64 [B] -> [B, 2 * H] and weights [B, T]."""
        mask = torch.arange(states.shape[1], device=states.device) < lengths[:, None]
        if self.attends:
            products = (self.keys(states).tanh() @ self.query(final).tanh()[:, :, None])[:, :, 0]
            weights = masked_softmax(products, mask)
        else:
            weights = mask / lengths[:, None]
        return torch.cat([(weights[:, None] @ states)[:, 0], final], dim=1), weights


class TransformerBlock(nn.Module):
    """A transformer decoder's block after GPT-2 (Radford et al. 2019): layer norm before each part, residuals, GELU."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, H] -> [B, T, H] and the weights of the attention, [B, T, T], the mean of the heads."""
        split = (x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads)
        q, k, v = (part.reshape(split).transpose(1, 2) for part in self.inward(self.norms[0](x)).chunk(3, dim=2))
        products = q @ k.transpose(2, 3) / split[3] ** 0.5
        weights = masked_softmax(products, causal_mask(x, strict=False))
        seen = (self.dropout(weights) @ v).transpose(1, 2).reshape(x.shape)
        x = x + self.dropout(self.outward(seen))
        x = x + self.dropout(self.narrow(nn.functional.gelu(self.wide(self.norms[1](x)))))
        return x, weights.mean(1)
