"""The command line of the export."""

import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from agent.commands.run import run_app

app = typer.Typer(name="export", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def export() -> None:
    """Turn a trained run into a bundle for the agent."""


@app.command(epilog="Example: [bold]oddline export onnx run --out bundle[/]")
def onnx(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `training fit` wrote.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="BUNDLE", help="The bundle folder to write.", show_default=False)],
    quantize: Annotated[
        Literal["none", "int8"], typer.Option(help="int8: weights of 8 bits, a smaller bundle.")
    ] = "none",
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="LOG", help="Normal logs for the scale of scores, instead of the held-out lines; again for more."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> None:
    """Export a run to ONNX, compare it with torch, calibrate its scores and write the bundle."""
    from export.writer import export_run
    from training.fitting.run_folder import load_run

    report = export_run(load_run(run), out, quantize == "int8", list(calibrate or ()), overwrite)
    for what, worst in report["difference"].items():
        print(f"{what}: differs from torch by at most {worst:.2g}", file=sys.stderr)
    for what, worst in report.get("difference_int8", {}).items():
        print(f"{what} with int8 weights: differs from torch by at most {worst:.2g}", file=sys.stderr)
    if "agreement" in report:
        kept, spearman = report["agreement"]["top_percent_kept"], report["agreement"]["spearman"]
        print(f"int8: rank correlation of scores {spearman:.5f}, {kept:.1%} of the top 1 % stay there", file=sys.stderr)
    print(f"wrote {out}; next: oddline agent check {out}", file=sys.stderr)


def main() -> NoReturn:
    """The script `export`."""
    run_app(app, "export")


if __name__ == "__main__":
    main()
