"""What a family of models gives to the training loop and to the export."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from agent.bundle import manifest
from agent.text.events import Events
from training.config import StageConfig
from training.data.corpus import Corpus


class Examples(Protocol):
    """Numbered training examples."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """The arguments of the stage's module for these examples."""
        ...


Plan = Callable[[Any, int, np.random.Generator | None], list[NDArray[np.int64]]]
"""Examples, the size of a batch, and what draws their order (None: as they come) -> the batches."""


@dataclass(frozen=True)
class Stage:
    """One optimisation of a model. The module's forward gives the sum of the losses and the sum of their weights.

    plan  the batches of examples that depend on those before them; None where any order will do
    """

    name: str
    module: nn.Module
    settings: StageConfig
    train: Examples
    validation: Examples
    plan: Plan | None = None


@dataclass(frozen=True)
class GraphSpec:
    """A module that becomes an ONNX file.

    sample   random inputs, by name, for a batch size, a length (lines or tokens) and a generator
    lengths  the lengths at which the graph must agree with the module
    chain    how many calls in a row must agree whose outputs next_X are the inputs X of the next; 0: none
    """

    name: str
    module: nn.Module
    inputs: list[manifest.Tensor]
    outputs: list[manifest.Tensor]
    sample: Callable[[int, int, np.random.Generator], dict[str, NDArray]]
    lengths: tuple[int, ...]
    chain: int = 0


@dataclass(frozen=True)
class Data:
    """The lines of a training run and the tokens of their texts.

    tokens   int32 [texts, max_tokens], padded with 0
    lengths  int64 [texts]
    events   those of the training lines, for a model that looks at them
    """

    train: Corpus
    validation: Corpus
    tokens: NDArray[np.int32]
    lengths: NDArray[np.int64]
    events: Events | None = None
