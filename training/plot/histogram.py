"""How often which scores occur, with the threshold; normal and anomalous lines apart where there are labels."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from training.plot.axis import AxisScale, choose_scale, plain
from training.plot.labelled_scores import LabelledScores, read_labelled_scores
from training.plot.style import BLUE, CHART, RED, check_out, place_legend, save, write_notes

_BINS = 60


def plot_histogram(path: Path, out: Path, labels: Path | None = None) -> str:
    """Draws how often which scores occur in a file; a sentence on what was drawn."""
    check_out(out)
    scored = read_labelled_scores(path, labels)
    save(draw_histogram(scored), out, CHART)
    return f"{scored.title}: {scored.summary}"


def draw_histogram(scored: LabelledScores) -> Figure:
    """Bins of equal width on the axis of scores; counts are logarithmic, so that a single anomaly is seen."""
    have = ~np.isnan(scored.score) & scored.judged
    scale = choose_scale(scored.score[have])
    values, edges = scale.values(scored.score), bin_edges(scored, scale, have)
    with matplotlib.rc_context(CHART):
        figure = Figure(figsize=(8.0, 4.2))
        axes = figure.add_axes((0, 0, 1, 1))
        for rows, colour, name in _groups(scored):
            counts = np.histogram(values[rows & have], edges)[0]
            if counts.any():
                label = f"{name} ({counts.sum():,})"
                axes.stairs(counts, edges, fill=True, color=colour, alpha=0.45, linewidth=0)
                axes.stairs(counts, edges, color=colour, linewidth=1.4, label=label)
        scale.set(axes, "x", edges[0], edges[-1])
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)
        axes.yaxis.set_major_locator(LogLocator(numticks=9))
        axes.yaxis.set_major_formatter(plain)
        axes.yaxis.set_minor_formatter(NullFormatter())
        if scored.threshold is not None and edges[0] <= scored.threshold:
            label = f"threshold {scored.threshold:.4g}"
            axes.axvline(scored.threshold, color="black", linewidth=1, linestyle="--", label=label)
        axes.set_xlabel("score")
        axes.set_ylabel(f"{scored.table.scope}s")
        axes.set_title(f"Histogram of scores: {scored.title}", pad=24)
        place_legend(axes)
        write_notes(axes, [scored.summary, _moving(scored), scale.note])
    return figure


def _groups(scored: LabelledScores) -> list[tuple[NDArray[np.bool_], str, str]]:
    """Rows, colour and name of each histogram."""
    if scored.labels is None:
        anomalous = scored.table.anomaly
        return [(~anomalous, BLUE, "not anomalous"), (anomalous, RED, "anomalies")]
    return [(~scored.positive, BLUE, "labelled normal"), (scored.positive, RED, "labelled anomalous")]


def bin_edges(scored: LabelledScores, scale: AxisScale, have: NDArray[np.bool_]) -> NDArray[np.float64]:
    """float64 [bins + 1]: from the smallest score to the largest, or to the threshold where that lies beyond. No bin
    holds scores of both sides of the threshold.
    """
    values = scale.values(scored.score[have])
    low, high = float(values.min()), float(values.max())
    limit = None if scored.threshold is None else float(np.nextafter(np.float32(scored.threshold), np.float32(np.inf)))
    high = high if limit is None else max(high, limit)
    if high - low <= 1e-6 * max(abs(high), abs(low)):
        low, high = (low / 2, high * 2) if scale.kind == "log" else (low - 1, high + 1)
    edges = scale.edges(low, high, _BINS)
    edges[[0, -1]] = low, high
    if limit is not None and low < limit < high:
        edges[max(1, int(np.abs(edges[:-1] - limit).argmin()))] = limit
    return edges


def _moving(scored: LabelledScores) -> str:
    limits = scored.table.threshold[np.isfinite(scored.table.threshold)]
    if not len(limits) or scored.threshold is not None:
        return ""
    return f"the threshold moves, from {limits.min():.4g} to {limits.max():.4g}, and is not drawn"
