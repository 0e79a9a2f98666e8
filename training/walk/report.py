"""What a walk tells: of each window, at its end, and in the metrics of its run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.errors import ConfigError, SourceError
from training.data.corpus import Corpus
from training.fitting.fit import run_metrics
from training.models.language_model.config import LanguageModelRunConfig
from training.walk.moving import MovingModel
from training.walk.sample import LineSample
from training.walk.state import WalkProgress
from training.walk.windows import WindowCutter


def check_walked(cutter: WindowCutter, sample: LineSample, model: MovingModel | None) -> MovingModel:
    """The model, where there were windows enough; else a ConfigError or SourceError."""
    if not cutter.lines:
        raise SourceError("the logs hold no line")
    if not sample.lines:
        raise SourceError("the logs are shorter than when the walk began; give --overwrite to start anew")
    if cutter.timeless == cutter.lines:
        raise ConfigError(
            f"--every: none of {cutter.lines:,} lines shows a time, so windows of time cannot be told; "
            "give a number of lines, such as 5000"
        )
    if model is None:
        raise ConfigError(
            f"all {count_of(cutter.lines, 'line')} lie in one window, {cutter.label}, and nothing follows that "
            "could be scored; give a smaller --every"
        )
    return model


def walk_metrics(
    config: LanguageModelRunConfig,
    done: WalkProgress,
    cutter: WindowCutter,
    model: MovingModel,
    held_out: Corpus,
    files: list[Path],
) -> dict[str, Any]:
    """The metrics of a finished walk: those of its last training, and what was walked over."""
    lines, texts = {"training": done.trained, "validation": len(held_out)}, len(held_out.texts) - 1
    metrics = run_metrics(config, lines, texts, model.tokenizer, done.epochs, model.device, 1)
    walk = {"windows": done.windows + 1, "lines": cutter.lines, "scored": done.scored, "left_out": done.left_out}
    sources = [{"name": file.name, "size": file.stat().st_size} for file in files]
    older = {"late": cutter.late, "timeless": cutter.timeless}
    return metrics | {"seconds": done.seconds, "sources": sources, "walk": walk | older}


def closing_notes(done: WalkProgress, cutter: WindowCutter, most: int) -> Iterator[str]:
    """What there is to say at the end of a walk whose windows are trained on with `most` lines."""
    if cutter.late:
        yield f"{lines_are(cutter.late)} older than the window in which they came; they were taken with it"
    if cutter.timeless:
        yield f"{lines_are(cutter.timeless)} without a time; they were taken with the window in which they came"
    if done.left_out:
        yield f"{lines_are(done.left_out)} left out of the training, which takes at most {most:,} of a window"
    first = cutter.lines - done.scored
    yield f"{done.windows + 1} windows; {count_of(done.scored, 'line')} scored, the {first:,} of the first window not"


def cut_warning(lines: int) -> str:
    """That so many lines of a file were cut."""
    return f"{lines_are(lines)} longer than the agent reads and {'was' if lines == 1 else 'were'} cut"


def count_of(count: int, what: str) -> str:
    """So many of these, in the singular or the plural."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def lines_are(count: int) -> str:
    """So many lines, with the verb."""
    return f"{count_of(count, 'line')} {'is' if count == 1 else 'are'}"
