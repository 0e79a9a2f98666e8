"""What an evaluation is about: the model of a bundle, or of a run whose graphs torch computes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.bundle.manifest import MANIFEST, Relative, Scale, Threshold, Window
from agent.errors import ConfigError
from agent.scoring.features import Features, features_of
from agent.scoring.relative import prior
from agent.scoring.scorers import SCORERS
from agent.scoring.stream_scorer import StreamScorer
from agent.text.canonical import Normalizer
from agent.text.events import Events
from agent.text.headers import Format
from agent.text.tokenizers import Tokenizer
from training.data.corpus import Corpus
from training.data.windows import Windows

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
    from agent.scoring.validation import check_bundle

    bundle = Bundle.load(path)
    check_bundle(bundle)
    manifest = bundle.manifest
    normalizer = Normalizer(manifest.header, manifest.masks)
    return _subject(bundle, normalizer, manifest.name, manifest.stream, manifest.threshold, manifest.scale)


def _open_run(path: Path) -> Subject:
    from training.fitting.run_folder import load_run

    run = load_run(path)
    config = run.config
    graphs = torch_bundle(config, run.model, run.tokenizer, run.events)
    normalizer = Normalizer(config.header, config.masks)
    for text in run.texts[1:]:
        normalizer.intern(text)
    relative, scale = _scale(graphs, normalizer, run)
    graphs.manifest.relative = relative
    return _subject(graphs, normalizer, path.name, config.stream, config.threshold.threshold(), scale)


def _scale(graphs: Any, normalizer: Normalizer, run: Any) -> tuple[Relative | None, Scale]:
    """The scale of the held-out lines, and what they tell of a stream without lines where scores are relative."""
    from training.evaluation.calibration import held_out, normal_scores, scale_of

    corpus, kind = held_out(run), run.config.relative
    features = features_of(graphs, lambda text_id: normalizer.texts[text_id])

    def scores(relative: Relative | None) -> NDArray[np.float32]:
        graphs.manifest.relative = relative
        lines = _stream_scorer(graphs, normalizer)(int(corpus.streams.max(initial=0)) + 1)
        return normal_scores(score_in_order(lines, corpus, features), corpus, features)

    relative = prior(kind, scores(None)) if kind != "none" and len(corpus) else None
    return relative, scale_of(scores(relative))


def _subject(
    bundle: Any, normalizer: Normalizer, name: str, stream: str | None, threshold: Threshold, scale: Scale
) -> Subject:
    manifest = bundle.manifest
    scorer = SCORERS[manifest.scorer](bundle, lambda text_id: normalizer.texts[text_id], True)
    ordered = manifest.state or manifest.relative is not None
    return Subject(
        name,
        manifest.header,
        manifest.masks,
        stream,
        manifest.window,
        features_of(bundle, lambda text_id: normalizer.texts[text_id]),
        threshold,
        scale,
        bundle.tokenizer,
        normalizer,
        scorer.score,
        _stream_scorer(bundle, normalizer) if ordered else None,
        scorer,
    )


def _stream_scorer(bundle: Any, normalizer: Normalizer) -> Callable[[int], StreamScorer]:
    manifest = bundle.manifest
    features = features_of(bundle, lambda text_id: normalizer.texts[text_id])
    width = features.width if features else 0

    def make(streams: int) -> StreamScorer:
        scorer = SCORERS[manifest.scorer](bundle, lambda text_id: normalizer.texts[text_id], True)
        return StreamScorer(scorer, manifest.window, manifest.state, manifest.relative, width, streams)

    return make


def torch_bundle(config: Any, model: Any, tokenizer: Tokenizer, events: Events | None = None) -> Any:
    """What a scorer takes of a Bundle, over the modules of a family's model themselves."""
    import torch

    from training.models import FAMILIES

    family = FAMILIES[config.family]
    specs = {spec.name: spec for spec in family.graphs(config, model)}

    @torch.no_grad()
    def run(graph: str, wanted: list[str] | None = None, **inputs: NDArray) -> list[NDArray]:
        spec = specs[graph]
        device = next(spec.module.parameters()).device
        outputs = spec.module.eval()(*(torch.from_numpy(inputs[tensor.name]).to(device) for tensor in spec.inputs))
        named = zip(spec.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True)
        found = {tensor.name: output for tensor, output in named}
        return [found[name].cpu().numpy() for name in wanted or found]

    manifest = SimpleNamespace(
        scorer=family.scorer(config),
        header=config.header,
        masks=config.masks,
        window=config.lines(),
        settings=family.settings(config),
        state=family.state(config),
        relative=None,
        graphs=specs,
    )
    return SimpleNamespace(run=run, tokenizer=tokenizer, manifest=manifest, events=events)


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


def place_scores(
    subject: Subject, windows: Windows, places: NDArray[np.int64], progress: Progress = lambda done, total: None
) -> NDArray[np.float32]:
    """float32 [places]: the scores of these places of the windows."""
    scores = np.empty(len(places), np.float32)
    for start in range(0, len(places), _LINES_AT_ONCE):
        part = places[start : start + _LINES_AT_ONCE]
        scores[start : start + len(part)] = subject.score(windows.ids(part), of_windows(subject, windows, part))
        progress(start + len(part), len(places))
    return scores


def of_lines(
    features: Features | None, numbers: NDArray[np.float64] | None, ids: NDArray[np.int32], part: slice
) -> NDArray[np.float32] | None:
    """float32 [lines, width]: the features of some of the lines with these numbers and text ids; None without any."""
    return None if features is None or numbers is None else features.of(numbers[part], ids[part])


def of_windows(subject: Subject, windows: Windows, places: NDArray[np.int64]) -> NDArray[np.float32] | None:
    """float32 [places, size, width]: the features of the lines of these windows, or None."""
    numbers = windows.numbers(places)
    return None if numbers is None or subject.features is None else subject.features.of(numbers, windows.ids(places))
