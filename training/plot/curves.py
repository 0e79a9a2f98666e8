"""ROC and precision-recall curves of one model or several, on the same labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from agent.errors import ConfigError
from training.evaluation.metrics import Metrics, measure, ranked
from training.plot.labelled_scores import LabelledScores, read_labelled_scores
from training.plot.style import BLUE, CHART, GREEN, ORANGE, PURPLE, RED, SKY, check_out, clean, save, write_notes

_STYLES = [(colour, dashes) for dashes in ("-", "--") for colour in (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)]
_STEPS = 2000  # a curve has no more points on either axis


@dataclass(frozen=True)
class Curves:
    """float64 [points] each: the curves of one file of scores, and its metrics. share: of anomalous ones among all."""

    name: str
    false_positives: NDArray[np.float64]
    true_positives: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    metrics: Metrics
    share: float


def plot_curves(paths: Sequence[Path], labels: Path, out: Path) -> str:
    """Draws the curves of files of scores; a sentence on the areas. A ConfigError where none are possible."""
    check_out(out)
    if len(paths) > len(_STYLES):
        raise ConfigError(f"{len(paths)} files of scores are too many to tell apart; give at most {len(_STYLES)}")
    scored = [read_labelled_scores(path, labels) for path in paths]
    _check_alike(scored)
    found = [curves(one, name) for one, name in zip(scored, names(paths), strict=True)]
    save(draw_curves(found, scored[0]), out, CHART)
    return "; ".join(f"{one.name}: {_areas(one.metrics)}" for one in found)


def names(paths: Sequence[Path]) -> list[str]:
    """The names of files without what they end in, with their folders where two are alike."""
    short = [path.name.removesuffix(".gz").removesuffix(".jsonl") for path in paths]
    return [
        clean(name if short.count(name) == 1 else f"{path.parent.name}/{name}", 40)
        for name, path in zip(short, paths, strict=True)
    ]


def curves(scored: LabelledScores, name: str) -> Curves:
    """The curves of the labelled rows: those without a score count as the least odd, as in `training evaluate`."""
    assert scored.labels is not None
    truth, share = scored.positive[scored.judged], float(scored.positive.sum() / max(1, scored.judged.sum()))
    if not 0 < share < 1:
        kind = "anomalous" if share else "normal"
        raise ConfigError(
            f"{scored.path}: all {scored.count(len(truth))} with a label are {kind}; a curve needs both classes"
        )
    ranks = ranked(scored.table.score)[scored.judged]
    false, true, _ = roc_curve(truth, ranks)
    precision, recall, _ = precision_recall_curve(truth, ranks)
    threshold = np.nan if scored.threshold is None else scored.threshold
    metrics = measure(scored.table.score, scored.table.anomaly, scored.labels, threshold, None)
    roc, pr = _thin(false, true), _thin(recall, precision)
    return Curves(name, false[roc], true[roc], recall[pr], precision[pr], metrics, share)


def _thin(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """int64: the points of a curve that differ by a step from those before them, with the two ends."""
    cells = np.stack([np.round(x * _STEPS), np.round(y * _STEPS)])
    moves = np.flatnonzero(np.any(np.diff(cells, axis=1) != 0, axis=0)) + 1
    return np.unique(np.concatenate([[0], moves, [len(x) - 1]]))


def _check_alike(scored: list[LabelledScores]) -> None:
    first = scored[0]
    for one in scored[1:]:
        if one.table.scope != first.table.scope:
            raise ConfigError(f"{first.path} scores {first.table.scope}s, {one.path} {one.table.scope}s; compare alike")
        kinds = [(int(each.judged.sum()), int(each.positive.sum())) for each in (first, one)]
        if kinds[0] != kinds[1]:
            found = " and ".join(f"{positive:,} anomalous of {count:,}" for count, positive in kinds)
            raise ConfigError(f"{first.path} and {one.path} differ in what they score: {found}; score the same logs")


def draw_curves(found: Sequence[Curves], scored: LabelledScores) -> Figure:
    """Both kinds of curves side by side; a dot is the threshold, the grey lines are what guessing would give."""
    with matplotlib.rc_context(CHART):
        figure = Figure(figsize=(10.0, 4.6))
        roc, pr = figure.add_axes((0, 0, 0.44, 1)), figure.add_axes((0.56, 0, 0.44, 1))
        roc.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
        pr.axhline(found[0].share, color="0.6", linewidth=1, linestyle=":")
        for one, style in zip(found, _STYLES, strict=False):
            _draw(roc, pr, one, style)
        _finish(roc, "ROC", "false positive rate", "recall (true positive rate)")
        _finish(pr, "Precision and recall", "recall", "precision")
        figure.legend(
            *roc.get_legend_handles_labels(), loc="lower left", bbox_to_anchor=(0, 1.08), borderaxespad=0, borderpad=0
        )
        write_notes(roc, _notes(found, scored))
    return figure


def _draw(roc: Axes, pr: Axes, one: Curves, style: tuple[str, str]) -> None:
    line: dict[str, Any] = {"color": style[0], "linestyle": style[1], "linewidth": 1.8, "clip_on": False}
    dot: dict[str, Any] = {"marker": "o", "markersize": 7, "markeredgecolor": "white", "clip_on": False, "zorder": 5}
    roc.plot(one.false_positives, one.true_positives, label=f"{one.name}: {_areas(one.metrics)}", **line)
    pr.plot(one.recall, one.precision, drawstyle="steps-post", **line)
    metrics = one.metrics
    assert metrics.false_positive_rate is not None and metrics.recall is not None  # there are rows of both classes
    roc.plot([metrics.false_positive_rate], [metrics.recall], color=style[0], **dot)
    if metrics.precision is not None:
        pr.plot([metrics.recall], [metrics.precision], color=style[0], **dot)


def _areas(metrics: Metrics) -> str:
    return f"AUC {metrics.auc:.4f}, average precision {metrics.average_precision:.4f}"


def _finish(axes: Axes, title: str, below: str, beside: str) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel=below, ylabel=beside)
    axes.set_title(title)
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)


def _notes(found: Sequence[Curves], scored: LabelledScores) -> list[str]:
    count, share = (
        scored.count(int(scored.judged.sum())),
        f"{int(scored.positive.sum()):,} of them ({found[0].share:.2%})",
    )
    notes = [
        f"{scored.title}: {count}, {share} labelled anomalous",
        "dot: at the threshold; dotted: what guessing gives, on the right the share of anomalous ones",
    ]
    for one in found:
        if one.metrics.unscored:
            notes.append(f"{one.name}: {one.metrics.unscored:,} without a score count as the least odd")
        if one.metrics.precision is None:
            notes.append(f"{one.name}: nothing labelled is above the threshold: no precision, no dot on the right")
    return notes
