"""A training: from the lines to the run folder, in stages, with checkpoints."""

import platform
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

import agent
from agent.errors import ConfigError, OddlineError
from agent.text.tokenizers import Tokenizer, pad
from training.config import RunConfig, StageConfig
from training.data.corpus import Corpus
from training.data.events import check_events, learn_events
from training.data.tokenizer import train_tokenizer
from training.data.windows import Windows
from training.fitting import run_folder as folder
from training.fitting.loop import Groups, copy_state, first_progress, make_fabric, seed_of, train_stage
from training.models import FAMILIES
from training.models.base import Stage, TrainingData


def fit(
    config: RunConfig, train: Corpus, validation: Corpus, run: Path, about: dict[str, Any], device: str, devices: int
) -> dict[str, Any]:
    """Trains a model into a folder that `run.prepare` made ready; the metrics, which are written there last.

    Both corpora hold normal lines and share the texts of both. `about` goes into the metrics. An interrupted training
    goes on from the last whole epoch; on a CPU its result is that of an uninterrupted one, bit for bit.
    """
    check_size(config, train, validation)
    fabric = make_fabric(device, devices)
    tokenizer = learn_tokenizer(config, train)
    events = learn_events(train) if config.uses_events else None
    data = replace(tokenize(tokenizer, train, validation), events=events)
    if events is not None:
        about = about | {"unseen_events": check_events(events, validation)}
        folder.write(run / folder.EVENTS, msgspec.json.encode(events.to_json()))
    folder.write(run / folder.TOKENIZER, msgspec.json.encode(tokenizer.to_json()))
    epochs = fabric.launch(partial(_work, config=config, data=data, vocabulary=len(tokenizer), run=run))
    if isinstance(epochs, OddlineError):
        raise epochs
    lines = {"training": len(train), "validation": len(validation)}
    texts = len(train.texts) - 1
    metrics = about | run_metrics(config, lines, texts, tokenizer, epochs, fabric.device.type, devices)
    counts = np.bincount(np.concatenate([train.ids, validation.ids]), minlength=len(train.texts)).tolist()
    finish(run, train.texts, counts, validation, metrics)
    return metrics


def check_size(config: RunConfig, train: Corpus, validation: Corpus) -> None:
    """Refuses training sets that are too small for one batch, or for windows on either side of the split."""
    window = config.score_window()
    names = [name for name, value in msgspec.structs.asdict(config).items() if isinstance(value, StageConfig)]
    lower = " or ".join([*(["window.size"] if window.size > 1 else []), *(f"{name}.batch_size" for name in names)])
    batch = max(stage.batch_size for stage in msgspec.structs.astuple(config) if isinstance(stage, StageConfig))
    for name, corpus, least in (("training", train, max(2 * window.size, batch)), ("validation", validation, 1)):
        count = len(Windows(corpus, window.size, window.pad, window.end)) if len(corpus) else 0
        if count < least:
            raise ConfigError(
                f"the training set is too small: {len(corpus)} normal lines for {name} give {count} windows of "
                f"{window.size} lines, {least} are needed; give more logs, or set {lower} lower"
            )


def learn_tokenizer(config: RunConfig, corpus: Corpus) -> Tokenizer:
    """A tokenizer of the configured kind that learnt on these lines alone."""
    counts = np.bincount(corpus.ids, minlength=len(corpus.texts)).tolist()
    return train_tokenizer(config, {text: count for text, count in zip(corpus.texts, counts, strict=True) if count})


def tokenize(tokenizer: Tokenizer, train: Corpus, validation: Corpus) -> TrainingData:
    """The lines with the tokens of all the texts that both corpora share."""
    tokens, lengths = pad(tokenizer.encode(text) for text in train.texts)
    return TrainingData(train, validation, tokens.astype(np.int32), lengths)


def _work(
    fabric: Fabric, config: RunConfig, data: TrainingData, vocabulary: int, run: Path
) -> list[dict[str, Any]] | OddlineError:
    """Trains every stage, in each process; the history of the epochs, or the error to raise."""
    try:
        return _train(fabric, config, data, vocabulary, run)
    except OddlineError as error:
        return error


def _train(fabric: Fabric, config: RunConfig, data: TrainingData, vocabulary: int, run: Path) -> list[dict[str, Any]]:
    family = FAMILIES[config.family]
    torch.manual_seed(seed_of(config.seed))
    model = family.build(config, vocabulary)
    groups, progress = folder.read_checkpoint(run) or ({}, {"stage": 0, "epoch": 0, "epochs": []})
    if groups:
        model.load_state_dict(groups["model"])
    stages = family.stages(config, model, data)
    number = 0
    while stage := _next(stages, config.seed, number):
        if number >= progress["stage"]:
            resumed = groups if number == progress["stage"] and progress["epoch"] else None
            if not resumed:
                progress |= {"stage": number, **first_progress()}
            keep = partial(_keep, run, model, progress)
            train_stage(fabric, stage, (config.seed, number), progress, resumed, keep)
        number += 1
    if fabric.is_global_zero:
        folder.write_weights(run, copy_state(model.state_dict()))
    epochs: list[dict[str, Any]] = progress["epochs"]
    return epochs


def _keep(run: Path, model: nn.Module, progress: dict[str, Any], groups: Groups) -> None:
    folder.write_checkpoint(run, {"model": model.state_dict()} | groups, progress)


def _next(stages: Iterator[Stage], seed: int, number: int) -> Stage | None:
    torch.manual_seed(seed_of(seed, number))
    return next(stages, None)


def run_metrics(
    config: RunConfig,
    lines: dict[str, int],
    texts: int,
    tokenizer: Tokenizer,
    epochs: list[dict[str, Any]],
    device: str,
    devices: int,
) -> dict[str, Any]:
    """The metrics of a run: how many lines and texts it saw, its losses, and what it ran on."""
    best: dict[str, dict[str, Any]] = {}
    for epoch in epochs:
        if epoch["stage"] not in best or epoch["validation"] < best[epoch["stage"]]["validation"]:
            best[epoch["stage"]] = {name: epoch[name] for name in ("epoch", "loss", "validation")}
    packages = ("torch", "lightning-fabric", "numpy", "safetensors")
    versions = {"oddline": agent.__version__, "python": platform.python_version()} | {
        name: version(name) for name in packages
    }
    seconds = round(sum(epoch["seconds"] for epoch in epochs), 3)
    machine = {"seconds": seconds, "device": device, "devices": devices, "versions": versions}
    counts = {"texts": texts, "words": len(tokenizer)}
    return {"family": config.family, "lines": lines} | counts | {"best": best, "epochs": epochs} | machine


def finish(run: Path, texts: list[str], counts: list[int], held_out: Corpus, metrics: dict[str, Any]) -> None:
    """Writes what the export needs: the texts and how often each occurs, the held-out lines, whose ids are into these
    texts, and the metrics last, which mark the run as finished.
    """
    folder.write(run / folder.TEXTS, msgspec.json.encode({"texts": texts, "counts": counts}))
    numbers = np.zeros(0) if held_out.numbers is None else held_out.numbers
    folder.write(
        run / folder.HELDOUT, folder.npz({"ids": held_out.ids, "streams": held_out.streams, "numbers": numbers})
    )
    folder.write(run / folder.METRICS, msgspec.json.format(msgspec.json.encode(metrics)))
    for name in (folder.CHECKPOINT, folder.PROGRESS):
        (run / name).unlink(missing_ok=True)
