"""Whether a graph in onnxruntime does what the module in torch does: names, axes, shapes, values, in this order."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from agent.bundle.bundle import TOLERANCE, largest_difference
from agent.bundle.manifest import Tensor
from agent.errors import BundleError
from training.models.base import GraphSpec

BATCHES = (1, 2, 7, 64)
_RECORDED = 2  # the batch size of the cases that go into the bundle
_MOST_VALUES = 50_000  # of an output's row in a recorded case; more only where no shorter case is there


class Argument(Protocol):
    """An input or an output of a session, as onnxruntime tells it."""

    name: str
    shape: list[int | str | None]


class Session(Protocol):
    """What is asked of an onnxruntime.InferenceSession, which ships no types."""

    def get_inputs(self) -> list[Argument]:
        """The inputs, in order."""
        ...

    def get_outputs(self) -> list[Argument]:
        """The outputs, in order."""
        ...

    def run(self, names: list[str] | None, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs of these names, or all, for inputs by name."""
        ...


class NamesError(BundleError):
    """A graph's inputs or outputs have other names than the module's."""


class AxesError(BundleError):
    """An axis of a graph is frozen that should vary, or the other way."""


class ShapeError(BundleError):
    """A graph gives an output of another shape than the module."""


class ValuesError(BundleError):
    """A graph gives other values than the module."""


def check_signature(spec: GraphSpec, session: Session) -> None:
    """Compares the names, then the axes, of an onnxruntime session with the specification."""
    sides = ((spec.inputs, session.get_inputs(), "inputs"), (spec.outputs, session.get_outputs(), "outputs"))
    for expected, found, what in sides:
        names = [tensor.name for tensor in found]
        if names != [tensor.name for tensor in expected]:
            raise NamesError(f"graph {spec.name}: its {what} are {names}, not {[tensor.name for tensor in expected]}")
    for expected, found, _ in sides:
        for tensor, actual in zip(expected, found, strict=True):
            if _lengths(tensor.axes) != _lengths(actual.shape):
                raise AxesError(f"graph {spec.name}: {tensor.name} has the axes {actual.shape}, not {tensor.axes}")


def _lengths(axes: Sequence[int | str | None]) -> list[int | None]:
    return [axis if isinstance(axis, int) else None for axis in axes]


def verify(spec: GraphSpec, session: Session) -> float:
    """The largest difference between torch and onnxruntime over batches and lengths; an error above the tolerance."""
    check_signature(spec, session)
    draw, worst = np.random.default_rng(0), 0.0
    for batch in BATCHES:
        for length in spec.lengths:
            inputs = spec.sample(batch, length, draw)
            case = f"graph {spec.name} at batch {batch} and length {length}"
            worst = max(worst, _compare(case, spec.outputs, run_module(spec, inputs), session.run(None, inputs)))
    return max(worst, _verify_chain(spec, session, draw))


def _verify_chain(spec: GraphSpec, session: Session, draw: np.random.Generator) -> float:
    """The same over calls in a row, in which either side goes on from its own state, from zeros on."""
    states: dict[str, list[NDArray[Any]]] = {}
    worst = 0.0
    indices = {tensor.name: index for index, tensor in enumerate(spec.outputs)}
    names = [tensor.name for tensor in spec.inputs if f"next_{tensor.name}" in indices]
    for step in range(spec.chain):
        inputs = spec.sample(_RECORDED, spec.lengths[step % len(spec.lengths)], draw)
        sides = [
            inputs | {name: states[name][side] if states else np.zeros_like(inputs[name]) for name in names}
            for side in range(2)
        ]
        pair = run_module(spec, sides[0]), session.run(None, sides[1])
        worst = max(worst, _compare(f"graph {spec.name} after {step} lines", spec.outputs, *pair))
        states = {name: [side[indices[f"next_{name}"]] for side in pair] for name in names}
    return worst


@torch.no_grad()
def run_module(spec: GraphSpec, inputs: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The outputs of the module in torch."""
    outputs = spec.module.eval()(*(torch.from_numpy(inputs[tensor.name]) for tensor in spec.inputs))
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def _compare(case: str, tensors: list[Tensor], expected: list[NDArray[Any]], found: list[NDArray[Any]]) -> float:
    worst = 0.0
    for tensor, reference, given in zip(tensors, expected, found, strict=True):
        if reference.shape != given.shape:
            raise ShapeError(f"{case}: {tensor.name} has the shape {given.shape}, torch gives {reference.shape}")
        difference = largest_difference(given, reference)
        if not difference <= TOLERANCE:  # NaN too
            raise ValuesError(f"{case}: {tensor.name} differs from torch by {difference:.3g}, {TOLERANCE:g} is allowed")
        worst = max(worst, difference)
    return worst


def difference(spec: GraphSpec, session: Session) -> float:
    """The largest difference between torch and onnxruntime, whatever it is: for quantised graphs."""
    draw = np.random.default_rng(0)
    cases = [spec.sample(7, length, draw) for length in spec.lengths]
    pairs = ((run_module(spec, inputs), session.run(None, inputs)) for inputs in cases)
    return max(largest_difference(b, a) for expected, found in pairs for a, b in zip(expected, found, strict=True))


def record(spec: GraphSpec, session: Session) -> dict[str, NDArray[Any]]:
    """Inputs and outputs of a few small cases, named graph/case/tensor, for the host to replay."""
    draw = np.random.default_rng(1)
    cases: dict[str, NDArray[Any]] = {}
    for length in spec.lengths:
        if cases and length * _widest(spec) > _MOST_VALUES:
            continue
        inputs = spec.sample(_RECORDED, length, draw)
        outputs = dict(zip((tensor.name for tensor in spec.outputs), session.run(None, inputs), strict=True))
        for name, value in (inputs | outputs).items():
            cases[f"{spec.name}/{length}/{name}"] = value
    return cases


def _widest(spec: GraphSpec) -> int:
    """Of the fixed lengths of the outputs' axes, the largest."""
    return max((axis for tensor in spec.outputs for axis in tensor.axes if isinstance(axis, int)), default=1)
