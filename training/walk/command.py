"""`training walk`: over the logs once, window by window; each is scored by a model that learnt those before it.

After Tuor et al. 2018, who train on a day and score the next.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from agent.errors import ConfigError
from training.config import load
from training.data.logs import find_files, reading_progress
from training.fitting import run_folder as folder
from training.fitting.loop import make_fabric
from training.models import CONFIGS
from training.models.language_model.config import LanguageModelRunConfig
from training.walk.scores import choose_columns
from training.walk.walker import Walker, WalkPlan
from training.walk.windows import check_times, parse_every

_FAMILY = "language-model"


@dataclass(frozen=True)
class WalkJob:
    """The command line of `training walk`; `options` are keys of the configuration, None where not given."""

    logs: list[Path]
    every: str
    out: Path
    config: Path | None
    overrides: tuple[str, ...]
    options: Mapping[str, Any]
    columns: str | None
    most: int
    device: str
    overwrite: bool


def run_walk(job: WalkJob) -> dict[str, Any]:
    """Walks over the logs and writes the run; its metrics. Ctrl-C says how to go on and exits with 130."""
    config = load({_FAMILY: CONFIGS[_FAMILY]} | CONFIGS, job.config, job.overrides, job.options)
    if not isinstance(config, LanguageModelRunConfig):
        raise ConfigError(f"a walk trains models of the family {_FAMILY} alone, not {config.family}; use training fit")
    every, columns, files = parse_every(job.every), choose_columns(config.header, job.columns), find_files(job.logs)
    check_times(config.header, every)
    fabric = make_fabric(job.device, 1)
    logs = [(file.name, file.stat().st_size) for file in files]
    data = folder.digest({"walk": [every.size, every.timed], "columns": columns, "most": job.most, "logs": logs})
    folder.prepare(job.out, config, data, job.overwrite or _is_begun_only(job.out))
    try:
        with reading_progress(files) as progress:
            plan = WalkPlan(files, every, columns, job.most, job.out)
            metrics = Walker(plan, config, fabric, progress).go()
    except KeyboardInterrupt:
        _print(f"interrupted; the same command goes on from the last whole window in {job.out}")
        raise typer.Exit(130) from None
    _print(f"wrote {job.out}; next: oddline export onnx {job.out} --out BUNDLE")
    return metrics


def _is_begun_only(run: Path) -> bool:
    """Whether a folder is that of a run without anything to lose."""
    begun = (run / folder.CONFIG).exists() and (run / folder.PROGRESS).exists()
    return begun and not (run / folder.CHECKPOINT).exists() and not (run / folder.METRICS).exists()


def _print(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
