"""The command line of the training."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from agent.commands.run import run_app
from training.plot.cli import plot

app = typer.Typer(name="training", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(plot)


Logs = Annotated[
    list[Path], typer.Argument(metavar="LOG...", help="Logs: files (gzip too) or folders.", show_default=False)
]
Start = Annotated[
    str | None, typer.Option("--from", metavar="X", help="From this fraction of the streams (lines), or ISO time.")
]
Until = Annotated[str | None, typer.Option(metavar="X", help="To before this fraction, or ISO time.")]
Run = Annotated[Path, typer.Option(metavar="RUN", help="The run folder to write.", show_default=False)]
Config = Annotated[Path | None, typer.Option(metavar="FILE", help="A configuration in YAML.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A key of the configuration.")]
Stream = Annotated[
    str | None, typer.Option(metavar="REGEX", help="Its group, or whole match, in a line is the line's stream.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Seed = Annotated[int | None, typer.Option(min=0, help="The seed of all that is random.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a finished or different run.")]


@app.callback()
def training() -> None:
    """Train models of normal behaviour on logs."""


@app.command()
def fit(
    logs: Logs,
    out: Run,
    family: Annotated[
        str | None, typer.Option(help="two-stage (default), language-model or sequence-autoencoder.")
    ] = None,
    config: Config = None,
    settings: Settings = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="0, 1 or - a line beside the log, or a CSV of streams; only lines of 0 are used."
        ),
    ] = None,
    stream: Stream = None,
    start: Start = None,
    until: Until = None,
    device: Device = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes (CPU) or GPUs that train together.")] = 1,
    seed: Seed = None,
    overwrite: Overwrite = False,
) -> None:
    r"""Train a model on logs of normal behaviour.

    Example: oddline training fit /var/log/syslog --out run

    Example: oddline training fit auth.csv.gz --config examples/lanl-t-bem-word.yaml --out run

    Example: oddline training fit /var/log/syslog --family sequence-autoencoder --out run

    Example: oddline training fit hdfs.log --out run --stream 'blk_-?\d+' --labels sessions.csv --until 0.5
    """
    from training.fitting.job import Job, run_job

    options = {"family": family, "stream": stream, "seed": seed}
    run_job(Job(logs, out, config, tuple(settings or ()), options, labels, start, until, device, devices, overwrite))


@app.command()
def walk(
    logs: Logs,
    every: Annotated[
        str, typer.Option(metavar="N|15m|1d", help="A window: lines, or a time in s, m, h or d.", show_default=False)
    ],
    out: Run,
    config: Config = None,
    settings: Settings = None,
    stream: Stream = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="What stands beside each score: columns of records (the time), or time, host, program, pid (none).",
        ),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="The lines of a window that are trained on, at most.")] = 200_000,
    device: Device = "auto",
    seed: Seed = None,
    overwrite: Overwrite = False,
) -> None:
    """Walk along logs: score each window by a language model that learnt the windows before it, then learn it.

    The scores go to RUN/scores.csv.gz. The first window is only learnt, the last one only scored.

    Example: oddline training walk auth.csv.gz --every 1d --out run --config lanl.yaml --columns time,user

    Example: oddline training walk /var/log/syslog --every 5000 --out run --columns time,program
    """
    from training.walk.command import WalkJob, run_walk

    options = {"stream": stream, "seed": seed}
    run_walk(WalkJob(logs, every, out, config, tuple(settings or ()), options, columns, most, device, overwrite))


@app.command()
def evaluate(
    subject: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="The folder of a model.", show_default=False)],
    logs: Logs,
    labels: Annotated[
        Path,
        typer.Option(metavar="FILE", help="0, 1 or - a line beside the log, or a CSV of streams.", show_default=False),
    ],
    scope: Annotated[str, typer.Option(metavar="line|session", help="Judge lines, or whole streams.")] = "line",
    stream: Annotated[
        str | None, typer.Option(metavar="REGEX", help="What in a line names its stream; by default as the model says.")
    ] = None,
    start: Start = None,
    until: Until = None,
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Simple detectors beside it, fitted on the lines before --from.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a model against labels, on logs that it was not trained on.

    Example: oddline training evaluate bundle hdfs.log --labels sessions.csv --scope session --from 0.5 --baselines
    """
    import msgspec
    from rich.console import Console

    from training.evaluation.evaluate import Request
    from training.evaluation.evaluate import evaluate as measure
    from training.evaluation.table import print_report

    report = measure(Request(subject, logs, labels, scope, stream, start, until, baselines))
    if as_json:
        typer.echo(msgspec.json.encode(report))
    else:
        print_report(report, Console())


@app.command()
def synth(
    out: Annotated[str, typer.Argument(metavar="OUT", help="The file; - is standard output.", show_default=False)],
    form: Annotated[str, typer.Option("--format", metavar="rfc3164|iso8601|json", help="How lines begin.")] = "rfc3164",
    lines: Annotated[int, typer.Option(metavar="N", help="How many; with the preset plain, normal ones.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="One seed gives one log.")] = 0,
    incident: Annotated[
        str | None,
        typer.Option(metavar="NAME,...|all|none", help="What goes wrong, of those below.", show_default="none"),
    ] = None,
    at: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="After this fraction of the log it goes wrong, more over the rest.", show_default="2/3"
        ),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write one label a line: 0 normal, 1 anomalous.")
    ] = None,
    kinds: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write which incident each line belongs to, or -.")
    ] = None,
    preset: Annotated[
        str, typer.Option(metavar="host|plain", help="A host's services, or event ids E1 to E30 and a burst of others.")
    ] = "host",
    services: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Which services the host has; by default all.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="LINES_PER_S", help="Append in real time, as a syslog daemon does, with the present time."
        ),
    ] = None,
) -> None:
    """Write a made-up syslog of one host, with labels.

    Incidents: segfault, unseen-burst, disk-errors, out-of-memory, brute-force, privilege-abuse; and those whose single
    lines are all of known texts: wrong-order, wrong-hour, rate-jump, silence (its lines are the 20 after each time at
    which a job did not run). The first begins after two thirds of the log, more of them are spread over the rest.

    Example: oddline training synth demo.log --lines 5000 --incident segfault --labels demo.labels

    Example: oddline training synth plain.log --preset plain --labels plain.labels
    """
    from training.synth import generate, write_log
    from training.synth.progress import with_progress

    chosen = None if services is None else services.split(",")
    made = generate(lines, seed, incident, chosen, at, preset)
    count = write_log(
        out, made if out == "-" else with_progress(made, lines, rate is not None), form, rate, labels, kinds
    )
    if out != "-":
        typer.echo(f"{count} lines in {out}")


def main() -> NoReturn:
    """The script `training`."""
    run_app(app, "training")


if __name__ == "__main__":
    main()
