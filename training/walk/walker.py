"""What walks over logs: it reads, cuts windows, scores them and has the model learn them, and can stop at each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from rich.progress import Progress

from agent.errors import ConfigError, SourceError
from agent.scoring.streams import StreamKey
from agent.text.canonical import Normalizer
from agent.text.lines import Block, LineSplitter
from agent.text.tokenizers import Tokenizer, load_tokenizer
from training.data.corpus import Corpus
from training.data.logs import LogFile
from training.data.selection import compact
from training.fitting import run_folder as folder
from training.fitting.fit import finish, learn_tokenizer, run_metrics
from training.models.language_model.config import LanguageModelRunConfig
from training.walk.known import KnownTexts
from training.walk.moving import MovingModel, as_tensor, from_tensor
from training.walk.sample import Sample
from training.walk.scores import Facts, ScoreFile
from training.walk.windows import Cutter, Every, part

_SPARE_TEXTS = 65536  # that may gather beside those of the sample


@dataclass(frozen=True)
class Plan:
    """Which logs are walked over, and how: the columns beside the scores, the `most` lines of a window to train on, and
    the run folder, which is ready.
    """

    files: list[Path]
    every: Every
    columns: list[str]
    most: int
    out: Path


class Position(msgspec.Struct):
    """How far a walk is; what a checkpoint holds beside tensors.

    windows            that were trained on
    file, line         the number of the file (from 0) and of its lines that were taken
    lines, late, timeless  as Cutter counts them
    short, long        rows of the present file with a wrong width
    trained, left_out  lines that were trained on, and those of the same windows that were not
    scored, size       lines with scores, and the bytes of their file
    epochs, seconds    of the last training, and of all
    """

    windows: int = 0
    file: int = 0
    line: int = 0
    lines: int = 0
    late: int = 0
    timeless: int = 0
    short: int = 0
    long: int = 0
    trained: int = 0
    left_out: int = 0
    scored: int = 0
    size: int = 0
    seconds: float = 0.0
    epochs: list[dict[str, Any]] = []


class Scores:
    """The number, the sum and the largest of a window's scores."""

    def __init__(self) -> None:
        self.count, self.total, self.largest = 0, 0.0, -np.inf

    def add(self, scores: NDArray[np.float32]) -> None:
        """Takes in some scores."""
        self.count += len(scores)
        self.total += float(scores.sum(dtype=np.float64))
        self.largest = max(self.largest, float(scores.max()))

    def __str__(self) -> str:
        if not self.count:
            return "not scored, nothing was learnt before"
        return f"mean score {self.total / self.count:.3g}, largest {self.largest:.3g}"


class Walker:
    """One walk: its parts, and where it is."""

    def __init__(self, plan: Plan, config: LanguageModelRunConfig, fabric: Fabric, progress: Progress) -> None:
        """Goes on from the checkpoint in the run folder, where there is one. `progress` has one task, in bytes."""
        self.plan, self.config, self.fabric, self.progress = plan, config, fabric, progress
        self.normalizer = Normalizer(config.header, config.masks)
        self.keys = StreamKey(config.stream, self.normalizer.records)
        self.facts = Facts(config.header, self.normalizer.records, plan.columns, plan.every.timed)
        self.at = Position()
        self.model: MovingModel | None = None
        self.known = KnownTexts()
        self._restore()
        self.cutter = Cutter(plan.every, self.at.lines, self.at.late, self.at.timeless)
        self._begin()

    def _begin(self) -> None:
        """Begins a window."""
        self.sample = Sample(self.plan.most, (self.config.seed, self.at.windows))
        self.normalizer.table.subscribe(self.sample)
        self.scores = Scores()

    def go(self) -> dict[str, Any]:
        """From where it is to the end; the metrics."""
        with ScoreFile(self.plan.out / folder.SCORES, self.plan.columns, self.at.size) as self.output:
            if self.model is not None:
                self.output.begin()
            for number in range(self.at.file, len(self.plan.files)):
                self._read(number)
                self.at.file, self.at.line, self.at.short, self.at.long = number + 1, 0, 0, 0
            self.output.end()
            self.at.size = self.output.size
        return self._end()

    def _read(self, number: int) -> None:
        """Takes the rest of a file."""
        path = self.plan.files[number]
        reference = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        records, done = self.normalizer.records, self.at.line
        if records is not None:
            records.short, records.long = self.at.short, self.at.long
        splitter = LineSplitter(path.name)
        with LogFile(path) as file:
            for block in _blocks(file, splitter, self._advance(number)):
                if block.first + len(block) - 1 > done:
                    self._take(number, part(block, slice(max(0, done + 1 - block.first), None)), reference)
        remarks = self.normalizer.report()
        if splitter.cut_lines:
            was = "was" if splitter.cut_lines == 1 else "were"
            remarks.append(f"{_are(splitter.cut_lines)} longer than the agent reads and {was} cut")
        for remark in remarks:
            self._tell(f"{path.name}: {remark}")

    def _advance(self, number: int) -> Callable[[int], None]:
        """What moves the bar to so many bytes of a file."""
        task, before = self.progress.tasks[0].id, sum(file.stat().st_size for file in self.plan.files[:number])
        return lambda size: self.progress.update(task, completed=before + size)

    def _take(self, number: int, block: Block, reference: datetime) -> None:
        """Scores the lines of a block; where a window is over, learns it."""
        times, values = self.facts.read(block, reference)
        for piece in self.cutter.cut(len(block), times):
            if piece is None:
                self._learn()
                continue
            some = part(block, piece)
            keys = [b"%d" % number] * len(some) if self.config.stream is None else self.keys.keys(some)
            self._score(some, keys, values[piece])
            self.at.file, self.at.line = number, some.first + len(some) - 1
        if not np.isnan(self.cutter.present):
            self.progress.update(self.progress.tasks[0].id, description=f"window {self.label}")

    def _score(self, block: Block, keys: list[bytes], values: list[list[str]]) -> None:
        ids = self.normalizer.ids(block)
        raw = np.full(len(ids), np.nan, np.float32)
        if self.model is not None:
            scored = self.model.score(keys, ids)
            self.output.write(block, self.label, values, scored.scores)
            self.scores.add(scored.scores)
            raw = scored.raw
        self.sample.add(keys, ids, raw)
        if len(self.normalizer.table) > 2 * self.plan.most + _SPARE_TEXTS:
            self.normalizer.table.compact(self.sample.ids)

    @property
    def label(self) -> str:
        """What the present window is called."""
        return self.cutter.every.label(self.cutter.present)

    def _learn(self) -> None:
        """Ends a window that another follows: trains on it and makes that durable."""
        self.output.end()
        corpus, first = self.sample.corpus(self.normalizer.texts), self.model is None
        if self.model is None:
            self.model = self._first_model(corpus)
        learnt = self.model.learn(corpus, self.at.windows)
        if first:
            self.model.expect_as(corpus)
        else:
            self.model.expect(self.sample.scores)
        self.known.add(corpus)
        self._count(learnt)
        of = f"on {len(corpus):,} of them " if len(corpus) < self.sample.lines else ""
        self._tell_window(f"trained {of}to {learnt['best']:.3g} in {_many(len(learnt['epochs']), 'epoch')}")
        self.normalizer.table.compact(np.zeros(0, np.int32))
        self._begin()
        self._keep()
        self.output.begin()

    def _first_model(self, corpus: Corpus) -> MovingModel:
        tokenizer = learn_tokenizer(self.config, corpus)
        folder.write(self.plan.out / folder.TOKENIZER, msgspec.json.encode(tokenizer.to_json()))
        return self._model(tokenizer)

    def _model(self, tokenizer: Tokenizer) -> MovingModel:
        return MovingModel(self.config, self.fabric, self.normalizer.table, tokenizer)

    def _count(self, learnt: dict[str, Any]) -> None:
        at, cutter, records = self.at, self.cutter, self.normalizer.records
        at.windows += 1
        at.lines, at.late, at.timeless = cutter.lines, cutter.late, cutter.timeless
        at.trained += len(self.sample)
        at.left_out += self.sample.lines - len(self.sample)
        at.scored, at.size = at.scored + self.scores.count, self.output.size
        at.epochs = learnt["epochs"]
        at.seconds = round(at.seconds + sum(epoch["seconds"] for epoch in at.epochs), 3)
        if records is not None:
            at.short, at.long = records.short, records.long

    def _keep(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        assert self.model is not None
        known = {"texts": as_tensor(self.known.counts)}
        folder.write_checkpoint(self.plan.out, self.model.groups() | {"known": known}, msgspec.to_builtins(self.at))

    def _restore(self) -> None:
        """Goes on from the checkpoint, where there is one."""
        found = folder.read_checkpoint(self.plan.out)
        if found is None:
            return
        groups, at = found
        self.at, self.known = msgspec.convert(at, Position), KnownTexts(from_tensor(groups["known"]["texts"]))
        self.model = self._model(load_tokenizer(msgspec.json.decode((self.plan.out / folder.TOKENIZER).read_bytes())))
        self.model.restore(groups)

    def _end(self) -> dict[str, Any]:
        """Completes the run; the last window is held out."""
        model = self._check_end()
        self._tell_window("not trained on, nothing follows")
        self.at.scored += self.scores.count
        for remark in self._remarks():
            self._tell(remark)
        folder.write_weights(self.plan.out, model.weights())
        held_out, counts = self.known.with_lines(compact(self.sample.corpus(self.normalizer.texts)))
        metrics = self._metrics(model, held_out)
        finish(self.plan.out, held_out.texts, counts, held_out, metrics)
        return metrics

    def _check_end(self) -> MovingModel:
        """The model, where there were windows enough; else a ConfigError or SourceError."""
        if not self.cutter.lines:
            raise SourceError("the logs hold no line")
        if not self.sample.lines:
            raise SourceError("the logs are shorter than when the walk began; give --overwrite to start anew")
        if self.cutter.timeless == self.cutter.lines:
            raise ConfigError(
                f"--every: none of {self.cutter.lines:,} lines shows a time, so windows of time cannot be told; "
                "give a number of lines, such as 5000"
            )
        if self.model is None:
            raise ConfigError(
                f"all {_many(self.cutter.lines, 'line')} lie in one window, {self.label}, and nothing follows that "
                "could be scored; give a smaller --every"
            )
        return self.model

    def _metrics(self, model: MovingModel, held_out: Corpus) -> dict[str, Any]:
        at, cutter, machine = self.at, self.cutter, self.fabric.device.type
        lines, texts = {"training": at.trained, "validation": len(held_out)}, len(held_out.texts) - 1
        metrics = run_metrics(self.config, lines, texts, model.tokenizer, at.epochs, machine, 1)
        walk = {"windows": at.windows + 1, "lines": cutter.lines, "scored": at.scored, "left_out": at.left_out}
        sources = [{"name": file.name, "size": file.stat().st_size} for file in self.plan.files]
        older = {"late": cutter.late, "timeless": cutter.timeless}
        return metrics | {"seconds": at.seconds, "sources": sources, "walk": walk | older}

    def _remarks(self) -> Iterator[str]:
        at, cutter = self.at, self.cutter
        if cutter.late:
            yield f"{_are(cutter.late)} older than the window in which they came; they were taken with it"
        if cutter.timeless:
            yield f"{_are(cutter.timeless)} without a time; they were taken with the window in which they came"
        if at.left_out:
            yield f"{_are(at.left_out)} left out of the training, which takes at most {self.plan.most:,} of a window"
        first = cutter.lines - at.scored
        yield f"{at.windows + 1} windows; {_many(at.scored, 'line')} scored, the {first:,} of the first window not"

    def _tell_window(self, what: str) -> None:
        self._tell(f"window {self.label}: {_many(self.sample.lines, 'line')}, {self.scores}; {what}")

    def _tell(self, message: str) -> None:
        self.progress.console.print(message, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _blocks(file: LogFile, splitter: LineSplitter, advance: Callable[[int], None]) -> Iterator[Block]:
    """The blocks of a file; `advance` takes the bytes that were read."""
    for chunk in file.chunks():
        block = splitter.feed(chunk)
        if block:
            yield block
        advance(file.size)
    block = splitter.finish()
    if block:
        yield block


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _are(lines: int) -> str:
    return f"{_many(lines, 'line')} {'is' if lines == 1 else 'are'}"
