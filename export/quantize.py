"""Weights of 8 bits: a quarter of the size; computed with as 32-bit floats.

Quantising the activations too (onnxruntime's dynamic quantisation) takes their range from the whole batch, so that a
line's score would depend on the lines that happen to be scored with it. This is not done.
"""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from agent.errors import BundleError

_SMALLEST = 1024  # elements; smaller tensors stay as they are


def quantize(path: Path) -> None:
    """Stores the large float weights of an ONNX file as int8, symmetric, with one scale for each row of each matrix."""
    model = onnx.load(path)
    graph = model.graph
    large = [tensor for tensor in graph.initializer if _is_large(tensor)]
    nodes = [node for tensor in large for node in _replace(graph, tensor)]
    others = list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes + others)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _is_large(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) >= 2 and np.prod(tensor.dims) >= _SMALLEST


def _replace(graph: onnx.GraphProto, tensor: onnx.TensorProto) -> list[onnx.NodeProto]:
    """Puts int8 rows and their scales in the place of a tensor; the nodes that give the tensor again."""
    name, values = tensor.name, numpy_helper.to_array(tensor)
    rows = values.reshape(-1, values.shape[-1])
    scales = np.maximum(np.abs(rows).max(axis=1) / 127, np.finfo(np.float32).tiny).astype(np.float32)
    levels = np.clip(np.rint(rows / scales[:, None]), -127, 127).astype(np.int8)
    graph.initializer.remove(tensor)
    parts = {f"{name}.levels": levels, f"{name}.scales": scales, f"{name}.shape": np.array(values.shape, np.int64)}
    graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in parts.items())
    levels_name, scales_name, shape_name = parts
    return [
        helper.make_node("DequantizeLinear", [levels_name, scales_name], [f"{name}.rows"], axis=0),
        helper.make_node("Reshape", [f"{name}.rows", shape_name], [name]),
    ]


def agreement(exact: NDArray[np.float32], quantised: NDArray[np.float32]) -> dict[str, float]:
    """How well quantised scores keep the order: Spearman's rank correlation, and what share of the top 1 % stays."""
    if not len(exact):
        raise BundleError("there is no score to compare the quantised graphs by")
    top = max(1, len(exact) // 100)
    best = [set(np.argsort(-scores, kind="stable")[:top].tolist()) for scores in (exact, quantised)]
    ranks = [_ranks(scores) for scores in (exact, quantised)]
    deviations = [rank - rank.mean() for rank in ranks]
    scale = float(np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum()))
    spearman = float((deviations[0] * deviations[1]).sum()) / scale if scale else 1.0
    return {"spearman": spearman, "top_percent_kept": len(best[0] & best[1]) / top}


def _ranks(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64: the rank of each score, the mean rank where scores are equal."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]
