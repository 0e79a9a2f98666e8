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
Scores = Annotated[
    Path, typer.Argument(metavar="SCORES", help="What agent score wrote; - is standard input.", show_default=False)
]
Labels = Annotated[
    Path | None, typer.Option(metavar="FILE", help="0, 1 or - a line beside the log, or a CSV of streams.")
]
Out = Annotated[
    Path, typer.Option(metavar="FILE", help="The picture to write: .png, .svg or .pdf.", show_default=False)
]


@plot.callback()
def pictures() -> None:
    """Draw scores, the training of a model, and what it makes of lines."""


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


@plot.command()
def skyscraper(scores: Scores, out: Out, labels: Labels = None) -> None:
    """Draw scores over time, a tower each, with the threshold and the anomalies.

    Example: oddline training plot skyscraper scores.jsonl --out scores.png
    """
    from training.plot.skyscraper import plot_skyscraper

    typer.echo(f"wrote {out}: {plot_skyscraper(scores, out, labels)}")


@plot.command()
def curves(
    scores: Annotated[
        list[Path], typer.Argument(metavar="SCORES...", help="What agent score wrote.", show_default=False)
    ],
    labels: Annotated[
        Path,
        typer.Option(metavar="FILE", help="0, 1 or - a line beside the log, or a CSV of streams.", show_default=False),
    ],
    out: Out,
) -> None:
    """Draw ROC and precision-recall curves, those of several models in one picture.

    Example: oddline training plot curves a.jsonl b.jsonl --labels sessions.csv --out curves.png
    """
    from training.plot.curves import plot_curves

    typer.echo(f"wrote {out}: {plot_curves(scores, labels, out)}")


@plot.command()
def histogram(scores: Scores, out: Out, labels: Labels = None) -> None:
    """Draw how often which scores occur, normal and anomalous lines apart where there are labels.

    Example: oddline training plot histogram scores.jsonl --out histogram.png
    """
    from training.plot.histogram import plot_histogram

    typer.echo(f"wrote {out}: {plot_histogram(scores, out, labels)}")


@plot.command()
def losses(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training.", show_default=False)], out: Out
) -> None:
    """Draw the training and validation losses of each stage over the epochs, also of an unfinished training.

    Example: oddline training plot losses run --out losses.png
    """
    from training.plot.losses import plot_losses

    typer.echo(f"wrote {out}: {plot_losses(run, out)}")


@plot.command()
def latent(
    subject: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="The folder of a model.", show_default=False)],
    logs: Logs,
    out: Out,
    labels: Labels = None,
    most: Annotated[int, typer.Option(metavar="N", min=2, help="How many points at most.")] = 5000,
    method: Annotated[str, typer.Option(metavar="pca|tsne", help="How many dimensions become two.")] = "pca",
) -> None:
    """Draw where a model puts windows of lines, coloured by their labels or else their scores.

    Of a two-stage model it is where it puts the lines themselves.

    Example: oddline training plot latent run app.log --labels app.labels --out latent.png
    """
    from training.plot.latent import plot_latent

    typer.echo(f"wrote {out}: {plot_latent(subject, logs, out, labels, most, method)}")
