"""A language model that moves along its logs: it scores lines as they come and then learns them, window by window."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from agent.bundle.manifest import Relative
from agent.scoring.relative import prior
from agent.scoring.stream_scorer import StreamScorer, build_stream_scorer
from agent.text.text_table import TextTable
from agent.text.tokenizers import Tokenizer
from training.data.corpus import Corpus
from training.data.selection import compact, split
from training.evaluation.model import TorchModel, score_in_order
from training.fitting.fit import tokenize
from training.fitting.loop import Groups, copy_state, first_progress, seed_of, train_stage
from training.models import language_model
from training.models.language_model.config import LanguageModelRunConfig


@dataclass(frozen=True)
class LineScores:
    """float32 [lines]: the scores of lines, and what they are before they are told relative to their stream's."""

    scores: NDArray[np.float32]
    raw: NDArray[np.float32]


class MovingModel:
    """A model and what its streams carry.

    Each training begins with a fresh Adam at the configured learning rate: the moments of another window's gradients
    say little of this one's, and a checkpoint need not hold them. What the streams carry, and what makes scores
    relative to them, begins empty with the first line that is scored and goes on over the trainings.
    """

    def __init__(self, config: LanguageModelRunConfig, fabric: Fabric, texts: TextTable, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._config, self._fabric, self._texts = config, fabric, texts
        torch.manual_seed(seed_of(config.seed))
        self._model = language_model.build(config, len(tokenizer))
        fabric.to_device(self._model)
        self._graphs = TorchModel.of(config, self._model, tokenizer)
        relative = None if config.relative == "none" else Relative(config.relative, 0.0, 0.0)
        self._lines = self._stream_scorer(relative)

    @property
    def device(self) -> str:
        """The kind of device that it trains on."""
        return self._fabric.device.type

    def _stream_scorer(self, relative: Relative | None, most: int = 65536) -> StreamScorer:
        return build_stream_scorer(self._graphs.relative_to(relative), self._texts, most=most)

    def score(self, keys: list[bytes], ids: NDArray[np.int32]) -> LineScores:
        """Scores lines, each by its stream's key and text id; the streams go on."""
        scores, raw = np.empty(len(ids), np.float32), np.empty(len(ids), np.float32)
        for piece in self._lines.push("", keys, ids):
            scores[piece.rows], raw[piece.rows] = piece.scores, piece.raw
        self._lines.streams.ended.clear()
        return LineScores(scores, raw)

    def learn(self, corpus: Corpus, window: int) -> dict[str, Any]:
        """Trains on the lines of a window; the best loss of its last lines, `best`, and the reports of its `epochs`."""
        train, validation = self._split(compact(corpus))
        torch.manual_seed(seed_of(self._config.seed, window))
        data = tokenize(self.tokenizer, train, validation)
        (stage,) = language_model.stages(self._config, self._model, data)
        progress = first_progress() | {"epochs": []}
        train_stage(self._fabric, stage, (self._config.seed, window), progress)
        return {"best": progress["best"], "epochs": progress["epochs"]}

    def _split(self, corpus: Corpus) -> tuple[Corpus, Corpus]:
        """The last lines of a window are held out of its training, at least one; a single line is both."""
        if len(corpus) == 1:
            return corpus, corpus
        share = max(self._config.validation, 1 / len(corpus))
        return split(corpus, min(share, 1 - 1 / len(corpus)), "last lines")

    def expect(self, raw: NDArray[np.float32]) -> None:
        """Takes the scores of a window as what is normal of the lines of the next, where scores are relative."""
        if self._config.relative != "none":
            self._lines.relative = prior(self._config.relative, raw)

    def expect_as(self, corpus: Corpus) -> None:
        """The same with the model's scores of the lines of a corpus; what the streams carry stays as it is."""
        if self._config.relative != "none":
            lines = self._stream_scorer(None, max(1, len(corpus.keys)))
            self.expect(score_in_order(lines, corpus))

    def weights(self) -> dict[str, Tensor]:
        """The model's tensors."""
        return copy_state(self._model.state_dict())

    def groups(self) -> Groups:
        """All that it takes to go on."""
        streams, relative = self._lines.streams, self._lines.relative
        slots = streams.by_age() if streams.carried else []
        carried = {str(number): torch.from_numpy(one[slots]) for number, one in enumerate(streams.carried)}
        keys = [streams.key(slot)[1] for slot in slots]
        memory = {"keys": as_tensor(keys), "relative": as_tensor(msgspec.to_builtins(relative))}
        return {"model": self.weights(), "carried": carried, "memory": memory}

    def restore(self, groups: Groups) -> None:
        """Goes on from `groups`."""
        self._model.load_state_dict(groups["model"])
        self._lines.relative = msgspec.convert(from_tensor(groups["memory"]["relative"]), Relative | None)
        keys = from_tensor(groups["memory"]["keys"])
        carried = [groups["carried"][str(number)].numpy() for number in range(len(self._lines.streams.carried))]
        for row, key in enumerate(keys):
            self._lines.streams.restore("", key, [], [], 1, [one[row].tobytes() for one in carried])


def as_tensor(content: Any) -> Tensor:
    """Plain data as a tensor of bytes."""
    return torch.frombuffer(bytearray(msgspec.msgpack.encode(content)), dtype=torch.uint8)


def from_tensor(tensor: Tensor) -> Any:
    """What `as_tensor` was given; bytes stay bytes."""
    return msgspec.msgpack.decode(tensor.numpy().tobytes())
