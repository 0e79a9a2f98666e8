"""From a torch module to an ONNX file, for any family."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxscript.optimizer
import torch
from onnxscript import opset20 as op

from agent.bundle import manifest
from agent.errors import BundleError
from training.models.base import GraphSpec

OPSET = 20
_ANY_SIZE = 1 << 40


_OPERATORS: dict[str, Callable[..., Any]] = {"lstm": op.LSTM, "gru": op.GRU, "rnn": op.RNN}
_ORDERS = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}  # of ONNX's gates, by their indices in torch


def _recurrent(x: Any, lengths: Any, weight: Any, state_weight: Any, bias: Any, cell: str) -> tuple[Any, Any]:
    """`oddline::recurrent` of training.models.layers as ONNX's LSTM, GRU or RNN: other gates, time before batch."""
    directions, _, hidden = state_weight.shape
    order = _ORDERS[cell]
    more = {"linear_before_reset": 1} if cell == "gru" else {}
    sequences, states, *_ = _OPERATORS[cell](
        op.Transpose(x, perm=[1, 0, 2]),
        _reorder(weight, order, 1),
        _reorder(state_weight, order, 1),
        _reorder(bias, order, 2),
        op.Cast(lengths, to=int(onnx_ir.DataType.INT32)),
        hidden_size=hidden,
        direction="bidirectional" if directions == 2 else "forward",
        **more,
    )
    by_batch = op.Transpose(sequences, perm=[2, 0, 1, 3])
    shape: Any = op.Constant(value_ints=[0, 0, -1])
    return op.Reshape(by_batch, shape), op.Transpose(states, perm=[1, 0, 2])


def _reorder(gates: Any, order: tuple[int, ...], times: int) -> Any:
    """Gates [D, times * G * H, ...] in another order; a bias holds them twice."""
    if len(order) == 1:
        return gates
    split = op.Split(gates, num_outputs=times * len(order), axis=1)
    indices = [repeat * len(order) + index for repeat in range(times) for index in order]
    return op.Concat(*(split[index] for index in indices), axis=1)


_TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.oddline.recurrent.default: _recurrent}


def export_graph(spec: GraphSpec, path: Path) -> None:
    """Writes a module in evaluation mode as an ONNX file; a BundleError where the exporter cannot."""
    sample = spec.sample(3, spec.lengths[-1], np.random.default_rng(0))
    arguments = tuple(torch.from_numpy(sample[tensor.name]) for tensor in spec.inputs)
    try:
        with _quiet():
            program = torch.onnx.export(
                spec.module.eval(),
                arguments,
                dynamo=True,
                input_names=[tensor.name for tensor in spec.inputs],
                output_names=[tensor.name for tensor in spec.outputs],
                dynamic_shapes=_dynamic(spec.inputs),
                custom_translation_table=_TRANSLATIONS,
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
            assert program is not None
            onnxscript.optimizer.optimize_ir(
                program.model, input_size_limit=_ANY_SIZE, output_size_limit=_ANY_SIZE, onnx_shape_inference=False
            )
            _forget_traces(program.model)
            program.save(path, external_data=False)
    except torch.onnx.OnnxExporterError as error:
        raise BundleError(f"graph {spec.name} cannot be exported: {' '.join(str(error).split())[:300]}") from error


def _forget_traces(model: onnx_ir.Model) -> None:
    """Takes out where in which file each node was made: a bundle tells nothing of the machine that exported it."""
    nodes: list[Any] = list(model.graph.all_nodes())  # parts have metadata, but no common type
    values: list[Any] = [*model.graph.initializers.values(), *(value for node in nodes for value in node.outputs)]
    for traces in (part.metadata_props for part in (model, model.graph, *nodes, *values)):
        traces.clear()


def _dynamic(inputs: Sequence[manifest.Tensor]) -> tuple[dict[int, Any], ...]:
    """The varying axes of each input; axes of one name are one dimension."""
    names = {axis for tensor in inputs for axis in tensor.axes if isinstance(axis, str)}
    dimensions = {name: torch.export.Dim(name) for name in names}
    return tuple(
        {index: dimensions[axis] for index, axis in enumerate(tensor.axes) if isinstance(axis, str)}
        for tensor in inputs
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Holds back what the exporter prints, warns of and logs on its way."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
