"""How pictures look, and how they are written: fonts, colours, names without what cannot be drawn."""

import io
from functools import cache
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.typing import RcKeyType

from agent.errors import ConfigError
from agent.host.atomic_file import replace_file
from agent.scorefile.writer import writing

Style = dict[RcKeyType, Any]
"""Settings of matplotlib, whose values are of any type."""

SUFFIXES = (".png", ".svg", ".pdf")
REPLACEMENT = "\ufffd"
_FONT = "DejaVu Sans Mono"  # comes with matplotlib
_PLAIN: Style = {"text.parse_math": False, "text.usetex": False, "svg.hashsalt": "oddline"}
FIXED_WIDTH: Style = _PLAIN | {"font.family": _FONT}
CHART: Style = _PLAIN | {
    "font.family": "DejaVu Sans",
    "svg.fonttype": "none",  # text that can be searched
    "axes.formatter.use_mathtext": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "timezone": "UTC",
}
# The colours of Okabe and Ito (2008), which people with any kind of colour vision tell apart.
BLUE, SKY, ORANGE, RED, GREEN, PURPLE, YELLOW = (
    "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#F0E442",
)  # fmt: skip
_LABEL = 24  # characters of a label


@cache
def _drawable() -> frozenset[int]:
    return frozenset(get_font(findfont(_FONT)).get_charmap())


def clean(text: str, most: int = _LABEL) -> str:
    """A text with a mark for each character that cannot be drawn, cut to `most` characters."""
    text = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(one if one.isprintable() and ord(one) in _drawable() else REPLACEMENT for one in text)


def check_out(out: Path) -> None:
    """Refuses a name whose end is that of no kind of picture."""
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--out {out}: the name of a picture ends in {', '.join(SUFFIXES)}")


def place_legend(axes: Axes, columns: int = 6) -> None:
    """A legend between a chart and its title, which needs a `pad` of 24 for a row."""
    if not axes.get_legend_handles_labels()[0]:
        return
    legend = axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, borderpad=0, handlelength=1.2
    )
    for handle in legend.legend_handles:
        if isinstance(handle, Line2D):
            handle.set_markersize(5)
        elif isinstance(handle, LineCollection):
            handle.set_linewidth(4)
        elif isinstance(handle, PathCollection):
            handle.set_sizes([30.0])


def write_notes(axes: Axes, notes: list[str]) -> None:
    """Writes in small type below a chart what is to be known of it; empty notes are left out."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    text = "\n".join(line for note in notes if note for line in wrap(note, int(figure.get_figwidth() * 14)))
    figure.text(0, -0.62 / figure.get_figheight(), text, va="top", fontsize=8.5, color="0.3", linespacing=1.35)


def save(figure: Figure, out: Path, style: Style | None = None) -> None:
    """Writes a picture of the kind that its name's end says, 150 dots an inch; a SinkError where that is impossible.

    The same picture is the same file whenever it is written. `style` is that of the drawing, by default FIXED_WIDTH.
    """
    content, kind = io.BytesIO(), out.suffix[1:].lower()
    date = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with matplotlib.rc_context(style or FIXED_WIDTH):
        figure.savefig(content, format=kind, dpi=150, bbox_inches="tight", pad_inches=0.15, metadata=date)
    with writing(str(out)):
        replace_file(out, content.getvalue())
