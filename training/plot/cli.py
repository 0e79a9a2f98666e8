"""The commands `training plot`."""

from pathlib import Path
from typing import Annotated

import typer

plot = typer.Typer(name="plot", no_args_is_help=True)

Subject = Annotated[
    Path, typer.Argument(metavar="RUN|BUNDLE", help="The folder of a language model.", show_default=False)
]
Logs = Annotated[
    list[Path], typer.Argument(metavar="LOG...", help="Logs: files (gzip too) or folders.", show_default=False)
]
Out = Annotated[
    Path, typer.Option(metavar="FILE", help="The picture to write: .png, .svg or .pdf.", show_default=False)
]


@plot.callback()
def pictures() -> None:
    """Draw what a language model makes of lines."""


@plot.command()
def attention(
    subject: Subject,
    logs: Logs,
    out: Out,
    line: Annotated[
        int | None, typer.Option(metavar="N", help="Of this line alone, counted from 1 through all logs.")
    ] = None,
    most: Annotated[int, typer.Option(metavar="N", min=1, help="The average is over the first N lines.")] = 2000,
) -> None:
    """Draw where a model with attention looks.

    Example: oddline training plot attention run auth.csv --out attention.png
    """
    from training.plot.views import plot_attention

    typer.echo(f"wrote {out}: {plot_attention(subject, logs, out, line, most)}")


@plot.command()
def line(
    subject: Subject,
    logs: Logs,
    out: Out,
    number: Annotated[
        int, typer.Option("--line", metavar="N", help="The line, counted from 1 through all logs.", show_default=False)
    ],
) -> None:
    """Draw how surprising each token of a line is.

    Example: oddline training plot line run auth.csv --line 12 --out line.png
    """
    from training.plot.views import plot_line

    typer.echo(f"wrote {out}: {plot_line(subject, logs, out, number)}")
