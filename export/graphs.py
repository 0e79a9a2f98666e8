"""From a torch module to an ONNX file, for any family."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxscript.optimizer
import torch
from onnxscript import opset20 as op

from agent import bundle
from agent.errors import BundleError
from training.contracts import GraphSpec

OPSET = 20
_ANY_SIZE = 1 << 40


def _lstm(x: Any, lengths: Any, weight: Any, recurrent: Any, bias: Any) -> tuple[Any, Any]:
    """`oddline::lstm` (training.layers) as the ONNX operator LSTM: gates in the order i, o, f, c, time before batch."""
    directions, _, hidden = recurrent.shape
    direction = "bidirectional" if directions == 2 else "forward"
    sequences, states, _ = op.LSTM(
        op.Transpose(x, perm=[1, 0, 2]),
        _reorder(weight, 4),
        _reorder(recurrent, 4),
        _reorder(bias, 8),
        op.Cast(lengths, to=int(onnx_ir.DataType.INT32)),
        hidden_size=hidden,
        direction=direction,
    )
    outputs = op.Reshape(op.Transpose(sequences, perm=[2, 0, 1, 3]), op.Constant(value_ints=[0, 0, -1]))
    return outputs, op.Transpose(states, perm=[1, 0, 2])


def _reorder(gates: Any, parts: int) -> Any:
    """Gates from i, f, g, o to i, o, f, g; a bias holds them twice."""
    split = op.Split(gates, num_outputs=parts, axis=1)
    order = [4 * (part // 4) + (0, 3, 1, 2)[part % 4] for part in range(parts)]
    return op.Concat(*(split[part] for part in order), axis=1)


_TRANSLATIONS = {torch.ops.oddline.lstm.default: _lstm}


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
            program.save(path, external_data=False)
    except torch.onnx.OnnxExporterError as error:
        raise BundleError(f"graph {spec.name} cannot be exported: {' '.join(str(error).split())[:300]}") from error


def _dynamic(inputs: Sequence[bundle.Tensor]) -> tuple[dict[int, Any], ...]:
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
