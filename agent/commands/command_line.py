"""The command line of `agent`: its commands and their options."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from agent.commands.options import (
    BundleOption,
    FromOption,
    JsonOption,
    KeptStateOption,
    MetricsOption,
    OnceOption,
    OtherBundleOption,
    OtherProviderOption,
    PathsArgument,
    ProviderOption,
    QuietOption,
    ScoresOption,
    SinksOption,
    TailConfigOption,
    VerboseOption,
)

if TYPE_CHECKING:
    from agent.app.signals import Signals
    from agent.config import AgentConfig
    from agent.host.log import Level

app = typer.Typer(
    name="agent",
    help="Scores a host's log lines as they are written and reports the odd ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.command(epilog="Example: [bold]agent tail /var/log/syslog --sink udp://loghost:514[/]")
def tail(
    context: typer.Context,
    paths: PathsArgument,
    bundle: OtherBundleOption = None,
    sink: SinksOption = None,
    start: FromOption = None,
    once: OnceOption = False,
    state: KeptStateOption = None,
    provider: OtherProviderOption = None,
    config: TailConfigOption = None,
    metrics: MetricsOption = None,
    scores: ScoresOption = None,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
) -> None:
    """Follow log files and report their odd lines."""
    from agent.config import AgentConfig

    given = {
        "bundle": bundle,
        "sinks": sink,
        "from": start,
        "state": None if state is None else str(state),
        "provider": provider,
        "metrics": metrics,
        "log_level": _level(verbose, quiet),
    }
    options = {"sources": paths} | {key: value for key, value in given.items() if value is not None}

    sinks = _default_sinks()  # chosen once: what waits for /dev/log is not given up where that is away at a reload

    def load() -> AgentConfig:
        return _merge(config, options, sinks)

    _run(load, once, scores, context.obj)


def _merge(file: Path | None, options: dict[str, Any], sinks: list[str]) -> "AgentConfig":
    """The configuration in a file, if there is one, with what the command line says instead; else with `sinks`."""
    from agent.config import AgentConfig, check_config, convert, load_config

    merged = msgspec.to_builtins(AgentConfig() if file is None else load_config(file)) | options
    merged["sinks"] = merged["sinks"] or sinks
    return check_config(convert(merged, AgentConfig, "command line"), "command line")


def _level(verbose: bool, quiet: bool) -> "Level | None":
    """The level of the log that the options ask for, or None where they do not."""
    from agent.errors import ConfigError

    if verbose and quiet:
        raise ConfigError("--verbose and --quiet exclude each other; choose one")
    return "debug" if verbose else "warning" if quiet else None


def _default_sinks() -> list[str]:
    return ["console:", "unix:/dev/log"] if Path("/dev/log").exists() else ["console:"]


def _run(load: Callable[[], "AgentConfig"], once: bool, scores: str | None, signals: "Signals | None") -> None:
    from agent.app.loop_check import refuse_scores
    from agent.app.service import run_service
    from agent.scorefile.writer import open_output

    if scores is None:
        run_service(load, once, signals=signals)
        return
    refuse_scores(load(), scores)
    with open_output(scores, live=True) as output:
        run_service(load, once, output, signals)


@app.command(epilog="Example: [bold]agent run --config /etc/oddline/agent.yaml[/]")
def run(
    context: typer.Context,
    config: Annotated[Path, typer.Option("--config", metavar="F", help="The configuration file.")] = Path(
        "/etc/oddline/agent.yaml"
    ),
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the service: as `tail`, with everything from a configuration file."""
    from agent.app.service import run_service
    from agent.config import AgentConfig, load_config

    level = _level(verbose, quiet)

    def load() -> AgentConfig:
        loaded = load_config(config)
        return msgspec.structs.replace(loaded, log_level=level or loaded.log_level)

    run_service(load, signals=context.obj)


@app.command(epilog="Example: [bold]agent status --state /var/lib/oddline --json[/]")
def status(
    state: Annotated[Path | None, typer.Option("--state", metavar="DIR", help="The state folder of the agent.")] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="F", help="Its configuration file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far the agent is, what it counted and what waits, whether it runs or not; changes nothing."""
    from agent.commands.status import chosen_folder, read_status, show

    found = read_status(chosen_folder(state, config))
    typer.echo(msgspec.json.encode(found).decode() if as_json else show(found))


@app.command(
    epilog=r"Example: [bold]agent score app.log --bundle B --stream 'blk_-?\d+' --scope session -o s.jsonl.gz[/]"
)
def score(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Logs, plain or gzip; - is standard input.")],
    bundle: BundleOption = "default",
    output: Annotated[str, typer.Option("--output", "-o", metavar="-|F[.gz]", help="Where the JSON lines go.")] = "-",
    scope: Annotated[
        str, typer.Option("--scope", metavar="line|session", help="One object a line, or one a stream.")
    ] = "line",
    stream: Annotated[
        str | None,
        typer.Option(
            "--stream", metavar="REGEX", help="What in a line names its stream; by default as the bundle says."
        ),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Give odd lines their reason.")] = False,
    provider: ProviderOption = "auto",
    header: Annotated[
        str | None, typer.Option("--header", metavar="FORMAT", help="auto, rfc3164, iso8601, rfc5424, hdfs or none.")
    ] = None,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score whole logs, line by line or stream by stream, as JSON lines."""
    from agent.commands.score import score_files
    from agent.host.log import setup_logging

    setup_logging(_level(verbose, quiet) or "info")
    score_files(files, bundle, output, scope, stream, explain, provider, header)


@app.command(epilog="Example: [bold]agent report scores.jsonl.gz -o report.html[/]")
def report(
    file: Annotated[
        str,
        typer.Argument(
            metavar="SCORES|ALERTS",
            help="What agent score, agent tail --scores or a jsonl sink wrote, plain or gzip; - is standard input.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F", help="The page to write.")] = Path(
        "report.html"
    ),
) -> None:
    """Make one HTML page of scores or alerts, which opens anywhere and needs no network."""
    from agent.commands.report import write_report

    typer.echo(write_report(file, output))


@app.command(epilog="Example: [bold]agent check /etc/oddline/bundle[/]")
def check(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE")] = "default",
    provider: ProviderOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Verify a bundle: its files' hashes, and that its graphs compute here what they computed when exported."""
    from agent.commands.bundle import check_bundle

    check_bundle(bundle, provider, as_json)


@app.command(epilog="Example: [bold]agent inspect default --json[/]")
def inspect(bundle: Annotated[str, typer.Argument(metavar="BUNDLE")] = "default", as_json: JsonOption = False) -> None:
    """Show what a bundle holds: its model, its training, its threshold."""
    from agent.commands.bundle import inspect_bundle

    inspect_bundle(bundle, as_json)


@app.command(epilog="Example: [bold]agent bench /var/log/syslog[/]")
def bench(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="A log to measure with; by default lines made up for it.")
    ] = None,
    bundle: BundleOption = "default",
    lines: Annotated[int, typer.Option("--lines", min=1000, help="How many lines to take.")] = 100_000,
    as_json: JsonOption = False,
) -> None:
    """Measure on this host how many lines a second each stage takes, beside reading alone."""
    from agent.commands.bench import run_bench

    run_bench(file, bundle, lines, as_json)


@app.command(name="config", epilog="Example: [bold]agent config /etc/oddline/agent.yaml[/]")
def show_config(file: Annotated[Path, typer.Argument(metavar="FILE")], as_json: JsonOption = False) -> None:
    """Check a configuration file as `run` would, bundle and sinks too, and print it whole, with every default.

    No log is read, nothing is written, no socket is opened: what only those can tell, `run` says.
    """
    import yaml

    from agent.app.preflight import preflight
    from agent.config import load_config

    config = load_config(file)
    preflight(config)
    content = msgspec.to_builtins(config)
    typer.echo(
        msgspec.json.encode(content).decode() if as_json else yaml.safe_dump(content, sort_keys=False), nl=as_json
    )
