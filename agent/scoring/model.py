"""What scoring takes of a model: a bundle gives it, and so does training of a model whose graphs torch computes."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from agent.bundle.manifest import Relative, Tensor, Window
from agent.text.events import Events
from agent.text.tokenizers import Tokenizer


class GraphSignature(Protocol):
    """The outputs of a graph, in their order."""

    @property
    def outputs(self) -> Sequence[Tensor]: ...


class ModelManifest(Protocol):
    """The part of a `Manifest` that scores depend on."""

    @property
    def scorer(self) -> str: ...

    @property
    def window(self) -> Window: ...

    @property
    def settings(self) -> Mapping[str, Any]: ...

    @property
    def state(self) -> Sequence[Tensor]: ...

    @property
    def relative(self) -> Relative | None: ...

    @property
    def graphs(self) -> Mapping[str, GraphSignature]: ...


class ScoringModel(Protocol):
    """A model that can score: its settings, its tokenizer, its events (None where it looks at none), its graphs."""

    @property
    def manifest(self) -> ModelManifest: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def events(self) -> Events | None: ...

    def run(
        self, graph: str, inputs: Mapping[str, NDArray[Any]], names: Sequence[str] | None = None
    ) -> list[NDArray[Any]]:
        """The named outputs of a graph, or all in the order of its signature."""
        ...
