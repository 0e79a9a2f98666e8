"""Axes of scores: logarithmic as far as the scores allow it, and what has to be said where they do not."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

_SPAN = 1e9  # from the lowest to the highest of a logarithmic axis


class AxisScale(NamedTuple):
    """kind: log, symlog or linear. least: scores under it are drawn at it (log). linear: the half of the range around
    0 that is linear (symlog). note: what is to be told of it, or nothing.
    """

    kind: str
    least: float
    linear: float
    note: str

    def values(self, scores: NDArray[np.floating] | Sequence[float]) -> NDArray[np.float64]:
        """Scores where they are drawn."""
        exact = np.asarray(scores, np.float64)
        return np.maximum(exact, self.least) if self.kind == "log" else exact

    def edges(self, low: float, high: float, count: int) -> NDArray[np.float64]:
        """The edges of this many equally wide bins of the axis, from low to high."""
        if self.kind == "log":
            return np.geomspace(low, high, count + 1).astype(np.float64)
        if self.kind == "linear":
            return np.linspace(low, high, count + 1)
        first, last = np.arcsinh(np.array([low, high]) / self.linear).tolist()
        edges: NDArray[np.float64] = np.sinh(np.linspace(first, last, count + 1)) * self.linear
        return edges

    def set(self, axes: Axes, name: str, low: float, high: float) -> None:
        """Gives the axis "x" or "y" of matplotlib's axes this scale, from low to high, with plain numbers at it."""
        getattr(axes, f"set_{name}scale")(self.kind, **({"linthresh": self.linear} if self.kind == "symlog" else {}))
        getattr(axes, f"set_{name}lim")(low, high)
        axis = getattr(axes, f"{name}axis")
        decades = np.log10(high / low) if self.kind == "log" else np.inf
        if decades < 0.8:
            axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
            axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(plain)
        axis.set_minor_formatter(_twos_and_fives if decades < 2 else NullFormatter())


def plain(value: float, position: float | None = None) -> str:
    """A number at an axis: 0.01, 20, 10,000; with an exponent where it is very large or small."""
    return f"{value:,.10g}" if 1e-4 <= abs(value) < 1e6 or value == 0 else f"{value:.3g}"


def _twos_and_fives(value: float, position: float | None = None) -> str:
    return plain(value) if f"{value:e}"[0] in "25" else ""


def choose_scale(scores: NDArray[np.floating] | Sequence[float]) -> AxisScale:
    """The scale for scores [any], without NaN: log where they are positive, with those of 0 at the least one above;
    symlog where some are negative; linear where all are 0.
    """
    exact = np.asarray(scores, np.float64)
    positive, low, high = exact[exact > 0], float(exact.min()), float(exact.max())
    if low < 0:
        middle = float(np.median(np.abs(exact[exact != 0])))
        linear = 10.0 ** float(np.round(np.log10(middle)))
        return AxisScale("symlog", low, linear, f"linear from {-linear:g} to {linear:g}, logarithmic beyond")
    if not len(positive):
        return AxisScale("linear", 0.0, 1.0, "all scores are 0")
    least = max(float(positive.min()), high / _SPAN)
    under = int((exact < least).sum())
    note = f"{under:,} scores below {least:.3g} (of 0 or next to it) drawn there" if under else ""
    return AxisScale("log", least, 1.0, note)
