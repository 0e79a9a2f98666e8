"""Layers that the families share, made so that the exporter can trace them."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


@torch.library.custom_op("oddline::lstm", mutates_args=())
def lstm(x: Tensor, lengths: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """One LSTM layer over sequences of unequal length, as one operator that the exporter translates to ONNX's LSTM.

    x [B, T, I]; lengths int64 [B], from 1; weight [D, 4H, I], recurrent [D, 4H, H], bias [D, 8H], D = 1 or 2
    directions, gates in torch's order i, f, g, o. Gives the outputs [B, T, D * H], zeros after a sequence's end, and
    the final states [B, D, H].
    """
    directions, _, hidden = recurrent.shape
    layer = nn.LSTM(x.shape[2], hidden, batch_first=True, bidirectional=directions == 2, device=x.device, dtype=x.dtype)
    for direction, suffix in enumerate(("", "_reverse")[:directions]):
        biases = bias[direction].split(4 * hidden)
        for name, value in zip(
            ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
            (weight[direction], recurrent[direction], *biases),
            strict=True,
        ):
            getattr(layer, f"{name}_l0{suffix}").data.copy_(value)
    with torch.no_grad():
        outputs, states = _run(layer, x, lengths)
    return outputs.contiguous(), states.contiguous()


@lstm.register_fake
def _(x: Tensor, lengths: Tensor, weight: Tensor, recurrent: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    directions, _, hidden = recurrent.shape
    return x.new_empty(x.shape[0], x.shape[1], directions * hidden), x.new_empty(x.shape[0], directions, hidden)


def _run(layer: nn.LSTM, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Outputs [B, T, D * H] and final states [B, D, H] of a layer; without lengths all sequences are whole."""
    if lengths is None:
        outputs, (states, _) = layer(x)
        return outputs, states.transpose(0, 1)
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    outputs, (states, _) = layer(packed)
    return pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])[0], states.transpose(0, 1)


class Lstm(nn.Module):
    """An LSTM layer, in one direction or both. The exporter sees it as the operator `oddline::lstm`."""

    def __init__(self, width: int, hidden: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.layer = nn.LSTM(width, hidden, batch_first=True, bidirectional=bidirectional)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x [B, T, I], lengths int64 [B] or None -> outputs [B, T, D * H] and final states [B, D, H]."""
        if not torch.compiler.is_exporting():
            return _run(self.layer, x, lengths)
        if lengths is None:
            lengths = torch.full_like(x[:, 0, 0], x.shape[1], dtype=torch.int64)
        suffixes = ("_l0", "_l0_reverse") if self.layer.bidirectional else ("_l0",)
        weights = [[getattr(self.layer, name + suffix) for suffix in suffixes] for name in _WEIGHTS]
        weight, recurrent, *biases = (torch.stack(values) for values in weights)
        return torch.ops.oddline.lstm(x, lengths, weight, recurrent, torch.cat(biases, dim=1))


_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
