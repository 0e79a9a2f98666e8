"""The skyscraper plot: a tower for the score of each line over time, the anomalies coloured."""

from pathlib import Path
from typing import NamedTuple

import matplotlib
import matplotlib.dates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from agent.text.times import END, FIRST
from training.plot.axis import AxisScale, choose_scale
from training.plot.labelled_scores import LabelledScores, read_labelled_scores
from training.plot.style import BLUE, CHART, RED, SKY, YELLOW, check_out, place_legend, save, write_notes

BUCKETS = 1200
MOST = 5000  # anomalies that are drawn one by one
_DAY = 86400.0
_WIDTH = 11.0  # inches
_SPANS = 1000  # to the width of the picture: no span is narrower


class Towers(NamedTuple):
    """The least and the largest score [towers] at each place x, in order of x; rows: how many scores they stand for."""

    x: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    rows: int


def plot_skyscraper(path: Path, out: Path, labels: Path | None = None) -> str:
    """Draws the scores of a file over time; a sentence on what was drawn."""
    check_out(out)
    scored = read_labelled_scores(path, labels)
    save(draw_skyscraper(scored), out, CHART)
    return f"{scored.title}: {scored.summary}"


def draw_skyscraper(scored: LabelledScores) -> Figure:
    """A tower a score, thinned by buckets of the width where there are many; labelled spans are shaded."""
    x, timed, notes = x_values(scored)
    have = ~np.isnan(scored.score)
    limits = scored.table.threshold[np.isfinite(scored.table.threshold)]
    scale = choose_scale(scored.score[have])
    towers = thin(x[have], scale.values(scored.score[have]), BUCKETS)
    with matplotlib.rc_context(CHART):
        figure = Figure(figsize=(_WIDTH, 4.4))
        axes = figure.add_axes((0, 0, 1, 1))
        base = _set_scores(axes, scale, towers, limits)
        _draw_labels(axes, scored, x)
        _draw_towers(axes, towers, base)
        note = _draw_anomalies(axes, scored, x, scale, base)
        _draw_threshold(axes, scored, x)
        _finish(axes, scored, x, timed)
        write_notes(axes, [scored.summary, *notes, _thinned(towers), note, scale.note])
    return figure


def x_values(scored: LabelledScores) -> tuple[NDArray[np.float64], bool, list[str]]:
    """float64 [rows]: where each row stands, in days since 1970 where times are known (True), else by its number from
    1; and what is to be told of that. A row without a time stands where the one before it does.
    """
    times = scored.table.time
    known = np.flatnonzero(np.isfinite(times))
    missing = len(times) - len(known)
    if missing > len(known) or np.ptp(times[known]) == 0:
        return np.arange(1.0, len(times) + 1), False, []
    last = np.searchsorted(known, np.arange(len(times)), side="right") - 1
    notes = [f"{scored.count(missing)} without a time, drawn at that of the one before"] if missing else []
    return times[known[np.maximum(last, 0)]] / _DAY, True, notes


def thin(x: NDArray[np.float64], scores: NDArray[np.float64], buckets: int) -> Towers:
    """The least and the largest score of each of `buckets` equal parts of the width; all where there are no more."""
    order = np.argsort(x, kind="stable")
    x, scores = x[order], scores[order]
    if len(x) <= buckets:
        return Towers(x, scores, scores, len(x))
    width = (x[-1] - x[0]) / buckets
    part = np.minimum((x - x[0]) / (width or 1.0), buckets - 1).astype(np.int64)
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    middle = x[0] + (part[starts] + 0.5) * width
    return Towers(middle, np.minimum.reduceat(scores, starts), np.maximum.reduceat(scores, starts), len(x))


def _thinned(towers: Towers) -> str:
    if len(towers.x) == towers.rows:
        return ""
    return (
        f"thinned to {len(towers.x):,} places: dark up to the smallest, light up to the largest score of each; "
        "no extreme is left out"
    )


def _set_scores(axes: Axes, scale: AxisScale, towers: Towers, limits: NDArray[np.float32]) -> float:
    """Sets the axis of scores; where the towers stand."""
    shown = np.concatenate([towers.low, towers.high, limits[limits > 0] if scale.kind == "log" else limits])
    low, high = float(shown.min()), float(shown.max())
    if scale.kind == "log":
        room = max(float((high / low) ** 0.06), 1.05)
        scale.set(axes, "y", low / room, high * room)
        return low / room
    room = 1.5 if scale.kind == "symlog" else 1.05
    scale.set(axes, "y", min(low * room, 0.0), max(high * room, 0.0) or 1.0)
    return 0.0


def _draw_towers(axes: Axes, towers: Towers, base: float) -> None:
    width = float(np.clip(_WIDTH * 72 / len(towers.x), 1, 6))
    if len(towers.x) < towers.rows:
        axes.vlines(towers.x, base, towers.high, SKY, linewidth=width, label="up to the largest score")
        axes.vlines(towers.x, base, towers.low, BLUE, linewidth=width, label="up to the smallest")
    else:
        axes.vlines(towers.x, base, towers.high, BLUE, linewidth=width, label="score")


def _draw_anomalies(axes: Axes, scored: LabelledScores, x: NDArray[np.float64], scale: AxisScale, base: float) -> str:
    """Draws the anomalies from their thresholds up: each up to `MOST`, of more the largest at each place. What is to
    be told of that.
    """
    rows = scored.table.anomaly & ~np.isnan(scored.score)
    if not rows.any():
        return ""
    limits = np.nan_to_num(scored.table.threshold[rows].astype(np.float64), nan=base)
    limits = np.maximum(limits, base) if scale.kind == "log" else limits
    tops, feet = thin(x[rows], scale.values(scored.score[rows]), MOST), thin(x[rows], limits, MOST)
    size = float(np.clip(60 / len(tops.x) ** 0.5, 1.8, 4))
    axes.vlines(tops.x, feet.low, tops.high, RED, linewidth=1, zorder=3)
    axes.plot(tops.x, tops.high, "o", color=RED, markersize=size, markeredgewidth=0, zorder=4, label="anomaly")
    if len(tops.x) == tops.rows:
        return ""
    return f"of {tops.rows:,} anomalies the largest at each of {len(tops.x):,} places"


def _draw_threshold(axes: Axes, scored: LabelledScores, x: NDArray[np.float64]) -> None:
    limit, limits = scored.threshold, scored.table.threshold
    if limit is not None:
        axes.axhline(limit, color="black", linewidth=1, linestyle="--", zorder=5, label=f"threshold {limit:.4g}")
    elif np.isfinite(limits).any():
        known = np.isfinite(limits)
        moving = thin(x[known], limits[known].astype(np.float64), BUCKETS)
        axes.plot(
            moving.x, moving.high, color="black", linewidth=1, linestyle="--", zorder=5, label="threshold, moving"
        )


def spans(x: NDArray[np.float64], marked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """float64 [spans, 2], left and width: the stretches of rows, in order of x, that are marked one after the other.

    None is narrower than a thousandth of the whole, and those that overlap are one.
    """
    order = np.argsort(x, kind="stable")
    x, marked = x[order], marked[order]
    least = ((x[-1] - x[0]) or 1.0) / _SPANS
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(np.int8)))
    first, last = x[edges[::2]], x[edges[1::2] - 1]
    room = np.maximum(least - (last - first), 0) / 2
    first, last = first - room, last + room
    opens = np.concatenate([[True], first[1:] > np.maximum.accumulate(last)[:-1]])[: len(first)]
    starts = np.flatnonzero(opens)
    if not len(starts):
        return np.zeros((0, 2))
    return np.stack([first[starts], np.maximum.reduceat(last, starts) - first[starts]], axis=1)


def _draw_labels(axes: Axes, scored: LabelledScores, x: NDArray[np.float64]) -> None:
    found = spans(x, scored.positive)
    if len(found):
        transform = axes.get_xaxis_transform()
        ranges = [(left, width) for left, width in found.tolist()]
        axes.broken_barh(
            ranges, (0, 1), transform=transform, color=YELLOW, linewidth=0, zorder=0, label="labelled anomalous"
        )


def _finish(axes: Axes, scored: LabelledScores, x: NDArray[np.float64], timed: bool) -> None:
    room = np.ptp(x) * 0.01 or 0.5
    left, right = x.min() - room, x.max() + room
    axes.set_xlim(max(left, FIRST / _DAY) if timed else left, min(right, END / _DAY - 1) if timed else right)
    axes.set_ylabel("score")
    if timed:
        locator = matplotlib.dates.AutoDateLocator(tz="UTC")  # type: ignore[no-untyped-call]  # matplotlib's
        axes.xaxis.set_major_locator(locator)
        formatter = matplotlib.dates.ConciseDateFormatter(locator, tz="UTC")  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_formatter(formatter)
        axes.set_xlabel("time (UTC)")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(9, steps=[1, 2, 5, 10], integer=True))
        axes.xaxis.set_major_formatter(lambda value, position: f"{value:,.0f}")
        axes.set_xlabel(f"number of the {scored.table.scope} in the file of scores")
    axes.set_title(f"Scores of {scored.title}", pad=24)
    place_legend(axes)
