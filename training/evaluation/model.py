"""What an evaluation is about: the model of a bundle, or of a run whose graphs torch computes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.bundle.manifest import MANIFEST, Relative, Scale, Tensor, Threshold, Window
from agent.errors import ConfigError
from agent.scoring.features import Features, features_of
from agent.scoring.model import ScoringModel
from agent.scoring.relative import prior
from agent.scoring.scorers import SCORERS
from agent.scoring.stream_scorer import StreamScorer, build_stream_scorer
from agent.text.canonical import Normalizer
from agent.text.events import Events
from agent.text.headers import Format
from agent.text.text_table import TextTable
from agent.text.tokenizers import Tokenizer
from training.data.corpus import Corpus
from training.data.windows import Windows

if TYPE_CHECKING:
    from torch import nn

    from training.fitting.run_folder import Run
    from training.models.base import GraphSpec

Score = Callable[[NDArray[np.int32], NDArray[np.float32] | None], NDArray[np.float32]]
"""Windows int32 [lines, size] of text ids, features float32 [lines, size, width] or None -> scores float32 [lines]."""
Progress = Callable[[int, int], None]
"""Takes how many of how many steps are done."""

_LINES_AT_ONCE = 4096


@dataclass(frozen=True)
class Subject:
    """A model with all that it takes to score logs as the agent does. `normalizer` gives the ids that `score` takes.

    in_order  of a model whose scores depend on all earlier lines of a stream: makes what scores lines in their order,
              for this many streams; None where the window is all that a score depends on
    scorer    the agent's scorer, whose `score` it is
    """

    name: str
    header: Format
    masks: list[str]
    stream: str | None
    window: Window
    features: Features | None
    threshold: Threshold
    scale: Scale
    tokenizer: Tokenizer
    normalizer: Normalizer
    score: Score
    in_order: Callable[[int], StreamScorer] | None = None
    scorer: Any = None


def open_subject(path: Path) -> Subject:
    """The model in a folder that `export onnx` or `training fit` wrote; a ConfigError where it is neither."""
    if (path / MANIFEST).is_file():
        return _open_bundle(path)
    if (path / "config.yaml").is_file():
        return _open_run(path)
    raise ConfigError(f"{path} is neither a bundle (no {MANIFEST}) nor a run (no config.yaml); name the folder of one")


def _open_bundle(path: Path) -> Subject:
    from agent.bundle.bundle import Bundle
    from agent.scoring.validation import validate_bundle

    bundle = Bundle.load(path)
    validate_bundle(bundle)
    manifest = bundle.manifest
    normalizer = Normalizer(manifest.header, manifest.masks)
    return _subject(bundle, normalizer, manifest, manifest.threshold, manifest.scale, manifest.name)


def _open_run(path: Path) -> Subject:
    from training.fitting.run_folder import load_run

    run = load_run(path)
    config = run.config
    model = TorchModel.of(config, run.model, run.tokenizer, run.events)
    normalizer = Normalizer(config.header, config.masks)
    for text in run.texts[1:]:
        normalizer.table.intern(text)
    relative, scale = _scale(model, normalizer.table, run)
    model = model.relative_to(relative)
    return _subject(model, normalizer, config, config.threshold.threshold(), scale, path.name)


def _scale(model: "TorchModel", texts: TextTable, run: "Run") -> tuple[Relative | None, Scale]:
    """The scale of the held-out lines, and what they tell of a stream without lines where scores are relative."""
    from training.evaluation.calibration import held_out, normal_scores, scale_of

    corpus, kind = held_out(run), run.config.relative
    streams = int(corpus.streams.max(initial=0)) + 1

    def scores(relative: Relative | None) -> NDArray[np.float32]:
        lines = build_stream_scorer(model.relative_to(relative), texts, most=streams)
        return normal_scores(score_in_order(lines, corpus, lines.features), corpus, lines.features)

    relative = prior(kind, scores(None)) if kind != "none" and len(corpus) else None
    return relative, scale_of(scores(relative))


class _LineSettings(Protocol):
    """How lines are read: of a manifest, or of a run's configuration."""

    header: Format
    masks: list[str]
    stream: str | None


def _subject(
    model: ScoringModel, normalizer: Normalizer, lines: _LineSettings, threshold: Threshold, scale: Scale, name: str
) -> Subject:
    manifest, texts = model.manifest, normalizer.table
    ordered = manifest.state or manifest.relative is not None
    scorer = SCORERS[manifest.scorer](model, texts, True)
    return Subject(
        name,
        lines.header,
        lines.masks,
        lines.stream,
        manifest.window,
        features_of(model, texts),
        threshold,
        scale,
        model.tokenizer,
        normalizer,
        scorer.score,
        (lambda streams: build_stream_scorer(model, texts, most=streams)) if ordered else None,
        scorer,
    )


@dataclass(frozen=True)
class TorchManifest:
    """What scores depend on beside the weights, as the manifest of a bundle has it."""

    scorer: str
    window: Window
    settings: dict[str, Any]
    state: list[Tensor]
    graphs: "dict[str, GraphSpec]"
    relative: Relative | None = None


@dataclass(frozen=True)
class TorchModel:
    """A model as scoring takes it, over the modules of a family's model themselves."""

    manifest: TorchManifest
    tokenizer: Tokenizer
    events: Events | None

    @classmethod
    def of(cls, config: Any, model: "nn.Module", tokenizer: Tokenizer, events: Events | None = None) -> "TorchModel":
        """The model of a run with this configuration, which is of one of the families."""
        from training.models import FAMILIES

        family = FAMILIES[config.family]
        graphs = {spec.name: spec for spec in family.graphs(config, model)}
        settings, state = family.settings(config), family.state(config)
        return cls(
            TorchManifest(family.scorer(config), config.score_window(), settings, state, graphs), tokenizer, events
        )

    def relative_to(self, relative: Relative | None) -> "TorchModel":
        """The same model with scores relative to their stream's, or not."""
        return replace(self, manifest=replace(self.manifest, relative=relative))

    def run(
        self, graph: str, inputs: Mapping[str, NDArray[Any]], names: Sequence[str] | None = None
    ) -> list[NDArray[Any]]:
        """The named outputs of a graph, or all in the order of its signature."""
        import torch

        spec = self.manifest.graphs[graph]
        device = next(spec.module.parameters()).device
        with torch.no_grad():
            outputs = spec.module.eval()(*(torch.from_numpy(inputs[tensor.name]).to(device) for tensor in spec.inputs))
        named = zip(spec.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True)
        found = {tensor.name: output for tensor, output in named}
        return [found[name].cpu().numpy() for name in names or found]


def score_in_order(
    lines: StreamScorer,
    corpus: Corpus,
    features: Features | None = None,
    progress: Progress = lambda done, total: None,
) -> NDArray[np.float32]:
    """float32 [lines]: the scores of a corpus's lines, streams by their numbers; NaN while a window warms up."""
    keys = [b"%d" % stream for stream in range(int(corpus.streams.max(initial=0)) + 1)]
    scores = np.empty(len(corpus), np.float32)
    for start in range(0, len(corpus), _LINES_AT_ONCE):
        part = slice(start, start + _LINES_AT_ONCE)
        found = of_lines(features, corpus.numbers, corpus.ids, part)
        names = [keys[stream] for stream in corpus.streams[part].tolist()]
        for piece in lines.push("", names, corpus.ids[part], found):
            scores[start + piece.rows.start : start + piece.rows.stop] = piece.scores
        progress(min(start + _LINES_AT_ONCE, len(corpus)), len(corpus))
    return scores


def scores_at(
    subject: Subject, windows: Windows, indices: NDArray[np.int64], progress: Progress = lambda done, total: None
) -> NDArray[np.float32]:
    """float32 [indices]: the scores of these indices of the windows."""
    scores = np.empty(len(indices), np.float32)
    for start in range(0, len(indices), _LINES_AT_ONCE):
        part = indices[start : start + _LINES_AT_ONCE]
        scores[start : start + len(part)] = subject.score(windows.ids(part), window_features(subject, windows, part))
        progress(start + len(part), len(indices))
    return scores


def of_lines(
    features: Features | None, numbers: NDArray[np.float64] | None, ids: NDArray[np.int32], part: slice
) -> NDArray[np.float32] | None:
    """float32 [lines, width]: the features of some of the lines with these numbers and text ids; None without any."""
    return None if features is None or numbers is None else features.of(numbers[part], ids[part])


def window_features(subject: Subject, windows: Windows, indices: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """float32 [rows, size, width]: the features of the lines of these windows, or None."""
    numbers = windows.numbers(indices)
    return None if numbers is None or subject.features is None else subject.features.of(numbers, windows.ids(indices))
