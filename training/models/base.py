"""What every family of models offers, and what it gives to the training loop and to the export."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from agent.bundle import manifest
from agent.text.events import Events
from training.config import RunConfig, StageConfig
from training.data.corpus import Corpus

ConfigT = TypeVar("ConfigT", bound=RunConfig)
ModelT = TypeVar("ModelT", bound=nn.Module)


class Examples(Protocol):
    """Numbered training examples."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """The arguments of the stage's module for these examples."""
        ...


class BatchPlan(Protocol):
    """Which examples of a set come together in a batch, and in which order the batches come."""

    def __call__(self, size: int, draw: np.random.Generator | None) -> list[NDArray[np.int64]]:
        """The batches, of at most `size` examples; `draw` draws their order (None: as they come)."""
        ...


@dataclass(frozen=True)
class Stage:
    """One optimisation of a model. The module's forward gives the sum of the losses and the sum of their weights.

    plans  the batches of the training and of the validation examples, where these depend on those before them; None
           where any order will do
    """

    name: str
    module: nn.Module
    settings: StageConfig
    train: Examples
    validation: Examples
    plans: tuple[BatchPlan, BatchPlan] | None = None


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
    sample: Callable[[int, int, np.random.Generator], dict[str, NDArray[Any]]]
    lengths: tuple[int, ...]
    chain: int = 0


@dataclass(frozen=True)
class TrainingData:
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


class Family(Protocol[ConfigT, ModelT]):
    """A family of models: what the training, the export and the agent know of it. Each family is a module `family`.

    Whatever a family offers depends on its configuration (and its model) alone, so that a run folder, which holds
    both, is enough to export it. Random weights come from torch's generator, which the caller seeds.
    """

    @property
    def CONFIG(self) -> type[ConfigT]:  # noqa: N802 (a constant of the module that is a family)
        """The type of its configuration."""
        ...

    def build(self, config: ConfigT, vocabulary: int) -> ModelT:
        """A new model for so many tokens, with random weights; its state_dict is what a run keeps."""
        ...

    def stages(self, config: ConfigT, model: ModelT, data: TrainingData) -> Iterator[Stage]:
        """The stages of its training. Each is trained before the next is asked for, and trains tensors of `model`.

        A ConfigError says what in the data does not fit the configuration.
        """
        ...

    def graphs(self, config: ConfigT, model: ModelT) -> list[GraphSpec]:
        """What the export turns into ONNX; together the graphs are all that the agent's scorer runs."""
        ...

    def scorer(self, config: ConfigT) -> str:
        """The name of the agent's scorer, a key of agent.scoring.scorers.SCORERS."""
        ...

    def settings(self, config: ConfigT) -> dict[str, Any]:
        """What the manifest tells the scorer, as JSON data."""
        ...

    def state(self, config: ConfigT) -> list[manifest.Tensor]:
        """The tensors that each stream carries from line to line; the first axis of each is the batch."""
        ...
