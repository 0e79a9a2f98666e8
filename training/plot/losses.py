"""The loss of each stage of a training over its epochs."""

from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib
import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from agent.errors import BundleError, ConfigError
from training.fitting.run_folder import CHECKPOINT, METRICS, read_checkpoint
from training.plot.axis import choose_scale
from training.plot.style import BLUE, CHART, RED, check_out, clean, save, write_notes


class Epoch(msgspec.Struct):
    """The losses of one epoch of a stage."""

    stage: str
    epoch: int
    loss: float
    validation: float


def plot_losses(run: Path, out: Path) -> str:
    """Draws the losses of a run, also of one that is not finished; a sentence on the best epochs."""
    check_out(out)
    epochs, of_what = read_epochs(run)
    save(draw_losses(epochs, clean(run.resolve().name, 60) + of_what), out, CHART)
    bests = (best(stage) for stage in stages(epochs))
    return "; ".join(f"{one.stage}: best epoch {one.epoch}, validation loss {one.validation:.4g}" for one in bests)


def read_epochs(run: Path) -> tuple[list[Epoch], str]:
    """The epochs of a run, from its metrics or else its checkpoint, and what they are not: those of a finished one,
    or of the whole of a walk.

    A ConfigError where there are none, a BundleError where the metrics are damaged.
    """
    path = run / METRICS
    finished = path.is_file()
    if not finished and not (run / CHECKPOINT).is_file():
        raise ConfigError(
            f"{run} has no metrics ({METRICS}) and no checkpoint; name a folder that `oddline training fit` wrote, "
            "after its first epoch"
        )
    try:
        content = _content(run, finished)
        epochs = msgspec.convert(content["epochs"], list[Epoch])
    except (OSError, msgspec.MsgspecError, KeyError) as error:
        raise BundleError(f"{path if finished else run / CHECKPOINT} is damaged: {error}") from None
    if not epochs:
        raise ConfigError(f"{path} tells of no epoch; there is no loss to draw")
    return epochs, ", not finished" if not finished else ", its last window" if "walk" in content else ""


def _content(run: Path, finished: bool) -> dict[str, Any]:
    """The metrics of a finished run, of another the progress in its checkpoint."""
    if finished:
        return msgspec.json.decode((run / METRICS).read_bytes(), type=dict[str, Any])
    checkpoint = read_checkpoint(run)
    return {} if checkpoint is None else checkpoint[1]


def stages(epochs: list[Epoch]) -> list[list[Epoch]]:
    """The epochs of each stage, in the order of the training."""
    return [list(group) for _, group in groupby(epochs, lambda epoch: epoch.stage)]


def best(stage: list[Epoch]) -> Epoch:
    """The epoch with the smallest validation loss, of equal ones the first."""
    return min(stage, key=lambda epoch: epoch.validation)


def draw_losses(epochs: list[Epoch], title: str) -> Figure:
    """A chart for each stage beside the other; a ring is the best epoch."""
    parts = stages(epochs)
    with matplotlib.rc_context(CHART):
        width = 5.2
        figure = Figure(figsize=(width * len(parts), 3.8))
        for number, part in enumerate(parts):
            axes = figure.add_axes((number / len(parts), 0, 0.82 / len(parts), 1))
            _draw(axes, part)
        first = figure.axes[0]
        figure.legend(
            *first.get_legend_handles_labels(),
            loc="lower left", bbox_to_anchor=(0, 1.1), ncols=3, borderaxespad=0, borderpad=0,
        )  # fmt: skip
        figure.text(0, 1.22, f"Losses of {title}", fontsize=12, va="bottom")
        write_notes(first, ["the weights of a stage are those of its best epoch"])
    return figure


def _draw(axes: Axes, stage: list[Epoch]) -> None:
    numbers = [epoch.epoch for epoch in stage]
    losses, validation = [epoch.loss for epoch in stage], [epoch.validation for epoch in stage]
    low, high = min(losses + validation), max(losses + validation)
    scale = choose_scale(losses + validation)
    if scale.kind == "log":
        room = max((high / scale.least) ** 0.06, 1.05)
        scale.set(axes, "y", scale.least / room, high * room)
    else:
        scale.set(axes, "y", min(low * 1.1, 0.0), max(high * 1.1, 0.0) or 1.0)
    line: dict[str, Any] = {"linewidth": 1.6, "markersize": 4, "clip_on": False}
    axes.plot(numbers, scale.values(losses), "o-", color=BLUE, label="training", **line)
    axes.plot(numbers, scale.values(validation), "s--", color=RED, label="validation", **line)
    top = best(stage)
    ring: dict[str, Any] = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.5}
    axes.plot([top.epoch], scale.values([top.validation]), color="black", linestyle="none", label="best epoch", **ring)
    axes.set_xlim(min(numbers) - 0.5, max(numbers) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))
    axes.set(xlabel="epoch", ylabel="loss")
    axes.set_title(
        f"{clean(stage[0].stage)}: best epoch {top.epoch}, validation loss {top.validation:.4g}", fontsize=10
    )
    axes.grid(color="0.92", linewidth=0.8)
