"""What the benchmarks on made-up logs share: trainings that are done once, and scores as the agent gives them."""

import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.bundle.bundle import Bundle
from agent.scoring.engine import ScoringEngine
from agent.sources.decoding.whole_file import read_log
from agent.text.lines import Block, LineSplitter
from export.writer import export_run
from training.fitting.job import Job, run_job
from training.fitting.run_folder import Run, load_run
from training.synth.host import Line
from training.synth.output import format_line


def write_lines(path: Path, lines: Iterable[Line]) -> Path:
    """A log as a syslog daemon writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(format_line(line, "rfc3164") + "\n" for line in lines))
    return path


def trained(folder: Path, log: Path, config: dict[str, Any]) -> Run:
    """A run on all lines of a log, trained where it is not there."""
    run, file = folder / "run", folder / "config.yaml"
    if not (run / "metrics.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.yaml.encode(config))
        run_job(Job([log], run, file, (), {}, None, None, None, "cpu", 1, False))
    return load_run(run)


def exported(run: Run, out: Path, **changes: Any) -> Bundle:
    """The bundle of a run; `changes` are keys of the configuration that leave the weights as they are."""
    changed = replace(run, config=msgspec.structs.replace(run.config, **changes))
    export_run(changed, out, False, [], True)
    return Bundle.load(out)


def scored(bundle: Bundle, log: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The score of each line, NaN while a window warms up, and whether it is above its limit: one engine, as the
    agent reads the file.
    """
    engine = ScoringEngine(bundle)
    found = [engine.score(block) for block in _blocks(log)]
    scores, limits = (np.concatenate([getattr(one, name) for one in found]) for name in ("scores", "limits"))
    return scores, scores > limits


def _blocks(path: Path) -> list[Block]:
    splitter = LineSplitter(path.name)
    found = [splitter.feed(chunk) for chunk in read_log(path, 1 << 16)]
    return [block for block in [*found, splitter.finish()] if block is not None]


def spread(values: Sequence[float], form: str) -> str:
    """The mean of some values, and their range where there are several."""
    mean = format(statistics.mean(values), form)
    return mean if len(values) == 1 else f"{mean} ({min(values):{form}} to {max(values):{form}})"


def print_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table in Markdown."""
    print(f"\n### {title}\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def say(message: str) -> None:
    """Progress."""
    print(message, file=sys.stderr, flush=True)
