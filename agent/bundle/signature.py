"""Signatures of graphs: whether a model file and the manifest tell the same, and whether lengths fit."""

from typing import Any

from agent.bundle.manifest import Graph, Manifest, Tensor
from agent.errors import BundleError


def check_signature(file: str, graph: Graph, session: Any) -> None:
    """Compares names, types and axes of the model with the manifest, in this order."""
    for what, expected, actual in (
        ("input", graph.inputs, session.get_inputs()),
        ("output", graph.outputs, session.get_outputs()),
    ):
        names = [tensor.name for tensor in expected]
        if names != [tensor.name for tensor in actual]:
            raise BundleError(
                f"{file}: its {what}s are {[tensor.name for tensor in actual]}, the manifest says {names}"
            )
        for tensor, found in zip(expected, actual, strict=True):
            dtype = f"tensor({'float' if tensor.dtype == 'float32' else tensor.dtype})"
            if found.type != dtype:
                raise BundleError(f"{file}: {what} {tensor.name} is of type {found.type}, the manifest says {dtype}")
            axes = [axis if isinstance(axis, int) else None for axis in tensor.axes]
            shape = [axis if isinstance(axis, int) else None for axis in found.shape]
            if axes != shape:
                raise BundleError(
                    f"{file}: {what} {tensor.name} has the shape {found.shape}, the manifest says {tensor.axes}"
                )


def graph_of(manifest: Manifest, name: str) -> Graph:
    """A graph by its name; a BundleError where the manifest lacks it."""
    if name not in manifest.graphs:
        raise BundleError(f"the manifest lacks the graph {name!r}; export it again")
    return manifest.graphs[name]


def check_lengths(tensors: list[Tensor], expected: list[list[int]], what: str) -> None:
    """Whether the fixed lengths of tensors, the batch left out, are the expected ones, else a BundleError."""
    found = [tensor.lengths() for tensor in tensors]
    if found != expected:
        raise BundleError(f"its {what} the lengths {found}; with its window and settings they must be {expected}")
