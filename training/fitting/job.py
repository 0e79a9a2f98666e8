"""One training from logs to run folder."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from agent.errors import ConfigError
from training.config import RunConfig, load
from training.data.corpus import Corpus, read_corpus
from training.data.logs import LogFile
from training.data.selection import compact, drop_labelled, parse_bound, select, split
from training.fitting import run_folder as folder
from training.fitting.fit import check_size, fit
from training.models import CONFIGS


@dataclass(frozen=True)
class Job:
    """The command line of `training fit`; `options` are keys of the configuration, None where not given."""

    logs: list[Path]
    out: Path
    config: Path | None
    overrides: tuple[str, ...]
    options: Mapping[str, Any]
    labels: Path | None
    start: str | None
    until: str | None
    device: str
    devices: int
    overwrite: bool


def run_job(job: Job) -> dict[str, Any]:
    """Reads, selects, trains and writes the run; its metrics. Ctrl-C says how to go on and exits with 130."""
    config = load(CONFIGS, job.config, job.overrides, job.options)
    corpus, about = _gather(job, config)
    train, validation = split(corpus, config.validation, config.held_out())
    check_size(config, train, validation)
    folder.prepare(job.out, config, folder.digest(about), job.overwrite)
    try:
        metrics = fit(config, train, validation, job.out, about, job.device, job.devices)
    except KeyboardInterrupt:
        _print(f"interrupted; the same command goes on from the last whole epoch in {job.out}")
        raise typer.Exit(130) from None
    if unseen := metrics.get("unseen_events"):
        _print(f"{unseen} held-out lines are events that training did not see; the scale of scores leaves them out")
    _print(f"wrote {job.out}; next: oddline export onnx {job.out} --out BUNDLE")
    return metrics


def _gather(job: Job, config: RunConfig) -> tuple[Corpus, dict[str, Any]]:
    """The normal lines that are trained on, and where they come from."""
    start, until = parse_bound(job.start, "--from"), parse_bound(job.until, "--until")
    with_times = any(bound is not None and not isinstance(bound, float) for bound in (start, until))
    corpus = read_corpus(
        job.logs, config.header, config.masks, config.stream, job.labels, config.line_reader(), with_times
    )
    chosen = select(corpus, start, until)
    normal, left_out = drop_labelled(chosen)
    if not len(normal):
        raise ConfigError(f"no normal line is left: the labels leave out all {left_out}")
    for warning in corpus.warnings:
        _print(warning)
    _print(_summary(corpus, normal, left_out))
    return compact(normal), {
        "sources": [asdict(source) for source in corpus.sources],
        "labels": _digest(job.labels),
        "selection": {"from": job.start, "until": job.until},
        "span": corpus.span,
        "streams": len(normal.stream_order()),
        "left_out": left_out,
    }


def _summary(corpus: Corpus, normal: Corpus, left_out: int) -> str:
    cut = sum(source.cut_lines for source in corpus.sources)
    return (
        f"{len(corpus):,} lines read, {len(normal):,} of {len(normal.stream_order()):,} streams to train on"
        + (f", {left_out:,} left out by their labels" if left_out else "")
        + (f", {cut:,} longer than the agent reads and cut" if cut else "")
    )


def _digest(path: Path | None) -> dict[str, str] | None:
    if path is None:
        return None
    with LogFile(path) as file:
        for _ in file.chunks():
            pass
        return {"name": path.name, "sha256": file.sha256}


def _print(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
