"""The training loop, on lightning_fabric: devices, data parallel, checkpoints, early stop."""

import math
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

import agent
from agent.errors import ConfigError, OddlineError
from agent.tokenizers import Tokenizer, pad
from training import run as folder
from training.config import RunConfig, StageConfig
from training.contracts import Data, Examples, Stage
from training.corpus import Corpus, Windows
from training.families import FAMILIES
from training.tokens import train_tokenizer

DEVICES = ("auto", "cpu", "cuda")


def fit(
    config: RunConfig, train: Corpus, validation: Corpus, run: Path, about: dict[str, Any], device: str, devices: int
) -> dict[str, Any]:
    """Trains a model into a folder that `run.prepare` made ready; the metrics, which are written there last.

    Both corpora hold normal lines and share the texts of both. `about` goes into the metrics. An interrupted training
    goes on from the last whole epoch; on a CPU its result is that of an uninterrupted one, bit for bit.
    """
    check_size(config, train, validation)
    fabric = _fabric(device, devices)
    tokenizer, data = _tokenize(config, train, validation)
    folder.write(run / folder.TOKENIZER, msgspec.json.encode(tokenizer.to_json()))
    epochs = fabric.launch(partial(_work, config=config, data=data, vocabulary=len(tokenizer), run=run))
    if isinstance(epochs, OddlineError):
        raise epochs
    metrics = about | _metrics(config, data, tokenizer, epochs, fabric.device.type, devices)
    _finish(run, data, metrics)
    return metrics


def check_size(config: RunConfig, train: Corpus, validation: Corpus) -> None:
    """Refuses training sets that are too small for one batch, or for windows on either side of the split."""
    window = config.lines()
    batch = max(stage.batch_size for stage in msgspec.structs.astuple(config) if isinstance(stage, StageConfig))
    for name, corpus, least in (("training", train, max(2 * window.size, batch)), ("validation", validation, 1)):
        places = len(Windows(corpus, window.size, window.pad, window.end)) if len(corpus) else 0
        if places < least:
            raise ConfigError(
                f"the training set is too small: {len(corpus)} normal lines for {name} give {places} windows of "
                f"{window.size} lines, {least} are needed; give more logs, or set window.size or batch_size lower"
            )


def _fabric(device: str, devices: int) -> Fabric:
    if device not in DEVICES:
        raise ConfigError(f"unknown device {device!r}; choose one of {', '.join(DEVICES)}")
    present = torch.cuda.device_count()
    if device == "cuda" and not present:
        raise ConfigError("device cuda cannot be used: torch finds none; use --device cpu")
    accelerator = "cuda" if present and device != "cpu" else "cpu"
    if accelerator == "cuda" and devices > present:
        raise ConfigError(f"--devices {devices}: there are only {present}")
    return Fabric(accelerator=accelerator, devices=devices, strategy="auto" if devices == 1 else "ddp_spawn")


def _tokenize(config: RunConfig, train: Corpus, validation: Corpus) -> tuple[Tokenizer, Data]:
    """A tokenizer of the training lines alone, and the tokens of all texts."""
    counts = np.bincount(train.ids, minlength=len(train.texts)).tolist()
    seen = {text: count for text, count in zip(train.texts, counts, strict=True) if count}
    tokenizer = train_tokenizer(config, seen)
    tokens, lengths = pad(tokenizer.encode(text) for text in train.texts)
    return tokenizer, Data(train, validation, tokens.astype(np.int32), lengths)


def _work(
    fabric: Fabric, config: RunConfig, data: Data, vocabulary: int, run: Path
) -> list[dict[str, Any]] | OddlineError:
    """Trains every stage, in each process; the history of the epochs, or the error to raise."""
    try:
        return _train(fabric, config, data, vocabulary, run)
    except OddlineError as error:
        return error


def _train(fabric: Fabric, config: RunConfig, data: Data, vocabulary: int, run: Path) -> list[dict[str, Any]]:
    family = FAMILIES[config.family]
    torch.manual_seed(_seed(config.seed))
    model = family.build(config, vocabulary)
    groups, progress = folder.read_checkpoint(run) or ({}, {"stage": 0, "epoch": 0, "epochs": []})
    if groups:
        model.load_state_dict(groups["model"])
    stages = family.stages(config, model, data)
    number = 0
    while stage := _next(stages, config.seed, number):
        if number >= progress["stage"]:
            resumed = groups if number == progress["stage"] and progress["epoch"] else None
            _train_stage(fabric, stage, number, config.seed, model, run, resumed, progress)
        number += 1
    if fabric.is_global_zero:
        folder.write(run / folder.WEIGHTS, folder.safetensors.torch.save(_copy(model.state_dict())))
    return progress["epochs"]


def _seed(*numbers: int) -> int:
    """A seed for torch that depends on all the numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _next(stages: Iterator[Stage], seed: int, number: int) -> Stage | None:
    torch.manual_seed(_seed(seed, number))
    return next(stages, None)


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def _train_stage(
    fabric: Fabric, stage: Stage, number: int, seed: int, model: nn.Module, run: Path,
    resumed: dict[str, dict[str, Tensor]] | None, progress: dict[str, Any],
) -> None:  # fmt: skip
    """Trains one stage and leaves its best weights in the model; each epoch ends in a checkpoint with `progress`."""
    settings = stage.settings
    if stage.plan is not None and fabric.world_size > 1:
        raise ConfigError(
            f"--devices {fabric.world_size}: a tiered model carries the state of its streams on one device; give 1"
        )
    optimizer = torch.optim.Adam(stage.module.parameters(), settings.learning_rate)
    best = _copy(stage.module.state_dict())
    if resumed:
        stage.module.load_state_dict(resumed["stage"])
        best = resumed["best"]
    else:
        progress |= {"stage": number, "epoch": 0, "steps": 0, "best": math.inf, "mark": math.inf, "bad": 0}
    module, wrapped = fabric.setup(stage.module, optimizer)
    if resumed:
        _load_optimizer(optimizer, resumed["optimizer"])
    while not _is_done(settings, progress):
        epoch = progress["epoch"]
        report = _epoch(fabric, stage, module, wrapped, (seed, number, epoch), progress)
        progress["epochs"].append(report)
        progress["epoch"] += 1
        if report["validation"] < progress["best"]:
            progress["best"] = report["validation"]
            best = _copy(stage.module.state_dict())
        _count_bad(progress, report["validation"], settings.improvement)
        if fabric.is_global_zero:
            groups = {"model": model.state_dict(), "stage": stage.module.state_dict(), "best": best}
            folder.write_checkpoint(run, groups | {"optimizer": _optimizer_tensors(optimizer)}, progress)
    stage.module.load_state_dict(best)


def _is_done(settings: StageConfig, progress: dict[str, Any]) -> bool:
    over = progress["epoch"] >= settings.epochs or progress["bad"] >= settings.patience
    return over or progress["best"] <= settings.goal


def _count_bad(progress: dict[str, Any], loss: float, improvement: float) -> None:
    """Counts the epochs since the validation loss was last better by this share."""
    if loss < progress["mark"] * (1 - improvement):
        progress["mark"], progress["bad"] = loss, 0
    else:
        progress["bad"] += 1


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{index}/{name}": value for index, values in state.items() for name, value in values.items()}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split("/")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _epoch(
    fabric: Fabric,
    stage: Stage,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    key: tuple[int, ...],
    progress: dict[str, Any],
) -> dict[str, Any]:
    """One epoch over the training examples and one look at the validation examples; its losses and speed."""
    settings, started = stage.settings, time.monotonic()
    batches = _plan(stage, settings.batch_size, np.random.default_rng(key))[: settings.steps_per_epoch]
    torch.manual_seed(_seed(*key, fabric.global_rank))
    title = f"{stage.name} epoch {key[2] + 1}/{settings.epochs}"
    module.train()
    totals = torch.zeros(2, dtype=torch.float64, device=fabric.device)
    with _bar(fabric, title, len(batches)) as advance:
        for step, rows in enumerate(batches, progress["steps"]):
            _set_rate(optimizer, settings, step)
            loss, weight = module(*_batch(fabric, stage.train, rows))
            optimizer.zero_grad()
            fabric.backward(loss / weight)
            optimizer.step()
            totals += torch.stack([loss.detach(), weight.detach()])
            advance()
    seconds = time.monotonic() - started
    progress["steps"] += len(batches)
    loss, validation = _mean(fabric, totals), _validate(fabric, stage, module)
    if not math.isfinite(loss) or not math.isfinite(validation):
        raise ConfigError(f"the training diverged: the loss of {title} is {loss}; set {stage.name}.learning_rate lower")
    count = sum(len(rows) for rows in batches)
    if fabric.is_global_zero:
        message = f"{title}: loss {loss:.6g}, validation {validation:.6g}, {count / max(seconds, 1e-9):,.0f} examples/s"
        Console(stderr=True, highlight=False, soft_wrap=True).print(message)
    report = {"stage": stage.name, "epoch": key[2] + 1, "loss": loss, "validation": validation}
    return report | {"seconds": round(time.monotonic() - started, 3), "examples": count}


def _plan(stage: Stage, size: int, draw: np.random.Generator) -> list[NDArray[np.int64]]:
    """The batches of an epoch, in an order that is drawn."""
    if stage.plan is not None:
        return stage.plan(stage.train, size, draw)
    return _batches(draw.permutation(len(stage.train)), size)


def _batches(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _set_rate(optimizer: torch.optim.Optimizer, settings: StageConfig, step: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * settings.decay ** (step // settings.decay_steps)


def _batch(fabric: Fabric, examples: Examples, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
    """This process's share of a batch; where there are more processes than examples, an example serves twice."""
    share = rows[fabric.global_rank % len(rows) :: fabric.world_size]
    return fabric.to_device(examples.batch(share))


def _mean(fabric: Fabric, totals: Tensor) -> float:
    loss, weight = fabric.all_reduce(totals, reduce_op="sum").tolist()
    return loss / weight


@torch.no_grad()
def _validate(fabric: Fabric, stage: Stage, module: nn.Module) -> float:
    """The mean loss of the validation examples, each counted once."""
    module.eval()
    totals = torch.zeros(2, dtype=torch.float64, device=fabric.device)
    size = 4 * stage.settings.batch_size
    mine = np.arange(fabric.global_rank, len(stage.validation), fabric.world_size)
    for rows in _batches(mine, size) if stage.plan is None else stage.plan(stage.validation, size, None):
        totals += torch.stack(stage.module(*fabric.to_device(stage.validation.batch(rows))))
    return _mean(fabric, totals)


@contextmanager
def _bar(fabric: Fabric, title: str, steps: int) -> Iterator[Any]:
    """A progress bar, on a terminal; gives the function that moves it one step."""
    console = Console(stderr=True)
    shown = fabric.is_global_zero and console.is_terminal
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task(title, total=steps)
        yield lambda: progress.advance(task)


def _metrics(
    config: RunConfig, data: Data, tokenizer: Tokenizer, epochs: list[dict[str, Any]], device: str, devices: int
) -> dict[str, Any]:
    best: dict[str, dict[str, Any]] = {}
    for epoch in epochs:
        if epoch["stage"] not in best or epoch["validation"] < best[epoch["stage"]]["validation"]:
            best[epoch["stage"]] = {name: epoch[name] for name in ("epoch", "loss", "validation")}
    packages = ("torch", "lightning-fabric", "numpy", "safetensors")
    versions = {"oddline": agent.__version__, "python": platform.python_version()} | {
        name: version(name) for name in packages
    }
    lines = {"training": len(data.train), "validation": len(data.validation)}
    counts = {"texts": len(data.train.texts) - 1, "words": len(tokenizer)}
    seconds = round(sum(epoch["seconds"] for epoch in epochs), 3)
    machine = {"seconds": seconds, "device": device, "devices": devices, "versions": versions}
    return {"family": config.family, "lines": lines} | counts | {"best": best, "epochs": epochs} | machine


def _finish(run: Path, data: Data, metrics: dict[str, Any]) -> None:
    """Writes what the export needs; the metrics last, which marks the run as finished."""
    texts, held_out = data.train.texts, data.validation
    counts = np.bincount(np.concatenate([data.train.ids, held_out.ids]), minlength=len(texts)).tolist()
    folder.write(run / folder.TEXTS, msgspec.json.encode({"texts": texts, "counts": counts}))
    seconds = np.zeros(0, np.float32) if held_out.seconds is None else held_out.seconds
    folder.write(run / folder.HELDOUT, folder.npz(ids=held_out.ids, streams=held_out.streams, seconds=seconds))
    folder.write(run / folder.METRICS, msgspec.json.format(msgspec.json.encode(metrics)))
    for name in (folder.CHECKPOINT, folder.PROGRESS):
        (run / name).unlink(missing_ok=True)
