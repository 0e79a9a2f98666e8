"""Pictures of matplotlib: a matrix of weights, bars, and a line whose tokens are shaded."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray

from training.plot.style import FIXED_WIDTH, REPLACEMENT, clean

_COLOURS = "YlGnBu"  # of ColorBrewer: one order of lightness, safe for the colour-blind
_SPACE, _RETURN = "\u2423", "\u21b5"
_LETTER = 0.602 / 72  # inches that a letter is wide for each point of its size
_CELL, _ROW = 0.08, 0.27  # inches: a letter of a line's token, a line of text
_WIDTH = 116  # letters until a line is folded
_LIKELY = "predicted"
_LEGEND = "surprise in bits; under each token the likeliest other"
_FULL = 10.0  # bits: the least that the darkest shade stands for


def token_label(token: dict[str, Any], kind: str) -> str:
    """How a token, or what was expected instead, is written: that it is the end, or unknown, or white space."""
    if token.get("end"):
        return _RETURN if kind == "char" else "(end)"
    if "p" in token and token.get("unknown"):
        return REPLACEMENT if kind == "char" else "(unknown)"
    text = token["text"].replace(" ", _SPACE) if kind in ("char", "bpe") else token["text"]
    return clean(text) or '""'


def expected(token: dict[str, Any], kind: str) -> str:
    """The likeliest token but the line's own, where that is not a character with its probability."""
    likely = token["expected"][0]
    return token_label(likely, kind) + ("" if kind == "char" else f" {likely['p']:.0%}")


def predicted(token: dict[str, Any], kind: str) -> str:
    """The likeliest token: the line's own where none is likelier."""
    own = token | {"p": 2.0 ** -token["bits"]}
    likely = token["expected"][0]
    return expected(token | {"expected": [own if own["p"] >= likely["p"] else likely]}, kind)


def draw_matrix(
    weights: NDArray[np.floating], rows: list[str], columns: list[str], likely: list[str], title: str
) -> Figure:
    """A lower-triangular heat map of weights [places, places]: a row for each token (or end), a column for each that
    comes before it, the beginning first. Where no place looks at itself, the first row and the last column hold nothing
    and are left out. likely: what the model took for likeliest in each row, or nothing.
    """
    strict = not weights[0].any()
    rows, columns = [*rows, "(end)"], ["(begin)", *columns]
    if strict:
        weights, rows, columns, likely = weights[1:, :-1], rows[1:], columns[:-1], likely[1:]
    with matplotlib.rc_context(FIXED_WIDTH):
        size, cell = len(rows), _cell(len(rows))
        figure = Figure(figsize=(size * cell, size * cell))
        axes = figure.add_axes((0, 0, 1, 1))
        lower = np.ma.masked_array(weights, np.triu(np.ones((size, size), bool), 1))
        image = axes.imshow(lower, _COLOURS, vmin=0, vmax=float(weights.max()) or 1.0)
        if cell > 0.4:
            _write_numbers(axes, lower)
        points = min(9.0, cell * 72 * 0.8)
        _label(axes, columns, rows, points)
        axes.set_title(clean(title, 120), loc="left", fontsize=10)
        right = _write_likely(axes, likely, points) if likely else 0.0
        bar = figure.add_axes((1 + (right + 0.3) / (size * cell), 0, 0.14 / (size * cell), 1))
        figure.colorbar(image, cax=bar, label="weight")
    return figure


def _cell(size: int) -> float:
    """Inches of a cell."""
    return 0.46 if size <= 16 else 0.26 if size <= 40 else 0.13


def _label(axes: Axes, columns: list[str], rows: list[str], points: float) -> None:
    axes.set_xticks(range(len(columns)), columns, fontsize=points)
    for label in axes.get_xticklabels():
        label.set_rotation(90 if len(label.get_text()) > 1 else 0)
    axes.set_yticks(range(len(rows)), rows, fontsize=points)
    axes.tick_params(length=2)
    axes.set_xlabel("looked at")
    axes.set_ylabel("token")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _write_numbers(axes: Axes, weights: np.ma.MaskedArray[Any, np.dtype[np.floating]]) -> None:
    half = weights.max() / 2
    for row, column in zip(*np.nonzero(~weights.mask), strict=True):
        value = weights[row, column]
        colour = "white" if value > half else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)


def _write_likely(axes: Axes, likely: list[str], points: float) -> float:
    """Writes what was likeliest beside each row; inches that this takes."""
    transform = axes.get_yaxis_transform()
    axes.text(1.01, -0.7, _LIKELY, transform=transform, fontsize=points, va="bottom", color="0.35")
    for row, text in enumerate(likely):
        axes.text(1.01, row, text, transform=transform, va="center", fontsize=points)
    return max(map(len, [_LIKELY, *likely])) * points * _LETTER


def draw_bars(weights: NDArray[np.floating], labels: list[str], title: str) -> Figure:
    """A bar for the weight of each token."""
    with matplotlib.rc_context(FIXED_WIDTH):
        cell = _cell(len(labels))
        figure = Figure(figsize=(max(3.0, len(labels) * cell), 3))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.bar(range(len(labels)), weights, color=matplotlib.colormaps[_COLOURS](0.75))
        axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=min(9.0, cell * 72 * 0.8))
        axes.set_xlim(-0.6, len(labels) - 0.4)
        axes.set_ylabel("weight")
        axes.set_title(clean(title, 120), loc="left", fontsize=10)
    return figure


def draw_line(tokens: list[dict[str, Any]], kind: str, title: str) -> Figure:
    """The tokens of one line as boxes, shaded by their bits, with their fields above and the likeliest other token
    below; folded where it is long.
    """
    texts = [(token.get("field", ""), token_label(token, kind), expected(token, kind)) for token in tokens]
    texts = [(clean(field), text, other) for field, text, other in texts]
    boxes, height = _fold([_letters(*text) for text in texts], 3 if any(field for field, _, _ in texts) else 2.3)
    with matplotlib.rc_context(FIXED_WIDTH):
        figure = Figure(figsize=(_WIDTH * _CELL, height * _ROW))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(height, 0))
        axes.set_axis_off()
        darkest = max(_FULL, *(token["bits"] for token in tokens))
        shades = ScalarMappable(Normalize(0, darkest), _COLOURS)
        for token, text, box in zip(tokens, texts, boxes, strict=True):
            _draw_token(axes, text, box, token["bits"] / darkest, shades.to_rgba(token["bits"]))
        axes.set_title(clean(title, 120), loc="left", fontsize=10)
        bar = figure.add_axes((0, -0.25 / (height * _ROW), 0.25, 0.12 / (height * _ROW)))
        figure.colorbar(shades, cax=bar, orientation="horizontal")
        bar.tick_params(labelsize=8)
        bar.text(1.04, 0.5, _LEGEND, transform=bar.transAxes, va="center", fontsize=8)
    return figure


def _letters(field: str, text: str, other: str) -> float:
    """The width of a token's box in letters; field and alternative are in smaller type."""
    return max(len(text), len(other) * 0.8, len(field) * 0.75) + 0.8


def _fold(widths: list[float], height: float) -> tuple[list[tuple[float, float, float]], float]:
    """Left, top and width of each box in rows of this height, and the height of all."""
    boxes, left, top = [], 0.0, 0.0
    for width in widths:
        if left and left + width > _WIDTH:
            left, top = 0.0, top + height
        boxes.append((left, top + height - 2.3, width))
        left += width + 0.25
    return boxes, top + height


def _draw_token(
    axes: Axes, text: tuple[str, str, str], box: tuple[float, float, float], depth: float, colour: Any
) -> None:
    (field, word, other), (left, top, width) = text, box
    middle = left + width / 2
    style = "round,pad=0,rounding_size=0.2"
    axes.add_patch(FancyBboxPatch((left, top), width, 1, style, facecolor=colour, edgecolor="0.6", linewidth=0.5))
    if field:
        axes.text(middle, top - 0.1, field, ha="center", va="bottom", fontsize=6.5, color="0.35")
    axes.text(middle, top + 0.5, word, ha="center", va="center", fontsize=9, color="white" if depth > 0.55 else "black")
    axes.text(middle, top + 1.12, other, ha="center", va="top", fontsize=7, color="0.35")
