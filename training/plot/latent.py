"""The latent space of a model in two dimensions: where it puts windows, or the lines themselves."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agent.errors import ConfigError
from training.data.corpus import ANOMALOUS, LEFT_OUT, NORMAL, Corpus, read_corpus
from training.data.windows import Windows
from training.evaluation.model import Subject, open_subject, score_in_order, scores_at, window_features
from training.plot.axis import choose_scale, plain
from training.plot.style import BLUE, CHART, RED, check_out, clean, place_legend, save, write_notes

if TYPE_CHECKING:
    from collections.abc import Callable

METHODS = ("pca", "tsne")
_AT_ONCE = 4096
_FEWEST = 5  # different points that t-SNE needs


@dataclass(frozen=True)
class Points:
    """Places in two dimensions float64 [points, 2]; the scores float32 or the labels int8 [points] that colour them.

    what   windows or lines
    axes   what the two axes are
    notes  what there is to say of them
    """

    coordinates: NDArray[np.float64]
    values: NDArray[Any]
    labelled: bool
    what: str
    axes: tuple[str, str]
    notes: list[str]


def plot_latent(path: Path, logs: list[Path], out: Path, labels: Path | None, most: int, method: str) -> str:
    """Draws where the model in a bundle or a run puts windows of lines; a sentence on what was drawn.

    A ConfigError where the model has no latent space or the method is unknown.
    """
    check_out(out)
    if method not in METHODS:
        raise ConfigError(f"--method {method} is unknown; choose one of {', '.join(METHODS)}")
    subject = open_subject(path)
    if not (hasattr(subject.scorer, "latent") or hasattr(subject.scorer, "vectors")):
        raise ConfigError(f"{path} has no latent space; sequence autoencoders and two-stage models have one")
    read = subject.features.read if subject.features else None
    corpus = read_corpus(logs, subject.header, subject.masks, subject.stream, labels, read, False, subject.normalizer)
    points = find_points(subject, corpus, labels is not None, most, method)
    name = logs[0].name if len(logs) == 1 else f"{logs[0].name} and {len(logs) - 1} more"
    title = f"{points.what} of {clean(name, 50)} in the latent space of {clean(path.resolve().name, 30)}"
    save(draw_points(points, title), out, CHART)
    return f"{len(points.coordinates):,} {title}"


def find_points(subject: Subject, corpus: Corpus, labelled: bool, most: int, method: str) -> Points:
    """The points of at most `most` windows or lines, coloured by labels or else by the scores of their last lines."""
    windows = Windows(corpus, subject.window.size, subject.window.pad, False)
    if not len(windows):
        raise ConfigError(f"{len(corpus)} lines make no window of {subject.window.size}; give longer logs")
    chosen = choose(corpus.labels[windows.lines], most)
    vectors = _vectors(subject, corpus, windows, chosen)
    values = corpus.labels[windows.lines[chosen]] if labelled else _scores(subject, corpus, windows, chosen)
    what = "windows" if hasattr(subject.scorer, "latent") else "lines"
    coordinates, axes, notes = _flatten(vectors, method)
    if len(chosen) < len(windows):
        first = ", up to half of them labelled anomalous" if labelled else ""
        notes.append(f"{len(chosen):,} of {len(windows):,} {what}, evenly spaced{first}")
    if labelled and what == "windows":
        notes.append("a window has the label of its last line")
    return Points(coordinates, values, labelled, what, axes, notes)


def choose(labels: NDArray[np.int8], most: int) -> NDArray[np.int64]:
    """int64: at most `most` rows, in order: evenly spaced ones, half of them for those that are labelled anomalous."""
    if len(labels) <= most:
        return np.arange(len(labels))
    anomalous = _spaced(np.flatnonzero(labels == ANOMALOUS), max(1, most // 2))
    rest = _spaced(np.flatnonzero(labels != ANOMALOUS), most - len(anomalous))
    return np.sort(np.concatenate([anomalous, rest]))


def _spaced(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return rows if len(rows) <= most else rows[np.arange(most) * len(rows) // most]


def _vectors(subject: Subject, corpus: Corpus, windows: Windows, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """float64 [points, width]: the latent of each window, or the vector of its last line."""
    scorer, parts = subject.scorer, [chosen[start : start + _AT_ONCE] for start in range(0, len(chosen), _AT_ONCE)]
    if hasattr(scorer, "latent"):
        found = [scorer.latent(windows.ids(part), window_features(subject, windows, part)) for part in parts]
    else:
        found = [scorer.vectors(corpus.ids[windows.lines[part]]) for part in parts]
    return np.concatenate(found).astype(np.float64)


def _scores(subject: Subject, corpus: Corpus, windows: Windows, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
    if subject.in_order is None:
        return scores_at(subject, windows, chosen)
    return score_in_order(subject.in_order(len(corpus.keys)), corpus, subject.features)[windows.lines[chosen]]


def _flatten(vectors: NDArray[np.float64], method: str) -> tuple[NDArray[np.float64], tuple[str, str], list[str]]:
    """The coordinates, the names of their axes, and what to say of them."""
    if method == "tsne":
        return (
            tsne(vectors),
            ("t-SNE 1", "t-SNE 2"),
            ["t-SNE: what lies near is alike; distances far apart tell nothing"],
        )
    coordinates, shares = pca(vectors)
    first, second = (
        f"{name} component ({share:.0%} of the variance)"
        for name, share in zip(("first", "second"), shares, strict=True)
    )
    notes = ["what lies apart is unlike; what lies together may differ in the other components"]
    return coordinates, (first, second), notes


def pca(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """float64 [points, 2] on the first two principal components, and their shares of the variance.

    Of each component the largest weight is positive, so that the same vectors are always drawn alike.
    """
    centred = vectors - vectors.mean(axis=0)
    _, sizes, components = np.linalg.svd(centred, full_matrices=False)
    weights = np.zeros((2, vectors.shape[1]))
    weights[: len(components[:2])] = components[:2]
    largest = weights[np.arange(2), np.abs(weights).argmax(axis=1)]
    variances = np.pad(sizes**2, (0, 2))
    first, second = (variances[:2] / (variances.sum() or 1.0)).tolist()
    return centred @ (weights * np.where(largest < 0, -1, 1)[:, None]).T, (first, second)


def tsne(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [points, 2]: t-distributed stochastic neighbour embedding (van der Maaten and Hinton 2008), from the
    principal components, of one seed. Vectors that are the same are one point.
    """
    from sklearn.manifold import TSNE

    unique, inverse = np.unique(vectors, axis=0, return_inverse=True)
    if len(unique) < _FEWEST:
        raise ConfigError(f"--method tsne: {len(unique)} different points are too few, {_FEWEST} are needed; use pca")
    perplexity = min(30.0, (len(unique) - 1) / 3)
    start = pca(unique)[0]
    found = TSNE(init=1e-4 * start / start[:, 0].std(), perplexity=perplexity, random_state=0).fit_transform(unique)
    flat: NDArray[np.float64] = found[inverse.ravel()].astype(np.float64)
    return flat


def draw_points(points: Points, title: str) -> Figure:
    """A dot for each point: triangles are labelled anomalous, or shades are scores, the highest on top."""
    with matplotlib.rc_context(CHART):
        figure = Figure(figsize=(7.0, 5.6))
        axes = figure.add_axes((0, 0, 1, 1))
        notes = _draw_labels(axes, points) if points.labelled else _draw_scores(figure, axes, points)
        axes.set(xlabel=points.axes[0], ylabel=points.axes[1])
        axes.set_title(title[:1].upper() + title[1:], pad=24)
        place_legend(axes)
        write_notes(axes, [*points.notes, *notes])
    return figure


def _draw_labels(axes: Axes, points: Points) -> list[str]:
    """A mark for each place of a kind, the larger the more points lie there, so that no kind hides another."""
    size, together = _size(len(points.coordinates)), False
    for kind, name, colour, marker in (
        (LEFT_OUT, "left out", "0.7", "o"),
        (NORMAL, "labelled normal", BLUE, "o"),
        (ANOMALOUS, "labelled anomalous", RED, "^"),
    ):
        rows = points.values == kind
        if rows.any():
            spots, counts = np.unique(points.coordinates[rows], axis=0, return_counts=True)
            areas = size * (1 + 2 * np.log2(counts)) * (1.5 if kind == ANOMALOUS else 1)
            label, (x, y) = f"{name} ({rows.sum():,})", spots.T
            axes.scatter(x, y, s=areas, label=label, alpha=0.7, linewidths=0, color=colour, marker=marker)
            together = together or bool(counts.max() > 1)
    return ["marks are larger where several lie at one place"] if together else []


def _draw_scores(figure: Figure, axes: Axes, points: Points) -> list[str]:
    known = np.isfinite(points.values)
    if not known.any():
        raise ConfigError("none of these lines has a score; give longer logs, or --labels to colour by")
    coordinates, scores = points.coordinates[known], points.values[known].astype(np.float64)
    scale, order = choose_scale(scores), np.argsort(scores)
    values = scale.values(scores)[order]
    low, high = float(values[0]), float(max(values[-1], values[0] + 1e-6 * abs(values[0]), 1e-30))
    norms: dict[str, Callable[[float, float], Normalize]] = {
        "log": LogNorm,
        "linear": Normalize,
        "symlog": lambda least, most: SymLogNorm(scale.linear, 1, least, most),
    }
    x, y = coordinates[order].T
    dots = axes.scatter(
        x,
        y,
        c=values,
        cmap="viridis_r",
        norm=norms[scale.kind](low, high),
        s=_size(len(values)),
        linewidths=0,
    )
    bar = figure.add_axes((1.04, 0, 0.025, 1))
    figure.colorbar(dots, cax=bar, label="score", format=plain)
    bar.minorticks_off()
    missing = int((~known).sum())
    return [f"{missing:,} without a score, not drawn" if missing else "", scale.note]


def _size(count: int) -> float:
    """The area of a dot in square points."""
    return float(np.clip(6000 / count, 5, 30))
