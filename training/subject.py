"""What an evaluation is about: the model of a bundle, or of a run whose graphs torch computes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.bundle import MANIFEST, Scale, Threshold, Window
from agent.errors import ConfigError
from agent.headers import Format, time_features
from agent.normalize import Normalizer
from agent.tokenizers import Tokenizer
from training.corpus import Windows

Score = Callable[[NDArray[np.int32], NDArray[np.float32] | None], NDArray[np.float32]]
"""Windows int32 [lines, size] of text ids, features float32 [lines, size, 2] or None -> scores float32 [lines]."""
Progress = Callable[[int, int], None]
"""Takes how many of how many steps are done."""

_LINES_AT_ONCE = 4096


@dataclass(frozen=True)
class Subject:
    """A model with all that it takes to score logs as the agent does. `normalizer` gives the ids that `score` takes."""

    name: str
    header: Format
    masks: list[str]
    stream: str | None
    window: Window
    timed: bool
    threshold: Threshold
    scale: Scale
    tokenizer: Tokenizer
    normalizer: Normalizer
    score: Score


def open_subject(path: Path) -> Subject:
    """The model in a folder that `export onnx` or `training fit` wrote; a ConfigError where it is neither."""
    if (path / MANIFEST).is_file():
        return _open_bundle(path)
    if (path / "config.yaml").is_file():
        return _open_run(path)
    raise ConfigError(f"{path} is neither a bundle (no {MANIFEST}) nor a run (no config.yaml); name the folder of one")


def _open_bundle(path: Path) -> Subject:
    from agent.bundle import Bundle
    from agent.pipeline import Pipeline

    bundle = Bundle.load(path)
    pipeline, manifest = Pipeline(bundle), bundle.manifest
    return Subject(
        manifest.name,
        pipeline.header,
        manifest.masks,
        manifest.stream,
        manifest.window,
        pipeline.timed,
        manifest.threshold,
        manifest.scale,
        bundle.tokenizer,
        pipeline.normalizer,
        pipeline.scorer.score,
    )


def _open_run(path: Path) -> Subject:
    from agent.scorers import SCORERS
    from training.calibration import held_out, scale_of
    from training.families import FAMILIES
    from training.run import load_run

    run = load_run(path)
    config, family = run.config, FAMILIES[run.config.family]
    settings = family.settings(config)
    normalizer = Normalizer(config.header, config.masks)
    for text in run.texts[1:]:
        normalizer.intern(text)
    graphs: Any = SimpleNamespace(  # what a scorer takes of a Bundle
        run=_torch_graphs(family.graphs(config, run.model)),
        tokenizer=run.tokenizer,
        manifest=SimpleNamespace(settings=settings),
    )
    score = SCORERS[family.scorer(config)](graphs, lambda text_id: normalizer.texts[text_id], True).score
    window, timed = config.lines(), bool(settings["time_of_day"])
    normal = Windows(held_out(run), window.size, window.pad, end=False)
    scale = scale_of(place_scores(score, normal, np.arange(len(normal))))
    return Subject(
        path.name,
        config.header,
        config.masks,
        config.stream,
        window,
        timed,
        config.threshold.threshold(),
        scale,
        run.tokenizer,
        normalizer,
        score,
    )


def _torch_graphs(specs: list[Any]) -> Callable[..., list[NDArray]]:
    """A stand-in for `Bundle.run` over the modules themselves."""
    import torch

    by_name = {spec.name: spec for spec in specs}

    @torch.no_grad()
    def run(graph: str, **inputs: NDArray) -> list[NDArray]:
        spec = by_name[graph]
        outputs = spec.module.eval()(*(torch.from_numpy(inputs[tensor.name]) for tensor in spec.inputs))
        return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return run


def place_scores(
    score: Score, windows: Windows, places: NDArray[np.int64], progress: Progress = lambda done, total: None
) -> NDArray[np.float32]:
    """float32 [places]: the scores of these places of the windows."""
    scores = np.empty(len(places), np.float32)
    for start in range(0, len(places), _LINES_AT_ONCE):
        part = places[start : start + _LINES_AT_ONCE]
        scores[start : start + len(part)] = score(windows.ids(part), _features(windows.seconds(part)))
        progress(start + len(part), len(places))
    return scores


def _features(seconds: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    return None if seconds is None else time_features(seconds.ravel()).reshape(*seconds.shape, 2)
