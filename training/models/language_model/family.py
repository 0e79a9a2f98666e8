"""What the language-model family offers to the training, the export and the agent: see training.models.base.Family."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.bundle import manifest
from agent.text.tokenizers import PAD
from training.models.base import GraphSpec, Stage, TrainingData
from training.models.examples import StreamSteps, TextExamples
from training.models.language_model.config import LanguageModelRunConfig
from training.models.language_model.networks import LanguageModel, LineLoss, StreamLoss

CONFIG: type[LanguageModelRunConfig] = LanguageModelRunConfig
_CHAIN = 20  # lines over which a carried state is compared


def build(config: LanguageModelRunConfig, vocabulary: int) -> LanguageModel:
    """A new model for this many tokens."""
    return LanguageModel(config.model, vocabulary, config.tokenizer.tokens_per_line())


def stages(config: LanguageModelRunConfig, model: LanguageModel, data: TrainingData) -> Iterator[Stage]:
    """One stage: on the lines as often as they occur, or along their streams where the model is tiered."""
    settings = config.model
    if not settings.tiered():
        lines = data.train.ids if settings.each == "line" else np.resize(np.unique(data.train.ids), len(data.train))
        train, validation = (
            TextExamples(data, texts, np.ones(len(texts), np.int64)) for texts in (lines, data.validation.ids)
        )
        yield Stage("model", LineLoss(model), settings, train, validation)
        return
    steps = StreamSteps(data, data.train, settings.lines, settings.steps)
    held_out = StreamSteps(data, data.validation, settings.lines)
    module = StreamLoss(model, 1 + max(steps.streams, held_out.streams), settings.context)
    yield Stage("model", module, settings, steps, held_out, (steps.plan, held_out.plan))


def graphs(config: LanguageModelRunConfig, model: LanguageModel) -> list[GraphSpec]:
    """One graph: token ids and what a stream carries -> the surprise at each token, and what explains it."""
    most, vocabulary = config.tokenizer.tokens_per_line(), model.embedding.num_embeddings
    tensor, carried = manifest.Tensor, state(config)
    places = "tokens" if config.model.bidirectional else "places"

    def sample(batch: int, length: int, draw: np.random.Generator) -> dict[str, NDArray[Any]]:
        lengths = draw.integers(1, length + 1, batch)
        lengths[0] = length
        ids = np.where(np.arange(length) < lengths[:, None], draw.integers(4, vocabulary, (batch, length)), PAD)
        states = {one.name: draw.normal(0, 0.5, (batch, config.model.context)).astype(np.float32) for one in carried}
        return {"ids": ids, "lengths": lengths, **states}

    inputs = [tensor("ids", "int64", ["batch", "tokens"]), tensor("lengths", "int64", ["batch"]), *carried]
    outputs = [
        tensor("losses", "float32", ["batch", places]),
        tensor("log_probabilities", "float32", ["batch", places, vocabulary]),
    ]
    if config.model.attention != "none" or config.model.architecture == "transformer":
        outputs.append(tensor("attention", "float32", ["batch", places, places]))
    if config.model.tier == "attention":
        outputs.append(tensor("tier_attention", "float32", ["batch", "tokens"]))
    outputs += [tensor(f"next_{one.name}", one.dtype, one.axes) for one in carried]
    lengths = tuple(sorted({min(length, most) for length in (1, 2, 3, 17, most)}))
    return [GraphSpec("model", model, inputs, outputs, sample, lengths, _CHAIN if carried else 0)]


def state(config: LanguageModelRunConfig) -> list[manifest.Tensor]:
    """What a stream carries from line to line."""
    if not config.model.tiered():
        return []
    return [manifest.Tensor(name, "float32", ["batch", config.model.context]) for name in ("hidden", "cell")]


def scorer(config: LanguageModelRunConfig) -> str:
    """The agent's scorer of the model."""
    return "surprise"


def settings(config: LanguageModelRunConfig) -> dict[str, Any]:
    """The scorer's settings."""
    return {"reduce": config.reduce}
