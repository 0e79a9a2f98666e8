"""The training loop, on lightning_fabric: devices, data parallel, early stop."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from agent.errors import ConfigError
from training.config import StageConfig
from training.models.base import Examples, Stage

DEVICES = ("auto", "cpu", "cuda")

Groups = dict[str, dict[str, Tensor]]
"""Named groups of tensors, each by name."""


def make_fabric(device: str, devices: int) -> Fabric:
    """What trains on this many devices of a kind; a ConfigError where there are none such."""
    if device not in DEVICES:
        raise ConfigError(f"unknown device {device!r}; choose one of {', '.join(DEVICES)}")
    present = torch.cuda.device_count()
    if device == "cuda" and not present:
        raise ConfigError("device cuda cannot be used: torch finds none; use --device cpu")
    accelerator = "cuda" if present and device != "cpu" else "cpu"
    if accelerator == "cuda" and devices > present:
        raise ConfigError(f"--devices {devices}: there are only {present}")
    return Fabric(accelerator=accelerator, devices=devices, strategy="auto" if devices == 1 else "ddp_spawn")


def seed_of(*numbers: int) -> int:
    """A seed for torch that depends on all the numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def copy_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a state, copied to the memory of the host."""
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def first_progress() -> dict[str, Any]:
    """How far a stage is before its first epoch."""
    return {"epoch": 0, "steps": 0, "best": math.inf, "mark": math.inf, "bad": 0}


def train_stage(
    fabric: Fabric,
    stage: Stage,
    key: tuple[int, ...],
    progress: dict[str, Any],
    resumed: Groups | None = None,
    after: Callable[[Groups], None] | None = None,
) -> None:
    """Trains one stage and leaves its best weights in its module.

    All that is drawn depends on `key` and the epoch. `progress` is that of `first_progress`, with the list of the
    reports of the `epochs`, and goes on. `after` takes what it takes to go on from each epoch, which `resumed` gives
    back; where it is None nothing is shown either.
    """
    settings = stage.settings
    if stage.plans is not None and fabric.world_size > 1:
        raise ConfigError(
            f"--devices {fabric.world_size}: a tiered model carries the state of its streams on one device; give 1"
        )
    optimizer = torch.optim.Adam(stage.module.parameters(), settings.learning_rate)
    best = copy_state(stage.module.state_dict())
    if resumed:
        stage.module.load_state_dict(resumed["stage"])
        best = resumed["best"]
    module, wrapped = fabric.setup(stage.module, optimizer)
    if resumed:
        _load_optimizer(optimizer, resumed["optimizer"])
    while not _is_done(settings, progress):
        report = _epoch(fabric, stage, module, wrapped, (*key, progress["epoch"]), progress, after is not None)
        progress["epochs"].append(report)
        progress["epoch"] += 1
        if report["validation"] < progress["best"]:
            progress["best"] = report["validation"]
            best = copy_state(stage.module.state_dict())
        _count_bad(progress, report["validation"], settings.improvement)
        if after is not None and fabric.is_global_zero:
            after({"stage": stage.module.state_dict(), "best": best, "optimizer": _optimizer_tensors(optimizer)})
    stage.module.load_state_dict(best)


def _is_done(settings: StageConfig, progress: dict[str, Any]) -> bool:
    over = progress["epoch"] >= settings.epochs or progress["bad"] >= settings.patience
    return over or bool(progress["best"] <= settings.goal)


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
    shown: bool,
) -> dict[str, Any]:
    """One epoch over the training examples and one look at the validation examples; its losses and speed."""
    settings, started = stage.settings, time.monotonic()
    batches = _plan(stage, settings.batch_size, np.random.default_rng(key))[: settings.steps_per_epoch]
    torch.manual_seed(seed_of(*key, fabric.global_rank))
    title = f"{stage.name} epoch {key[-1] + 1}/{settings.epochs}"
    module.train()
    totals = torch.zeros(2, dtype=torch.float64, device=fabric.device)
    with _bar(shown and fabric.is_global_zero, title, len(batches)) as advance:
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
    if shown and fabric.is_global_zero:
        message = f"{title}: loss {loss:.6g}, validation {validation:.6g}, {count / max(seconds, 1e-9):,.0f} examples/s"
        Console(stderr=True, highlight=False, soft_wrap=True).print(message)
    report = {"stage": stage.name, "epoch": key[-1] + 1, "loss": loss, "validation": validation}
    return report | {"seconds": round(time.monotonic() - started, 3), "examples": count}


def _plan(stage: Stage, size: int, draw: np.random.Generator) -> list[NDArray[np.int64]]:
    """The batches of an epoch, in an order that is drawn."""
    if stage.plans is not None:
        return stage.plans[0](size, draw)
    return _batches(draw.permutation(len(stage.train)), size)


def _batches(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def _set_rate(optimizer: torch.optim.Optimizer, settings: StageConfig, step: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * settings.decay ** (step // settings.decay_steps)


def _batch(fabric: Fabric, examples: Examples, rows: NDArray[np.int64]) -> tuple[Tensor, ...]:
    """This process's share of a batch; where there are more processes than examples, an example serves twice."""
    share = rows[fabric.global_rank % len(rows) :: fabric.world_size]
    on_device: tuple[Tensor, ...] = fabric.to_device(examples.batch(share))
    return on_device


def _mean(fabric: Fabric, totals: Tensor) -> float:
    summed = fabric.all_reduce(totals, reduce_op="sum")
    assert isinstance(summed, Tensor)
    return float(summed[0]) / float(summed[1])


@torch.no_grad()
def _validate(fabric: Fabric, stage: Stage, module: nn.Module) -> float:
    """The mean loss of the validation examples, each counted once."""
    module.eval()
    totals = torch.zeros(2, dtype=torch.float64, device=fabric.device)
    size = 4 * stage.settings.batch_size
    mine = np.arange(fabric.global_rank, len(stage.validation), fabric.world_size)
    for rows in _batches(mine, size) if stage.plans is None else stage.plans[1](size, None):
        totals += torch.stack(stage.module(*fabric.to_device(stage.validation.batch(rows))))
    return _mean(fabric, totals)


@contextmanager
def _bar(shown: bool, title: str, steps: int) -> Iterator[Callable[[], None]]:
    """A progress bar, on a terminal; gives the function that moves it one step."""
    console = Console(stderr=True)
    shown = shown and console.is_terminal
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as progress:
        task = progress.add_task(title, total=steps)
        yield lambda: progress.advance(task)
