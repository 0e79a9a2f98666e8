"""The arguments and options that several commands share, and those of `tail`, each with its help."""

from pathlib import Path
from typing import Annotated

import typer

BundleOption = Annotated[str, typer.Option("--bundle", "-b", help="Folder of a bundle; 'default' is the embedded one.")]
ProviderOption = Annotated[str, typer.Option("--provider", help="auto, cpu or cuda.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Tell more of what happens.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Tell only of what is lost, refused or broken.")]

PathsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH...",
        help="Log files to follow, or patterns such as '/var/log/*.log'; what does not exist yet is waited for. "
        "Also - (standard input), a named pipe, journal:, listen:udp://H:P, listen:tcp://H:P, listen:unix:PATH.",
    ),
]
OtherBundleOption = Annotated[
    str | None, typer.Option("--bundle", "-b", help="Folder of a bundle; by default the embedded one.")
]
SinksOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sink",
        metavar="URL",
        help="console:, jsonl:PATH, unix:PATH, journald:, udp://H:P, tcp://H:P, tls://H:P or https://H/PATH; "
        "again for more.",
    ),
]
FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="start|end", help="Where to begin in a file that is read for the first time."),
]
OnceOption = Annotated[bool, typer.Option("--once", help="Read to the present end, deliver, and stop.")]
KeptStateOption = Annotated[
    Path | None, typer.Option("--state", metavar="DIR", help="Keep positions, windows and undelivered alerts here.")
]
OtherProviderOption = Annotated[
    str | None, typer.Option("--provider", metavar="auto|cpu|cuda", help="Where the models run.")
]
TailConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="F", help="A configuration file; options given here win over it.")
]
MetricsOption = Annotated[
    str | None,
    typer.Option("--metrics", metavar="HOST:PORT", help="Serve /metrics for Prometheus, /healthz and /readyz here."),
]
ScoresOption = Annotated[
    str | None,
    typer.Option("--scores", metavar="F", help="Append the score of every line here too, as agent score writes it."),
]
